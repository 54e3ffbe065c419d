"""Splits for clips that have none: no identity, donor or original on two sides, labels in proportion."""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

from data_pipelines.clip import SPLITS, Clip

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


def assign(clips: Sequence[Clip]) -> list[Clip]:
    """The clips, each with a split; those that have one keep it.

    Clips that share an identity, a donor or an original stay together (a clip that names none of them stands alone).
    Such a group goes where one of its clips is already; the others are dealt out in the order of a hash of their
    names, each to the split that lacks most of the group's labels. The same clips in any order give the same splits.
    """
    groups = _groups(clips)
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
    return [clip if clip.split else dataclasses.replace(clip, split=chosen[clip.clip_id]) for clip in clips]


def _groups(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Connected groups of clips, each under its smallest name."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def names(clip: Clip) -> list[str]:
        people = [f"person {person}" for person in (clip.identity, *clip.donors) if person]
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
