"""The detection task: each head answers for its own stream's label."""

import jax.numpy as jnp
import numpy as np

from mmdf_jax import losses
from mmdf_jax.tasks.detection import Task


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
