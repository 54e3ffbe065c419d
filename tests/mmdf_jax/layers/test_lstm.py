"""The LSTM against torch's, and its treatment of padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmdf_jax.layers.lstm import LSTM


@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_gradient_are_torchs(reverse):
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(5, 7, batch_first=True)
    x = np.random.default_rng(0).normal(size=(3, 6, 5)).astype(np.float32)
    tx = torch.from_numpy(x).requires_grad_()
    h = theirs(tx.flip(1) if reverse else tx)[0]
    h = h.flip(1) if reverse else h
    h.square().sum().backward()

    w = {k: v.detach().numpy() for k, v in theirs.named_parameters()}
    params = {
        "input": {"kernel": w["weight_ih_l0"].T, "bias": w["bias_ih_l0"] + w["bias_hh_l0"]},
        "kernel": w["weight_hh_l0"].T,
    }
    layer = LSTM(7, reverse=reverse)
    ours, pull = jax.vjp(jax.jit(lambda x: layer.apply({"params": params}, x)), x)
    np.testing.assert_allclose(ours, h.detach(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pull(2 * ours)[0], tx.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_changes_nothing(reverse):
    x = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)
    mask = np.arange(6) < np.array([6, 4])[:, None]
    layer = LSTM(7, reverse=reverse)
    variables = layer.init(jax.random.key(0), x)
    alone = layer.apply(variables, x[1:, :4])
    np.testing.assert_allclose(layer.apply(variables, x, mask)[1, :4], alone[0], rtol=1e-5, atol=1e-6)


def test_forget_gates_start_open():
    variables = LSTM(3).init(jax.random.key(0), jnp.ones((1, 2, 4)))
    np.testing.assert_array_equal(variables["params"]["input"]["bias"], [0] * 3 + [1] * 3 + [0] * 6)
