"""The main command as a user runs it: kill and resume, devices and processes, refusals, what it leaves behind."""

import csv
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import metrics_log

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "tests/experiments/micro.py"
FILES = ("results.csv", "methods.csv", "report.txt", "config.json", "log.txt", "metrics.jsonl", "scores/val.csv")
EMBEDDINGS = "embeddings_test.npz"
pytestmark = pytest.mark.timeout(2400)  # whole runs, on a machine that may have one core
FIGURES = ("attention", "confusion", "roc", "score_distributions", "training_curves")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def start(cache, workdir, *flags, devices=1, command="main", config=CONFIG, compile_again=False, quick=False):
    environment = {
        **os.environ,
        "MMDF_JAX_CACHE": str(cache),
        "JAX_PLATFORMS": "cpu",
        # As users compile it, for bits that are compared; quickly, where a run has a program of its own to compile.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(quick)),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    if not compile_again:  # what an earlier run has compiled is most of a run's time
        environment |= {
            "JAX_COMPILATION_CACHE_DIR": str(cache / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    flags = [f"--workdir={workdir}", *([f"--config={config}"] if command == "main" else []), *flags]
    line = [sys.executable, "-m", f"experiments.{command}", *flags]
    return subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process, code=0):
    out, _ = process.communicate(timeout=900)
    assert process.returncode == code, out
    return out


def wait_for_step(workdir, step, process):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        if any(row["step"] >= step for row in metrics_log.read(workdir / "metrics.jsonl")):
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was never logged: {process.communicate()[0]}")


def reproducible(workdir):
    """Everything that must be the same to the bit: digests of all arrays, metrics but for timings, what was scored."""
    digests = {}
    for which in ("latest", "best"):
        for path in (workdir / "checkpoints" / which).glob("*/_CHECKPOINT_METADATA"):
            info = json.loads(path.read_text())["custom_metadata"]
            digests[which, path.parent.name] = info["arrays"]
    metrics = [
        {name: value for name, value in row.items() if not name.startswith("perf/")}
        for row in metrics_log.read(workdir / "metrics.jsonl")
    ]
    scores = [(workdir / "scores" / name).read_bytes() for name in ("val.csv", "test.csv", EMBEDDINGS)]
    newest = max((key for key in digests if key[0] == "latest"), key=lambda key: int(key[1]))
    best = [value for key, value in digests.items() if key[0] == "best"]
    assert len(best) == 1
    return digests[newest], best[0], metrics, scores


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def losses(workdir):
    return [row["train/loss"] for row in metrics_log.read(workdir / "metrics.jsonl") if "train/loss" in row]


@pytest.fixture(scope="module")
def reference(cache, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "reference"
    return workdir, finish(start(cache, workdir))


def test_what_a_run_leaves_behind(reference):
    workdir, out = reference
    for name in (*FILES, f"scores/{EMBEDDINGS}", *(f"figures/{figure}.png" for figure in FIGURES)):
        assert (workdir / name).stat().st_size > 0, name
    assert any((workdir / "tensorboard").iterdir())
    (row,) = table(workdir / "results.csv")
    assert 0 <= float(row["AUC low"]) <= float(row["AUC"]) <= float(row["AUC high"]) <= 1
    assert float(row["Parameters (M)"]) > 0 and float(row["Inference (ms/sample)"]) > 0
    assert "voice_clone" in out and "AUC" in out
    rows = metrics_log.read(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/loss" in row] == [2, 4, 6, 8, 10, 12]
    assert [row["step"] for row in rows if "val/auc" in row] == [6, 12]
    assert {"train/grad_norm", "train/grad_norm/fusion", "perf/memory_gb", "train/learning_rate"} <= rows[0].keys()


def test_a_finished_run_is_not_trained_again(cache, reference):
    workdir, _ = reference
    before = reproducible(workdir), (workdir / "results.csv").stat().st_mtime_ns
    out = finish(start(cache, workdir))
    assert "finished" in out and (workdir / "report.txt").read_text().strip() in out
    assert (reproducible(workdir), (workdir / "results.csv").stat().st_mtime_ns) == before


def test_evaluating_the_test_split_again_gives_the_same_bits(cache, reference):
    workdir, _ = reference
    before = reproducible(workdir)
    out = finish(start(cache, os.path.relpath(workdir, ROOT), command="evaluate"))
    assert "AUC" in out and "voice_clone" in out
    assert reproducible(workdir) == before


def test_a_clip_that_cannot_be_read_counts_as_abstained_from(cache, reference, tmp_path):
    workdir, manifest = tmp_path / "run", tmp_path / "clips.csv"
    shutil.copytree(reference[0], workdir)
    clips = [row for row in table(next(cache.glob("records/*/manifest.csv"))) if row["split"] == "test"]
    (tmp_path / "broken.mp4").write_text("no film")
    clips.append({**clips[0], "clip_id": "broken", "path": tmp_path / "broken.mp4", "landmarks_path": ""})
    with open(manifest, "w", newline="") as file:
        writer = csv.DictWriter(file, clips[0])
        writer.writeheader()
        writer.writerows(clips)
    out = finish(start(cache, workdir, "--data=folder", f"--manifest={manifest}", command="evaluate"))
    *scored, last = table(workdir / "scores" / "folder-test.csv")
    assert len(scored) == len(clips) - 1 and all(row["status"] == "ok" for row in scored)
    assert (last["status"], last["score"], last["label"]) == ("undecodable", "", clips[-1]["label"])
    assert "Abstained from 1 more" in out


def test_evaluating_an_unfinished_run_is_one_line(cache, reference, tmp_path):
    for name in ("config.json", "scores"):
        (tmp_path / name).symlink_to(reference[0] / name)
    out = finish(start(cache, tmp_path, command="evaluate"), code=1)
    assert out == f"error: {tmp_path}/checkpoints/best: no checkpoint there; train first\n"


def test_folds_over_cached_features(cache, tmp_path):
    workdir = tmp_path / "folds"
    flags = ["--config.folds=3", "--config.finetune.mode=frozen", "--config.finetune.cache=True"]
    out = finish(start(cache, workdir, *flags, "--config.data.augment=()", "--config.train.eval_steps=12", quick=True))
    rows = table(workdir / "folds.csv")
    assert [row["Fold"] for row in rows] == ["1", "2", "3", "mean", "standard deviation"]
    folds = [table(workdir / f"fold{i}" / "scores" / "test.csv") for i in (1, 2, 3)]
    assert sum(len({row["identity"] for row in fold}) for fold in folds) == 6
    assert len(table(workdir / "scores" / "test.csv")) == sum(map(len, folds)) == 40
    assert out.count("features of") == 6 and "encoders_image" in out
    trained = metrics_log.read(workdir / "fold1" / "metrics.jsonl")
    assert trained[0]["train/grad_norm/encoders_image"] == 0 < trained[0]["train/grad_norm/head"]


def test_another_config_in_the_same_directory_is_refused(cache, reference):
    out = finish(start(cache, reference[0], "--config.optimizer.learning_rate=0.5"), code=1)
    assert "optimizer.learning_rate: 0.001 there, 0.5 now" in out and "Traceback" not in out


def test_killed_and_started_again_it_ends_bit_identical(cache, reference, tmp_path):
    workdir = tmp_path / "killed"
    for kill_at, workers in ((2, 0), (8, 2)):
        process = start(cache, workdir, f"--config.data.workers={workers}")
        wait_for_step(workdir, kill_at, process)
        process.kill()
        process.communicate()
    finish(start(cache, workdir, "--config.data.workers=1", compile_again=True))
    assert reproducible(workdir) == reproducible(reference[0])


def test_sigterm_saves_the_step_and_a_reader_that_goes_away_does_not_end_the_run(cache, reference, tmp_path):
    workdir = tmp_path / "terminated"
    process = start(cache, workdir)
    wait_for_step(workdir, 2, process)  # the signals come before the evaluation of step 6
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    out = finish(process, code=143)
    assert " is saved\n" in out and "terminated: what was saved stays; the same command goes on from there" in out
    # It goes on although its reader goes away.
    process = start(cache, workdir)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(300) == 0
    assert "can no longer be written to (Broken pipe)" in (workdir / "log.txt").read_text(encoding="utf-8")
    assert reproducible(workdir) == reproducible(reference[0])


def test_a_signal_in_the_last_evaluation_is_heeded_soon(cache, reference, tmp_path):
    workdir = tmp_path / "interrupted"
    shutil.copytree(reference[0], workdir)
    for name in ("results.csv", "report.txt"):
        (workdir / name).unlink()
    process = start(cache, workdir)
    while "resuming from step 12 of 12" not in (line := process.stdout.readline()):
        assert line, process.wait()
    process.send_signal(signal.SIGINT)  # the evaluation that is owed comes next
    out = finish(process, code=130)
    assert "terminated: what was saved stays" in out and not (workdir / "results.csv").exists()
    finish(start(cache, workdir))
    assert reproducible(workdir) == reproducible(reference[0])


def test_two_devices_reach_the_same_losses(cache, reference, tmp_path):
    workdir = tmp_path / "devices"
    finish(start(cache, workdir, devices=2, quick=True))
    np.testing.assert_allclose(losses(workdir), losses(reference[0]), rtol=2e-4)


def test_two_processes_reach_the_same_losses(cache, reference, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workdir = tmp_path / "processes"
    flags = [f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    both = [start(cache, workdir, *flags, f"--process_id={i}", quick=True) for i in range(2)]
    for process in both:
        finish(process)
    np.testing.assert_allclose(losses(workdir), losses(reference[0]), rtol=2e-4)
    rows = [table(run / "scores/test.csv") for run in (workdir, reference[0])]
    assert [row["clip_id"] for row in rows[0]] == [row["clip_id"] for row in rows[1]]


def test_a_nan_gradient_stops_the_run_with_the_clip_ids(cache, tmp_path):
    def run():
        flags = [cache, tmp_path / "poisoned", "--allow=tests.experiments"]
        return finish(start(*flags, config="tests/experiments/poisoned.py", quick=True), code=1)

    out, again = run(), run()
    assert "error: step 5: " in out and "talking_heads/train/" in out and "Traceback" not in out
    assert "Step 3 is the last saved one" in out
    assert "resuming from step 3" in again and "error: step 5: " in again


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.train.stepz=1"], "config.train has no key 'stepz'; known: accumulate, "),
        (["--config.data.name=nowhere"], "there is no dataset 'nowhere'; known: asvspoof2019, "),
        (["--config.fold=2"], "config.fold=2: a fold of how many? Set config.folds too"),
        (["--config.train.select=f1"], "config.train.select=f1: expected a metric that the task validates: auc, "),
        (["--config.train.steps=many"], "--config.train.steps=many"),
        (["--config.model.name=os.path"], "'os.path' is outside the allowed packages"),
        (["--workdir=/proc/nowhere"], "--workdir=/proc/nowhere: cannot be written to"),
    ],
)
def test_a_mistake_is_one_line(cache, tmp_path, flags, message):
    out = finish(start(cache, tmp_path / "run", *flags), code=1)
    line = out.strip().splitlines()[-1]
    assert line.startswith("error: ") and message in line and "Traceback" not in out


def test_an_unknown_argument_of_the_config_is_one_line(cache, tmp_path):
    out = finish(start(cache, tmp_path / "run", config="configs/cross_attn.py:encoder=x"), code=1)
    line = "error: config argument 'encoder=x' is not one of data=talking_heads, size=tiny, pseudo_fakes=False"
    assert out.strip() == line
