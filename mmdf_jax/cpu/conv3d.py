"""3-D convolution, and 2-D convolution by it, as 2-D convolutions or matrix products."""

import functools
import math

import jax
import jax.numpy as jnp

from mmdf_jax.cpu.dense import rows_product
from mmdf_jax.cpu.temporal_conv import conv3d_temporal
from mmdf_jax.cpu.winograd import conv3d_winograd
from mmdf_jax.typing import Array

Strides = tuple[int, int, int]


def conv3d(x: Array, kernel: Array, strides: Strides = (1, 1, 1)) -> Array:
    """Convolution of x [b t h w c] with kernel [kt kh kw c d], zero-padded by half the (odd) kernel on each side.

    Returns [b ceil(t/st) ceil(h/sh) ceil(w/sw) d], by the form that was the fastest for such shapes, forward and back:
    few positions suit a matrix product, more of them where what it copies serves many features and taps in time, or is
    little; strides have a kernel gradient of their own for many channels, and for a wide network's stem; time alone has
    its own form; channels enough and no strides take Winograd's products, or frames one by one where the width has
    other taps; what is left runs as 2-D convolutions.
    """
    if kernel.shape[:3] == (1, 1, 1):
        return conv3d_pointwise(x, kernel, strides)
    h, w, c = x.shape[2:]
    positions = -(-h // strides[1]) * -(-w // strides[2])
    worth = kernel.shape[-1] >= 256 and (kernel.shape[0] > 1 or math.prod(x.shape[:2]) <= 8)
    if positions <= (64 if worth else 4):
        return conv3d_matmul(x, kernel, strides)
    if strides != (1, 1, 1):
        kt, _, kw, _, d = kernel.shape
        stem = c < 32 and strides[0] == 1 and kw * c >= 9 and d > 32 and positions >= 512
        many = c >= 64 and (kt > 1 or positions >= 512)
        return (conv3d_strided if stem or many else conv3d_folded)(x, kernel, strides)
    if c < 32:
        return conv3d_folded(x, kernel, strides)
    if kernel.shape[1:3] == (1, 1):
        return conv3d_temporal(x, kernel)
    large = h * w >= 512
    # Winograd's sums cancel: in half precision too little would be left. Its tiles are four columns wide.
    suits = jnp.finfo(x.dtype).bits >= 32 and kernel.shape[2] == 3 and 4 * -(-w // 4) <= 1.25 * w
    if suits and (large or (h * w >= 196 and c >= 64)):
        return conv3d_winograd(x, kernel)
    return conv3d_framewise(x, kernel) if large else conv3d_folded(x, kernel, strides)


def conv3d_folded(x: Array, kernel: Array, strides: Strides) -> Array:
    """2-D convolutions with time folded into the batch: one per tap in time, summed; of few channels a single one over
    frames whose channels are those of all the taps."""
    kt, kh, kw, c, d = kernel.shape
    b, t, h, w, _ = x.shape
    steps = -(-t // strides[0])
    if kt > 1:
        x = _pad_axes(x, {1: kt // 2})
    taps = [x[:, i : i + (steps - 1) * strides[0] + 1 : strides[0]] for i in range(kt)]

    def convolve(x: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(
            x.reshape(b * steps, h, w, -1),
            kernel,
            strides[1:],
            [(kh // 2, kh // 2), (kw // 2, kw // 2)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    if c >= 16:
        y = sum(convolve(tap, kernel[i]) for i, tap in enumerate(taps))
    else:
        y = convolve(jnp.concatenate(taps, axis=-1), kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kt * c, d))
    return y.reshape(b, steps, *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv3d_strided(x: Array, kernel: Array, strides: Strides) -> Array:
    """`conv3d_folded` with a kernel gradient that is fast where positions are skipped."""
    return conv3d_folded(x, kernel, strides)


def _strided_forward(x: Array, kernel: Array, strides: Strides) -> tuple[Array, tuple[Array, Array]]:
    return conv3d_folded(x, kernel, strides), (x, kernel)


def _strided_backward(strides: Strides, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (dx,) = jax.linear_transpose(lambda x: conv3d_folded(x, kernel, strides), x)(g)
    if x.shape[-1] < 32 and strides[0] == 1:  # a stem, whose taps are too short to be copied one by one
        dk = _kernel_gradient(x, g, kernel.shape[:3], strides[1:])
    else:
        dk = _strided_kernel_gradient(x, g, kernel.shape[:3], strides)
    return dx, dk.astype(kernel.dtype)


conv3d_strided.defvjp(_strided_forward, _strided_backward)


def _strided_kernel_gradient(x: Array, g: Array, size: Strides, strides: Strides) -> Array:
    """Gradient with respect to the kernel [*size c d]: each frame of g in one product with what its taps saw,
    [d, h w] @ [h w, kt kh kw c], a third to two thirds of the time of XLA's convolution with a dilated window."""
    (b, t, h, w, d), c = g.shape, x.shape[-1]
    x = _pad_axes(x, {axis: k // 2 for axis, k in enumerate(size, 1)})
    # In memory behind the barrier: XLA's product of an operand that it transposes is slow.
    g = jax.lax.optimization_barrier(g.reshape(b * t, h * w, d).swapaxes(1, 2))

    def add(index: Array, total: Array) -> Array:
        seen = jax.lax.dynamic_slice(x, (index // t, index % t * strides[0], 0, 0, 0), (1, size[0], *x.shape[2:]))
        taps = _taps(seen, size, strides, (1, h, w)).reshape(h * w, -1)
        frame = jax.lax.dynamic_index_in_dim(g, index, keepdims=False)
        return total + jnp.matmul(frame, taps, preferred_element_type=jnp.float32)

    total = jax.lax.fori_loop(0, b * t, add, jnp.zeros((d, math.prod(size) * c), jnp.float32))
    return total.T.reshape(*size, c, d)


@jax.custom_vjp
def conv3d_framewise(x: Array, kernel: Array) -> Array:
    """Without strides, one output frame after the other: what it is summed from stays in cache."""
    kt, kh, kw, c, d = kernel.shape
    b, t, h, w, _ = x.shape
    padded = _pad_axes(x, {1: kt // 2})

    def frame(index: Array) -> Array:
        window = jax.lax.dynamic_slice(padded, (index // t, index % t, 0, 0, 0), (1, kt, h, w, c))
        return sum(
            jax.lax.conv_general_dilated(
                window[:, i],
                kernel[i],
                (1, 1),
                [(kh // 2, kh // 2), (kw // 2, kw // 2)],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            for i in range(kt)
        )[0]

    return jax.lax.map(frame, jnp.arange(b * t)).reshape(b, t, h, w, d)


def _framewise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3d_framewise(x, kernel), (x, kernel)


def _framewise_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = conv3d_framewise(g, kernel[::-1, ::-1, ::-1].swapaxes(3, 4))
    return dx, _kernel_gradient(x, g, kernel.shape[:3]).astype(kernel.dtype)


conv3d_framewise.defvjp(_framewise_forward, _framewise_backward)


def _kernel_gradient(x: Array, g: Array, size: Strides, strides: tuple[int, int] = (1, 1)) -> Array:
    """Gradient with respect to the kernel [*size c d], strides (sh, sw) in space. Each frame of x meets the frames of g
    around it in kh matrix products [kw c, h w] @ [h w, kt d], less than half the time of XLA's convolution with a
    window of a whole frame. Strides along the width make sw columns one of sw c channels, a mere reshape."""
    (kt, kh, kw), (sh, sw), (b, t, h, w, d), c = size, strides, g.shape, x.shape[-1]
    before = -(-(kw // 2) // sw)  # folded columns left of the first output's own
    first = before * sw - kw // 2  # column of the kernel's first tap
    taps = -(-(first + kw) // sw)
    columns = (before * sw, (w + taps - 1 - before) * sw - x.shape[3])
    x = jnp.pad(x.reshape(b * t, *x.shape[2:]), ((0, 0), (kh // 2, kh // 2 + sh - 1), columns, (0, 0)))
    x = x.reshape(*x.shape[:2], -1, sw * c)
    g = _pad_axes(g, {1: kt // 2})

    def add(index: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        frame = jax.lax.dynamic_index_in_dim(x, index, keepdims=False)
        shifted = jnp.concatenate([frame[:, i : i + w] for i in range(taps)], axis=-1)
        around = jax.lax.dynamic_slice(g, (index // t, index % t, 0, 0, 0), (1, kt, h, w, d))[0]
        around = jnp.concatenate([around[kt - 1 - i] for i in range(kt)], axis=-1).reshape(h * w, kt * d)
        rows = [shifted[i : i + (h - 1) * sh + 1 : sh].reshape(h * w, -1) for i in range(kh)]
        return tuple(
            total + jnp.matmul(row.T, around, preferred_element_type=jnp.float32)
            for row, total in zip(rows, totals, strict=True)
        )

    zero = jnp.zeros((taps * sw * c, kt * d), jnp.float32)
    total = jnp.stack(jax.lax.fori_loop(0, b * t, add, (zero,) * kh)).reshape(kh, taps * sw, c, kt, d)
    return total[:, first : first + kw].transpose(3, 0, 1, 2, 4)


def _pad_axes(x: Array, sides: dict[int, int]) -> Array:
    """Zeros on both sides of the given axes."""
    return jnp.pad(x, [(sides.get(axis, 0),) * 2 for axis in range(x.ndim)])


def conv3d_pointwise(x: Array, kernel: Array, strides: Strides) -> Array:
    """A kernel of one position: a dense layer over every one that the strides leave."""
    st, sh, sw = strides
    x = x[:, ::st, ::sh, ::sw]
    return rows_product(x.reshape(-1, x.shape[-1]), kernel[0, 0, 0]).reshape(*x.shape[:-1], kernel.shape[-1])


def conv3d_matmul(x: Array, kernel: Array, strides: Strides) -> Array:
    """One matrix product over copies of x shifted by every tap of the kernel; for maps of a few positions."""
    out = tuple(-(-n // s) for n, s in zip(x.shape[1:4], strides, strict=True))
    x = _pad_axes(x, {axis: k // 2 for axis, k in enumerate(kernel.shape[:3], 1)})
    return _taps(x, kernel.shape[:3], strides, out) @ kernel.reshape(-1, kernel.shape[-1])


def _taps(x: Array, size: Strides, strides: Strides, out: Strides) -> Array:
    """What each of `out` (t h w) positions sees of a padded x [b … c] through a kernel of `size`: [b t h w taps c]."""
    for axis in (3, 2, 1):  # one axis after the other: 9 slices instead of 27 compile in a third of the time
        k, s, n = size[axis - 1], strides[axis - 1], out[axis - 1]
        x = jnp.concatenate([jax.lax.slice_in_dim(x, i, i + (n - 1) * s + 1, s, axis=axis) for i in range(k)], axis=-1)
    return x
