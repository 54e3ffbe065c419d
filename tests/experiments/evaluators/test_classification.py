"""The row of results.csv and the rows per method, against scikit-learn and by hand."""

import csv
import dataclasses
import math

import numpy as np
import pytest
from sklearn import metrics as reference

from experiments.evaluators.classification import METHOD_COLUMNS, Evaluator, per_method, summarise, threshold_of
from experiments.report import write
from experiments.score_table import ScoreRow

METHODS = {"real": (0, 0), "face_swap": (1, 0), "voice_clone": (0, 1), "dubbing": (0, 0)}


def table(seed, people=12, split="test"):
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        for method, (video, audio) in METHODS.items():
            for take in range(1 if method != "real" else 3):
                label = int(method != "real")
                draw = lambda fake: float(1 / (1 + np.exp(-(rng.normal() + 2 * fake - 1))))  # noqa: E731
                extra = {"score_image": draw(video), "score_audio": draw(audio), "partial": float(person % 3 == 0)}
                rows.append(
                    ScoreRow(
                        f"{split}/{method}/{person}_{take}",
                        label,
                        draw(label),
                        "set",
                        split,
                        str(person),
                        method,
                        video,
                        audio,
                        extra=extra,
                    )
                )
    return rows


def test_summary_against_sklearn():
    val, test = table(0, split="val"), table(1)
    row = summarise(val, test, samples=100)
    labels, scores = [r.label for r in test], np.array([r.score for r in test])
    verdicts = scores >= row["Threshold"]
    assert row["Accuracy"] == reference.accuracy_score(labels, verdicts)
    np.testing.assert_allclose(row["F1"], reference.f1_score(labels, verdicts))
    np.testing.assert_allclose(row["AUC"], reference.roc_auc_score(labels, scores))
    np.testing.assert_allclose(row["AP"], reference.average_precision_score(labels, scores))
    assert row["AUC low"] < row["AUC"] < row["AUC high"]
    assert (row["Clips"], row["Identities"], row["Abstained"]) == (72, 12, 0)
    held_out = np.array([r.score for r in val]) >= row["Threshold"]
    assert row["Best validation accuracy"] == reference.accuracy_score([r.label for r in val], held_out)


def test_threshold_comes_from_validation_alone():
    val = table(0, split="val")
    shifted = [ScoreRow(r.clip_id, r.label, r.score / 2, r.dataset, r.split, r.identity) for r in table(1)]
    assert summarise(val, shifted, samples=10)["Threshold"] == threshold_of(val)
    assert summarise(val, table(2), samples=10)["Threshold"] == threshold_of(val)


def test_abstained_clips_are_counted_and_left_out():
    test = table(1)
    silent = [ScoreRow("none/1", 1, math.nan, method="voice_clone", status="abstained: no stream")]
    plain, more = (summarise(table(0), rows, samples=50) for rows in (test, test + silent))
    assert more["Abstained"] == 1
    assert {**more, "Abstained": 0} == pytest.approx(plain, nan_ok=True)
    by_name = {(row["Method"], row["Score"]): row for row in per_method(test + silent, 0.5, samples=10)}
    assert by_name["voice_clone", "score"]["Abstained"] == 1
    assert by_name["face_swap", "score"]["Abstained"] == 0


def test_one_class_gives_nan_not_numbers():
    real = [row for row in table(1) if row.label == 0]
    row = summarise(real, real, samples=10)
    for column in ("Accuracy", "Threshold", "AUC", "AUC low", "EER", "AP", "Best validation accuracy"):
        assert math.isnan(row[column]), column
    assert per_method(real, math.nan) == []
    empty = summarise([], [], samples=10)
    assert empty["Clips"] == 0 and math.isnan(empty["ECE"])


def test_unknown_run_facts_are_refused():
    with pytest.raises(ValueError, match=r"run may say model, .*; found gpu"):
        write.described({"gpu": 1})


def test_a_detector_of_one_stream_is_judged_by_its_own_label():
    rows = [
        ScoreRow("dubbed", 1, 0.1, video_label=0),
        ScoreRow("swapped", 1, 0.9, video_label=1),
        ScoreRow("unknown", 1, 0.8),
        ScoreRow("real", 0, 0.2),
    ]
    assert Evaluator("video_label").results(rows, rows, samples=10)["AUC"] == 1
    assert Evaluator().results(rows, rows, samples=10)["AUC"] < 1


def test_a_table_without_scores_is_refused():
    with pytest.raises(ValueError, match="has no score of 'a': expected a column `score`"):
        Evaluator().results([], [ScoreRow("a", 0)], samples=10)


def test_each_method_stands_against_all_reals():
    test = table(1)
    rows = {(row["Method"], row["Score"]): row for row in per_method(test, 0.5, samples=50)}
    assert [name for name, score in rows if score == "score"] == [
        *("all fakes", "dubbing", "face_swap", "voice_clone", "partial fakes"),
    ]
    reals = [r.score for r in test if r.label == 0]
    for method in ("face_swap", "voice_clone", "dubbing"):
        fakes = [r.score for r in test if r.method == method]
        row = rows[method, "score"]
        expected = reference.roc_auc_score([1] * len(fakes) + [0] * len(reals), fakes + reals)
        np.testing.assert_allclose(row["AUC"], expected)
        assert (row["Fakes"], row["Reals"], row["Identities"]) == (12, 36, 12)
        assert row["Recall"] == np.mean(np.array(fakes) >= 0.5)
    assert rows["partial fakes", "score"]["Fakes"] == 12


def test_streams_answer_to_their_own_labels():
    test = table(1)
    rows = {(row["Method"], row["Score"]): row for row in per_method(test, 0.5, samples=20)}
    # Overall, a cloned voice is a real picture: it counts among the negatives of the image.
    expected = reference.roc_auc_score([r.video_label for r in test], [r.extra["score_image"] for r in test])
    np.testing.assert_allclose(rows["all fakes", "score_image"]["AUC"], expected)
    assert ("voice_clone", "score_image") not in rows and ("face_swap", "score_audio") not in rows
    assert not any(method == "dubbing" and score != "score" for method, score in rows)
    kept = [r for r in test if r.method in ("real", "voice_clone")]
    expected = reference.roc_auc_score([r.audio_label for r in kept], [r.extra["score_audio"] for r in kept])
    np.testing.assert_allclose(rows["voice_clone", "score_audio"]["AUC"], expected)


def test_the_comparison_of_streams_is_judged_where_it_is_known():
    test = [
        dataclasses.replace(row, extra={**row.extra, "score_sync": float(row.method == "dubbing")}) for row in table(1)
    ]
    rows = {row["Method"]: row for row in per_method(test, 0.5, samples=20) if row["Score"] == "score_sync"}
    # Whether the streams of a swapped face or a cloned voice disagree is unknown: neither fake nor real.
    assert set(rows) == {"all fakes", "dubbing", "partial fakes"}
    assert (rows["all fakes"]["AUC"], rows["all fakes"]["Fakes"], rows["all fakes"]["Reals"]) == (1, 12, 36)


def test_a_bare_table_has_methods_too():
    rows = per_method([ScoreRow("a", 0, 0.1), ScoreRow("b", 1, 0.9), ScoreRow("c", 1, 0.8)], 0.5, samples=20)
    assert [(row["Method"], row["Fakes"], row["AUC"]) for row in rows] == [("all fakes", 2, 1), ("fake", 2, 1)]


def test_files(tmp_path):
    text = write.write(tmp_path, Evaluator(), table(0), table(1), {"model": "m"}, samples=10, others=[tmp_path / "x"])
    with open(tmp_path / "results.csv", newline="") as file:
        (found,) = csv.DictReader(file)
    assert list(found) == [
        *write.RUN_COLUMNS.values(),
        *("Accuracy", "Precision", "Recall", "F1", "AUC", "AUC low", "AUC high", "EER", "AP", "ECE"),
        *("Best validation accuracy", "Threshold", "Clips", "Abstained", "Identities"),
    ]
    row = summarise(table(0), table(1), samples=10)
    assert found["Model"] == "m" and float(found["AUC"]) == row["AUC"] and found["Peak memory (GB)"] == ""
    with open(tmp_path / "methods.csv", newline="") as file:
        assert csv.DictReader(file).fieldnames == list(METHOD_COLUMNS)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        *("confusion.png", "roc.png", "score_distributions.png"),
    ]
    assert (tmp_path / "report.txt").read_text() == text + "\n" and text.endswith("x") and "results.csv" in text
