"""Cross-validation: clips of all splits dealt into folds by identity, each fold the test part once."""

import pathlib
from collections.abc import Sequence

from data_pipelines.clip import SPLITS, Clip
from data_pipelines.loading.loader import Loaded
from data_pipelines.prepare import splits
from data_pipelines.prepare.records import Records, Selection, read_index, read_without_record
from data_pipelines.record import Record


def divide(clips: Sequence[Clip], folds: int, fold: int) -> dict[str, list[int]]:
    """Indices of the clips on each side when fold `fold` (1 … folds) is the test part and the next one validation.

    Clips that share an identity or an original lie in one fold (a clip that names neither stands alone). The clips'
    own splits do not matter. From training and validation are left out the clips into which the face or voice of
    somebody in a later side was put (validation or test; test): they would show the detector people that it is to be
    judged on.

    Raises:
      ValueError: fewer than 3 folds, a fold that does not exist, or fewer groups of such clips than folds.
    """
    if folds < 3:
        raise ValueError(f"config.folds={folds}: expected 3 or more: to train, to select and to test on")
    if not 1 <= fold <= folds:
        raise ValueError(f"config.fold={fold}: expected 1 to config.folds={folds}, or 0 for all of them in turn")
    groups = splits.groups(clips, donors=False)
    if len(groups) < folds:
        raise ValueError(
            f"config.folds={folds}: the clips show only {len(groups)} people, fewer than there are folds (whose clips "
            f"have an original in common count as one): take fewer folds"
        )
    number = {clip.clip_id: i for i, clip in enumerate(clips)}
    parts: list[list[int]] = [[] for _ in range(folds)]
    for members in sorted(groups, key=len, reverse=True):
        min(parts, key=len).extend(number[clip.clip_id] for clip in members)
    test, val = sorted(parts[fold - 1]), sorted(parts[fold % folds])
    train = sorted(i for k, part in enumerate(parts) if k not in (fold - 1, fold % folds) for i in part)
    tested = {clips[i].identity for i in test}
    held_out = tested | {clips[i].identity for i in val}
    return {
        "train": [i for i in train if not held_out.intersection(clips[i].donors)],
        "val": [i for i in val if not tested.intersection(clips[i].donors)],
        "test": test,
    }


class _Joined(Loaded):
    """The records of all splits one after another."""

    def __init__(self, parts: Sequence[Records]) -> None:
        self.places = [(part, row) for part in parts for row in range(len(part))]
        self.index = [entry for part in parts for entry in part.index]
        self.digest = " ".join(part.digest for part in parts)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Record:
        part, row = self.places[i]
        return part[row]


def open_fold(folder: pathlib.Path, folds: int, fold: int) -> dict[str, Selection]:
    """{"train", "val", "test"}: the records in `folder`, divided anew, as if every clip had one.

    ValueError as `divide`, or if a side has no record.
    """
    there = {split for split, _ in read_index(folder)}
    joined = _Joined([Records(folder, split) for split in SPLITS if split in there])
    clips = [entry.clip for entry in joined.index]
    sides = divide([*clips, *(clip for clip, _ in _missing(folder))], folds, fold)
    opened = {name: Selection(joined, [i for i in rows if i < len(clips)]) for name, rows in sides.items()}
    if empty := [name for name, selection in opened.items() if not len(selection)]:
        raise ValueError(
            f"config.folds={folds}: fold {fold} has no clip with a record to be its {empty[0]} part: "
            f"take fewer folds, or mend the files that {folder / 'prepare_report.csv'} tells of"
        )
    return opened


def without_record(folder: pathlib.Path, folds: int, fold: int, side: str) -> list[tuple[Clip, str]]:
    """(clip, status) of the clips on a side of a fold that gave no record. ValueError as `divide`."""
    missing = _missing(folder)
    clips = [clip for clip, _ in missing] + [entry.clip for _, entry in read_index(folder)]
    return [missing[i] for i in divide(clips, folds, fold)[side] if i < len(missing)]


def _missing(folder: pathlib.Path) -> list[tuple[Clip, str]]:
    return [item for split in SPLITS for item in read_without_record(folder, split)]
