"""Floating-point operations of an encoder, from its fields and the size of its input; its file counts them in `macs`.

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
import math
import sys
from collections.abc import Sequence

from flax import linen as nn


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


def macs(model: nn.Module, shape: Sequence[int]) -> Macs:
    """Multiply-adds of `model` on one input of this shape, without the batch: [h w c], [s] or [t h w c].

    The count is `macs(model, shape)` of the model's own file.

    Raises NotImplementedError: the file has none.
    """
    module = sys.modules[type(model).__module__]
    if not hasattr(module, "macs"):
        raise NotImplementedError(f"no analytic count: {module.__name__} defines no macs(model, shape)")
    return module.macs(model, shape)


def transformer_block(n: int, width: int, hidden: int, *, gated: bool = False) -> int:
    """Projections, attention over n tokens, and the MLP."""
    return 4 * n * width**2 + 2 * n**2 * width + (3 if gated else 2) * n * width * hidden


def conv(shape: Sequence[int], strides: Sequence[int], kernel: Sequence[int], c: int, d: int) -> tuple[int, tuple]:
    """Multiply-adds and output shape of a convolution padded by half its odd kernel."""
    out = tuple(-(-size // stride) for size, stride in zip(shape, strides, strict=True))
    return math.prod(out) * math.prod(kernel) * c * d, out


def residual(
    size: tuple, strides: Sequence[int], kernel: Sequence[int], c: int, d: int, blocks: int
) -> tuple[int, tuple, int]:
    """A stage of residual blocks of two convolutions; returns its multiply-adds, its output's size and channels."""
    total = 0
    for j in range(blocks):
        strides = tuple(1 for _ in strides) if j else tuple(strides)
        if c != d or math.prod(strides) > 1:
            total += conv(size, strides, (1,) * len(size), c, d)[0]
        one, size = conv(size, strides, kernel, c, d)
        two, size = conv(size, tuple(1 for _ in strides), kernel, d, d)
        total, c = total + one + two, d
    return total, size, c
