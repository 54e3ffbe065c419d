"""The task over steps: its loss by hand, steps stitched along the clip's time, and how well they tell the fake ones."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.clip import Clip
from experiments.evaluators import windows_to_clips
from experiments.score_table import ScoreRow, curve_cell
from mmdf_jax import losses
from mmdf_jax.build import build
from mmdf_jax.tasks.temporal import frame_auc

SPEC = {
    "name": "mmdf_jax.tasks.temporal",
    "detection": {"name": "mmdf_jax.tasks.detection", "target": "video_label", "stream_weight": 0.0},
}


def outputs_and_batch():
    rng = np.random.default_rng(0)
    outputs = {
        "logits": jnp.array([1.0, -2.0, 0.5]),
        "frame_logits": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
        "frame_valid": jnp.array([[True] * 4, [True, True, True, False], [False] * 4]),
        "stream_logits": {},
        "branch_logits": {"flow": jnp.array([0.3, 0.1, 2.0]), "differences": jnp.array([-1.0, 1.0, 3.0])},
        "baseline_logits": {"statistics": jnp.array([0.1, 0.2, 0.3])},
        "present": {"video": jnp.array([True, True, False])},
    }
    batch = {
        "label": jnp.array([1, 0, 1]),
        "video_label": jnp.array([1, 0, 1]),
        "audio_label": jnp.array([1, 0, -1]),
        "mask": jnp.array([True, True, True]),
        "frame_labels_video": jnp.array([[0.0, 0.5, 1.0, -1.0], [0.0] * 4, [1.0] * 4]),
    }
    return outputs, batch


def test_the_loss_is_the_windows_the_steps_the_branches_and_the_baseline():
    outputs, batch = outputs_and_batch()
    loss, metrics = build({**SPEC, "frame_weight": 0.3, "branch_weight": 0.7}).loss(outputs, batch)
    seen = jnp.array([True, True, False])

    def windows(logits):
        return losses.binary_cross_entropy(logits, batch["video_label"], seen, balanced=True)

    x = np.asarray(outputs["frame_logits"])
    fake = {(0, 1): 0.5, (0, 2): 1.0}
    real = {(0, 0): 1.0, (0, 1): 0.5, (1, 0): 1.0, (1, 1): 1.0, (1, 2): 1.0}
    parts = [
        sum(w * np.logaddexp(0, sign * x[place]) for place, w in of.items()) / sum(of.values())
        for sign, of in ((-1, fake), (1, real))
    ]
    np.testing.assert_allclose(metrics["loss_frames"], np.mean(parts), rtol=1e-5)
    branches = [windows(logits) for logits in outputs["branch_logits"].values()]
    expected = windows(outputs["logits"]) + 0.3 * np.mean(parts) + 0.7 * np.mean(branches)
    np.testing.assert_allclose(loss, expected + 0.01 * windows(outputs["baseline_logits"]["statistics"]), rtol=1e-5)
    plain, _ = build({**SPEC, "frame_weight": 0, "branch_weight": 0}).loss(outputs, batch)
    without = {name: value for name, value in batch.items() if name != "frame_labels_video"}
    np.testing.assert_allclose(build({**SPEC, "branch_weight": 0}).loss(outputs, without)[0], plain, rtol=1e-6)


def test_soft_cross_entropy_of_one_kind_alone_is_its_mean():
    logits = jnp.array([[0.3, -1.0]])
    for target, sign in ((1.0, -1), (0.0, 1)):
        found = losses.soft_cross_entropy(logits, jnp.full((1, 2), target), jnp.ones((1, 2), bool))
        np.testing.assert_allclose(found, np.logaddexp(0, sign * np.asarray(logits)).mean(), rtol=1e-6)
    assert losses.soft_cross_entropy(logits, logits, jnp.zeros((1, 2), bool)) == 0


def test_steps_in_other_numbers_than_labels_are_refused():
    outputs, batch = outputs_and_batch()
    with pytest.raises(ValueError, match="labels have 8 steps, the model judges 4; set config"):
        build(SPEC).loss(outputs, {**batch, "frame_labels_video": jnp.zeros((3, 8))})


def test_steps_are_stitched_along_the_clips_time():
    task = build(SPEC)
    outputs, batch = outputs_and_batch()
    scores = task.outputs(outputs, batch)
    assert set(scores) == {"score", "frame_scores", "branch_flow", "branch_differences", "baseline_statistics"}
    steps = np.asarray(scores["frame_scores"])
    assert np.isnan(steps[1, 3]) and np.isnan(steps[2]).all() and np.isnan(scores["branch_flow"][2])
    # Two windows of 0.16 s of one clip, the second 0.08 s later.
    (clip,) = windows_to_clips.reduce(
        task.reduction("frame_scores"), steps[:2], np.zeros(2, int), 1, starts=np.array([0.0, 0.08]), seconds=0.16
    )
    expected = [steps[0, 0], steps[0, 1], (steps[0, 2] + steps[1, 0]) / 2, (steps[0, 3] + steps[1, 1]) / 2, steps[1, 2]]
    np.testing.assert_allclose(clip[:5], expected, rtol=1e-6)
    assert len(clip) == 6 and np.isnan(clip[5])
    assert task.reduction("score") == "mean"


def row(label, spans, scores, score=0.5):
    extra = {"video_spans": json.dumps(spans), "frame_scores": curve_cell(np.array(scores, float))}
    return ScoreRow(f"{label}{spans}", label, score, video_label=label, extra=extra)


def test_frames_are_judged_within_each_clip():
    spans = [(0.08, 0.16)]
    assert frame_auc(row(1, spans, [0.1, 0.2, 0.9, 0.8, 0.3])) == 1
    assert frame_auc(row(1, spans, [0.1, 0.2, 0.9, 0.1, np.nan])) == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert math.isnan(frame_auc(row(1, [], [0.1, 0.9]))) and math.isnan(frame_auc(row(1, [(3.0, 4.0)], [0.1, 0.9])))
    rows = [row(1, spans, [0, 0, 1, 1, 0], 0.9), row(1, spans, [1, 0, 1, 1, 0], 0.8), row(0, [], [0.1] * 5, 0.2)]
    found = build(SPEC).validate(rows)
    assert found["auc"] == 1 and found["frame_auc"] == pytest.approx((1 + 5 / 6) / 2)
    assert set(build(SPEC).directions) == set(found)
    whole = [row(1, [], [0.9] * 5, 0.9), rows[2]]
    assert math.isnan(build(SPEC).validate(whole)["frame_auc"])


def test_a_clips_own_spans_stand_beside_its_scores():
    clip = Clip(
        "a", "a.mp4", 1, video_label=1, audio_label=0, video_segments=((0.5, 1.0),), audio_segments=((0.2, 0.4),)
    )
    columns = build(SPEC).columns(clip)
    assert columns["partial"] == 1 and json.loads(columns["video_spans"]) == [[0.5, 1.0]]
