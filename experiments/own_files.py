"""A user's own files on the road of every dataset: decoded in guarded children, read from memory, cut into windows."""

import collections
import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.prepare import child_processes, extract, records
from data_pipelines.source import Source

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h: larger pieces are mapped, and thus given back
Predict = Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]  # a batch to what is known of each window


def refuse_twice(paths: Sequence[str]) -> None:
    """Raises ValueError, one line, where two paths are one file."""
    if twice := [path for path, count in collections.Counter(map(os.path.abspath, paths)).items() if count > 1]:
        raise ValueError(f"{twice[0]}: named twice; name each file once")


def give_memory_back() -> None:
    """Lets this process return the memory of pictures to the system, where the C library is glibc.

    It would else keep what lies free between small objects, about 200 MB after some minutes of a film.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_MMAP_THRESHOLD, 1 << 18)


def decode(jobs: Sequence[extract.Job], *, workers: int = 0) -> Iterator[tuple[int, extract.Seen]]:
    """Yields (index, what is seen and heard) as the jobs are done, in any order; a crash or a hang costs one job."""
    for i, seen in child_processes.run(extract.see, jobs, workers=workers):
        failed = isinstance(seen, child_processes.Failure)
        yield i, extract.Seen((records.outcome_of(seen),)) if failed else seen


def outputs(predict: Predict, source: Source, data: Mapping[str, Any], *, windows: int) -> dict[str, np.ndarray]:
    """What `predict` knows of the windows [n …] of `source` that could be read, with `window_start [n]` in s and
    `clip_index [n]`.

    data: a config's data section with the batch size, `stride` as in evaluation. windows: of each clip, where there is
    no stride. Empty arrays where there is no window.
    """
    data = {**data, "workers": 0, "threads": 0, "prefetch": 1}
    with contextlib.closing(source.eval_batches(data, windows=windows)) as batches:
        parts = [predict(batch) for batch in batches]
    merged = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    keep = merged.pop("mask").astype(bool)
    return {name: values[keep] for name, values in merged.items()}
