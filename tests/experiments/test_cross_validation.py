"""The table over folds, from score tables made by hand."""

import csv
import math

import numpy as np
import pytest

from experiments import cross_validation, score_table
from experiments.evaluators import classification
from experiments.evaluators.classification import Evaluator
from experiments.report import write
from experiments.score_table import ScoreRow
from mmdf_jax.metrics.classification import auc


@pytest.fixture
def runs(tmp_path):
    """Three folds of eight clips each; each ranks perfectly, on a scale of its own."""
    paths = []
    for fold in range(3):
        rows = [
            ScoreRow(
                clip_id=f"{fold}-{i}",
                label=i % 2,
                score=0.1 * fold + (0.3 if i % 2 else 0.2) + 0.001 * i,
                identity=f"p{fold}{i // 4}",
                method="swap" if i % 2 else "real",
                video_label=i % 2,
            )
            for i in range(8)
        ]
        path = tmp_path / f"fold{fold + 1}"
        score_table.write(path / "scores" / "test.csv", rows)
        run = {"model": "clip", "modality": "image", "train_minutes": fold}
        write.write(path, Evaluator("video_label"), rows, rows, run, samples=50)
        paths.append(path)
    return paths


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_each_fold_their_mean_and_spread(tmp_path, runs):
    cross_validation.write(tmp_path, runs, Evaluator("video_label"), samples=50)
    table = read(tmp_path / "folds.csv")
    assert [row["Fold"] for row in table] == ["1", "2", "3", "mean", "standard deviation"]
    assert [float(row["AUC"]) for row in table] == [1, 1, 1, 1, 0]
    eces = [float(row["ECE"]) for row in table]
    assert eces[3] == pytest.approx(np.mean(eces[:3])) and eces[4] == pytest.approx(np.std(eces[:3], ddof=1))
    (row,) = read(tmp_path / "results.csv")
    assert row["Model"] == "clip" and float(row["Training time (min)"]) == 1 and row["Clips"] == "24"
    report = (tmp_path / "report.txt").read_text()
    assert "3 folds, grouped by identity" in report and "out of fold (3 folds): 24 clips of 6 identities" in report


def test_scores_of_different_models_enter_as_ranks(tmp_path, runs):
    tables = [score_table.read(run / "scores" / "test.csv") for run in runs]
    pooled = [row for table in tables for row in table]
    labels, scores = [row.label for row in pooled], [row.score for row in pooled]
    assert auc(labels, scores) < 1  # as they are, they do not compare
    cross_validation.write(tmp_path, runs, Evaluator(), samples=50)
    assert float(read(tmp_path / "results.csv")[0]["AUC"]) == 1


def test_abstained_clips_stay_without_a_score():
    rows = [ScoreRow("a", 0, 0.2), ScoreRow("b", 1, math.nan, status="abstained"), ScoreRow("c", 1, 0.9)]
    assert [row.score for row in classification.ranked([rows])][::2] == [1 / 3, 2 / 3]
    assert math.isnan(classification.ranked([rows])[1].score)
