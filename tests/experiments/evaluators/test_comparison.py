"""What a joint score adds to its streams: the rivals, the differences and the lines."""

import dataclasses
import math

import numpy as np
import pytest

from experiments.evaluators import comparison
from experiments.evaluators.classification import Evaluator
from experiments.report import write
from experiments.report.terminal import WIDTH
from experiments.score_table import ScoreRow
from mmdf_jax.metrics.classification import auc
from mmdf_jax.stats.corrections import holm


def table(seed, joint=2.0, people=10):
    """Fakes of one stream each; the joint score sees any of them, and a comparison (`sync`) too."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        for kind in ("real", "real", "video", "audio", "video"):
            fake = kind != "real"
            draw = lambda shift: float(1 / (1 + np.exp(-(rng.normal() + shift))))  # noqa: E731
            extra = {f"score_{name}": draw(2.5 * (name == kind)) for name in ("video", "audio")}
            extra |= {"score_sync": draw(9.0 * fake), "partial": 0.0}
            labels = (int(fake), draw(joint * fake), "set", "test", str(person), kind, int(kind == "video"))
            rows.append(ScoreRow(f"{seed}/{len(rows)}", *labels, int(kind == "audio"), extra=extra))
    return rows


def test_each_rival_by_hand():
    val, test = table(0), table(1)
    found = comparison.with_own_streams(val, test, samples=80)
    assert [row["Rival"] for row in found.rows] == [
        *("best single stream (video)", "mean of the streams", "maximum of the streams", "noisy-or of the streams")
    ]
    labels, joint = [row.label for row in test], [row.score for row in test]
    video, audio = (np.array([row.extra[f"score_{name}"] for row in test]) for name in ("video", "audio"))
    rivals = (video, (video + audio) / 2, np.maximum(video, audio), 1 - (1 - video) * (1 - audio))
    for row, rival in zip(found.rows, rivals, strict=True):
        assert row["AUC"] == pytest.approx(auc(labels, rival)) and row["Clips"] == 50
        assert row["Difference"] == pytest.approx(auc(labels, joint) - auc(labels, rival))
        assert row["Difference low"] < row["Difference"] < row["Difference high"]
    np.testing.assert_allclose([row["Holm p"] for row in found.rows], holm([row["p"] for row in found.rows]))


def test_a_comparison_of_streams_is_no_single_stream():
    # score_sync is by far the best score, and a part of what is joint about the model.
    assert comparison.stream_columns(table(0)) == ["score_video", "score_audio"]
    assert comparison.best_on(table(0), ["score_video", "score_audio", "score_sync"]) == "score_sync"


def test_the_best_single_stream_is_chosen_on_validation():
    val = [dataclasses.replace(row, extra={**row.extra, "score_audio": 0.01 + 0.9 * row.label}) for row in table(0)]
    found = comparison.with_own_streams(val, table(1), samples=20)
    assert found.rows[0]["Rival"] == "best single stream (audio)"


def test_clips_without_a_stream_stay_among_the_rivals_that_have_a_score():
    test = table(1)
    test[3] = dataclasses.replace(test[3], extra={**test[3].extra, "score_video": math.nan})
    found = comparison.with_own_streams(table(0), test, samples=20)
    assert [row["Clips"] for row in found.rows] == [49, 50, 50, 50]


def test_it_is_part_of_the_report_of_several_streams_alone():
    val, test = table(0), table(1)

    def page(evaluator, val, test):
        row = {**write.described({}), **evaluator.results(val, test, samples=20)}
        tables = evaluator.tables(val, test, row, samples=20)
        return tables, evaluator.text(row, tables, "test split")

    tables, lines = page(Evaluator(), val, test)
    (line,) = [line for line in lines if line.startswith("noisy-or of the streams")]
    shown = tables["fusion"].rows[3]
    assert f"{shown['AUC']:.3f} [" in line and f"{shown['Difference']:+.3f} [" in line
    assert max(map(len, lines)) <= WIDTH
    assert "fusion" not in page(Evaluator("video_label"), val, test)[0]
    assert "fusion" not in page(Evaluator(), [], test)[0]  # nothing to choose the best stream on
    one = [dataclasses.replace(row, extra={"score_video": row.extra["score_video"]}) for row in test]
    assert "fusion" not in page(Evaluator(), one, one)[0]
