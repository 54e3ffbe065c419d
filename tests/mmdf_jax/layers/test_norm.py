"""Normalisation layers against torch, linen and hand computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from jax.test_util import check_grads

from mmdf_jax import cpu
from mmdf_jax.layers.norm import GroupNorm, LayerNorm, Norm


@pytest.fixture(params=[False, True], ids=["plain", "cpu"], autouse=True)
def form(request):
    """Every test runs with the plain forms and with the CPU's."""
    with cpu.forms(request.param):
        yield


def value_and_pullback(function, cotangent, *inputs):
    """function(*inputs), and the gradients of its product with `cotangent`: one program, quicker than op by op."""

    def both(*inputs):
        value, pull = jax.vjp(function, *inputs)
        return value, pull(cotangent)

    return jax.jit(both)(*inputs)


@pytest.mark.parametrize("shape", [(2, 5, 16), (3, 4, 6, 5, 32), (1, 7, 3, 4)])
def test_group_norm_and_its_gradients_are_torchs(shape):
    rng = np.random.default_rng(0)
    x, g = (rng.normal(2.0, 3.0, shape).astype(np.float32) for _ in range(2))
    scale, bias = (rng.normal(1.0, 0.5, shape[-1]).astype(np.float32) for _ in range(2))

    def ours(x, scale, bias):
        return GroupNorm().apply({"params": {"scale": scale, "bias": bias}}, x)

    value, gradients = value_and_pullback(ours, g, x, scale, bias)
    tensors = [torch.from_numpy(v).requires_grad_() for v in (np.moveaxis(x, -1, 1).copy(), scale, bias)]
    theirs = torch.nn.functional.group_norm(tensors[0], max(shape[-1] // 8, 1), *tensors[1:])
    theirs.backward(torch.from_numpy(np.moveaxis(g, -1, 1).copy()))
    np.testing.assert_allclose(value, np.moveaxis(theirs.detach().numpy(), 1, -1), rtol=1e-4, atol=1e-5)
    expected = [np.moveaxis(tensors[0].grad.numpy(), 1, -1), *(t.grad.numpy() for t in tensors[1:])]
    for found, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_masked_positions_do_not_count():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 16)).astype(np.float32)
    x[:, 4:] = 1e4
    mask = np.arange(6)[None, :, None] < 4
    variables = {"params": {"scale": np.ones(16, np.float32), "bias": np.zeros(16, np.float32)}}

    @jax.jit
    def gradient_and_value(x, mask=None):
        def loss(x):
            y = GroupNorm().apply(variables, x, mask)[:, :4]
            return (y**3).sum(), y

        return jax.grad(loss, has_aux=True)(x)

    gradient, value = gradient_and_value(x, mask)
    expected, alone = gradient_and_value(x[:, :4])
    np.testing.assert_allclose(value, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[:, :4], expected, rtol=1e-4, atol=1e-6)
    assert not gradient[:, 4:].any()

    with jax.enable_x64(True):  # what is made of masked positions depends on the statistics too
        weights, x = np.random.default_rng(1).normal(size=x.shape), np.asarray(x, np.float64)
        norm = GroupNorm(dtype=jnp.float64)
        check_grads(jax.jit(lambda x: (norm.apply(variables, x, mask) * weights).sum()), (x,), 1, ["rev"])


def test_batch_norm_uses_running_averages_in_evaluation_only():
    x = np.random.default_rng(0).normal(3.0, 2.0, (8, 5, 4)).astype(np.float32)
    norm = Norm("batch")
    variables = jax.jit(lambda: norm.init(jax.random.key(0), x, train=False))()
    evaluated = jax.jit(lambda: norm.apply(variables, x, train=False))()
    np.testing.assert_allclose(evaluated, x / np.sqrt(1 + 1e-5), rtol=1e-5)
    y, updated = jax.jit(lambda: norm.apply(variables, x, train=True, mutable="batch_stats"))()
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["norm"]["mean"], 0.1 * x.mean((0, 1)), rtol=1e-5)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="kind must be"):
        Norm("layer").init(jax.random.key(0), jnp.ones((1, 2, 3)), train=False)


@pytest.mark.parametrize("shape", [(2, 5, 16), (3, 4, 6, 24), (7, 3)])
def test_layer_norm_and_its_gradients_are_torchs(shape):
    rng = np.random.default_rng(0)
    x, g = (rng.normal(2.0, 3.0, shape).astype(np.float32) for _ in range(2))
    scale, bias = (rng.normal(1.0, 0.5, shape[-1]).astype(np.float32) for _ in range(2))

    def ours(x, scale, bias):
        return LayerNorm(epsilon=1e-5).apply({"params": {"scale": scale, "bias": bias}}, x)

    value, gradients = value_and_pullback(ours, g, x, scale, bias)
    tensors = [torch.from_numpy(v).requires_grad_() for v in (x, scale, bias)]
    theirs = torch.nn.functional.layer_norm(tensors[0], shape[-1:], *tensors[1:], eps=1e-5)
    theirs.backward(torch.from_numpy(g))
    np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=1e-4, atol=1e-5)
    for found, expected in zip(gradients, tensors, strict=True):
        expected = expected.grad.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_layer_norm_is_linens_where_a_row_is_constant_and_in_bfloat16():
    x = np.stack([np.full(8, 3.0), np.arange(8.0)]).astype(np.float32)
    variables = {"params": {"scale": np.ones(8, np.float32), "bias": np.zeros(8, np.float32)}}
    for dtype in (jnp.float32, jnp.bfloat16):
        both = LayerNorm(dtype=dtype), nn.LayerNorm(dtype=dtype)
        ours, linens = jax.jit(lambda x, both=both: [norm.apply(variables, x) for norm in both])(x.astype(dtype))
        assert ours.dtype == dtype
        np.testing.assert_allclose(np.asarray(ours, np.float32), np.asarray(linens, np.float32), atol=2e-2)
    gradient = jax.jit(jax.grad(lambda x: (LayerNorm().apply(variables, x) ** 2).sum()))(x)
    assert np.isfinite(gradient).all()
