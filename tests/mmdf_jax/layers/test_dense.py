"""The dense layer against linen's, value and gradients, in every form that its kernel gradient has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmdf_jax.layers.dense import Dense


@pytest.mark.parametrize(
    ("shape", "features"), [((4, 65, 128), 160), ((260, 160), 128), ((7, 8), 4), ((4100, 128), 130), ((5, 600), 520)]
)
def test_equals_linens(shape, features):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(shape, np.float32), rng.standard_normal((*shape[:-1], features), np.float32)
    params = {
        "kernel": rng.normal(0, shape[-1] ** -0.5, (shape[-1], features)).astype(np.float32),
        "bias": rng.standard_normal(features, np.float32),
    }

    def run(module):
        y, vjp = jax.vjp(lambda p, x: module.apply({"params": p}, x), params, x)
        return y, vjp(jnp.asarray(g))

    for ours, theirs in zip(
        jax.tree.leaves(run(Dense(features))), jax.tree.leaves(run(nn.Dense(features))), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_only_a_cpu_transposes_in_memory():
    module, x = Dense(128), jax.ShapeDtypeStruct((512, 128), np.float32)
    params = jax.eval_shape(module.init, jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda p, x: (module.apply(p, x) ** 2).sum()))
    for platform, barrier in (("cpu", True), ("cuda", False)):
        text = gradient.trace(params, x).lower(lowering_platforms=(platform,)).as_text()
        assert ("optimization_barrier" in text) == barrier
