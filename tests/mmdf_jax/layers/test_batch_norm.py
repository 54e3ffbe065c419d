"""BatchNorm in both forms against flax's, whose variables it shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.layers.norm import BatchNorm


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_equals_flax_with_gradients_and_statistics(train, form):
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (3, 5, 4, 6)).astype(np.float32)
    variables = {
        "params": {k: rng.normal(1, 0.3, 6).astype(np.float32) for k in ("scale", "bias")},
        "batch_stats": {"mean": rng.normal(size=6).astype(np.float32), "var": rng.uniform(1, 2, 6).astype(np.float32)},
    }
    weight = rng.standard_normal(x.shape, np.float32)

    def run(apply):
        def loss(params, x):
            y, changed = apply({**variables, "params": params}, x)
            return jnp.vdot(y, weight), (y, changed)

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)

    with cpu.forms(form):
        ours = run(lambda v, x: BatchNorm(0.9, 1e-3).apply(v, x, train=train, mutable=["batch_stats"]))
    flax = run(lambda v, x: nn.BatchNorm(not train, momentum=0.9, epsilon=1e-3).apply(v, x, mutable=["batch_stats"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5), ours, flax)


def test_statistics_stay_in_fp32():
    x = jnp.asarray(np.random.default_rng(0).normal(3, 1, (64, 64, 2)), jnp.bfloat16)
    module = BatchNorm(dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), x, train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(2))
    y, changed = module.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16 and {v.dtype for v in jax.tree.leaves(changed)} == {np.dtype(np.float32)}
    exact = np.asarray(x, np.float64).reshape(-1, 2).mean(0)
    np.testing.assert_allclose(changed["batch_stats"]["mean"], 0.01 * exact, rtol=1e-5)
