"""The report of a contrastive run: the classifier's beside the consistency alone, and what the space knows."""

import dataclasses

import numpy as np
import pytest

from experiments.evaluators import classification
from experiments.evaluators.contrastive import CONSISTENCY, Evaluator
from experiments.report import write
from experiments.report.terminal import WIDTH
from experiments.score_table import ScoreRow, curve_cell


@pytest.fixture(scope="module")
def test_split():
    rng = np.random.default_rng(0)
    rows = []
    for method in ("real", "dubbing", "dubbing_other_voice", "face_swap"):
        for person in range(6):
            for take in range(2):
                fake = method != "real"
                mean = 0.9 - 0.4 * ("dubbing" in method) + 0.01 * take
                vector = np.eye(6)[person] + 0.3 * rng.standard_normal(6)
                extra = dict.fromkeys(CONSISTENCY, mean) | {"consistency_pooled": 0.5, "score_audio": rng.random()}
                extra |= {f"embedding_{stream}": curve_cell(vector) for stream in ("audio", "mouth")}
                swap = int(method == "face_swap")
                rows.append(
                    ScoreRow(
                        f"{method}/{person}/{take}",
                        int(fake),
                        float(0.2 + 0.6 * fake),
                        identity=str(person),
                        method=method,
                        video_label=swap,
                        audio_label=0,
                        extra={"partial": float(fake and take), **extra},
                    )
                )
    return rows


@pytest.fixture(scope="module")
def report(test_split):
    evaluator = Evaluator(classification.Evaluator())
    row = {**write.described({}), **evaluator.results(test_split, test_split, samples=20)}
    return evaluator, row, evaluator.tables(test_split, test_split, row, samples=20)


def test_consistency_is_judged_apart_from_the_classifier(report, test_split):
    evaluator, row, tables = report
    assert row["AUC"] == 1 and row["Consistency AUC on dubbing"] == 1
    assert row["Pooled consistency AUC on dubbing"] == 0.5
    assert set(evaluator.headline) | set(evaluator.averaged) <= set(row)
    of = {(entry["Method"], entry["Score"]): entry["AUC"] for entry in tables["consistency"].rows}
    assert of["dubbing", "consistency"] == of["dubbing_other_voice", "consistency_p10"] == 1
    assert of["face_swap", "consistency"] == 0.5
    assert ("partial fakes", "retrieval_at_1") in of
    own = classification.Evaluator().tables(test_split, test_split, row, samples=20)["methods"]
    assert own.rows == tables["methods"].rows


def test_the_shared_space_tells_people_apart(report):
    _, _, tables = report
    of = {entry["Measure"].split()[0]: entry for entry in tables["shared_space"].rows}
    assert of["alignment"]["Value"] == pytest.approx(0, abs=1e-6)
    assert of["same"]["Value"] > 0.9 and of["same"]["Chance"] == 0.5
    assert of["own"]["Clips"] == 12


def test_the_page_fits_and_names_all(report):
    evaluator, row, tables = report
    page = evaluator.text(row, tables, "test split")
    assert all(len(line) <= WIDTH for line in page)
    text = "\n".join(page)
    for part in ("consistency alone", "dubbing_other_voice", "same person's voice before another's", "AUC of the mean"):
        assert part in text


def test_figures(report, test_split):
    evaluator, row, _ = report
    assert "consistency" in evaluator.figures(test_split, row, {}, title="", samples=5)


def test_folds_are_pooled_by_rank_and_without_embeddings(report, test_split):
    evaluator, *_ = report
    pooled = evaluator.pooled([test_split, test_split])
    assert len(pooled) == 2 * len(test_split)
    assert all(0 < row.extra["consistency"] < 1 and "embedding_audio" not in row.extra for row in pooled)


def test_a_table_without_consistency_is_refused(test_split):
    bare = [dataclasses.replace(row, extra={}) for row in test_split]
    with pytest.raises(ValueError, match="no column `consistency`"):
        Evaluator(classification.Evaluator()).results(bare, bare, samples=5)


def test_clips_that_were_abstained_from_have_no_place_in_the_space(report, test_split):
    evaluator, row, _ = report
    gone = [
        dataclasses.replace(entry, score=float("nan"), status="abstained", extra={"partial": 0.0}) if i < 2 else entry
        for i, entry in enumerate(test_split)
    ]
    tables = evaluator.tables(gone, gone, row, samples=5)
    assert {entry["Clips"] for entry in tables["shared_space"].rows} == {10}
