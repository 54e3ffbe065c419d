"""Splits for clips that have none: no identity, donor or original on two sides, labels in proportion."""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

from absl import logging

from data_pipelines.clip import SPLITS, Clip

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
_TIED, _PEOPLE = 0.6, 10  # share of the clips, and people, from which one group is too many to stay together


def assign(clips: Sequence[Clip]) -> list[Clip]:
    """The clips, each with a split; those that have one keep it.

    Where swaps tie nearly everybody to everybody (FakeAVCeleb, KoDF), there are no groups to divide. Then identities
    and originals alone are kept together, and clips with people of two sides are left out, which the log says.

    Clips that share an identity, a donor or an original stay together (a clip that names none of them stands alone).
    Such a group goes where one of its clips is already; the others are dealt out in the order of a hash of their
    names, each to the split that lacks most of the group's labels. The same clips in any order give the same splits.
    """
    groups = _groups(clips, donors=True)
    if tied := _are_tied(groups, clips):
        groups = _groups(clips, donors=False)
    have: dict[str, collections.Counter] = {split: collections.Counter() for split in SPLITS}
    for clip in clips:
        if clip.split:
            have[clip.split][clip.label] += 1
    total = collections.Counter(clip.label for clip in clips)
    chosen: dict[str, str] = {}
    for name in sorted(groups, key=_hash):
        members = groups[name]
        fixed = collections.Counter(clip.split for clip in members if clip.split)
        open_ = [clip for clip in members if not clip.split]
        if fixed:
            split = max(SPLITS, key=lambda split: fixed[split])
        else:
            need = collections.Counter(clip.label for clip in open_)
            split = max(
                SPLITS,
                key=lambda split: sum(
                    count * (1 - have[split][label] / (SHARES[split] * total[label])) for label, count in need.items()
                ),
            )
        for clip in open_:
            chosen[clip.clip_id] = split
            have[split][clip.label] += 1
    assigned = [clip if clip.split else dataclasses.replace(clip, split=chosen[clip.clip_id]) for clip in clips]
    return _without_crossing(assigned, chosen) if tied else assigned


def _are_tied(groups: dict[str, list[Clip]], clips: Sequence[Clip]) -> bool:
    """Whether one group without a split holds most clips, and of so many people that it should be divided."""
    free = [members for members in groups.values() if not any(clip.split for clip in members)]
    largest = max(free, key=len, default=[])
    return len(largest) > _TIED * len(clips) and len({clip.identity for clip in largest}) >= _PEOPLE


def _without_crossing(clips: Sequence[Clip], chosen: dict[str, str]) -> list[Clip]:
    """The clips but those with dealt splits into which people of another side were put.

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


def _groups(clips: Sequence[Clip], donors: bool) -> dict[str, list[Clip]]:
    """Connected groups of clips, each under its smallest name."""
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
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(find(names(clip)[0]), []).append(clip)
    return groups


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()
