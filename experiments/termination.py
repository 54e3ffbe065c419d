"""SIGTERM and SIGINT: the loop finishes its step, saves it, and exits with 128 + the signal's number."""

import signal
import types

import jax
from jax.experimental import multihost_utils


class Termination:
    """While entered, turns SIGTERM and SIGINT into a flag that the loop asks for once a step.

    With several processes, JAX's own preemption service catches SIGTERM and tells all of them to stop at one step.
    """

    def __init__(self) -> None:
        self.signal = int(signal.SIGTERM)
        self._requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Termination":
        numbers = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ()
        self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        self._requested, self.signal = True, number

    def requested(self, step: int) -> bool:
        """True when the run is to end after `step`; the same answer on every process."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._requested
