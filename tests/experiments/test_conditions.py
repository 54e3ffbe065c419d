"""A run's test split under conditions: one table where the evaluator compares them, else a report of each."""

import csv
import json

import numpy as np
import pytest

from configs import lip_sync, temporal_consistency
from experiments import experiment, score_table
from experiments.score_table import ScoreRow, curve_cell


def rows(split, seed, extra):
    rng = np.random.default_rng(seed)
    return [
        ScoreRow(
            f"{split}{person}{label}",
            label,
            float(np.clip(0.4 + 0.2 * label + 0.2 * rng.standard_normal(), 0, 1)),
            split=split,
            identity=str(person),
            method="face_swap" if label else "real",
            video_label=label,
            audio_label=0,
            extra=extra,
        )
        for person in range(6)
        for label in (0, 1)
    ]


def report(config, extra, workdir):
    for i, table in enumerate(("val", "test", *(f"test-{name}" for name in config["evaluate"]["conditions"]))):
        score_table.write(workdir / "scores" / f"{table}.csv", rows(table[:4], i, extra))
    config["evaluate"]["bootstrap"] = 20
    produced = experiment.Produced({"model": "m", "modality": "video"}, None, {})
    experiment._report(config, workdir, produced, ())
    return (workdir / "report.txt").read_text()


def test_conditions_stand_in_one_table_of_paired_differences(tmp_path):
    steps = {"partial": 0.0, "video_spans": "[]", "frame_scores": curve_cell(np.full(50, 0.5))}
    text = report(temporal_consistency.get_config("").to_dict(), steps, tmp_path)
    table = list(csv.DictReader((tmp_path / "conditions.csv").read_text().splitlines()))
    assert [row["Score"] for row in table] == ["shuffled", "still"] and all(row["Difference low"] for row in table)
    assert "test split under" in text and not (tmp_path / "evaluations").exists()


def test_an_evaluator_that_compares_none_reports_each(tmp_path):
    curves = {name: curve_cell(np.full(31, 1.0)) for name in ("sync_sum", "sync_count", "distance_sum", "similarity")}
    config = lip_sync.get_config("").to_dict()
    text = report(config, {**curves, **{f"accuracy_{run}": 1.0 for run in (1, 5, 10, 15, 25)}}, tmp_path)
    (name,) = config["evaluate"]["conditions"]
    assert name in (tmp_path / "evaluations" / name / "report.txt").read_text() and "under" not in text


def test_robustness_is_an_argument():
    plain, more = (temporal_consistency.get_config(arg).to_dict() for arg in ("", "robustness=true"))
    names = ["shuffled", "still", "exposure", "h264_crf30", "jpeg_50", "lost_frames", "fps_12_5"]
    assert list(plain["evaluate"]["conditions"]) == names[:2] and sorted(more["evaluate"]["conditions"]) == sorted(
        names
    )
    assert json.loads(json.dumps(plain)) and plain["train"] == more["train"]
    with pytest.raises(ValueError, match="expected a value of type bool"):
        temporal_consistency.get_config("robustness=x")
