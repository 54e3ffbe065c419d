"""Metrics of the training steps: looked at one step late, so that the device never waits for the host."""

import collections
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np


class NonFiniteError(ValueError):
    """The loss, a gradient or an updated parameter is NaN or infinite."""


class DeviceError(OSError):
    """The device failed in a step, and the state, which that step was given to overwrite, is lost with it."""


@contextlib.contextmanager
def device_errors(safe_step: Callable[[], int]) -> Iterator[None]:
    """Turns an error raised on the device into one that names the last saved step.

    Raises:
      DeviceError: in place of the error.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not re.match(r"[A-Z_]+: ", str(error)):  # XLA's status, which reaches Python in several types
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]  # by Python, in a callback
        cause = (raised[-1] if raised else lines[0])[:300]
        no_memory = "RESOURCE_EXHAUSTED" in cause or "Out of memory" in cause
        raise DeviceError(
            f"the device failed while training: {cause}. The state in its memory is lost; step {safe_step()} is the "
            "last saved one, and the same command goes on from there"
            + "; lower config.data.batch_size, or raise config.train.accumulate" * no_memory
            + "; if another process ended first, its output says why" * (jax.process_count() > 1)
        ) from error


class StepMetrics:
    """Collects scalars between two lines of the log.

    window: {name: values} of the steps since the last line, as a checkpoint keeps them.
    describe: (clip indices) -> the clips' names, for the message of a step that is not finite.
    safe_step: () -> the last saved step.
    """

    def __init__(
        self,
        window: Mapping[str, Sequence[float]],
        describe: Callable[[np.ndarray], str],
        safe_step: Callable[[], int],
    ) -> None:
        self.window: dict[str, list[float]] = collections.defaultdict(list, {k: list(v) for k, v in window.items()})
        self._describe, self.safe_step = describe, safe_step
        self._pending: tuple[int, Any, np.ndarray] | None = None

    def add(self, step: int, metrics: Any, clip_index: np.ndarray) -> None:
        """Takes a dispatched step's metrics, and looks at those of the step before."""
        self.look()
        self._pending = (step, metrics, clip_index)

    def look(self) -> None:
        """Waits for the step that was added last.

        Raises:
          NonFiniteError: its loss or a gradient is not finite; the update was not applied.
        """
        if self._pending is None:
            return
        (step, metrics, clip_index), self._pending = self._pending, None
        metrics = jax.device_get(metrics)
        if not metrics.pop("finite"):
            raise NonFiniteError(
                f"step {step}: the loss ({metrics['loss']:.4g}) or a gradient (norm {metrics['grad_norm']:.4g}) is not "
                f"finite; the update was not applied. Clips of this process: {self._describe(clip_index)}. Step "
                f"{self.safe_step()} is the last saved one; lower config.optimizer.learning_rate, or look at these "
                "clips"
            )
        for name, value in metrics.items():
            self.window[name].append(float(value))

    def take_means(self) -> dict[str, float]:
        """{name: mean over the window}; begins a new window."""
        means = {name: float(np.mean(values)) for name, values in self.window.items()}
        self.window.clear()
        return means
