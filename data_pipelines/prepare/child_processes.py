"""Runs a function over many items in guarded child processes: a crash, a bomb or a hang costs one item."""

import collections
import contextlib
import ctypes
import dataclasses
import os
import pathlib
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from typing import Any

_CHILD = "from data_pipelines.prepare import child_processes; child_processes._serve({fd}, {parent})"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# glibc keeps what pictures leave between small objects, up to 1 GB a minute of 1080p; mapped, they are given back.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 18)}


@dataclasses.dataclass(frozen=True)
class Caps:
    """What one item may use."""

    memory: int = 3 << 30  # bytes of address space
    cpu_seconds: float = 1800.0
    wall_seconds: float = 3600.0


CAPS = Caps()


@dataclasses.dataclass(frozen=True)
class Failure:
    """What an item came to whose function did not return; `kind` is `error`, `memory`, `time` or `crash`."""

    kind: str
    reason: str


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable[[Any], Any], items: Iterable[Any], *, workers: int = 0, caps: Caps = CAPS
) -> Iterator[tuple[int, Any]]:
    """Yields (index, result or Failure) as the items are done, in any order.

    The function is pickled by its name, so it must live in an importable module, and what that module imports is
    what a child costs to start. The children are plain interpreters (the caller's main module is not run again),
    use one thread each, and die with this process. 0 workers: one per core.
    """
    queue = collections.deque(enumerate(items))
    children = [_Child(function, caps) for _ in range(min(workers or cores(), len(queue)))]
    try:
        for child in children:
            child.give(*queue.popleft())
        while busy := [child for child in children if child.index is not None]:
            soonest = min(child.deadline for child in busy) - time.monotonic()
            connection.wait([child.pipe for child in busy], max(0.0, soonest))
            for child in busy:
                if not child.is_done():
                    continue
                outcome = child.take()
                index, child.index = child.index, None
                if queue:
                    child.give(*queue.popleft())
                yield index, outcome
    finally:
        for child in children:
            child.stop()


class _Child:
    """One child process and the item it works on."""

    def __init__(self, function: Callable[[Any], Any], caps: Caps) -> None:
        self._function, self._caps = function, caps
        self.index: int | None = None
        self.deadline = 0.0
        self._start()

    def _start(self) -> None:
        root = str(pathlib.Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, sys.path)]
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), **_MEMORY, "PYTHONPATH": os.pathsep.join(paths)}
        self.pipe, theirs = connection.Pipe()
        code = _CHILD.format(fd=theirs.fileno(), parent=os.getpid())
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL
        )
        theirs.close()
        with contextlib.suppress(OSError):  # a child that is dead already shows at the first `take`
            self.pipe.send((self._function, self._caps))

    def give(self, index: int, item: Any) -> None:
        self.index = index
        self.deadline = time.monotonic() + self._caps.wall_seconds
        with contextlib.suppress(OSError):
            self.pipe.send(item)

    def is_done(self) -> bool:
        return self.pipe.poll() or time.monotonic() >= self.deadline

    def take(self) -> Any:
        """The result or a Failure; after a failure that ended the child a new one stands ready."""
        if self.pipe.poll():
            try:
                return self.pipe.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                self._process.wait()
                failure = self._post_mortem()
        else:
            failure = Failure("time", f"took longer than {self._caps.wall_seconds:g} s")
        self.stop()
        self._start()
        return failure

    def _post_mortem(self) -> Failure:
        code = self._process.returncode
        if code == -getattr(signal, "SIGXCPU", 24):
            return Failure("time", f"used more than {self._caps.cpu_seconds:g} s of processor time")
        if code < 0:
            return Failure("crash", f"the process died of {signal.Signals(-code).name}")
        return Failure("crash", f"the process ended with exit code {code}")

    def stop(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.wait()


def _serve(fd: int, parent: int) -> None:
    """A child's life: receives items, sends results, ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            return
    pipe = connection.Connection(fd)
    with contextlib.suppress(EOFError, OSError):
        function, caps = pipe.recv()
        _limit(resource.RLIMIT_AS, caps.memory)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        while True:
            item = pipe.recv()
            used = time.process_time()
            _limit(resource.RLIMIT_CPU, int(used + caps.cpu_seconds) + 1)
            pipe.send(_attempt(function, item, caps))


def _limit(what: int, value: int) -> None:
    """Lowers the soft limit, so that it can be raised again for the next item."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _attempt(function: Callable[[Any], Any], item: Any, caps: Caps) -> Any:
    try:
        return function(item)
    except MemoryError:
        return Failure("memory", f"needs more than {caps.memory >> 20} MiB of memory")
    except Exception as error:
        return Failure("error", f"{type(error).__name__}: {error}".splitlines()[0])
