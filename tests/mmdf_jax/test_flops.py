"""The analytic FLOP table against published counts, torch's counter on the originals, and the traced program."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmark import torch_models
from mmdf_jax import cpu, flops
from mmdf_jax.build import build
from mmdf_jax.layers import spectrogram

IMAGE, CLIP, AUDIO = (224, 224, 3), (16, 112, 112, 3), (64000,)
# Published multiply-adds (G): timm's benchmark tables for the ViTs, torchvision's model metadata for the others.
PUBLISHED = {
    ("clip", "b32"): (IMAGE, 4.41),
    ("clip", "b16"): (IMAGE, 17.58),
    ("clip", "l14"): (IMAGE, 81.08),
    ("dinov2", "s14"): ((518, 518, 3), 46.76),
    ("dinov2", "b14"): ((518, 518, 3), 151.71),
    ("convnext", "t"): (IMAGE, 4.456),
    ("convnext", "b"): (IMAGE, 15.355),
    ("efficientnet", "b0"): (IMAGE, 0.386),
    ("efficientnet", "b4"): ((380, 380, 3), 4.394),
    ("resnet3d", "r3d_18"): (CLIP, 40.697),
    ("resnet3d", "mc3_18"): (CLIP, 43.343),
    ("resnet3d", "r2plus1d_18"): (CLIP, 40.519),
}
COUNTED = [
    ("clip", "b32", IMAGE),
    ("dinov2", "s14_registers", (56, 84, 3)),
    ("dinov2", "g14", (28, 28, 3)),
    ("convnext", "t", (64, 96, 3)),
    ("efficientnet", "b0", (64, 96, 3)),
    ("efficientnet", "b1", (75, 107, 3)),  # odd sizes, and a block that pads evenly
    ("wav2vec2", "base", (4000,)),
    ("hubert", "large", (4000,)),
    ("resnet3d", "r3d_18", (5, 33, 40, 3)),
    ("resnet3d", "mc3_18", (5, 33, 40, 3)),
    ("resnet3d", "r2plus1d_18", (5, 33, 40, 3)),
]
TRACED = [
    ("spectrogram_cnn", "resnet18", (8000,)),
    ("spectrogram_cnn", "tiny", (4000,)),
    ("cnn_lstm", "tiny", (3, 64, 64, 3)),
    ("temporal_difference", "resnet18", (5, 45, 64, 3)),
    ("temporal_difference", "tiny", (4, 32, 32, 3)),
    ("ftcn", "tiny", (4, 36, 32, 3)),
    ("ftcn", "resnet50", (3, 32, 32, 3)),
]


def encoder(name, variant):
    return build({"name": f"mmdf_jax.encoders.{name}", "variant": variant})


@pytest.mark.parametrize(("name", "variant"), PUBLISHED)
def test_published_counts(name, variant):
    shape, published = PUBLISHED[name, variant]
    # The ViTs' tables and torchvision's include a classifier, or leave out the attention's products: within 2 %.
    assert flops.macs(encoder(name, variant), shape).forward / 2e9 == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(("name", "variant", "shape"), COUNTED)
def test_forward_is_what_torch_counts_on_the_original(name, variant, shape):
    model = encoder(name, variant)
    with torch.device("meta"):
        original = torch_models.original(model).eval()
        x = torch.empty(torch_models.prepare(model, np.random.default_rng(0).random((1, *shape), np.float32)).shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        torch_models.outputs(original, x)
    ours = flops.macs(model, shape).forward
    theirs = counter.get_total_flops()
    if name in ("wav2vec2", "hubert"):  # the original's positional convolution makes one token too many and drops it
        width = model.width
        theirs -= 2 * model.position_kernel * width**2 // model.position_groups
    assert ours == theirs


@pytest.mark.parametrize(("name", "variant", "shape"), TRACED)
@cpu.forms(False)
def test_forward_is_what_the_traced_program_multiplies(name, variant, shape):
    model = encoder(name, variant)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False)["pooled"])(variables, x)
    expected = multiplied(jaxpr.jaxpr)
    if name == "spectrogram_cnn":
        front_end = functools.partial(spectrogram.log_mel, **(model.front_end_options or {}))
        expected -= multiplied(jax.make_jaxpr(front_end)(x).jaxpr)
    assert flops.macs(model, shape).forward == pytest.approx(expected, rel=1e-4)  # a masked mean is a product too


def multiplied(jaxpr):
    """Operations of the products in a jaxpr."""
    total = 0
    for equation in jaxpr.eqns:
        inputs, output = [v.aval.shape for v in equation.invars], equation.outvars[0].aval.shape
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            contracted = parameters["dimension_numbers"][0][0]
            total += 2 * math.prod(output) * math.prod(inputs[0][i] for i in contracted)
        elif name == "conv_general_dilated":
            feature = parameters["dimension_numbers"].rhs_spec[0]
            total += 2 * math.prod(output) * math.prod(inputs[1]) // inputs[1][feature]
        else:
            times = parameters["length"] if name == "scan" else 1
            for value in parameters.values():
                inner = getattr(value, "jaxpr", value)
                total += times * multiplied(inner) if hasattr(inner, "eqns") else 0
    return total


def test_a_step_costs_three_times_the_forward_pass_less_the_gradient_of_the_pixels():
    count = flops.macs(encoder("clip", "b32"), IMAGE)
    assert count.first == 49 * 32 * 32 * 3 * 768
    assert count.step == 3 * count.forward - 2 * count.first


def test_a_model_that_the_table_lacks_is_an_error():
    with pytest.raises(NotImplementedError, match="no analytic count"):
        flops.macs(build({"name": "mmdf_jax.fusion.cross_attention"}), IMAGE)
