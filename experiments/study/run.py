"""Doing a study's runs: child processes, several at once, each behind what it needs, resumed and idempotent."""

import contextlib
import fcntl
import json
import pathlib
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Protocol

from experiments import metrics_log, progress
from experiments.run_directory import log
from experiments.study.plan import Run

POLL = 0.2  # s
PATIENCE = 120.0  # s that a child has to save what it does when it is asked to end
HEAD = "==== "  # before the line that tells the command and when it was started
TRAINING = 0.9  # part of a run's time until its last step; the rest is evaluation


class Job(Protocol):
    """A run that goes on somewhere."""

    def poll(self) -> int | None:
        """Its exit code, None while it goes on."""

    def stop(self) -> None:
        """Asks it to save what it does and to end."""

    def kill(self) -> None:
        """Ends it at once."""


class Child:
    """A command as a child process, whose output goes to the end of a file."""

    def __init__(self, words: Sequence[str], output: pathlib.Path) -> None:
        with appended(words, output) as file:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        self.poll, self.stop, self.kill = self._process.poll, self._process.terminate, self._process.kill


class Elsewhere:
    """A run that another process is at, such as one that an earlier suite has left behind."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def poll(self) -> int | None:
        return None if held(self._run.folder) else 0

    def stop(self) -> None:
        """It is not ours."""

    kill = stop


@contextlib.contextmanager
def appended(words: Sequence[str], output: pathlib.Path) -> Iterator[IO[str]]:
    """The file of a run's output, open at its end, where the command stands now."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output, "a", encoding="utf-8") as file:
        file.write(f"{HEAD}{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(words)}\n")
        file.flush()
        yield file


def output_of(run: Run) -> pathlib.Path:
    """Where what the run prints goes: Logs/output/<run>.txt of its study."""
    return run.folder.parents[1] / "Logs" / "output" / f"{run.name}.txt"


def start_child(run: Run) -> Job:
    """The run as a process of this machine."""
    return Child([sys.executable, *run.words], output_of(run))


def do(todo: Sequence[Run], start: Callable[[Run], Job], jobs: int = 1) -> dict[str, str]:
    """Does what is not finished of `todo`, at most `jobs` at once; returns {run: why it has no result}.

    A run that fails, or cannot be started (OSError), stops only those that need it. One that another process is at is
    waited for. A finished fusion whose members have other tables by then is done again. SIGTERM and SIGINT are passed
    on; when all have ended, SystemExit with 128 + the signal's number follows.
    """
    waiting, active, failed = list(todo), {}, {}
    with _signals() as came, contextlib.closing(_Progress(todo)) as shown:
        while waiting or active:
            for run, job, began, before in list(active.values()):
                if (code := job.poll()) is None:
                    continue
                del active[run.name]
                if run.finished:
                    shown.say("%s: done in %.1f min", run.name, (time.monotonic() - began) / 60)
                elif isinstance(job, Elsewhere) or held(run.folder):
                    waiting.insert(0, run)
                else:
                    failed[run.name] = _reason(run, code, before)
                    shown.say("%s failed: %s", run.name, failed[run.name])
            for run in list(waiting):
                undone = {other.name for other in waiting} | set(active)
                if lost := [name for name in run.needs if name in failed]:
                    failed[run.name] = f"not started: it needs {', '.join(lost)}"
                elif came or undone & set(run.needs):
                    continue  # also where it is finished: it will have to be done again if these change
                elif not run.finished:
                    if len(active) >= jobs:
                        continue
                    taken = held(run.folder)
                    shown.say("%s: %s", run.name, "another process is at it; waiting for it" if taken else "started")
                    before = _output_size(run)
                    try:
                        active[run.name] = (run, Elsewhere(run) if taken else start(run), time.monotonic(), before)
                    except OSError as error:
                        failed[run.name] = f"not started: {error}"
                        shown.say("%s: %s", run.name, failed[run.name])
                waiting.remove(run)
            if came:
                _end([job for _, job, _, _ in active.values()])
                shown.say("terminated: what was saved stays; the same command goes on from there")
                raise SystemExit(128 + came[0])
            shown.update({run: began for run, _, began, _ in active.values()}, failed)
            if active:
                time.sleep(POLL)
    return failed


def held(folder: pathlib.Path) -> bool:
    """Whether a process is at work in a run directory."""
    try:
        with open(folder / ".lock", "r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGTERM and SIGINT add their numbers to."""
    came: list[int] = []

    def note(number: int, frame: types.FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.stop()
    latest = time.monotonic() + PATIENCE
    ours = [job for job in jobs if not isinstance(job, Elsewhere)]
    while any(job.poll() is None for job in ours):
        if time.monotonic() > latest:
            for job in ours:
                job.kill()
        time.sleep(POLL)


def _output_size(run: Run) -> int:
    """How many bytes of output all attempts at the run have left."""
    return output_of(run).stat().st_size if output_of(run).is_file() else 0


def _reason(run: Run, code: int, before: int) -> str:
    """Why a run has failed, in one line: what it said last, or what ended it. before: bytes of earlier attempts."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}; see {output_of(run)}"
    output = output_of(run).read_bytes()[before:] if output_of(run).is_file() else b""
    lines = output.decode("utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip() and not line.startswith(HEAD)]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return f"{(errors or said or ['no output'])[-1]} (exit code {code}; {output_of(run)})"


class _Progress:
    """A bar over all of `todo`, weighed by the minutes that the plan foretells."""

    def __init__(self, todo: Sequence[Run]) -> None:
        self._weights: Mapping[str, float] = {run.name: run.experiment.minutes for run in todo}
        self._runs = {run.name: run for run in todo}
        self._done = {run.name for run in todo if run.finished}
        start = sum(self._weights[name] for name in self._done)
        self._bar = progress.share(sum(self._weights.values()), "study", start=start)
        self._steps: dict[str, int] = {}
        self._shown = 0.0

    def say(self, text: str, *values: object) -> None:
        """Tells something, in the bar's place."""
        self._bar.clear()
        log.info(text, *values)

    def update(self, active: Mapping[Run, float], failed: Mapping[str, str]) -> None:
        """Shows how far all runs are; now and then. active: {run: when it was started, of time.monotonic}."""
        if time.monotonic() < self._shown + self._bar.mininterval:
            return
        self._shown = time.monotonic()
        self._done = {run.name for run in self._runs.values() if run.finished}
        parts = {run.name: self._part(run, began) for run, began in active.items()}
        past = sum(self._weights[name] for name in {*self._done, *failed})
        self._bar.n = past + sum(self._weights[name] * part for name, part in parts.items())
        at = ", ".join(f"{name} {100 * part:.0f} %" for name, part in parts.items())
        self._bar.set_postfix_str(f"{len(self._done)} of {len(self._runs)} runs; {at}")  # shows it

    def _part(self, run: Run, began: float) -> float:
        """How far a run is, by its steps; one that trains nothing, by the time that it took."""
        if run.experiment.members:
            return min(TRAINING, (time.monotonic() - began) / 60 / run.experiment.minutes)
        try:
            if run.name not in self._steps:
                config = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
                self._steps[run.name] = config["train"]["steps"]
            rows = metrics_log.read(run.folder / "metrics.jsonl")
        except (OSError, ValueError):
            return 0.0  # not there yet
        return TRAINING * rows[-1]["step"] / self._steps[run.name] if rows else 0.0

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
