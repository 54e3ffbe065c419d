"""The dense layer against linen's, value and gradients, in every form that its kernel gradient has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.layers.dense import Dense


@pytest.fixture(params=[False, True], ids=["plain", "cpu"], autouse=True)
def form(request):
    """Every test runs with the plain forms and with the CPU's."""
    with cpu.forms(request.param):
        yield


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
