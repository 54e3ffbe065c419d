"""Prepared clips: made once by `prepare` (a TFDS builder writing ArrayRecord), read at random by `Records`."""

import collections
import contextlib
import csv
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tqdm
from absl import logging

from data_pipelines import clip as clip_lib
from data_pipelines.clip import SPLITS, Clip
from data_pipelines.loading.loader import Loaded
from data_pipelines.loading.windows import BadRecord
from data_pipelines.prepare import child_processes, extract, frame_folder, media, record_files, splits
from data_pipelines.prepare.extract import Crops as Crops
from data_pipelines.prepare.record_files import VERSION
from data_pipelines.record import PIECE, Layout, Read, Record
from data_pipelines.source import Source

_FAULTS = {"crash": "crashed", "memory": "too_large", "time": "timeout", "error": "error"}
_INDEX = (
    *("row", "status", "frames", "duration", "audio_samples"),
    *("mouth", "mask", "frames_step", "mouth_step", "mask_step", "example"),  # see record.Layout
)
_REPORT = (
    *("clip_id", "path", "split", "label", "method", "status", "reason", "record", "frames", "found", "face_size"),
    *("speaker", "duration", "audio_samples", "bytes", "mtime_ns"),
)


SpoolJob = tuple[pathlib.Path, extract.Job]  # where the outcome goes, and the clip
Runner = Callable[
    [Sequence[SpoolJob], int, child_processes.Caps], None
]  # spools all the outcomes, given workers and caps


@dataclasses.dataclass(frozen=True)
class IndexRow:
    """What can be known of a record without reading it."""

    clip: Clip
    status: str
    frames: int  # pictures at 25 a second
    duration: float  # s
    audio_samples: int  # at 16 kHz
    layout: Layout | None = None  # where the record's pieces are


class Records(Loaded):
    """The records of one split of a prepared folder, by number. Picklable: files are opened in each process anew.

    Raises FileNotFoundError if the folder holds no records, ValueError if it has no such split or another version.
    """

    def __init__(self, folder: str | pathlib.Path, split: str) -> None:
        self.folder, self.split = pathlib.Path(folder), split
        header = read_header(self.folder)
        if header["version"] != VERSION:
            raise ValueError(
                f"{self.folder}: records of version {header['version']}, expected {VERSION}; prepare them again"
            )
        self.index = [row for name, row in read_index(self.folder) if name == split]
        if not self.index:
            splits = ", ".join(dict.fromkeys(name for name, _ in read_index(self.folder)))
            raise ValueError(f"{self.folder}: no records of split {split!r}; there are {splits}")

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Record:
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)} in split {self.split!r} of {self.folder}")
        return Record(self.index[i].layout, functools.partial(self._read, i))

    def _read(self, i: int, first: int, last: int, names: Sequence[str]) -> list[dict[str, Sequence[bytes]]]:
        try:
            return self._source(first, last, names)
        except Exception as error:  # array_record raises bare RuntimeError and ValueError with Riegeli's words
            raise BadRecord(f"{self.folder}: record {i} of split {self.split!r} cannot be read ({error})") from error

    def __repr__(self) -> str:
        return f"Records({str(self.folder)!r}, {self.split!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_source"}

    @functools.cached_property
    def digest(self) -> str:
        """What these records are made of: clips, crops, and size and time of each source file."""
        files = (self.folder / name for name in ("records.json", "prepare_report.csv"))
        return hashlib.sha256(b"".join(path.read_bytes() for path in files) + self.split.encode()).hexdigest()

    @functools.cached_property
    def _source(self) -> Read:
        return record_files.read(self.folder, self.split)


class Selection(Loaded):
    """Some rows of records, read like records; `digest` names what they are."""

    def __init__(self, records: Source, rows: Sequence[int]) -> None:
        self.records, self.rows = records, rows
        self.index = [records.index[row] for row in rows]
        self.digest = hashlib.sha256(f"{records.digest} {list(rows)}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Record:
        return self.records[self.rows[i]]

    def draw(self, i: int, rng: np.random.Generator) -> Record:
        """Record i as the records that it is taken from draw it."""
        return self.records.draw(self.rows[i], rng)


def read_header(folder: str | pathlib.Path) -> dict[str, Any]:
    """records.json: `digest`, `version`, `crops`. FileNotFoundError if the folder holds no finished records."""
    path = pathlib.Path(folder) / "records.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no prepared records here (no records.json); run experiments.prepare first")
    return json.loads(path.read_text())


def read_index(folder: str | pathlib.Path) -> list[tuple[str, IndexRow]]:
    """(split, row) of every record of all splits, in record order."""
    with open(pathlib.Path(folder) / "index.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [
            (
                row["split"],
                IndexRow(
                    clip_lib.from_row(row),
                    row["status"],
                    int(row["frames"]),
                    float(row["duration"]),
                    int(row["audio_samples"]),
                    _layout(row),
                ),
            )
            for row in csv.DictReader(file)
        ]


def prepare(
    clips: Sequence[Clip],
    out: str | pathlib.Path,
    *,
    crops: Crops = extract.CROPS,
    workers: int = 0,
    max_bad: float = 1.0,
    caps: child_processes.Caps = child_processes.CAPS,
    finish: Callable[[pathlib.Path], None] | None = None,
    runner: Runner | None = None,
) -> pathlib.Path:
    """Makes the records of the clips in the folder `out`, or finds them there already.

    Files are decoded in guarded children, `workers` of them (0: one per core); whatever is wrong with a file becomes
    its status in `prepare_report.csv`. The folder appears when it is complete; until then the work is in `OUT.partial`,
    and a run that was killed goes on from there. Clips without a split get one (see splits.py); those that would cross
    splits are left out with the status `crosses_splits`. `finish` is called with the complete folder just before it
    takes its name, to put more beside the records. `runner`: what decodes the files instead of this machine's children
    (see beam.py).

    Raises ValueError if two clips have one clip_id, the folder cannot be written or holds something else, no clip gives
    a record, or more than the share `max_bad` of the clips ends with a bad status (`extract.BAD`); this or
    FileNotFoundError if `crops.yunet` is no YuNet model.
    """
    out = pathlib.Path(os.path.abspath(out))
    crops.described()  # raises where the detector's file is missing or faulty
    ids = collections.Counter(clip.clip_id for clip in clips)
    if twice := [clip_id for clip_id, count in ids.items() if count > 1]:
        raise ValueError(f"{len(twice)} clip_ids stand for several clips, the first is {twice[0]!r}")
    given, clips = clips, splits.assign(clips)
    if is_fresh(out, clips, crops):
        return out
    kept = {clip.clip_id for clip in clips}
    crossing = [clip for clip in given if clip.clip_id not in kept]
    official = {clip.clip_id: clip.split for clip in given}
    dealt = sum(clip.split != official[clip.clip_id] for clip in clips)
    if out.exists() and not (out / "records.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: holds something else than records; choose another folder")
    if dealt:
        logging.info("%d of %d clips are dealt to splits by identity, see manifest.csv", dealt, len(given))
    if out.exists():
        logging.info("%s holds records of other clips, files or crops, which are replaced", out)
    work = out.with_name(out.name + ".partial")
    try:
        (work / "clips").mkdir(parents=True, exist_ok=True)
        with _alone(work / "lock"):
            if not is_fresh(out, clips, crops):
                _prepare(clips, crossing, out, work, crops, workers, max_bad, caps, finish, runner or run_here)
    except OSError as error:
        raise ValueError(f"{error.filename or out}: cannot write the records ({error.strerror or error})") from error
    return out


def is_fresh(folder: str | pathlib.Path, clips: Sequence[Clip], crops: Crops, *, all_there: bool = False) -> bool:
    """Whether the folder holds the records of exactly these clips, files and crops, wherever the files lie now.

    Files that are gone since (a raw dataset deleted after its preparation) do not make records stale, unless
    `all_there` asks for every one.
    """
    folder = pathlib.Path(folder)
    try:
        if read_header(folder)["digest"] != record_files.digest(clips, crops):
            return False
        stamps = {row["clip_id"]: (row["bytes"], row["mtime_ns"]) for row in read_report(folder)}
    except (FileNotFoundError, KeyError, ValueError):
        return False
    now = {clip.clip_id: _stamp(clip) for clip in clips}
    return all(stamps.get(clip_id) == stamp or not (stamp[0] or all_there) for clip_id, stamp in now.items())


def read_report(folder: str | pathlib.Path) -> list[dict[str, str]]:
    """The rows of prepare_report.csv: one per clip, also of those that gave no record."""
    return _read_csv(pathlib.Path(folder) / "prepare_report.csv")


def read_without_record(folder: str | pathlib.Path, split: str) -> list[tuple[Clip, str]]:
    """(clip, status) of the clips of a split that gave no record, in the manifest's order."""
    status = {row["clip_id"]: row["status"] for row in read_report(folder) if row["record"] != "1"}
    clips = map(clip_lib.from_row, _read_csv(pathlib.Path(folder) / "manifest.csv"))
    return [(clip, status[clip.clip_id]) for clip in clips if clip.split == split and clip.clip_id in status]


def _prepare(
    clips: list[Clip],
    crossing: list[Clip],
    out: pathlib.Path,
    work: pathlib.Path,
    crops: Crops,
    workers: int,
    max_bad: float,
    caps: child_processes.Caps,
    finish: Callable[[pathlib.Path], None] | None,
    runner: Runner,
) -> None:
    spools = [work / "clips" / _spool_name(clip, crops) for clip in clips]
    todo = [i for i, path in enumerate(spools) if not path.is_file()]
    if len(todo) < len(clips):
        logging.info("%d of %d clips are in %s already", len(clips) - len(todo), len(clips), work)
    runner([(spools[i], extract.Job(clips[i], crops)) for i in todo], workers, caps)
    if lost := sum(not path.is_file() for path in spools):
        raise ValueError(
            f"{work / 'clips'}: {lost} of {len(todo)} clips that were to be decoded have left nothing here"
        )
    new = work / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    _assemble(clips, crossing, [_unspool(path) for path in spools], spools, new, crops, max_bad)
    if finish is not None:
        finish(new)
    if out.exists():
        shutil.rmtree(work / "old", ignore_errors=True)
        out.rename(work / "old")
    new.rename(out)
    shutil.rmtree(work)


def run_here(jobs: Sequence[SpoolJob], workers: int, caps: child_processes.Caps) -> None:
    """The Runner of this machine alone, with a progress bar."""
    outcomes = child_processes.run(extract.extract, [job for _, job in jobs], workers=workers, caps=caps)
    frames = 0
    with tqdm.tqdm(total=len(jobs), desc="preparing clips", unit="clip", disable=not jobs) as bar:
        with contextlib.closing(outcomes):
            for i, outcome in outcomes:
                spool(jobs[i][0], outcome)
                frames += getattr(outcome, "frames", 0)
                bar.set_postfix_str(f"{frames / max(bar.format_dict['elapsed'], 1e-3):.0f} frames/s", refresh=False)
                bar.update()


def _assemble(
    clips: list[Clip],
    crossing: list[Clip],
    outcomes: list[dict[str, Any]],
    spools: list[pathlib.Path],
    new: pathlib.Path,
    crops: Crops,
    max_bad: float,
) -> None:
    """Writes report, records, index, manifest and header into the folder `new`."""
    report = new / "prepare_report.csv"

    def row_of(clip: Clip, outcome: dict[str, Any]) -> dict[str, Any]:
        size, mtime = _stamp(clip)
        return {**clip_lib.to_row(clip), **outcome, "bytes": size, "mtime_ns": mtime}

    rows = [row_of(clip, outcome) for clip, outcome in zip(clips, outcomes, strict=True)]
    left_out = dataclasses.asdict(extract.Outcome("crosses_splits", "shows people of two splits")) | {"record": 0}
    _write_csv(report, _REPORT, rows + [row_of(clip, left_out) for clip in crossing])
    bad = [row for row in rows if row["status"] in extract.BAD]
    kept = [i for i, outcome in enumerate(outcomes) if outcome["record"]]
    if bad and (len(bad) > max_bad * len(rows) or not kept):
        first = f"the first is {bad[0]['path']}: {bad[0]['status']}, {bad[0]['reason']}"
        raise ValueError(
            f"{len(bad)} of {len(rows)} clips cannot be used (limit {max_bad:.0%}); {first}. All are in {report}"
        )
    by_split = {split: [i for i in kept if clips[i].split == split] for split in SPLITS}
    by_split = {split: members for split, members in by_split.items() if members}
    record_files.write(new, {split: [spools[i] for i in members] for split, members in by_split.items()})
    index = []
    for members in by_split.values():
        example = 0
        for row, i in enumerate(members):
            index.append({**rows[i], "row": row, "example": example})
            example = _layout(index[-1]).starts[-1]
    _write_csv(new / "index.csv", (*clip_lib.FIELDS, *_INDEX), index)
    clip_lib.write_manifest(new / "manifest.csv", clips)
    header = {
        "digest": record_files.digest(clips, crops),
        "version": VERSION,
        "crops": crops.described(),
        "decoder": media.DECODER,
    }
    (new / "records.json").write_text(json.dumps(header, indent=1))


def outcome_of(failure: child_processes.Failure) -> extract.Outcome:
    """What a child's failure is as the outcome of its clip."""
    return extract.Outcome(_FAULTS[failure.kind], failure.reason)


def spool(path: pathlib.Path, outcome: extract.Outcome | child_processes.Failure) -> None:
    """Keeps an outcome until all are there: one line of JSON, then the packed record."""
    if isinstance(outcome, child_processes.Failure):
        outcome = outcome_of(outcome)
    facts = dataclasses.asdict(dataclasses.replace(outcome, record=None))
    facts["record"] = int(outcome.record is not None)
    packed = b""
    if outcome.record is not None:
        packed = record_files.pack(outcome.record)
        layout = Layout.of(outcome.record)
        _, facts["frames_step"], facts["mouth_step"], facts["mask_step"] = layout.steps
        _, _, facts["mouth"], facts["mask"] = layout.lengths
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")  # a runner may try twice at once
    partial.write_bytes(json.dumps(facts).encode() + b"\n" + packed)
    partial.rename(path)


def _unspool(path: pathlib.Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return json.loads(file.readline())


def _layout(row: dict[str, Any]) -> Layout:
    row = {"mask": 0, "mask_step": 1} | row  # records made before there were masks have none
    lengths = 2 * int(row["audio_samples"]), *(int(row[name]) for name in ("frames", "mouth", "mask"))
    steps = PIECE, *(int(row[f"{name}_step"]) for name in ("frames", "mouth", "mask"))
    return Layout(lengths, steps, int(row["example"]))


def _spool_name(clip: Clip, crops: Crops) -> str:
    return record_files.digest([clip, *_stamp(clip)], crops)


def _stamp(clip: Clip) -> tuple[str, str]:
    """Size and time of last change of the clip's file or folder of frames, "" when there is none."""
    try:
        if os.path.isdir(clip.path):
            return tuple(map(str, frame_folder.stamp(clip.path)))
        stat = os.stat(clip.path)
    except (OSError, ValueError):
        return "", ""
    return str(stat.st_size), str(stat.st_mtime_ns)


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("another process prepares %s; waiting for it", path.parent)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_csv(path: pathlib.Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def _write_csv(path: pathlib.Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
