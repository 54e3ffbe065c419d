"""Source: what batches are drawn from, whether records on disk, some of them, pseudo-fakes of them, or features."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Batches = Generator[dict[str, Any], None, None]  # or any other iterator of batches (see batch.py) that has `close()`


class Source(Protocol):
    """Clips by number, and batches of them. Picklable: loader processes get a copy.

    `index`: a records.IndexRow per clip (`clip`, `frames` at 25 a second, `audio_samples` at 16 kHz, …);
    `digest`: 64 hex digits of what the clips are, which differ where a batch may differ.
    """

    index: Sequence[Any]
    digest: str

    def __len__(self) -> int:
        """Clips."""
        ...

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        """Record i (see record.Record), always the same."""
        ...

    def draw(self, i: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Record i for a visit in training: another one each time where it is made anew, as pseudo-fakes are."""
        ...

    def train_batches(
        self, data: Mapping[str, Any], *, seed: int, start_step: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Batches:
        """The endless training batches from step `start_step` on; batch k is a function of (data, seed, k) alone.

        data: a config's data section. Arrays [B / process_count …]: the rows `[p * B / P, (p + 1) * B / P)` of each
        global batch of B = data.batch_size. Close the iterator, which may own threads or processes.
        """
        ...

    def eval_batches(
        self, data: Mapping[str, Any], *, windows: int, process_index: int = 0, process_count: int = 1
    ) -> Batches:
        """Every clip in order, `windows` evenly spaced windows of each, in `eval_steps` batches on every process.

        With `stride` (s) in data, as many of each as it takes for them to begin no further apart; the one window of a
        clip that is no longer begins at its start.

        `mask [b]` is False on rows that fill up the last batch (`clip_index` -1), and on windows none of whose streams
        could be read: they must not be scored.
        """
        ...

    def eval_steps(self, data: Mapping[str, Any], *, windows: int) -> int:
        """The number of batches that `eval_batches` gives."""
        ...
