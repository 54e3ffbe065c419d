"""Fair timing of programs that do the same work: they take turns round by round; medians with quartiles."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping

import numpy as np

Run = Callable[[int], None]  # does its work this many times, and returns when all is done
SHORTEST = 0.1  # seconds; a measurement repeats its work at least this long


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median and quartiles of some measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """From values [n]."""
        low, median, high = np.percentile(values, (25, 50, 75))
        return cls(float(median), float(low), float(high))


def interleave(runs: Mapping[str, Run], rounds: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Seconds per repetition of each run in each round, [rounds]: by the clock, and of this process's processors.

    The latter leave out what other programs take away. In a round every run has its turn, in an order reversed from
    round to round, so that whatever else the machine does meets all of them alike. Two rounds to warm up are not
    counted.
    """
    names = list(runs)
    times = {}
    for name in names:
        runs[name](1)
        start = time.perf_counter()
        runs[name](1)
        times[name] = time.perf_counter() - start
    repetitions = {name: max(1, math.ceil(SHORTEST / seconds)) for name, seconds in times.items()}
    seconds, processor = ({name: np.zeros(rounds) for name in names} for _ in range(2))
    for i in range(rounds):
        for name in names if i % 2 == 0 else names[::-1]:
            start, busy = time.perf_counter(), time.process_time()
            runs[name](repetitions[name])
            seconds[name][i] = (time.perf_counter() - start) / repetitions[name]
            processor[name][i] = (time.process_time() - busy) / repetitions[name]
    return seconds, processor
