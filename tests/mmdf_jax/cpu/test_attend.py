"""Attention one image at a time, and the plain one, against what is written here: values, every gradient, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax import cpu
from mmdf_jax.cpu import attend as module
from mmdf_jax.cpu.attend import attend
from mmdf_jax.layers.attend import attend as layer
from mmdf_jax.layers.attend import attend_with_weights


def plainly(q, k, v, mask):
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1])
    logits = logits if mask is None else jnp.where(mask, logits, -1e30)
    weights = jax.nn.softmax(logits)
    weights = weights if mask is None else jnp.where(mask, weights, 0)
    return jnp.einsum("bhnm,bmhd->bnhd", weights, v), weights


@pytest.mark.parametrize("large", [0, 2**16])
@pytest.mark.parametrize("mask", [None, (1, 1, 1, 7), (3, 1, 1, 7), (1, 2, 5, 7), (3, 2, 5, 7)])
def test_values_and_gradients(monkeypatch, large, mask):
    monkeypatch.setattr(module, "_LARGE", large)
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((3, n, 2, 4), np.float32) for n in (5, 7, 7))
    if mask is not None:
        mask = rng.random(mask) < 0.6
        mask[..., 0] = True
        if mask.shape[2] > 1:
            mask[:, :, 2] = False  # a query that may look nowhere
    a, b = rng.standard_normal((3, 5, 2, 4), np.float32), rng.standard_normal((3, 2, 5, 7), np.float32)

    def run(f):
        out = f(q, k, v, mask)
        through_both = jax.grad(lambda *x: sum(map(jnp.vdot, f(*x, mask), (a, b))), argnums=(0, 1, 2))(q, k, v)
        through_one = jax.grad(lambda *x: jnp.vdot(f(*x, mask)[0], a), argnums=(0, 1, 2))(q, k, v)
        return out, through_both, through_one

    def close(ours, wanted):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), ours, wanted)

    wanted = run(plainly)
    close(run(attend), wanted)
    with cpu.forms(False):
        close(run(attend_with_weights), wanted)
        close(layer(q, k, v, mask), wanted[0][0])
        close(jax.grad(lambda *x: jnp.vdot(layer(*x, mask), a), argnums=(0, 1, 2))(q, k, v), wanted[2])


def test_under_vmap():
    q = np.random.default_rng(0).standard_normal((2, 3, 5, 2, 4), np.float32)
    found = jax.vmap(lambda q: attend(q, q, q)[0])(q)
    np.testing.assert_allclose(found[1], plainly(q[1], q[1], q[1], None)[0], atol=1e-6)
