"""The benchmark of optical flow: pairs whose motion is known, and what the command prints and writes."""

import json
import subprocess
import sys

import numpy as np

from experiments.benchmark import flow
from mmdf_jax.layers import flow_measures


def test_pairs_are_moved_by_the_flows_that_are_told():
    stills = flow.faces(3)
    first, second, flows = flow.pairs(stills, 48)
    assert first.dtype == second.dtype == np.uint8 and first.shape == second.shape == (3, 48, 48)
    assert 1 <= np.linalg.norm(flows, axis=-1).max() <= 3
    inside = np.s_[:, 3:-3, 3:-3]
    left = np.array(flow_measures.warp_error(first, second, flows))[inside].mean()
    moved = np.abs(first.astype(float) - second)[inside].mean()
    assert left < 1.5 * flow.NOISE < moved  # two pictures' noise is what is left
    assert len({still.tobytes() for still in stills}) == 3


def test_the_command(tmp_path):
    out = tmp_path / "flow.json"
    options = ("--what=flow", "--size=32", "--batch=2", "--repeats=1", f"--json={out}")
    command = [sys.executable, "-m", "experiments.benchmark", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    names = ["zero flow", "lucas_kanade", "horn_schunck", "Farneback", "DIS fast", "DIS medium"]
    assert [row["name"] for row in rows] == names
    assert all(row["ms"]["median"] > 0 and np.isfinite(row["error"]) for row in rows[1:])
    assert rows[1]["error"] < rows[0]["error"]
    table = done.stdout.splitlines()
    assert "32 px, 2 pairs" in table[-8] and table[-7].startswith("method")
    assert [line[:13].strip() for line in table[-6:]] == names
