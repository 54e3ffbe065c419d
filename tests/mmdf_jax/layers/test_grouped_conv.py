"""Grouped 1-D convolution in both forms against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmdf_jax import cpu
from mmdf_jax.layers.grouped_conv import GroupedConv1D, grouped_conv1d


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize(("kernel", "groups", "t"), [(8, 4, 21), (7, 2, 21), (16, 4, 5), (1, 1, 6)])
def test_value_and_gradients_are_torchs(kernel, groups, t, form):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, 3, t, 12)).astype(np.float32)
    w = rng.normal(size=(kernel, 12 // groups, 12)).astype(np.float32)
    tx = torch.from_numpy(x).mT.requires_grad_()
    tw = torch.from_numpy(w.transpose(2, 1, 0).copy()).requires_grad_()
    theirs = torch.nn.functional.conv1d(tx, tw, padding=kernel // 2, groups=groups)[..., :t]
    theirs.backward(torch.from_numpy(g).mT)

    y, pull = jax.vjp(jax.jit(cpu.forms(form)(lambda x, w: grouped_conv1d(x, w, groups))), x, w)
    dx, dw = pull(g)
    np.testing.assert_allclose(y, theirs.detach().mT, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dx, tx.grad.mT, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dw, tw.grad.numpy().transpose(2, 1, 0), rtol=1e-4, atol=1e-4)


def test_layer_keeps_fp32_parameters_in_bfloat16():
    layer = GroupedConv1D(4, 2, dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 4)))
    assert y.dtype == jnp.bfloat16
    grads = jax.grad(lambda v: layer.apply(v, jnp.ones((1, 6, 4))).astype(jnp.float32).sum())(variables)
    assert {p.dtype for p in jax.tree.leaves((variables, grads))} == {jnp.dtype("float32")}


def test_channels_that_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match="cannot be split"):
        GroupedConv1D(3, 4).init(jax.random.key(0), jnp.ones((1, 6, 6)))
