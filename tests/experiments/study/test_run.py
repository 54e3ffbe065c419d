"""Doing runs: what needs what, what fails, what was there before, what another process is at, and signals."""

import dataclasses
import logging
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from experiments import run_directory
from experiments.run_directory import log
from experiments.study import run as study_run
from experiments.study import slurm
from experiments.study.plan import Experiment, Run

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(study_run, "POLL", 0.01)


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, log.name)
    return caplog


def make(study, name, needs=(), minutes=1.0):
    return Run(name, Experiment(name, 1, "", "", minutes), 0, study / "runs" / name, tuple(needs), (name,))


class Shell:
    """Starts `sh -c SCRIPT` in the run's folder in place of the run, and notes the order."""

    def __init__(self, **scripts):
        self.scripts, self.order, self.most, self.live = scripts, [], 0, []

    def __call__(self, run):
        run.folder.mkdir(parents=True, exist_ok=True)
        self.order.append(run.name)
        script = self.scripts.get(run.name, "echo Model > results.csv")
        job = study_run.Child(["sh", "-c", f"cd '{run.folder}'; {script}"], study_run.output_of(run))
        self.live = [one for one in self.live if one.poll() is None] + [job]
        self.most = max(self.most, len(self.live))
        return job


def test_what_does_not_depend_on_a_failure_goes_on_and_is_done_once(tmp_path, said):
    runs = [make(tmp_path, "a"), make(tmp_path, "c", ["a", "b"]), make(tmp_path, "b"), make(tmp_path, "d", ["c"])]
    runs += [make(tmp_path, "e", ["a"]), make(tmp_path, "f")]
    start = Shell(b="echo hello; echo 'error: no such file'; exit 1", f="kill -9 $$")
    failed = study_run.do(runs, start)
    assert start.order == ["a", "b", "e", "f"]
    assert failed["b"].startswith("no such file (exit code 1; ") and failed["f"].startswith("ended by SIGKILL; see ")
    assert failed["c"] == "not started: it needs b" and failed["d"] == "not started: it needs c"
    assert "hello" in study_run.output_of(runs[2]).read_text() and "e: done in" in said.text
    for silent in ("exit 1", "echo; exit 1"):
        reason = study_run.do([runs[2]], Shell(b=silent))["b"]
        assert reason.startswith("no output (exit code 1; ")  # the line of the attempt before is not this one's
    again = Shell()
    assert study_run.do(runs, again) == {}
    assert again.order == ["b", "c", "d", "f"]
    assert study_run.do(runs, again) == {} and len(again.order) == 4


def test_jobs_at_once(tmp_path):
    runs = [make(tmp_path, name) for name in "abcd"] + [make(tmp_path, "z", "abcd")]
    start = Shell(**dict.fromkeys("abcd", "sleep 0.1; touch results.csv"))
    assert study_run.do(runs, start, jobs=3) == {}
    assert start.most == 3 and start.order[-1] == "z"


def test_a_fusion_is_done_again_once_a_member_has_other_scores(tmp_path):
    a, z = make(tmp_path, "a"), make(tmp_path, "z", ["a"])

    class Fusing(Shell):
        def __call__(self, run):
            job = super().__call__(run)
            if run is z:
                run_directory.note_members(z.folder, {"a": a.folder / "scores"})
            return job

    def trained(score):
        return f"mkdir -p scores; for s in val test; do echo {score} > scores/$s.csv; done; echo Model > results.csv"

    start = Fusing(a=trained("0.5"))
    assert study_run.do([a, z], start) == {} and start.order == ["a", "z"]
    assert study_run.do([a, z], start) == {} and start.order == ["a", "z"] and z.finished
    (a.folder / "results.csv").unlink()  # its user wants it trained again
    start = Fusing(a=trained("0.25"))
    assert study_run.do([a, z], start) == {} and start.order == ["a", "z"] and z.finished
    (z.folder / "members.json").write_text("[]")
    with pytest.raises(ValueError, match=r"members\.json: damaged; delete it and results\.csv beside it"):
        study_run.do([z], start)


def test_a_run_that_leaves_no_result_has_failed_though_its_code_is_0(tmp_path):
    assert study_run.do([make(tmp_path, "a")], Shell(a="echo odd")) == {
        "a": f"odd (exit code 0; {tmp_path / 'Logs' / 'output' / 'a.txt'})"
    }


def test_a_run_that_another_process_is_at_is_waited_for(tmp_path, said):
    runs = [make(tmp_path, "a"), make(tmp_path, "b", "a")]
    runs[0].folder.mkdir(parents=True)
    script = "touch up; sleep 0.3; touch results.csv"
    other = subprocess.Popen(["flock", ".lock", "sh", "-c", script], cwd=runs[0].folder)
    while not (runs[0].folder / "up").exists():
        time.sleep(0.01)
    start = Shell()
    assert study_run.do(runs, start) == {}
    assert other.wait() == 0 and start.order == ["b"] and "a: another process is at it; waiting" in said.text


# Stands for a run: it holds the folder's lock, ends with 143 on SIGTERM, and is done once there is a file `go`.
WORKER = """
import fcntl, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def save(*_):
    (folder / "saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
file = open(folder / ".lock", "w")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit("error: another process is writing to this run")
(folder / "up").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
with open(folder / "results.csv", "a") as results:
    results.write("Model\\n")
"""


def worker(run):
    run.folder.mkdir(parents=True, exist_ok=True)
    return study_run.Child([sys.executable, "-S", "-c", WORKER, str(run.folder)], study_run.output_of(run))


DRIVER = """
import pathlib, sys
from experiments.study import run as study_run
from tests.experiments.study.test_run import make, worker
study = pathlib.Path(sys.argv[1])
study_run.do([make(study, "a"), make(study, "b")], worker)
"""


@pytest.fixture
def driver(tmp_path):
    """A suite in a process of its own, with its first run at work."""
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "runs" / "a" / "up")
    yield driver
    for name in "ab":
        (tmp_path / "runs" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / name / "go").touch()  # nothing goes on after the test
    driver.wait(timeout=20)


def wait_for(path):
    latest = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < latest
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_ends_the_suite(tmp_path, driver, number):
    driver.send_signal(number)
    assert driver.wait(timeout=20) == 128 + number
    assert (tmp_path / "runs" / "a" / "saved").exists() and not (tmp_path / "runs" / "b").exists()
    assert not study_run.held(tmp_path / "runs" / "a")


def test_beside_what_a_killed_suite_left_nothing_is_started_twice(tmp_path, driver, said):
    driver.kill()
    driver.wait()
    runs = [make(tmp_path, "a"), make(tmp_path, "b", "a")]
    assert study_run.held(runs[0].folder)  # its child goes on
    start = Shell()
    timer = threading.Timer(0.2, (runs[0].folder / "go").touch)
    timer.start()
    assert study_run.do(runs, start) == {}
    timer.join()
    assert start.order == ["b"] and (runs[0].folder / "results.csv").read_text() == "Model\n"
    assert "a: another process is at it; waiting for it" in said.text


def test_the_progress_foretells_by_minutes_and_steps(tmp_path):
    runs = [make(tmp_path, "a", minutes=3.0), make(tmp_path, "b", minutes=1.0)]
    runs[1].folder.mkdir(parents=True)
    (runs[1].folder / "config.json").write_text('{"train": {"steps": 10}}')
    (runs[1].folder / "metrics.jsonl").write_text('{"step": 2}\n{"step": 5}\n{"st')
    shown = study_run._Progress(runs)
    shown.update({runs[1]: 0.0}, {"a": "why"})
    assert shown._bar.n == pytest.approx(3 + study_run.TRAINING * 0.5) and shown._bar.total == 4
    assert "0 of 2 runs; b 45 %" in shown._bar.postfix
    fusion = dataclasses.replace(runs[0], experiment=dataclasses.replace(runs[0].experiment, members={"x": "b"}))
    assert shown._part(fusion, time.monotonic() - 60) == pytest.approx(1 / 3, abs=0.01)
    assert shown._part(fusion, 0.0) == study_run.TRAINING and shown._part(make(tmp_path, "new"), 0.0) == 0
    shown.close()


def fake_submitit(**parts):
    """submitit with an executor that does the job at once."""

    class Job:
        def __init__(self, function):
            self.code, self.cancelled = function(), False

        def done(self):
            return True

        def exception(self):
            return parts.get("exception")

        def result(self):
            return self.code

        def cancel(self, check=True):
            self.cancelled = True

    class AutoExecutor:
        def __init__(self, folder, cluster):
            if cluster == "slurm":
                raise RuntimeError("Could not detect\nslurm")
            self.parameters = {}

        def update_parameters(self, **parameters):
            if "typo" in parameters:
                raise NameError("Unknown argument: typo")
            self.parameters = parameters

        def submit(self, function):
            assert self.parameters == {"name": "mmdf_jax", "timeout_min": 5}
            if parts.get("refused") in function.words:
                raise RuntimeError("sbatch: error:\nover the limit of jobs")  # as submitit's FailedJobError is one
            return Job(function)

    helpers = types.SimpleNamespace(DelayedSubmission=lambda *args: ("again", *args))
    return types.SimpleNamespace(AutoExecutor=AutoExecutor, helpers=helpers)


def test_slurm_jobs_do_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", fake_submitit())
    monkeypatch.setattr(sys, "executable", "sh")
    script = "mkdir -p {0}; echo hello; touch {0}/results.csv"
    runs = [make(tmp_path, name) for name in "ab"]
    runs = [dataclasses.replace(run, words=("-c", script.format(run.folder))) for run in runs]
    start = slurm.launcher(tmp_path / "slurm", {"timeout_min": 5, "cluster": "local"})
    assert study_run.do(runs, start, jobs=2) == {}
    assert "hello" in study_run.output_of(runs[0]).read_text()
    command = slurm.Command(("true",), str(tmp_path / "output.txt"))
    assert command.checkpoint() == ("again", command) and command() == 0
    monkeypatch.setitem(sys.modules, "submitit", fake_submitit(exception=RuntimeError("out of time")))
    late = make(tmp_path, "late")
    assert (
        "exit code 1" in study_run.do([late], slurm.launcher(tmp_path, {"timeout_min": 5, "cluster": "local"}))["late"]
    )


def test_a_job_that_slurm_refuses_stops_only_what_needs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", fake_submitit(refused="b"))
    monkeypatch.setattr(sys, "executable", "sh")
    runs = [make(tmp_path, "a"), make(tmp_path, "b"), make(tmp_path, "c"), make(tmp_path, "z", "b")]
    script = "mkdir -p {0}; touch {0}/results.csv"
    runs = [dataclasses.replace(run, words=("-c", script.format(run.folder), run.name)) for run in runs]
    start = slurm.launcher(tmp_path / "slurm", {"timeout_min": 5, "cluster": "local"})
    assert study_run.do(runs, start, jobs=4) == {
        "b": "not started: --slurm: its job could not be submitted: sbatch: error: over the limit of jobs",
        "z": "not started: it needs b",
    }
    assert runs[0].finished and runs[2].finished


def test_slurm_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"--slurm needs submitit, .*: pip install -e '\.\[slurm\]'"):
        slurm.launcher(tmp_path, {})
    monkeypatch.setitem(sys.modules, "submitit", fake_submitit())
    for options, message in (({}, "Could not detect slurm"), ({"cluster": "local", "typo": 1}, "Unknown argument")):
        with pytest.raises(ValueError, match=f"--slurm: {message}"):
            slurm.launcher(tmp_path, options)
