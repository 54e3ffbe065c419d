"""The contrastive task: its loss is detection's and three more, each over the rows and steps that are known."""

import json
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.score_table import ScoreRow
from mmdf_jax import losses
from mmdf_jax.tasks.contrastive import Task
from mmdf_jax.tasks.detection import Task as Detection

B, T, K = 5, 6, 4


def unit(rng, *shape):
    x = rng.standard_normal(shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def setup():
    """Rows: real, real, a swap that keeps sync, dubbed in its second half, a fake of unknown kind."""
    rng = np.random.default_rng(0)
    steps = {"mouth": unit(rng, B, T, K), "audio": unit(rng, B, T, K)}
    outputs = {
        "logits": jnp.asarray(rng.standard_normal(B), jnp.float32),
        "stream_logits": {"audio": jnp.asarray(rng.standard_normal(B), jnp.float32)},
        "present": {"audio": jnp.ones(B, bool)},
        "alignment": {
            "steps": steps,
            "pooled": {"mouth": unit(rng, B, K), "audio": unit(rng, B, K)},
            "cosines": np.sum(steps["mouth"] * steps["audio"], -1),
            "valid": np.ones((B, T), bool),
            "scale": jnp.float32(8.0),
        },
    }
    sync = np.zeros((B, T), np.float32)
    sync[2], sync[3, 3:], sync[4] = -1, 1, -1
    batch = {
        **dict.fromkeys(("label", "video_label", "audio_label"), np.array([0, 0, 1, 1, 1], np.int32)),
        "method": np.array([-1, -1, 0, -1, -1], np.int32),
        "frame_labels_sync": sync,
        "mask": np.ones(B, bool),
    }
    return outputs, batch


def test_the_loss_is_detections_and_the_weighted_three(setup):
    outputs, batch = setup
    task = Task(Detection(), time_weight=0.5, pooled_weight=0.1, mismatch_weight=2.0, margin=-1.0)
    loss, metrics = task.loss(outputs, batch)
    alignment = outputs["alignment"]
    x, y = alignment["steps"].values()
    in_sync = np.ones((B, T), bool)
    in_sync[3, 3:] = in_sync[4] = False
    time = losses.time_matching(x, y, in_sync, np.ones(B, bool), 8.0)
    pooled = losses.pooled_matching(*(v[:2] for v in alignment["pooled"].values()), np.ones(2, bool), 8.0)
    hinge = alignment["cosines"][3, 3:].mean() + 1
    np.testing.assert_allclose(
        [metrics[f"loss_{n}"] for n in ("time", "pooled", "mismatch")], [time, pooled, hinge], rtol=1e-5
    )
    np.testing.assert_allclose(
        loss, Detection().loss(outputs, batch)[0] + 0.5 * time + 0.1 * pooled + 2 * hinge, rtol=1e-5
    )


def test_the_hinge_ignores_fakes_that_are_not_known_to_mismatch(setup):
    outputs, batch = setup
    task = Task(Detection(), margin=-1.0)
    before = task.loss(outputs, batch)[1]["loss_mismatch"]
    outputs["alignment"]["cosines"][[0, 1, 2, 4]] = 1.0
    outputs["alignment"]["cosines"][3, :3] = 1.0
    assert before > 0 and task.loss(outputs, batch)[1]["loss_mismatch"] == before


def test_rows_that_are_padding_do_not_count(setup):
    outputs, batch = setup
    batch["mask"] = np.arange(B) < 1
    metrics = Task(Detection(), margin=-1.0).loss(outputs, batch)[1]
    assert metrics["loss_mismatch"] == 0 and metrics["loss_pooled"] == pytest.approx(0, abs=1e-6)


def test_a_batch_that_says_nothing_of_sync_is_refused(setup):
    outputs, batch = setup
    with pytest.raises(ValueError, match=r"set config\.data\.targets\.frame_labels"):
        Task(Detection()).loss(outputs, {k: v for k, v in batch.items() if k != "frame_labels_sync"})
    with pytest.raises(ValueError, match="compares 6 steps a window, but frame labels come in 3"):
        Task(Detection()).loss(outputs, {**batch, "frame_labels_sync": batch["frame_labels_sync"][:, :3]})


def test_scores_of_their_own_and_none_without_both_streams(setup):
    outputs, batch = setup
    outputs["alignment"]["valid"][1] = False
    task = Task(Detection())
    found = {name: np.asarray(value) for name, value in task.outputs(outputs, batch).items()}
    assert set(found) > set(Detection().outputs(outputs, batch))
    cosines = outputs["alignment"]["cosines"]
    np.testing.assert_allclose(found["consistency"][0], cosines[0].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["consistency_p10"][0], np.quantile(cosines[0], 0.1), rtol=1e-5)
    for name in ("consistency", "consistency_p10", "consistency_pooled", "retrieval_at_1"):
        assert np.isnan(found[name]).tolist() == [False, True, False, False, False]
    assert found["embedding_mouth"].shape == (B, K) and np.isnan(found["embedding_mouth"][1]).all()
    assert [task.reduction(name) for name in ("embedding_mouth", "consistency")] == ["curve", "mean"]


def test_validation_ranks_the_dubbed_by_their_consistency():
    def row(name, label, own, consistency):
        extra = {"consistency": consistency}
        return ScoreRow(name, label, 0.5 + label / 4, video_label=own, audio_label=own, extra=extra)

    rows = [row("a", 0, 0, 0.9), row("b", 0, 0, 0.4), row("c", 1, 0, 0.5), row("d", 1, 1, 0.99)]
    found = Task(Detection()).validate(rows)
    assert found["consistency_auc"] == 0.5 and found["auc"] == 1
    assert set(found) == set(Task(Detection()).directions)


ON_DEVICES = """
import json
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from experiments import distributed
from mmdf_jax.tasks.contrastive import Task
from mmdf_jax.tasks.detection import Task as Detection

def unit(*shape):
    x = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

free = {"x": unit(16, 10, 8), "y": unit(16, 10, 9)[..., :8], "p": unit(16, 8), "q": unit(16, 9)[:, :8], "z": unit(16)}
label = (np.arange(16) % 3 == 0).astype(np.int32)
batch = dict.fromkeys(("label", "video_label", "audio_label"), label)
batch |= {"valid": np.arange(160).reshape(16, 10) % 7 > 0, "mask": np.ones(16, bool)}
batch["frame_labels_sync"] = np.repeat(label[:, None], 10, 1).astype(np.float32)

def loss(free, batch):
    x, y, p, q = (free[name] for name in "xypq")
    alignment = {"steps": {"mouth": x, "audio": y}, "pooled": {"mouth": p, "audio": q}, "scale": 9.0}
    alignment |= {"cosines": (x * y).sum(-1), "valid": batch["valid"]}
    outputs = {"logits": free["z"], "stream_logits": {}, "present": {"mouth": batch["mask"]}, "alignment": alignment}
    return Task(Detection(), margin=-1.0).loss(outputs, batch)[0]

found = []
for place in (jax.devices()[0], NamedSharding(distributed.make_mesh(), PartitionSpec("data"))):
    placed = jax.device_put((free, batch), place)
    assert len(placed[0]["x"].sharding.device_set) == (8 if found else 1)
    value, gradient = jax.jit(jax.value_and_grad(loss))(*placed)
    found.append([float(value), *(np.asarray(gradient[name]).ravel().tolist() for name in "xypqz")])
print(json.dumps(found))
"""


def test_eight_devices_see_all_negatives():
    root = pathlib.Path(__file__).parents[3]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    command = [sys.executable, "-c", ON_DEVICES]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    alone, spread = json.loads(done.stdout.splitlines()[-1])
    assert alone[0] == pytest.approx(spread[0], rel=1e-5)
    for one, other in zip(alone[1:], spread[1:], strict=True):
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
