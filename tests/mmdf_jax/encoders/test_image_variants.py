"""Image encoders: published sizes and parameter counts, the contract of the outputs, training, rematerialisation."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.weights.load import shapes

NAMES = ("clip", "dinov2", "convnext", "efficientnet")

# millions of parameters of the image tower without a classifier: timm's and torchvision's tables less their heads; CLIP
# with its projection, DINOv2 at its native 518 pixels
PUBLISHED = {
    ("clip", "b32"): 87.85,
    ("clip", "b16"): 86.19,
    ("clip", "l14"): 303.97,
    ("clip", "l14_336"): 304.29,
    ("dinov2", "s14"): 22.06,
    ("dinov2", "b14"): 86.58,
    ("dinov2", "l14"): 304.37,
    ("dinov2", "g14"): 1136.48,
    ("dinov2", "s14_registers"): 22.06,
    ("dinov2", "b14_registers"): 86.58,
    ("dinov2", "l14_registers"): 304.37,
    ("dinov2", "g14_registers"): 1136.49,
    ("convnext", "t"): 28.59 - 0.769,
    ("convnext", "s"): 50.22 - 0.769,
    ("convnext", "b"): 88.59 - 1.025,
    ("convnext", "l"): 197.77 - 1.537,
    ("efficientnet", "b0"): 5.29 - 1.281,
    ("efficientnet", "b1"): 7.79 - 1.281,
    ("efficientnet", "b2"): 9.11 - 1.409,
    ("efficientnet", "b3"): 12.23 - 1.537,
    ("efficientnet", "b4"): 19.34 - 1.793,
    ("efficientnet", "b5"): 30.39 - 2.049,
    ("efficientnet", "b6"): 43.04 - 2.305,
    ("efficientnet", "b7"): 66.35 - 2.561,
}


def encoder(name: str, variant: str = "tiny", **fields):
    module = importlib.import_module(f"mmdf_jax.encoders.{name}")
    return module, module.Model(**{**module.VARIANTS[variant], **fields})


def test_every_published_size_is_here():
    for name in NAMES:
        module, _ = encoder(name)
        assert {variant for n, variant in PUBLISHED if n == name} | {"tiny"} == set(module.VARIANTS)


@pytest.mark.parametrize(("name", "variant"), PUBLISHED)
def test_published_parameter_counts(name, variant):
    projection = {"projection": 768 if "l14" in variant else 512} if name == "clip" else {}
    module, model = encoder(name, variant, **projection)
    count = sum(np.prod(x.shape) for x in jax.tree.leaves(shapes(model, module.EXAMPLE)["params"]))
    assert count / 1e6 == pytest.approx(PUBLISHED[name, variant], abs=0.011)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_of_a_batch_in_bfloat16(name):
    module, model = encoder(name, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.uint8)
    variables = shapes(model, module.EXAMPLE)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    out = jax.eval_shape(lambda v, x: model.apply(v, x, capture=("attention",)), variables, x)
    assert ("attention" in out) == (name in ("clip", "dinov2"))
    assert "attention" not in jax.eval_shape(lambda v, x: model.apply(v, x), variables, x)
    assert out["tokens"].ndim == 4 and out["tokens"].shape[0] == 2 and out["tokens"].dtype == jnp.bfloat16
    assert out["tokens"].shape[2] * 2 == out["tokens"].shape[1] * 3
    assert out["pooled"].shape == (2, out["tokens"].shape[-1])
    for weights in out.get("attention", ()):
        assert weights.dtype == jnp.float32 and weights.shape[-1] == weights.shape[-2]


DROPOUT = {
    "clip": {"dropout": 0.1, "attention_dropout": 0.1},
    "dinov2": {"dropout": 0.1, "attention_dropout": 0.1, "gated": True},
    "convnext": {},
    "efficientnet": {"dropout": 0.1},
}


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_training_with_every_kind_of_dropout_traces(name, remat):
    module, model = encoder(name, remat=remat, drop_path=0.2, **DROPOUT[name])
    variables = shapes(model, module.EXAMPLE)
    params = variables.pop("params")

    def loss(params, rest, x):
        rngs = {"dropout": jax.random.key(0)}
        out, _ = model.apply({"params": params, **rest}, x, train=True, rngs=rngs, mutable=list(rest))
        return out["pooled"].sum()

    jaxpr, gradients = jax.make_jaxpr(jax.grad(loss), return_shape=True)(params, variables, module.EXAMPLE)
    assert jax.tree.structure(gradients) == jax.tree.structure(params)
    assert "random_bits" in str(jaxpr)


@pytest.mark.parametrize("name", ["clip", "efficientnet"])
def test_a_training_step_is_the_same_with_remat(name):
    """Dropout, stochastic depth and batch statistics included; float pixels equal uint8 ones."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    key = jax.random.key(1, impl="unsafe_rbg")  # compiles several times faster than the default
    results = []
    for remat, pixels in ((False, x), (True, x.astype(np.float32) / np.float32(255))):
        module, _ = encoder(name)
        _, model = encoder(name, remat=remat, drop_path=0.2, **DROPOUT[name], **module.SHALLOW)
        if not results:
            variables = shapes(model, module.EXAMPLE)
            params = jax.tree.map(lambda s: rng.normal(0, 0.2, s.shape).astype(np.float32), variables.pop("params"))
            variables = jax.tree.map(lambda s: rng.uniform(0.5, 1.5, s.shape).astype(np.float32), variables)

        def loss(params, rest, x, model=model):
            out, changed = model.apply(
                {"params": params, **rest}, x, train=True, rngs={"dropout": key}, mutable=list(rest)
            )
            return jnp.square(out["tokens"]).mean() + out["pooled"].mean(), changed

        results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params, variables, pixels))
    plain, again = results
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max() + 1e-5), plain, again)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(plain[1]))
    if name == "efficientnet":
        (_, changed), _ = plain
        assert all(np.abs(a - b).max() > 0 for a, b in zip(*map(jax.tree.leaves, (changed, variables)), strict=True))


def test_an_image_smaller_than_a_patch_is_refused():
    _, model = encoder("clip")
    with pytest.raises(ValueError, match=r"image \(8, 64\) is smaller than one patch of 16"):
        shapes(model, jax.ShapeDtypeStruct((1, 8, 64, 3), jnp.uint8))
