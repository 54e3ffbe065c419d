"""The report on steps: rivals with paired intervals, conditions on the same clips, frames within partial fakes."""

import dataclasses
import json
import math

import numpy as np
import pytest

from experiments.evaluators import classification, temporal
from experiments.figures import flow_fields, space_time, style
from experiments.report import write
from experiments.report.terminal import WIDTH
from experiments.score_table import ScoreRow, curve_cell

EVALUATOR = temporal.Evaluator(classification.Evaluator("video_label"))


@pytest.fixture(scope="module")
def clips():
    rng, rows = np.random.default_rng(0), []
    for method in ("real", "dubbing", "face_swap", "lip_reenactment"):
        for person in range(8):
            for take in range(2):
                fake = int(method not in ("real", "dubbing"))
                spans = [[0.4, 0.8]] if fake and take else []
                frames = np.full(50, 0.2 + 0.6 * fake)
                frames[10:20] = 0.9 if spans else frames[10]
                frames[-3:] = np.nan
                rows.append(
                    ScoreRow(
                        f"{method}/{person}/{take}",
                        int(method != "real"),
                        float(np.clip(0.3 + 0.5 * fake + 0.1 * rng.standard_normal(), 0, 1)),
                        identity=str(person),
                        method=method,
                        video_label=fake,
                        audio_label=0,
                        extra={
                            "partial": float(bool(spans)),
                            "video_spans": json.dumps(spans),
                            "frame_scores": curve_cell(frames),
                            "branch_flow": float(rng.random()),
                            "baseline_statistics": float(np.clip(0.4 + 0.2 * fake + 0.2 * rng.random(), 0, 1)),
                        },
                    )
                )
    return rows


@pytest.fixture(scope="module")
def report(clips):
    row = {**write.described({}), **EVALUATOR.results(clips, clips, samples=50)}
    return row, EVALUATOR.tables(clips, clips, row, samples=50)


def test_rivals_are_judged_by_the_video_with_paired_intervals(report):
    row, tables = report
    rivals = {entry["Score"]: entry for entry in tables["rivals"].rows}
    assert set(rivals) == {"branch_flow", "baseline_statistics"}
    flow = rivals["branch_flow"]
    assert flow["Clips"] == 64 and flow["Difference"] == pytest.approx(row["AUC"] - flow["AUC"])
    assert flow["Difference low"] > 0 and flow["Holm p"] < 0.05
    assert set(EVALUATOR.headline) | set(EVALUATOR.averaged) <= set(row)


def test_it_answers_for_the_label_that_its_classifier_does():
    assert EVALUATOR.judged_by == "video_label"


def test_frames_are_judged_within_partial_fakes(report):
    row, tables = report
    assert row["Frame AUC"] == 1 and row["Frame AUC low"] < 1
    frames = {entry["Method"]: entry for entry in tables["frames"].rows}
    assert set(frames) == {"partial fakes", "face_swap", "lip_reenactment"}
    assert frames["partial fakes"]["Clips"] == 16 and frames["face_swap"]["Clips"] == 8


def test_conditions_are_compared_clip_by_clip(clips):
    rng = np.random.default_rng(1)
    worse = [dataclasses.replace(row, score=float(rng.random())) for row in reversed(clips)]
    table, lines = EVALUATOR.conditions(clips, {"same": clips, "shuffled": worse, "half": worse[::2]}, samples=50)
    same, shuffled, half = table.rows
    assert same["Difference"] == 0 and shuffled["Difference low"] > 0
    assert shuffled["Clips"] == 64 and half["Clips"] == 32
    assert len(lines) == 4 and max(map(len, lines)) <= WIDTH and lines[2].startswith("shuffled")


def test_the_text_says_all_of_it_and_fits_the_page(clips, report, tmp_path):
    row, tables = report
    lines = EVALUATOR.text(row, tables, "test split")
    text = "\n".join(lines)
    assert "logistic regression on statistics" in text and "branch: flow" in text
    assert "frames within partial fakes" in text and max(map(len, lines)) <= WIDTH
    figures = EVALUATOR.figures(clips, row, tables, title="run: ", samples=20)
    panels = figures["frame_scores"].axes
    assert len(panels) == 4  # a partial fake of each method, one fake throughout, one real
    assert [len(axes.patches) for axes in panels] == [1, 1, 1, 0]
    style.save(figures["frame_scores"], tmp_path / "frames.png")
    compared = {"conditions": EVALUATOR.conditions(clips, {"same": clips}, samples=20)}
    said = write.write(tmp_path, EVALUATOR, clips, clips, {}, samples=20, compared=compared)
    assert "test split under" in said and (tmp_path / "conditions.csv").is_file() and "conditions.csv" in said


def test_folds_are_pooled_by_rank_and_steps_stay_as_they_are(clips):
    pooled = EVALUATOR.pooled([clips[::2], clips[1::2]])
    assert {row.extra["frame_scores"] for row in pooled} == {row.extra["frame_scores"] for row in clips}
    assert max(row.score for row in pooled) < 1 and max(row.extra["branch_flow"] for row in pooled) == 32 / 33


def test_a_table_without_steps_is_refused(clips):
    with pytest.raises(ValueError, match="no column `frame_scores`"):
        EVALUATOR.results(clips, [dataclasses.replace(row, extra={}) for row in clips], samples=0)
    none = [dataclasses.replace(row, extra={**row.extra, "video_spans": "[]"}) for row in clips]
    assert math.isnan(EVALUATOR.results(none, none, samples=0)["Frame AUC"])


def test_motion_is_drawn_of_any_size(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 20, 24, 3), np.uint8)
    flow = rng.normal(size=(8, 8, 2))
    fields = flow_fields.draw(
        [flow_fields.Shown("real", frames[0], flow, 0), flow_fields.Shown("swap", frames[0], 0 * flow, 1)], title="flow"
    )
    slices = space_time.draw(
        [
            space_time.Shown("real · a", frames, 0.4, [], 0),
            space_time.Shown("swap · b", frames, 0.4, [(0.0, 0.5), (2.0, 3.0)], 1),
        ],
        title="rows over time",
    )
    assert len(slices.axes) == 4 and [len(axes.lines) for axes in slices.axes] == [0, 0, 1, 1]
    np.testing.assert_allclose(slices.axes[2].lines[0].get_ydata(), (0.4, 0.5))
    for name, figure in (("fields", fields), ("slices", slices)):
        style.save(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 0
