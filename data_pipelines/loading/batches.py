"""Batches by number: reads what the rows of batch k show, and decodes it into their place.

A batch is filled in place: to stack examples would copy every picture once more. Its memory is not cleared before, so
every array of every example must be written.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.loading import sampling, transforms
from data_pipelines.loading.windows import FPS, BadRecord, Example, Stored, Window
from data_pipelines.source import Source

MAX_ATTEMPTS = 100  # unreadable records in a row before training gives up
ROWS_READ = 16  # before the first of them is decoded
ENDLESS = 2**62


class LoaderError(ValueError):
    """The loader cannot go on: a worker process died, or too many records are unreadable."""


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of each global batch that one process makes: rows next to each other."""

    batch_size: int
    rows: int
    first_row: int

    def examples(self, step: int, batch: Example) -> Iterator[tuple[int, Example]]:
        """The number of each example among all, and views into its row of the batch."""
        for row in range(self.rows):
            yield step * self.batch_size + self.first_row + row, {name: a[row, ...] for name, a in batch.items()}


@dataclasses.dataclass(frozen=True)
class _Visit:
    """What was read for a place of the training stream."""

    number: int
    attempt: int  # how many records were left out before this one
    index: int
    stored: dict[str, Stored]
    problems: list[str]  # of the records that were left out


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """Random access to the batches of the training stream."""

    records: Source
    window: Window
    share: Share
    order: sampling.Order
    augment: Sequence[transforms.Transform]

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, step: int) -> Example:
        batch = self.window.empty(self.share.rows)
        rows = self.share.examples(step, batch)
        problems = []
        # Several rows are read before the first is decoded: decoding empties the processor's caches, and reading after
        # each row would take up to four times as long. Not all of them, for what is read takes memory.
        while some := list(itertools.islice(rows, ROWS_READ)):
            visits = [self._visit(number, example) for number, example in some]
            for (_, example), visit in zip(some, visits, strict=True):
                problems += self._fill(example, visit)
        return batch | {"problems": "\n".join(problems)}

    def _visit(self, number: int, example: Example, tried: int = 0, problems: Sequence[str] = ()) -> _Visit:
        """Reads the first readable record for a place after those `tried`, and writes all but its streams."""
        problems = list(problems)
        for attempt in range(tried, MAX_ATTEMPTS):
            index = self.order.row(number, skip=attempt)
            row = self.records.index[index]
            rng = functools.partial(sampling.example_rng, self.order.seed, number, attempt=attempt)
            try:
                rng_of_draw = rng(part=1 + len(self.augment))
                record = _readable(lambda index=index, rng=rng_of_draw: self.records.draw(index, rng))
                starts = self.window.training_starts(row, record)
                start = int(starts[rng(part=0).integers(len(starts))]) / FPS
                stored = {piece: self.window.read(piece, record, start) for piece in self.window.pieces}
            except BadRecord as error:
                problems.append(f"{index} {error}")
                continue
            _fill_place(example, index, start, mask=True)
            self.window.fill_labels(example, row, start)
            return _Visit(number, attempt, index, stored, problems)
        raise LoaderError(f"{MAX_ATTEMPTS} unreadable records in a row; the last: {problems[-1].split(' ', 1)[1]}")

    def _fill(self, example: Example, visit: _Visit) -> list[str]:
        """Fills the streams, from the next readable record if need be -> what is wrong with those before it."""
        while True:
            try:
                self._decode(example, visit)
                return visit.problems
            except BadRecord as error:
                problems = [*visit.problems, f"{visit.index} {error}"]
                visit = self._visit(visit.number, example, visit.attempt + 1, problems)

    def _decode(self, example: Example, visit: _Visit) -> None:
        decoded: dict[int, np.ndarray] = {}
        for stream, stored in visit.stored.items():
            self.window.fill(example, stream, stored, decoded)
        _change(example, self.augment, self.order.seed, visit.number, visit.attempt)


@dataclasses.dataclass(frozen=True)
class EvaluationBatches:
    """Random access to the batches of an evaluation."""

    records: Source
    window: Window
    share: Share
    windows: Sequence[int]  # of each clip
    steps: int
    degrade: Sequence[transforms.Transform] = ()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Example:
        batch = self.window.empty(self.share.rows)
        problems = []
        for number, example in self.share.examples(step, batch):
            index = int(np.searchsorted(self._ends, number, side="right"))
            if index < len(self.records):
                place = number - int(self._ends[index]) + self.windows[index]
                problems += self._fill(example, number, index, place)
            else:
                for piece in self.window.pieces:
                    self.window.fill(example, piece, (), {})
                _fill_place(example, -1, 0.0, mask=False)
                self.window.fill_unknown(example)
        return batch | {"problems": "\n".join(problems)}

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        """The number of the first window that comes after each clip's [clips]."""
        return np.cumsum(self.windows)

    def _fill(self, example: Example, number: int, index: int, place: int) -> list[str]:
        """Fills the example with what can be read -> what is wrong with the rest."""
        row, record, problems = self.records.index[index], None, []
        try:
            record = _readable(lambda: self.records[index])
        except BadRecord as error:
            problems.append(f"{index} {error}")
        first, last = self.window.starts(row, record)
        count = self.windows[index]
        share = place / (count - 1) if count > 1 else 0.5  # from the clip's start to its end
        start = (first + round(share * (last - first))) / FPS
        self.window.fill_labels(example, row, start)
        decoded: dict[int, np.ndarray] = {}
        for piece in self.window.pieces:
            try:
                stored = self.window.read(piece, record, start) if record is not None else ()
                self.window.fill(example, piece, stored, decoded)
            except BadRecord as error:
                problems.append(f"{index} {error}")
                self.window.fill(example, piece, (), decoded)
        _change(example, self.degrade, 0, number)
        _fill_place(example, index, start, mask=any(example[f"{stream}_mask"] for stream in self.window.streams))
        return problems


def _change(
    example: Example, changes: Sequence[transforms.Transform], seed: int, number: int, attempt: int = 0
) -> None:
    """Writes into the example what the transforms, one after the other, make of it."""
    changed = example
    for part, change in enumerate(changes, start=1):
        changed = change(changed, sampling.example_rng(seed, number, part, attempt))
    for name, array in changed.items():
        if array is not example[name]:
            example[name][...] = array


def _fill_place(example: Example, index: int, start: float, *, mask: bool) -> None:
    example["clip_index"][...], example["window_start"][...], example["mask"][...] = index, start, mask


def _readable(read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record that `read` gives, or BadRecord, unless its file is gone."""
    try:
        return read()
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever the reader raises on damaged bytes
        raise BadRecord(" ".join(str(error).split()) or repr(error)) from error  # in one line
