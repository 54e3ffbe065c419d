"""The lip-sync report on made score tables."""

import math

import numpy as np
import pytest

from experiments.evaluators import sync
from experiments.score_table import ScoreRow, curve_cell, read, write


def row(i, method="real", offset=0, peak=0.8, partial=0.0, timeline=None, video=0, **extra):
    label = int(method != "real")
    curve = np.full(31, 0.1)
    curve[15 + offset] = peak
    timeline = np.full(50, peak if offset == 0 else 0.1) if timeline is None else timeline
    cells = {
        "sync_sum": curve_cell(curve * 30),
        "sync_count": curve_cell(np.full(31, 30.0)),
        "distance_sum": curve_cell(np.sqrt(2 - 2 * curve) * 30),
        "similarity": curve_cell(timeline),
        **{f"accuracy_{run}": float(offset == 0) for run in sync.RUNS},
        **{f"energy_accuracy_{run}": 0.25 for run in sync.RUNS},
        "energy_sync_sum": curve_cell(curve[::-1] * 30),
        "energy_sync_count": curve_cell(np.full(31, 30.0)),
    }
    return ScoreRow(
        f"{method}{i}",
        label,
        0.5,
        "made",
        "test",
        f"p{i % 5}",
        method,
        video,
        0,
        extra={"partial": partial, "spans": "[[0.4, 0.8]]" if partial else "[]", "partner": "", **cells, **extra},
    )


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    rows = [row(i, peak=0.6 + 0.02 * rng.random()) for i in range(10)]
    rows += [
        row(i, "dubbing", offset=int(rng.integers(3, 12)), peak=0.3, partner=("same", "other")[i % 2]) for i in range(8)
    ]
    rows += [row(i, "swap", video=1) for i in range(4)]
    return rows


def test_results_say_offsets_of_reals_and_fit_on_validation_alone(table):
    found = sync.Evaluator().results(table, table, samples=50)
    assert found["Accuracy"] == found["Accuracy clip"] == found["Best validation accuracy"] == 1
    assert found["LSE-D"] == pytest.approx(np.mean([sync.Measured.of(r).lse_d for r in table[:10]]))
    assert found["LSE-C"] > 0 and found["Coverage"] == 1 and found["Clips"] == 22
    changed = sync.Evaluator().results(table[:18], table[:5], samples=0)
    assert changed["Weight similarity"] == sync.Evaluator().results(table[:18], table, samples=0)["Weight similarity"]


def test_the_detector_is_of_streams_that_disagree(table):
    weights = sync.fit(table)
    scores = {r.clip_id: sync.score(r, weights) for r in table}
    assert min(scores[f"dubbing{i}"] for i in range(8)) > 0.5 > max(scores[f"real{i}"] for i in range(10))
    assert max(scores[f"swap{i}"] for i in range(4)) < 0.5
    assert sync.fit(table[:10]) == (2.0, -4.0, 0.0, 0.0, 0.0)


def test_fit_is_where_the_penalised_likelihood_has_its_minimum(table):
    from scipy.optimize import minimize

    x = np.array([sync.Measured.of(r).features for r in table[:18]])
    y = np.array([r.label for r in table[:18]])
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-6)
    z = (x - mean) / deviation
    share = np.where(y == 1, 0.5 / 8, 0.5 / 10) * 18

    def loss(w):
        logits = w[0] + z @ w[1:]
        penalty = 18 * (1e-6 * w[0] ** 2 + 0.1 * np.sum(w[1:] ** 2)) / 2
        return np.sum(share * (np.logaddexp(0, logits) - y * logits)) + penalty

    best = minimize(loss, np.zeros(5), tol=1e-10).x
    assert np.array(sync.fit(table[:18])[1:]) * deviation == pytest.approx(best[1:], abs=1e-3)


def test_tables_have_baselines_with_intervals_and_partners_apart(table):
    evaluator = sync.Evaluator()
    found = evaluator.results(table, table, samples=50)
    tables = evaluator.tables(table, table, found, samples=50)
    energy = {r["Windows"]: r for r in tables["offsets"].rows if r["Method"] == "energy"}
    assert energy[1]["Accuracy"] == 0.25 and energy[1]["Network minus it"] == pytest.approx(0.75)
    assert energy[1]["Difference low"] < 0 < energy[1]["Difference high"]  # few people, if all alike, prove little
    assert energy[sync.WHOLE]["Accuracy"] == 1
    methods = {r["Method"]: r for r in tables["methods"].rows}
    assert methods["dubbing"]["AUC"] == 1 and methods["dubbing, same person"]["Fakes"] == 4
    assert methods["real"]["In step"] == 1 and math.isnan(methods["real"]["AUC"])
    text = "\n".join(evaluator.text({**DESCRIBED, **found}, tables, "test split"))
    assert "network better by 0.750" in text and "dubbing, other person" in text
    assert set(evaluator.figures(table, found, {}, title="", samples=0)) == {
        "offsets",
        "averaged_windows",
        "sync_over_time",
    }


DESCRIBED = {
    "Model": "m",
    "Modality": "",
    "Parameters (M)": math.nan,
    "Training time (min)": math.nan,
    "Inference (ms/sample)": math.nan,
    "Peak memory (GB)": math.nan,
}


def test_coverage_low_quantile_and_spans():
    timeline = np.concatenate([np.full(20, 0.9), np.full(10, 0.0), np.full(10, np.nan)])
    one = row(0, "dubbing", partial=1.0, timeline=timeline)
    measured = sync.Measured.of(one)
    assert measured.coverage == 0.75 and measured.low == pytest.approx(0) and measured.similarity == pytest.approx(0.6)
    assert sync.spans_of(one) == [(0.4, 0.8)] and sync.spans_of(row(0)) == []


def test_a_table_written_and_read_gives_the_same_results(table, tmp_path):
    write(tmp_path / "t.csv", table)
    again = sync.Evaluator().results(read(tmp_path / "t.csv"), read(tmp_path / "t.csv"), samples=0)
    assert again["AUC"] == sync.Evaluator().results(table, table, samples=0)["AUC"]


def test_a_table_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="no column sync_sum"):
        sync.Evaluator().results([], [ScoreRow("a", 0, 0.5)], samples=0)
