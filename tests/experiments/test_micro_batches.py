"""Gradient accumulation: every micro-batch has both classes, and all of them together are the unsplit batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from data_pipelines.clip import Clip
from data_pipelines.loading import sampling
from experiments.distributed import micro_batches
from mmdf_jax.tasks.detection import Task


@pytest.mark.parametrize("n", (2, 4))
@pytest.mark.parametrize("balance", ("label", "method"))
def test_every_micro_batch_has_both_classes(n, balance):
    clips = [Clip(f"c{i}", f"c{i}.mp4", int(i % 4 == 0), method="real" if i % 4 else f"m{i % 3}") for i in range(40)]
    order = sampling.training_order(clips, range(40), balance=balance, seed=0)
    for step in range(5):
        labels = np.array([clips[order.row(16 * step + i)].label for i in range(16)])
        micro = micro_batches({"label": labels, "x": np.stack([labels, -labels], 1), "mask": labels >= 0}, n)
        assert micro["label"].shape == (n, 16 // n) and micro["x"].shape == (n, 16 // n, 2)
        assert (micro["label"].mean(1) == 0.5).all()
        assert sorted(micro["label"].ravel()) == sorted(labels)
        np.testing.assert_array_equal(micro["x"][..., 0], micro["label"])


def test_gradients_of_micro_batches_average_to_the_unsplit_batch():
    model, task = nn.Dense(1), Task(smoothing=0.05)
    x = jax.random.normal(jax.random.key(0), (16, 5))
    batch = {"x": x, "label": jnp.arange(16) % 2, "mask": jnp.ones(16, bool)}
    params = model.init(jax.random.key(1), x)

    def gradient(batch):
        def loss(params):
            present = {"audio": jnp.ones(len(batch["x"]), bool)}
            outputs = {"logits": model.apply(params, batch["x"])[:, 0], "stream_logits": {}, "present": present}
            return task.loss(outputs, batch)[0]

        return jax.grad(loss)(params)

    split = jax.tree.map(lambda g: g.mean(0), jax.lax.map(gradient, micro_batches(batch, 4)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), split, gradient(batch))


def test_rows_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"config.train.accumulate=3: 16 rows over 1 devices do not .* multiple of 6"):
        micro_batches({"mask": np.ones(16, bool)}, 3)
