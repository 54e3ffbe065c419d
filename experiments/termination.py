"""SIGTERM and SIGINT during a run: what is being saved is saved, and the run exits with 128 + the signal's number."""

import itertools
import signal
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from experiments.run_directory import log


class Terminated(SystemExit):
    """A signal ended the run; the code is 128 + its number."""


class Termination:
    """While entered, a signal ends the run where it stands; inside `postponed`, where the run next asks for it.

    With several processes, JAX's own preemption service catches SIGTERM, and tells all of them to stop at one place:
    all must ask equally often.
    """

    _asked = itertools.count(1)  # over all runs of a process: JAX knows a place by its number

    def __init__(self) -> None:
        self._signal = signal.SIGTERM
        self._requested = False
        self._postponed = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Termination":
        numbers = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ()
        self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if kind is Terminated:
            log.info("terminated: what was saved stays; the same command goes on from there")

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        again, self._requested, self._signal = self._requested, True, signal.Signals(number)
        if not again and not self._postponed:  # a second signal must not disturb the end that the first one began
            raise Terminated(128 + number)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """A signal in here waits until the run asks for it: for what must not be left half done."""
        self._postponed += 1
        try:
            yield
        finally:
            self._postponed -= 1

    def requested(self) -> bool:
        """True when the run is to end here; the same answer on every process."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(next(self._asked))
        return self._requested

    def end(self) -> NoReturn:
        """Raises Terminated with the signal's code."""
        raise Terminated(128 + self._signal)
