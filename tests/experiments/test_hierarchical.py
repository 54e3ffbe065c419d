"""Experiment 10 end to end, shrunk: it trains, reports on all stages, and judges a clip of many windows."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = """
import sys

sys.path.insert(0, ".")  # the command is started from the repository's root

from configs import hierarchical
from tests.experiments import micro


def get_config(arg=None):
    config, small = hierarchical.get_config(arg), micro.get_config()
    for name in ("options", "crops", "window", "batch_size"):
        config.data[name] = small.data[name]
    config.data.crops.mouth = True
    config.data.streams = {"image": {"frames": 1, "size": 32}, "mouth": {"fps": 25.0, "size": 16}, "audio": {}}
    config.data.targets.face_mask.size = 4
    config.model.encoders = {**small.model.encoders, "mouth": {
        "name": "mmdf_jax.encoders.lip_resnet", "width": 4, "stage_sizes": (1,), "strides": ((1, 4, 4),)}}
    config.model.encoders.image.patch = 8
    config.model.width, config.model.depth = 16, 1
    for name in ("steps", "log_steps", "eval_steps", "checkpoint_steps"):
        config.train[name] = small.train[name]
    config.optimizer.warmup_steps = 2
    config.evaluate.update(batch_size=8, bootstrap=20, stride=0.4)
    return config
"""


@pytest.mark.timeout(900)
def test_it_trains_and_reports_on_every_stage(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    environment = {**os.environ, "MMDF_JAX_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    line = [
        sys.executable,
        "-m",
        "experiments.main",
        f"--config={tmp_path / 'config.py'}",
        f"--workdir={tmp_path / 'run'}",
    ]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "stage 1: AUC",
        "hierarchical",
        "three labels",
        "partial fakes",
        "trained map",
        "Grad-CAM of stage 1",
    ):
        assert words in done.stdout
    assert "step 12: validation auc" in done.stdout and "overall" in done.stdout
    rows = list(csv.DictReader((tmp_path / "run" / "scores" / "test.csv").read_text().splitlines()))
    assert len(rows) == 12
    for row in rows:
        types = [float(value) for name, value in row.items() if name.startswith("type_")]
        assert len(types) == 6 and sum(types) == pytest.approx(1)
        assert 1 - float(row["type_real"]) == pytest.approx(float(row["score"]))
        steps = len(json.loads(row["frame_video"]))
        assert steps >= 50  # all of the clip: windows have 20
        assert all(0 <= a < b <= steps / 25 + 1e-3 and 0 <= p <= 1 for a, b, p in json.loads(row["segments"]))
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {
        "verdict_1.png",
        "verdict_6.png",
        "confusion.png",
        "precision_recall.png",
        "span_length.png",
        "roc.png",
    } <= figures
