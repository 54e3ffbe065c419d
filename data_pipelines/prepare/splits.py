"""Splits for clips that have none: no identity, donor or original on two sides, methods in proportion."""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence

from absl import logging

from data_pipelines.clip import SPLITS, Clip

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
VALIDATION = {"train": 0.90, "val": 0.10}  # of the training clips, where there is no validation part
_RARE = 20  # groups of clips below which a method is too rare for 15 % of it
_TIED, _PEOPLE = 0.6, 10  # share of the clips, and people, from which one group is too many to stay together


def assign(clips: Sequence[Clip]) -> list[Clip]:
    """The clips, each with a split. Those that have one keep it; where there is none for validation, a tenth of the
    training clips becomes that part.

    Clips that share an identity, a donor or an original stay together (a clip that names none of them stands alone).
    Such a group goes where one of its clips is already; the others are dealt out in the order of a hash of their
    clip_ids, each to the split that lacks most of the group's methods (rare
    methods count as one, for each label). The same clips give the same splits, in any
    order and wherever their files lie.

    Where swaps tie nearly everybody to everybody (FakeAVCeleb, KoDF, Celeb-DF), there are no groups to divide. Then
    identities and originals alone are kept together, and clips with people of two of the sides dealt out are left out,
    which the log says.
    """
    parts = {clip.split for clip in clips}
    if "train" not in parts or not parts <= {"train", "test"}:
        return _deal(clips, SHARES)
    train = [dataclasses.replace(clip, split="") for clip in clips if clip.split == "train"]
    dealt = {clip.clip_id: clip for clip in _deal(train, VALIDATION)}
    return [dealt.get(clip.clip_id, clip) for clip in clips if clip.split == "test" or clip.clip_id in dealt]


def _deal(clips: Sequence[Clip], shares: Mapping[str, float]) -> list[Clip]:
    grouped = groups(clips, donors=True)
    if tied := _are_tied(grouped, clips):
        grouped = groups(clips, donors=False)
    kind_of = _kinds(grouped)
    have: dict[str, collections.Counter] = {split: collections.Counter() for split in SPLITS}
    for clip in clips:
        if clip.split:
            have[clip.split][kind_of(clip)] += 1
    total = collections.Counter(map(kind_of, clips))
    chosen: dict[str, str] = {}
    for members in grouped:
        fixed = collections.Counter(clip.split for clip in members if clip.split)
        open_ = [clip for clip in members if not clip.split]
        if fixed:
            split = max(SPLITS, key=lambda split: fixed[split])
        else:
            need = collections.Counter(map(kind_of, open_))
            split = max(
                shares,
                key=lambda split: sum(
                    count * (1 - have[split][kind] / (shares[split] * total[kind])) for kind, count in need.items()
                ),
            )
        for clip in open_:
            chosen[clip.clip_id] = split
            have[split][kind_of(clip)] += 1
    assigned = [clip if clip.split else dataclasses.replace(clip, split=chosen[clip.clip_id]) for clip in clips]
    return _without_crossing(assigned, chosen) if tied else assigned


def _kinds(grouped: Sequence[Sequence[Clip]]) -> Callable[[Clip], tuple[int, str]]:
    """clip -> what is dealt out in proportion: label and method, all rare methods of a label being one."""
    spread = collections.Counter(kind for members in grouped for kind in {(c.label, c.method) for c in members})
    return lambda clip: (clip.label, clip.method if spread[clip.label, clip.method] >= _RARE else "")


def _are_tied(grouped: Sequence[Sequence[Clip]], clips: Sequence[Clip]) -> bool:
    """Whether one group without a split holds most clips, and of so many people that it should be divided."""
    free = [members for members in grouped if not any(clip.split for clip in members)]
    largest = max(free, key=len, default=[])
    return len(largest) > _TIED * len(clips) and len({clip.identity for clip in largest}) >= _PEOPLE


def check(clips: Sequence[Clip], *, fakes_are_made: bool = False) -> None:
    """ValueError, in one line, unless these clips, dealt out by `assign`, can train, select and test a detector.

    There must be all three parts, and real and fake in each, if there are both at all. fakes_are_made: from the reals,
    in training and in a part without a fake.
    """
    counts = collections.Counter((clip.split, clip.label) for clip in assign(clips))
    for label, name in enumerate(("real", "fake")):
        there = {split for split in SPLITS if counts[split, label]}
        lacking = [split for split in SPLITS if not counts[split, label]]
        empty = [split for split in lacking if not counts[split, 1 - label]]
        if not empty and (not there or not lacking or (name == "fake" and fakes_are_made)):
            continue
        what = f"no clip for the {empty[0]} part" if empty else f"no {name} clip for the {lacking[0]} part"
        sizes = ", ".join(f"{split} {counts[split, 0]} real and {counts[split, 1]} fake" for split in SPLITS)
        if any(clip.split for clip in clips):
            raise ValueError(
                f"{what} ({sizes}): the clips' own splits leave it out; give some clips split={(empty or lacking)[0]} "
                "in a manifest, or leave its column split empty for all"
            )
        people = len(groups(clips, donors=True))
        folds = ", or deal them out in turn with config.folds=3" if people >= len(SPLITS) else ""
        raise ValueError(
            f"{what} ({sizes}): too few for three parts, as clips that share a person, donor or original stay "
            f"together ({len(clips)} clips in {people} such groups); give more people or clips{folds}"
        )


def _without_crossing(clips: Sequence[Clip], chosen: Collection[str]) -> list[Clip]:
    """The clips but those `chosen`, by clip_id, into which people of another side were put.

    A person is on the side where clips show them, or else where they are put into most clips.
    """
    uses: dict[str, collections.Counter] = {}
    for clip in clips:
        for person, weight in ((clip.identity, len(clips)), *((donor, 1) for donor in clip.donors)):
            uses.setdefault(person, collections.Counter())[clip.split] += weight
    side = {person: max(SPLITS, key=lambda split: count[split]) for person, count in uses.items()}
    kept = [
        clip for clip in clips if clip.clip_id not in chosen or all(side[donor] == clip.split for donor in clip.donors)
    ]
    out = f"{len(clips) - len(kept)} of {len(clips)} clips are left out"
    logging.warning("%s: swaps tie nearly all people to each other, and these clips show people of two splits", out)
    return kept


def groups(clips: Sequence[Clip], *, donors: bool) -> list[list[Clip]]:
    """The clips in connected groups, which share no identity, original or file, and with `donors` no donor either.

    In the order of a hash of each group's smallest clip_id; a path would give another order in another place.
    """
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def names(clip: Clip) -> list[str]:
        people = [f"person {person}" for person in (clip.identity, *(clip.donors if donors else ())) if person]
        files = [f"clip {file}" for file in (clip.original, clip.clip_id, clip.path) if file]
        return [*people, *files]

    for clip in clips:
        first, *others = names(clip)
        for other in others:
            a, b = sorted((find(first), find(other)))
            parent[b] = a
    connected: dict[str, list[Clip]] = {}
    for clip in clips:
        connected.setdefault(find(names(clip)[0]), []).append(clip)
    return sorted(connected.values(), key=lambda members: _hash(min(clip.clip_id for clip in members)))


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()
