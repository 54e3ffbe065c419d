"""Without the CPU's twins every encoder is plain: what is lowered for CUDA, and every transformation of JAX.

Tiny variants, cut further where depth repeats; their outputs with the twins and without are the same.
"""

import importlib
import pkgutil
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from mmdf_jax import cpu, encoders
from mmdf_jax.build import build

ENCODERS = [module.name for module in pkgutil.iter_modules(encoders.__path__)]
# Fields that make the tiny variant smaller still, and the shape of a sample. Of an encoder that is not here, its file's
# SHALLOW and EXAMPLE.
SMALL = {
    "clip": (dict(depth=1), (32, 32, 3)),
    "dinov2": (dict(depth=1), (32, 32, 3)),
    "convnext": (dict(depths=(1, 1), widths=(8, 16)), (16, 16, 3)),
    "efficientnet": (
        dict(inputs=(16, 8), outputs=(8, 12), repeats=(1, 1), expands=(1, 2), sizes=(3, 3), strides=(1, 2), head=16),
        (16, 16, 3),
    ),
    "wav2vec2": (dict(depth=1), (800,)),
    "hubert": (dict(depth=1, conv_norm="layer", pre_norm=False), (800,)),
    "spectrogram_cnn": (dict(width=8, stage_sizes=(1,), strides=((2, 2), (2, 2))), (1600,)),
    "resnet3d": (
        dict(kind="r2plus1d", width=8, stage_sizes=(1, 1), strides=((1, 1, 1), (2, 2, 2))),
        (2, 8, 8, 3),
    ),
    "cnn_lstm": (dict(hidden=8), (2, 32, 32, 3)),
    "temporal_difference": (dict(width=8, stage_sizes=(1, 1), strides=(2, 2, 1), span=1), (3, 8, 8, 3)),
    "ftcn": (
        dict(width=8, widths=(8,), stage_sizes=(1,), pools=(1, 1), heads=2, mlp_hidden=16, dropout=0.0),
        (3, 8, 8, 3),
    ),
    "lip_resnet": (dict(width=8, stage_sizes=(1,), strides=((1, 2, 2),), features=8), (3, 16, 16, 1)),
}


class Case:
    """An encoder, its variables, an input [2 …], and <pooled, weights> of them, in training."""

    def __init__(self, name):
        module = importlib.import_module(f"mmdf_jax.encoders.{name}")
        fields, shape = SMALL[name] if name in SMALL else (getattr(module, "SHALLOW", {}), module.EXAMPLE.shape[1:])
        self.model = build({"name": module.__name__, "variant": "tiny", **fields})
        self.name, self.shape = name, shape
        rng = np.random.default_rng(0)
        self.x = rng.random((2, *shape), np.float32)
        shapes = jax.eval_shape(lambda: self.model.init(jax.random.key(0), self.x))
        variables = jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype(np.float32), shapes)
        self.params = variables.pop("params")
        self.stats = jax.tree.map(lambda v: 1 + abs(v), variables)

    def apply(self, params, x):
        """In evaluation."""
        return self.model.apply({"params": params, **self.stats}, x)["pooled"]

    def loss(self, params, x):
        out, _ = self.model.apply({"params": params, **self.stats}, x, train=True, mutable=list(self.stats))
        return jnp.square(out["pooled"].astype(jnp.float32)).sum() + out["tokens"].astype(jnp.float32).mean()


@pytest.fixture(scope="module", params=ENCODERS)
def case(request):
    return Case(request.param)


def plain(f):
    return cpu.forms(False)(f)


def convolutions(text):
    """Of each convolution in StableHLO: how many axes it slides along, and the shape of its kernel."""
    found = re.findall(
        r"stablehlo\.convolution.*?dim_numbers = \[([^\]]*)\].*tensor<[\dx]+xf32>, tensor<([\dx]+)xf32>\)", text
    )
    return [(len(re.findall(r"\d", axes)), kernel + "x") for axes, kernel in found]


def test_lowered_for_cuda_nothing_is_custom(case):
    step = jax.jit(plain(jax.value_and_grad(case.loss)))
    text = step.trace(case.params, case.x).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in text  # two frames are one stretch of the LSTM's unrolled scan
    assert "optimization_barrier" not in text
    assert "custom_vjp" not in str(jax.make_jaxpr(plain(case.loss))(case.params, case.x))
    # a norm's mean as a product with one column
    assert not re.search(r"dot_general.*-> tensor<(\d+x)+1xf32>", text)
    axes = {axes for axes, _ in convolutions(text)}
    assert axes and (axes <= {1, 2} or case.name in ("resnet3d", "lip_resnet"))


@pytest.mark.parametrize("kind", ["mc3", "r2plus1d"])
def test_factorised_video_networks_have_2d_convolutions(kind):
    """All but what is 3-D in the paper: mc3's first stage and the skips that leave out frames."""
    case = Case("resnet3d")
    model = case.model.clone(kind=kind)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), case.x))
    text = jax.jit(plain(model.apply)).trace(shapes, case.x).lower(lowering_platforms=("cuda",)).as_text()
    kernels = {shape for axes, shape in convolutions(text) if axes == 3}
    assert all(re.match(r"3x3x3x|1x1x1x", shape) for shape in kernels)
    assert any(shape.startswith("3x3x3x") for shape in kernels) == (kind == "mc3")


def test_twins_compute_the_same(case):
    run = jax.value_and_grad(case.loss)
    ours, wanted = (jax.jit(cpu.forms(form)(run))(case.params, case.x) for form in (True, False))
    norm = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(wanted))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * norm), ours, wanted)


def test_forward_reverse_and_their_mixtures(case):
    """Along one direction v: Hv by forward over reverse and by reverse twice, v'g by jvp, g under checkpoint."""
    rng = np.random.default_rng(1)
    v = jax.tree.map(lambda p: rng.normal(0, 0.1, p.shape).astype(np.float32), case.params)

    def along(gradient):
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, v)))

    def everything(params):
        def f(p):
            return case.loss(p, case.x)

        _, slope = jax.jvp(f, (params,), (v,))
        gradient, forward_over_reverse = jax.jvp(jax.grad(f), (params,), (v,))
        reverse_over_reverse = jax.grad(lambda p: along(jax.grad(f)(p)))(params)
        return (slope, jax.grad(jax.checkpoint(f))(params), forward_over_reverse), (
            along(gradient),
            gradient,
            reverse_over_reverse,
        )

    found, wanted = jax.jit(plain(everything))(case.params)
    norm = [max(float(jnp.abs(g).max()) for g in jax.tree.leaves(part)) for part in wanted]
    for a, b, size in zip(found, wanted, norm, strict=True):
        assert np.isfinite(size) and size > 0
        jax.tree.map(lambda a, b, size=size: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3 * size), a, b)


def test_vmap(case):
    one_by_one = jax.jit(plain(jax.vmap(lambda x: case.apply(case.params, x[None])[0])))
    whole = jax.jit(plain(case.apply))(case.params, case.x)
    np.testing.assert_allclose(one_by_one(case.x), whole, rtol=1e-3, atol=1e-4 * float(jnp.abs(whole).max()))


def test_export_with_a_symbolic_batch(case):
    (b,) = export.symbolic_shape("b")
    batch = jax.ShapeDtypeStruct((b, *case.shape), jnp.float32)
    exported = export.export(jax.jit(plain(lambda x: case.apply(case.params, x))), platforms=("cpu", "cuda"))(batch)
    x = np.concatenate([case.x, case.x[:1]])
    wanted = jax.jit(plain(case.apply))(case.params, x)
    np.testing.assert_allclose(exported.call(x), wanted, rtol=1e-3, atol=1e-4 * float(jnp.abs(wanted).max()))


def test_the_switch_is_part_of_what_is_decorated():
    """Each decorated function keeps its own choice, wherever it is first called; by default the backend decides."""

    def chosen(x):
        return x + cpu.enabled()

    plainly, fast = (jax.jit(cpu.forms(form)(chosen)) for form in (False, True))
    with cpu.forms(True):
        assert plainly(0) == 0
        with cpu.forms(False):
            assert fast(0) == 1 and not cpu.enabled()
        assert cpu.enabled()
    assert cpu.enabled() == (jax.default_backend() == "cpu")
