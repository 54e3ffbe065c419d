"""Leaving a manipulation out of what a detector learns from, to see what it makes of one that it has never seen."""

from collections.abc import Mapping, Sequence

from data_pipelines.clip import Clip
from data_pipelines.prepare.records import Selection
from data_pipelines.source import Source


def leave_out(splits: Mapping[str, Source], methods: Sequence[str]) -> dict[str, Source]:
    """The splits `train`, `val` and `test`; the fakes of `methods` are absent from all but `test`.

    Raises:
      ValueError: no clip is a fake of such a method, or a split has fakes of no other.
    """
    known = sorted({row.clip.method for source in splits.values() for row in source.index if row.clip.label == 1})
    if unknown := sorted(set(methods) - set(known)):
        raise ValueError(f"config.data.leave_out: no fake is of method {unknown[0]!r}; known: {', '.join(known)}")
    found = dict(splits)
    for split, source in splits.items() if methods else ():
        kept = [i for i, row in enumerate(source.index) if not is_left_out(row.clip, split, methods)]
        if len(kept) < len(source):
            found[split] = Selection(source, kept)
        if not any(row.clip.label == 1 for row in found[split].index):
            raise ValueError(f"config.data.leave_out: {split} has no fake of another method than {', '.join(methods)}")
    return found


def is_left_out(clip: Clip, split: str, methods: Sequence[str]) -> bool:
    """Whether a clip of this split is one of those that `leave_out` takes away."""
    return split != "test" and clip.label != 0 and clip.method in methods
