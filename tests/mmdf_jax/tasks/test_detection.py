"""The detection task: each head answers for its own stream's label; matching counts real windows alone."""

import jax.numpy as jnp
import numpy as np

from mmdf_jax import losses
from mmdf_jax.tasks.detection import Task, stream_label


def outputs_and_batch():
    outputs = {
        "logits": jnp.array([1.0, -2.0, 0.5]),
        "stream_logits": {"audio": jnp.array([0.3, 0.1, 2.0]), "video": jnp.array([-1.0, 1.0, 3.0])},
        "present": {"audio": jnp.array([True, False, True]), "video": jnp.array([True, True, True])},
    }
    batch = {
        "label": jnp.array([1, 0, 1]),
        "video_label": jnp.array([0, 0, 1]),
        "audio_label": jnp.array([1, 0, -1]),
        "mask": jnp.array([True, True, True]),
    }
    return outputs, batch


def test_the_loss_is_the_joint_plus_the_weighted_streams():
    outputs, batch = outputs_and_batch()
    loss, metrics = Task(stream_weight=0.5).loss(outputs, batch)
    joint = losses.binary_cross_entropy(outputs["logits"], batch["label"], batch["mask"])
    audio = losses.binary_cross_entropy(jnp.array([0.3]), jnp.array([1]), jnp.array([True]))
    video = losses.binary_cross_entropy(
        outputs["stream_logits"]["video"], batch["video_label"], batch["mask"], balanced=True
    )
    np.testing.assert_allclose(loss, joint + 0.25 * (audio + video), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss_audio"], audio, rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], 1.0)


def test_scores_are_probabilities_and_nan_where_a_stream_is_absent():
    outputs, batch = outputs_and_batch()
    scores = Task().outputs(outputs, batch)
    np.testing.assert_allclose(scores["score"], 1 / (1 + np.exp(-np.asarray(outputs["logits"]))), rtol=1e-6)
    assert np.isnan(scores["score_audio"][1])
    assert not np.isnan(scores["score_video"]).any()


def test_the_comparison_answers_whether_real_streams_disagree():
    labels = {  # real, dubbed, fake voice, fake picture, fake of unknown streams, unknown
        "label": np.array([0, 1, 1, 1, 1, -1]),
        "video_label": np.array([0, 0, 0, 1, -1, 0]),
        "audio_label": np.array([0, 0, 1, 0, -1, 0]),
    }
    expected = [0, 1, -1, -1, -1, -1]
    np.testing.assert_array_equal(stream_label("sync", labels), expected)
    rows = [{name: int(values[i]) for name, values in labels.items()} for i in range(6)]
    assert [stream_label("sync", row) for row in rows] == expected
    assert stream_label("audio", rows[2]) == 1 and stream_label("consistency", rows[1]) == 1


def test_the_matching_losses_count_real_windows_that_have_both_streams():
    outputs, batch = outputs_and_batch()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    x, y = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
    valid = np.array([[True] * 4, [True, True, True, False], [True] * 4])
    outputs["alignment"] = {"x": x, "y": y, "valid": valid, "scale": jnp.array(7.0)}
    outputs["present"]["sync"] = jnp.array([True, True, True])
    plain, _ = Task(stream_weight=0.5).loss(outputs, batch)
    loss, metrics = Task(stream_weight=0.5, alignment_weight=0.3, pooled_weight=0.2).loss(outputs, batch)

    logits = 7 * x[1, :3] @ y[1, :3].T  # window 1 is the only real one, and has three steps
    log_sums = [np.log(np.exp(logits).sum(axis)) for axis in (0, 1)]
    by_hand = np.mean(sum(log_sums) / 2 - np.diag(logits))
    np.testing.assert_allclose(metrics["loss_time_matching"], by_hand, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss_pooled_matching"], 0, atol=1e-5)  # one window has no other to confuse
    np.testing.assert_allclose(loss, plain + 0.3 * by_hand, rtol=1e-5)

    batch = {**batch, "label": jnp.zeros(3, int)}
    _, metrics = Task(pooled_weight=1.0).loss(outputs, batch)
    mean = [(v * valid[..., None]).sum(1) for v in (x, y)]
    u, w = (m / np.linalg.norm(m, axis=-1, keepdims=True) for m in mean)
    logits = 7 * u @ w.T
    by_hand = np.mean((np.log(np.exp(logits).sum(0)) + np.log(np.exp(logits).sum(1))) / 2 - np.diag(logits))
    np.testing.assert_allclose(metrics["loss_pooled_matching"], by_hand, rtol=1e-4)

    outputs["present"]["sync"] = jnp.zeros(3, bool)
    _, metrics = Task(alignment_weight=1.0).loss(outputs, batch)
    assert metrics["loss_time_matching"] == 0
