"""Floating-point operations of every encoder, from its fields and the size of its input: an analytic table.

Counted are the products of convolutions, dense layers and attention, a multiply-add as two operations; norms,
activations, elementwise products and spectral front ends are not (a few percent, and no hardware peak is stated for
them). A training step costs every layer three times its forward pass: the outputs, the gradient of its inputs, the
gradient of its weights. Layers that read the pixels or samples need no gradient of those and cost twice.
Rematerialisation repeats work but adds none that counts, as is the custom for a model's utilisation (Chowdhery et al.
2022, appendix B).

Counters are no substitute: both torch's FlopCounterMode and XLA's cost analysis overstate the gradients of depthwise
convolutions by an order of magnitude.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.encoders import (
    clip,
    cnn_lstm,
    convnext,
    dinov2,
    efficientnet,
    resnet3d,
    spectrogram_cnn,
    temporal_difference,
    wav2vec2,
)


@dataclasses.dataclass(frozen=True)
class Macs:
    """Multiply-adds of one sample's forward pass: in layers that read the input, and in all others."""

    first: int
    rest: int

    @property
    def forward(self) -> int:
        """Operations of the forward pass."""
        return 2 * (self.first + self.rest)

    @property
    def step(self) -> int:
        """Operations of the forward and the backward pass, every parameter trained."""
        return 2 * (2 * self.first + 3 * self.rest)

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(self.first + other.first, self.rest + other.rest)

    def __mul__(self, times: int) -> "Macs":
        return Macs(self.first * times, self.rest * times)


@functools.singledispatch
def macs(model: nn.Module, shape: Sequence[int]) -> Macs:
    """Multiply-adds of `model` on one input of this shape, without the batch: [h w c], [s] or [t h w c].

    Raises NotImplementedError for a model that the table does not have.
    """
    raise NotImplementedError(f"no analytic count for {type(model).__module__}")


def transformer_block(n: int, width: int, hidden: int, *, gated: bool = False) -> int:
    """Projections, attention over n tokens, and the MLP."""
    return 4 * n * width**2 + 2 * n**2 * width + (3 if gated else 2) * n * width * hidden


@macs.register
def _(model: clip.Model, shape: Sequence[int]) -> Macs:
    n = math.prod(size // model.patch for size in shape[:2])
    blocks = model.depth * transformer_block(n + 1, model.width, model.mlp_hidden)
    return Macs(n * model.patch**2 * shape[2] * model.width, blocks + model.width * model.projection)


@macs.register
def _(model: dinov2.Model, shape: Sequence[int]) -> Macs:
    n = math.prod(size // model.patch for size in shape[:2])
    block = transformer_block(n + 1 + model.registers, model.width, model.mlp_hidden, gated=model.gated)
    return Macs(n * model.patch**2 * shape[2] * model.width, model.depth * block)


@macs.register
def _(model: convnext.Model, shape: Sequence[int]) -> Macs:
    h, w, c = shape[0] // model.patch, shape[1] // model.patch, model.widths[0]
    first, rest = h * w * model.patch**2 * shape[2] * c, 0
    for i, (depth, width) in enumerate(zip(model.depths, model.widths, strict=True)):
        if i:
            h, w = h // 2, w // 2
            rest += h * w * 4 * c * width
            c = width
        rest += depth * h * w * (49 * c + 8 * c**2)
    return Macs(first, rest)


@macs.register
def _(model: efficientnet.Model, shape: Sequence[int]) -> Macs:
    def scaled(width: int) -> int:
        return efficientnet.round_width(model.width * width, model.divisor)

    h, w = shape[0] // 2, shape[1] // 2
    first, rest, index = h * w * 9 * shape[2] * scaled(model.stem), 0, 0
    for i, repeat in enumerate(model.repeats):
        for j in range(math.ceil(model.depth * repeat)):
            c, d = scaled(model.outputs[i] if j else model.inputs[i]), scaled(model.outputs[i])
            hidden = c * model.expands[i]
            rest += h * w * c * hidden if model.expands[i] != 1 else 0
            if model.strides[i] == 2 and j == 0:
                extra = index in model.square_padding
                h, w = (h + extra) // 2, (w + extra) // 2
            rest += h * w * hidden * (model.sizes[i] ** 2 + d) + 2 * hidden * max(1, int(c * model.squeeze))
            index += 1
    return Macs(first, rest + h * w * scaled(model.outputs[-1]) * model.head)


@macs.register
def _(model: wav2vec2.Model, shape: Sequence[int]) -> Macs:
    t, c, layers = shape[0], 1, []
    for d, kernel, stride in zip(model.conv_dims, model.conv_kernels, model.conv_strides, strict=True):
        t = (t - kernel) // stride + 1
        layers.append(t * kernel * c * d)
        c = d
    rest = sum(layers[1:]) + t * c * model.width
    rest += t * model.position_kernel * model.width**2 // model.position_groups
    return Macs(layers[0], rest + model.depth * transformer_block(t, model.width, model.mlp_hidden))


def _conv(shape: Sequence[int], strides: Sequence[int], kernel: Sequence[int], c: int, d: int) -> tuple[int, tuple]:
    """Multiply-adds and output shape of a convolution padded by half its odd kernel."""
    out = tuple(-(-size // stride) for size, stride in zip(shape, strides, strict=True))
    return math.prod(out) * math.prod(kernel) * c * d, out


@macs.register
def _(model: resnet3d.Model, shape: Sequence[int]) -> Macs:
    def factors(
        shape: Sequence[int], strides: Sequence[int], kernel: Sequence[int], c: int, middle: int, d: int
    ) -> tuple[int, int, tuple]:
        """Both convolutions of a (2+1)D pair."""
        space, shape = _conv(shape, (1, *strides[1:]), (1, *kernel[1:]), c, middle)
        time, shape = _conv(shape, (strides[0], 1, 1), (kernel[0], 1, 1), middle, d)
        return space, time, shape

    size, channels, c, rest = tuple(shape[:3]), shape[3], model.width, 0
    if model.kind == "r2plus1d":
        first, rest, size = factors(size, model.stem_strides, model.stem_kernel, channels, c * 45 // 64, c)
    else:
        first, size = _conv(size, model.stem_strides, model.stem_kernel, channels, c)
    for i, (blocks, strides) in enumerate(zip(model.stage_sizes, model.strides, strict=True)):
        space = model.kind == "mc3" and i > 0
        d = model.width * 2**i
        for j in range(blocks):
            strides = (1, 1, 1) if j else (1, *strides[1:]) if space else tuple(strides)
            middle = 27 * c * d // (9 * c + 3 * d)
            if c != d or strides != (1, 1, 1):
                rest += _conv(size, strides, (1, 1, 1), c, d)[0]
            for width_in, step in ((c, strides), (d, (1, 1, 1))):
                if model.kind == "r2plus1d":
                    *both, size = factors(size, step, (3, 3, 3), width_in, middle, d)
                    rest += sum(both)
                else:
                    work, size = _conv(size, step, (1, 3, 3) if space else (3, 3, 3), width_in, d)
                    rest += work
            c = d
    return Macs(first, rest)


@macs.register
def _(model: spectrogram_cnn.Model, shape: Sequence[int]) -> Macs:
    front_end = functools.partial(spectrogram_cnn.FRONT_ENDS[model.front_end][0], **(model.front_end_options or {}))
    size = jax.eval_shape(front_end, jax.ShapeDtypeStruct((1, *shape), jnp.float32)).shape[1:]
    c, rest = model.width, 0
    first, size = _conv(size, model.strides[0], (3, 3), 1, c)
    for i, (blocks, strides) in enumerate(zip(model.stage_sizes, model.strides[1:], strict=True)):
        work, size, c = _residual(size, strides, (3, 3), c, model.width * 2**i, blocks)
        rest += work
    return Macs(first, rest + math.prod(size) * c**2)


def _residual(
    size: tuple, strides: Sequence[int], kernel: Sequence[int], c: int, d: int, blocks: int
) -> tuple[int, tuple, int]:
    """A stage of residual blocks of two convolutions; returns its multiply-adds, its output's size and channels."""
    total = 0
    for j in range(blocks):
        strides = tuple(1 for _ in strides) if j else tuple(strides)
        if c != d or math.prod(strides) > 1:
            total += _conv(size, strides, (1,) * len(size), c, d)[0]
        one, size = _conv(size, strides, kernel, c, d)
        two, size = _conv(size, tuple(1 for _ in strides), kernel, d, d)
        total, c = total + one + two, d
    return total, size, c


@macs.register
def _(model: cnn_lstm.Model, shape: Sequence[int]) -> Macs:
    t = shape[0]
    frame = jax.ShapeDtypeStruct((1, *shape[1:]), jnp.uint8)
    pooled = jax.eval_shape(lambda x: model.encoder.init_with_output(jax.random.key(0), x, train=False)[0], frame)
    d, ways, gates = pooled["pooled"].shape[-1], 2 if model.bidirectional else 1, 4 * model.hidden
    rest = 0
    for _ in range(model.layers):
        rest += t * ways * gates * (d + model.hidden)
        d = ways * model.hidden
    return macs(model.encoder, shape[1:]) * t + Macs(0, rest)


@macs.register
def _(model: temporal_difference.Model, shape: Sequence[int]) -> Macs:
    size, width, k = tuple(shape[:3]), model.width, model.stem_kernel
    stride = (1, model.strides[0], model.strides[0])
    frame, out = _conv(size, stride, (1, k, k), shape[3], width)
    change, _ = _conv(size, stride, (1, k, k), 2 * shape[3], width // 2)
    rest, size, c = math.prod(out) * (width // 2) * width, out, width
    for i, (blocks, stride) in enumerate(zip(model.stage_sizes, model.strides[1:], strict=True)):
        for j in range(blocks):
            if i:
                small = max(c // model.squeeze, 8)
                rest += math.prod(size) * (3 * c * small + 9 * small**2)
            step = (1, stride, stride) if j == 0 else (1, 1, 1)
            work, size, c = _residual(size, step, (1, 3, 3), c, width * 2**i, 1)
            rest += work
        if i == 0:
            moved, _ = _conv(out, (1, stride, stride), (1, 3, 3), width // 2, width // 2)
            rest += moved + math.prod(size) * (width // 2) * width
    return Macs(frame + change, rest)
