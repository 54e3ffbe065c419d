"""From records to batches: batch k is a function of (config, seed, k), whatever the workers, restarts and processes."""

import dataclasses
import math
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from absl import flags, logging

from data_pipelines.loading import sampling, transforms
from data_pipelines.loading import targets as targets_lib
from data_pipelines.loading.batches import EvaluationBatches, LoaderError, Share, TrainingBatches
from data_pipelines.loading.windows import FPS, Window
from data_pipelines.source import Source
from mmdf_jax.build import build

FORGIVEN = 3  # unreadable clips before their share of the clips seen is looked at
WORKER_GRACE = 30.0  # s that a worker outlives a SIGTERM, for its parent to finish the step and save


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the loader reads of a config's data section."""

    window: float  # s
    streams: Mapping[str, Mapping[str, Any]]  # stream -> its options, see windows.py
    batch_size: int  # over all processes
    balance: str = "method"  # of training batches, one of sampling.BALANCES
    augment: Sequence[
        Mapping[str, Any]
    ] = ()  # training only: {'name': 'data_pipelines.loading.transforms....', field: value}
    degrade: Sequence[Mapping[str, Any]] = ()  # evaluation only, alike: how a detector bears noise, say
    trim_silence: float = 0.0  # dB of full scale: clips begin where their sound first passes it; 0: at their start
    targets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)  # see batch.py
    stride: float = 0.0  # s, evaluation only: at most so far apart do a clip's windows begin; 0: a fixed number of them
    workers: int = 0  # loader processes; 0: threads of this process
    threads: int = 2  # batches that each process makes at a time; 0: none in the background
    prefetch: int = 2  # batches that each process keeps ready
    max_bad: float = 0.01  # share of unreadable clips above which training stops

    def __post_init__(self) -> None:
        self.cut()
        for name, least in (("batch_size", 1), ("workers", 0), ("threads", 0), ("prefetch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}: expected at least {least}, found {getattr(self, name)}")
        if self.stride and not 1 / FPS <= self.stride <= self.window:
            raise ValueError(
                f"evaluate.stride: expected 0 (evaluate.windows instead) or {1 / FPS} to data.window={self.window} s, "
                f"found {self.stride}"
            )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """The settings of a data section, a plain or ConfigDict mapping; keys that are not the loader's are left."""
        values = {f.name: config[f.name] for f in dataclasses.fields(cls) if f.name in config}
        values["streams"] = {name: dict(options) for name, options in config["streams"].items()}
        values["targets"] = {name: dict(options) for name, options in config.get("targets", {}).items()}
        values |= {name: tuple(dict(spec) for spec in config.get(name, ())) for name in ("augment", "degrade")}
        return cls(**values)

    def cut(self) -> Window:
        """What is cut from each clip."""
        return Window(self.window, self.streams, self.trim_silence, self.targets)

    def augmentations(self) -> tuple[transforms.Transform, ...]:
        """What `augment` names.

        Raises:
          ValueError: see build; or one that changes time in a way that the targets could not follow.
        """
        made = tuple(build(spec) for spec in self.augment)
        if lost := [name for name in self.targets if name != "method" and any(each.changes_time for each in made)]:
            name = next(type(each).__name__ for each in made if each.changes_time)
            raise ValueError(f"data.augment: {name} changes time, which data.targets.{lost[0]} cannot follow; drop one")
        return made

    def local_rows(self, process_index: int, process_count: int) -> int:
        """How many rows of each batch belong to one process."""
        if self.batch_size % process_count:
            raise ValueError(
                f"data.batch_size: expected a multiple of the {process_count} processes, found {self.batch_size}"
            )
        if not 0 <= process_index < process_count:
            raise ValueError(f"process_index: expected 0 to {process_count - 1}, found {process_index}")
        return self.batch_size // process_count


class Loaded:
    """A Source whose batches are cut from its records: what is left to subclasses is `index`, `digest`, `len`, `[i]`.

    Errors of the three methods:
      ValueError: settings that cannot work, see Settings and sampling.training_order.
      LoaderError: (while iterating) a worker died, or too many records are unreadable.
    """

    def draw(self, i: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Record i, which is the same at every visit."""
        del rng
        return self[i]

    def train_batches(
        self, data: Mapping[str, Any], *, seed: int, start_step: int = 0, process_index: int = 0, process_count: int = 1
    ) -> "Batches":
        """See Source: with random windows, where pictures show faces, and the config's augmentations."""
        settings = Settings.of(data)
        rows = settings.local_rows(process_index, process_count)
        window = settings.cut()
        targets_lib.check(settings.targets, self.index, training=True)
        usable = [i for i, row in enumerate(self.index) if window.extent(row) > 0]
        order = sampling.training_order([r.clip for r in self.index], usable, balance=settings.balance, seed=seed)
        share = Share(settings.batch_size, rows, process_index * rows)
        batches = TrainingBatches(self, window, share, order, settings.augmentations())
        return Batches(batches, self, settings, start_step=start_step, budget=settings.max_bad)

    def eval_batches(
        self, data: Mapping[str, Any], *, windows: int, process_index: int = 0, process_count: int = 1
    ) -> "Batches":
        """See Source."""
        settings = Settings.of(data)
        rows = settings.local_rows(process_index, process_count)
        targets_lib.check(settings.targets, self.index, training=False)
        counts = self._window_counts(settings, windows)
        steps = math.ceil(sum(counts) / settings.batch_size)
        share = Share(settings.batch_size, rows, process_index * rows)
        batches = EvaluationBatches(
            self, settings.cut(), share, counts, steps, tuple(build(spec) for spec in settings.degrade)
        )
        settings = dataclasses.replace(settings, workers=min(settings.workers, steps))
        return Batches(batches, self, settings)

    def eval_steps(self, data: Mapping[str, Any], *, windows: int) -> int:
        """See Source."""
        settings = Settings.of(data)
        return math.ceil(sum(self._window_counts(settings, windows)) / settings.batch_size)

    def _window_counts(self, settings: Settings, windows: int) -> list[int]:
        """Windows of each clip: `windows`, or with `settings.stride` as many as it takes."""
        if windows < 1:
            raise ValueError(f"windows: expected at least 1, found {windows}")
        if not settings.stride:
            return [windows] * len(self)
        window = settings.cut()
        return [1 + math.ceil(window.last_start(row) / FPS / settings.stride - 1e-6) for row in self.index]


class Batches(Iterator[dict[str, np.ndarray]]):
    """Iterates over batches by number, tells of clips that could not be read, and cleans up."""

    def __init__(
        self,
        numbered: TrainingBatches | EvaluationBatches,
        records: Source,
        settings: Settings,
        *,
        start_step: int = 0,
        budget: float | None = None,
    ) -> None:
        import grain  # imports JAX, which those who only prepare records need not wait for

        reading = grain.ReadOptions(
            settings.threads, max(settings.prefetch, settings.threads) if settings.threads else 0
        )
        batches = grain.MapDataset.source(numbered)[start_step:].to_iter_dataset(reading)
        if settings.workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # grain reads a flag, which fails outside of absl's app.run
            batches = batches.mp_prefetch(
                grain.MultiprocessingOptions(settings.workers, per_worker_buffer_size=settings.prefetch), _start_worker
            )
        self._open = [iter(batches)]
        # Also runs at exit, while grain can still clean up, and leaves it nothing to do afterwards. Set before anything
        # starts: what fails to start leaves nothing open either.
        self._finalizer = weakref.finalize(self, _close, self._open)
        self._open[0].start_prefetch()
        self._clips = [row.clip.clip_id for row in records.index]
        self._workers, self._budget = settings.workers, budget
        self._seen = np.zeros(len(self._clips), bool)
        self._bad: set[int] = set()

    def __next__(self) -> dict[str, np.ndarray]:
        if not self._open:
            raise LoaderError("the loader is closed")
        try:
            batch = next(self._open[0])
        except RuntimeError as error:
            if "Worker process was terminated" not in str(error):
                raise
            self.close()
            raise LoaderError(_cause_of_death(str(error))) from None
        problems = batch.pop("problems")
        self._seen[batch["clip_index"]] = True
        for problem in problems.splitlines():
            self._tell(problem)
        # A worker's arrays lie in shared memory, which must not outlive the loader.
        return {name: np.array(array) for name, array in batch.items()} if self._workers else batch

    def _tell(self, problem: str) -> None:
        row, reason = problem.split(" ", 1)
        if int(row) not in self._bad:
            self._bad.add(int(row))
            verb = "not scored" if self._budget is None else "skipped"
            logging.warning("%s: %s: %s", self._clips[int(row)], verb, reason)
        seen = len(self._bad | set(np.flatnonzero(self._seen)))
        if self._budget is not None and len(self._bad) > max(FORGIVEN, self._budget * seen):
            self.close()
            raise LoaderError(
                f"{len(self._bad)} of the {seen} clips read so far are unreadable, more than data.max_bad="
                f"{self._budget:g} allows; the last: {self._clips[int(row)]}: {reason}. Prepare the records again"
            )

    def close(self) -> None:
        """Stops threads and worker processes. Batches already handed out stay valid."""
        self._finalizer()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close(iterators: list[Any]) -> None:
    while iterators:
        iterators.pop().close()


# Worker processes


def _start_worker(worker: int, workers: int) -> None:
    """Runs first in each worker: one thread for OpenCV, and no life without the parent."""
    del worker, workers
    cv2.setNumThreads(1)  # the workers are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes its workers
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    parent = multiprocessing.parent_process().pid
    threading.Thread(target=_exit_in_time, args=(parent, terminated), daemon=True).start()


def _exit_in_time(parent: int, terminated: threading.Event) -> None:
    deadline = math.inf
    while os.getppid() == parent and time.monotonic() < deadline:
        time.sleep(0.5)
        if terminated.is_set():
            deadline = min(deadline, time.monotonic() + WORKER_GRACE)
    os._exit(1)  # Python's resource tracker, which outlives parent and workers, then frees the shared memory


def _cause_of_death(message: str) -> str:
    code = message.partition("exit code ")[2].split(".")[0].strip()
    reason = {
        "-9": "killed, perhaps for want of memory: lower data.workers, data.prefetch or data.batch_size",
        "-7": "no shared memory left: give the machine a larger /dev/shm, or set data.workers=0",
    }.get(code, "look above for its last words; data.workers=0 shows errors in this process")
    return f"a loader worker process died with exit code {code}: {reason}"
