"""An experiment of another kind, a regression per frame, from single new files: it trains, validates and reports."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TOYS = pathlib.Path(__file__).parent / "toys"


@pytest.mark.timeout(900)
def test_a_regression_per_frame_trains_and_reports(tmp_path):
    package = tmp_path / "toys"
    shutil.copytree(TOYS, package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MMDF_JAX_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}

    def run(command, *flags):
        line = [sys.executable, "-m", f"experiments.{command}", f"--workdir={tmp_path / 'run'}", "--allow=toys", *flags]
        done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    out = run("main", f"--config={package / 'config.py'}")
    (row,) = csv.DictReader((tmp_path / "run" / "results.csv").read_text().splitlines())
    assert f"mean absolute error {float(row['MAE']):.3f} [" in out and "step 40: validation mae" in out
    assert float(row["MAE"]) < 0.05
    table = list(csv.DictReader((tmp_path / "run" / "scores" / "test.csv").read_text().splitlines()))
    assert {entry["dataset"] for entry in table} == {"toy"}
    assert len(table) == 12 and "score" not in table[0] and table[0]["seen_as"] == "a film"
    timelines = [json.loads(entry["truth"]) for entry in table]
    assert max(map(len, timelines)) > 4  # longer than one window of 0.8 s at 5 frames a second
    errors = list(csv.DictReader((tmp_path / "run" / "clips.csv").read_text().splitlines()))
    assert sum(float(entry["error"]) for entry in errors) / 12 == pytest.approx(float(row["MAE"]))
    assert f"mean absolute error {float(row['MAE']):.3f} [" in run("evaluate")
