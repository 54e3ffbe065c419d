"""Transformer layers against torch, and the masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmdf_jax import cpu
from mmdf_jax.layers.mlp import DropPath, Mlp, SwiGlu, gelu, quick_gelu
from mmdf_jax.layers.transformer import Attention, Block, call


@pytest.fixture(params=[False, True], ids=["plain", "cpu"], autouse=True)
def form(request):
    """Every test runs with the plain forms and with the CPU's."""
    with cpu.forms(request.param):
        yield


def params(module, *inputs, **kwargs):
    """Random parameters, so that biases and norms matter."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **kwargs))
    return jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype(np.float32), shapes)


def compiled(module, **options):
    """`module.apply` as one program: op by op it takes longer."""
    return jax.jit(lambda p, *inputs: module.apply(p, *inputs, **options))


def test_attention_equals_torch_with_and_without_mask():
    rng = np.random.default_rng(1)
    x, context = rng.standard_normal((2, 5, 12), np.float32), rng.standard_normal((2, 7, 12), np.float32)
    mask = np.arange(7)[None] < np.array([[7], [4]])
    module = Attention(heads=3)
    p = params(module, x, context)
    reference = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        parts = [p["params"][name] for name in ("query", "key", "value")]
        reference.in_proj_weight.copy_(torch.tensor(np.concatenate([q["kernel"].T for q in parts])))
        reference.in_proj_bias.copy_(torch.tensor(np.concatenate([q["bias"] for q in parts])))
        reference.out_proj.weight.copy_(torch.tensor(p["params"]["out"]["kernel"].T))
        reference.out_proj.bias.copy_(torch.tensor(p["params"]["out"]["bias"]))
        for m in (None, mask):
            expected, weights = reference(
                *map(torch.tensor, (x, context, context)),
                key_padding_mask=None if m is None else ~torch.tensor(m),
                average_attn_weights=False,
            )
            where = None if m is None else m[:, None, None]
            found = compiled(module, capture=True)(p, x, context, where)
            np.testing.assert_allclose(found[0], expected, atol=1e-5)
            np.testing.assert_allclose(found[1], weights, atol=1e-5)
            y, nothing = compiled(module)(p, x, context, where)
            np.testing.assert_allclose(y, found[0], atol=1e-6)
            assert nothing is None


def test_a_query_that_may_look_nowhere_gets_the_output_bias_and_finite_gradients():
    x = np.random.default_rng(0).standard_normal((2, 4, 8), np.float32)
    mask = np.ones((2, 1, 4, 4), bool)
    mask[0, 0, 1] = False
    module = Attention(heads=2)
    p = params(module, x)
    _, weights = compiled(module, mask=mask, capture=True)(p, x)
    assert not np.asarray(weights)[0, :, 1].any()

    def loss(x):
        y, _ = module.apply(p, x, mask=mask)
        return y.sum(), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(x)
    np.testing.assert_allclose(y[0, 1], p["params"]["out"]["bias"], atol=1e-6)
    assert np.isfinite(gradient).all()


def test_masked_tokens_do_not_matter():
    x = np.random.default_rng(0).standard_normal((1, 6, 8), np.float32)
    mask = np.arange(6)[None, None, None] < 4
    module = Block(heads=2, mlp_hidden=16, layer_scale=1.0)
    p = params(module, x)
    other = x.copy()
    other[:, 4:] = 9.0
    apply = compiled(module)
    masked = np.asarray(apply(p, x, mask)[0])[:, :4]
    np.testing.assert_array_equal(masked, np.asarray(apply(p, other, mask)[0])[:, :4])
    np.testing.assert_allclose(masked, apply(p, x[:, :4])[0], atol=1e-6)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_block_equals_torch(pre_norm):
    x = np.random.default_rng(1).standard_normal((2, 5, 8), np.float32)
    module = Block(heads=2, mlp_hidden=24, pre_norm=pre_norm, eps=1e-5)
    p = params(module, x)
    q = p["params"]
    reference = torch.nn.TransformerEncoderLayer(8, 2, 24, 0.0, "gelu", batch_first=True, norm_first=pre_norm)
    attn = [q["attn"][name] for name in ("query", "key", "value")]
    state = {
        "self_attn.in_proj_weight": np.concatenate([a["kernel"].T for a in attn]),
        "self_attn.in_proj_bias": np.concatenate([a["bias"] for a in attn]),
        "self_attn.out_proj.weight": q["attn"]["out"]["kernel"].T,
        "self_attn.out_proj.bias": q["attn"]["out"]["bias"],
        "linear1.weight": q["mlp"]["fc1"]["kernel"].T,
        "linear1.bias": q["mlp"]["fc1"]["bias"],
        "linear2.weight": q["mlp"]["fc2"]["kernel"].T,
        "linear2.bias": q["mlp"]["fc2"]["bias"],
        **{f"norm{i}.weight": q[f"norm{i}"]["scale"] for i in (1, 2)},
        **{f"norm{i}.bias": q[f"norm{i}"]["bias"] for i in (1, 2)},
    }
    reference.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    expected = reference.train()(torch.tensor(x)).detach()
    np.testing.assert_allclose(compiled(module)(p, x)[0], expected, atol=1e-5)


def test_activations_and_gated_mlp():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    t = torch.tensor(x, requires_grad=True)
    torch.nn.functional.gelu(t).sum().backward()
    np.testing.assert_allclose(gelu(x), torch.nn.functional.gelu(t).detach(), atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(gelu)))(x), t.grad, atol=1e-6)
    np.testing.assert_allclose(quick_gelu(x), x / (1 + np.exp(-1.702 * x)), atol=1e-6)
    x = x[:8].reshape(2, 4)
    module = SwiGlu(6)
    p = params(module, x)
    q = p["params"]
    gate, up = (x @ q[name]["kernel"] + q[name]["bias"] for name in ("gate", "up"))
    expected = gate / (1 + np.exp(-gate)) * up @ q["down"]["kernel"] + q["down"]["bias"]
    np.testing.assert_allclose(compiled(module)(p, x), expected, atol=1e-5)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    x = np.ones((4000, 2, 3), np.float32)
    y = np.asarray(DropPath(0.25).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == y[:, :1, :1]).all()
    assert y.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(DropPath(0.25).apply({}, x), x)


def test_width_must_be_divisible_by_heads():
    with pytest.raises(ValueError, match="width 8 is not divisible by heads=3"):
        params(Attention(heads=3), np.ones((1, 2, 8), np.float32))


def test_call_rematerialises():
    class Two(Mlp):
        pass

    import flax.linen as nn

    class Model(nn.Module):
        remat: bool

        @nn.compact
        def __call__(self, x, *, train):
            return call(Two(16, dropout=0.5, name="mlp"), x, train=train, remat=self.remat)

    x = np.random.default_rng(0).standard_normal((3, 8), np.float32)
    p = params(Model(False), x, train=False)
    out = []
    for remat in (False, True):

        def loss(p, remat=remat):
            key = jax.random.key(0, impl="rbg")  # compiles in a fifth of the default's time
            return Model(remat).apply(p, x, train=True, rngs={"dropout": key}).sum()

        out.append(jax.jit(jax.value_and_grad(loss))(p))
        assert ("remat" in str(jax.make_jaxpr(jax.grad(loss))(p))) == remat
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *out)


def test_softmax_stays_in_fp32():
    x = jnp.ones((1, 2, 8), jnp.bfloat16)
    module = Attention(heads=2, dtype=jnp.bfloat16)
    y, weights = compiled(module, capture=True)(params(module, x), x)
    assert (y.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)


def test_attention_dropout_drops_in_training_alone():
    x = np.random.default_rng(0).standard_normal((1, 5, 8), np.float32)
    module = Attention(heads=2, dropout=0.5)
    p = params(module, x)
    still, kept = compiled(module, capture=True)(p, x)
    rngs = {"dropout": jax.random.key(0, impl="rbg")}
    y, weights = compiled(module, train=True, capture=True, rngs=rngs)(p, x)
    np.testing.assert_allclose(weights, kept, atol=1e-6)  # those before dropout
    assert not np.allclose(y, still, atol=1e-3)
    again = compiled(module, train=True, rngs=rngs)(p, x)[0]
    np.testing.assert_array_equal(again, y)
