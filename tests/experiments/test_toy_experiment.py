"""An experiment of another kind, a regression per frame, from single new files: it trains, validates and reports."""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from mmdf_jax import finetune, flops
from mmdf_jax.build import build
from mmdf_jax.weights import load

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
    assert re.search(r"encoders_video +5 +5 ", out)  # the level of 2 x 2 cells trains
    assert f"mean absolute error {float(row['MAE']):.3f} [" in out and "step 120: validation mae" in out
    assert float(row["MAE"]) < 0.05
    table = list(csv.DictReader((tmp_path / "run" / "scores" / "test.csv").read_text().splitlines()))
    assert {entry["dataset"] for entry in table} == {"toy"}
    assert len(table) == 12 and "score" not in table[0] and table[0]["seen_as"] == "a film"
    timelines = [json.loads(entry["truth"]) for entry in table]
    assert max(map(len, timelines)) > 4  # longer than one window of 0.8 s at 5 frames a second
    errors = list(csv.DictReader((tmp_path / "run" / "clips.csv").read_text().splitlines()))
    assert sum(float(entry["error"]) for entry in errors) / 12 == pytest.approx(float(row["MAE"]))
    assert f"mean absolute error {float(row['MAE']):.3f} [" in run("evaluate")


def test_a_new_encoder_says_what_others_must_know_of_it(monkeypatch):
    monkeypatch.syspath_prepend(TOYS.parent)
    encoder = build({"name": "toys.thumbnails", "cells": 2}, allow=["toys"])
    assert flops.macs(encoder, (4, 32, 32, 3)).forward == 2 * 4 * 2**2
    params = load.shapes(encoder, jax.ShapeDtypeStruct((1, 4, 32, 32, 3), jnp.uint8))["params"]
    params = {"encoders_video": {**params, "block0": {"kernel": 0}, "stem": {"kernel": 0}}}
    after = {"video": finetune.last(encoder)}

    def rates(**options):
        found = finetune.rates(params, {"mode": "blocks", "blocks": 0, "layer_decay": 1.0, **options}, after)
        return {name: set(jax.tree.leaves(part)) for name, part in found["encoders_video"].items()}

    assert rates() == {"level": {1.0}, "block0": {0.0}, "stem": {0.0}}
    assert rates(blocks=1) == {"level": {1.0}, "block0": {1.0}, "stem": {0.0}}
    assert rates(mode="all", layer_decay=0.5) == {"level": {1.0}, "block0": {0.5}, "stem": {0.25}}
