"""Dense optical flow by two classical methods, on any device and differentiable: Lucas–Kanade and Horn–Schunck.

Both go from coarse to fine: enlarge the coarse flow, warp the second picture by it, estimate what is left. Pictures are
grey, [b h w] in 0 to 255 of any dtype; fold a clip's frames into b. Flows are float32 [b h w 2] in pixels, x then y:
where the pixels of `first` are found in `second`. Gradients are finite, but seldom wanted: stop them where a flow is
only an input.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from mmdf_jax.layers import separable
from mmdf_jax.layers.flow_measures import inside, warp
from mmdf_jax.typing import Array

SMALLEST = 4  # pixels of a side at the coarsest level


def lucas_kanade(
    first: Array,
    second: Array,
    *,
    levels: int = 3,
    iterations: int = 3,
    sigma: float = 2.0,
    ridge: float = 1.0,
    max_step: float = 2.0,
    smooth: float = 1.0,
) -> Array:
    """The flow that fits a window around each pixel best in least squares, [b h w 2].

    levels: of the pyramid, each half as large; iterations: at each level; sigma: of the Gaussian window, pixels; ridge:
    added to the mean squared slopes, grey levels² per pixel², above 0: keeps the flow still where nothing is seen;
    max_step: the most that an iteration moves along an axis, pixels; smooth: sigma of the Gaussian that smooths the
    flow after each iteration, pixels.

    Lucas and Kanade 1981, with the slopes of `first`, so that windows are weighed once per level (Baker and Matthews
    2004, section 3.2). Raises ValueError where the pictures do not fit each other or the levels.
    """

    def refine(one: Array, two: Array, flow: Array) -> Array:
        window, soft = ([separable.gaussian(n, width) for n in one.shape[1:]] for width in (sigma, smooth))
        slopes = _slopes(one)
        xx, xy, yy = separable.apply(jnp.stack([slopes[0] ** 2, slopes[0] * slopes[1], slopes[1] ** 2]), *window)
        xx, yy = xx + ridge, yy + ridge
        determinant = xx * yy - xy**2

        def step(flow: Array, _: None) -> tuple[Array, None]:
            moved, seen = _move(two, flow)
            x, y = separable.apply(slopes * (one - moved) * seen, *window)
            move = jnp.stack([yy * x - xy * y, xx * y - xy * x]) / determinant
            return separable.apply(flow + jnp.clip(move, -max_step, max_step), *soft), None

        return lax.scan(step, flow, length=iterations)[0]

    return _coarse_to_fine("lucas_kanade", first, second, levels, refine)


def horn_schunck(
    first: Array, second: Array, *, levels: int = 3, warps: int = 3, iterations: int = 20, alpha: float = 12.0
) -> Array:
    """The flow that agrees with the pictures and is smooth, [b h w 2]: the minimum of error² + alpha² |∇ flow|².

    levels: of the pyramid, each half as large; warps: of the second picture at each level; iterations: of Jacobi's
    method after each; alpha: how smooth, grey levels, above 0.

    Horn and Schunck 1981; warps after Meinhardt-Llopis et al. 2013. Raises ValueError as above.
    """

    def refine(one: Array, two: Array, flow: Array) -> Array:
        own = _slopes(one)

        def linearize(flow: Array, _: None) -> tuple[Array, None]:
            moved, seen = _move(two, flow)
            slopes = (own + _slopes(moved)) / 2
            error = moved - one - (slopes * flow).sum(0)
            weight = slopes * seen / (alpha**2 + (slopes**2).sum(0))

            def step(flow: Array, _: None) -> tuple[Array, None]:
                around = _around(flow)
                return around - weight * (error + (slopes * around).sum(0)), None

            return lax.scan(step, flow, length=iterations)[0], None

        return lax.scan(linearize, flow, length=warps)[0]

    return _coarse_to_fine("horn_schunck", first, second, levels, refine)


def _coarse_to_fine(
    name: str, first: Array, second: Array, levels: int, refine: Callable[[Array, Array, Array], Array]
) -> Array:
    """Refines no motion at the coarsest level, and what comes of it at each finer one. Flows within are [2 b h w]."""
    if first.ndim != 3 or first.shape != second.shape:
        raise ValueError(f"{name}: expected two batches [b h w] of one shape, found {first.shape} and {second.shape}")
    if levels < 1 or min(first.shape[1:]) < SMALLEST << (levels - 1):
        raise ValueError(
            f"{name}: expected at least 1 level, and sides of {SMALLEST} pixels or more at the last, found {levels} "
            f"levels for {first.shape[1:]}: take fewer levels or larger pictures"
        )
    pyramid = [jnp.stack([first.astype(jnp.float32), second.astype(jnp.float32)])]
    for _ in range(levels - 1):
        pyramid.append(separable.apply(pyramid[-1], *(separable.halve(n) for n in pyramid[-1].shape[2:])))
    flow = jnp.zeros_like(pyramid[-1])
    for pair in reversed(pyramid):
        old, new = flow.shape[2:], pair.shape[2:]
        if old != new:
            scale = np.array([new[1] / old[1], new[0] / old[0]], np.float32)[:, None, None, None]
            flow = scale * separable.apply(flow, *(separable.enlarge(a, b) for a, b in zip(old, new, strict=True)))
        flow = refine(pair[0], pair[1], flow)
    return jnp.moveaxis(flow, 0, -1)


def _move(image: Array, flow: Array) -> tuple[Array, Array]:
    """The warped image, and where it is seen: what has left the picture says nothing."""
    flow = jnp.moveaxis(flow, 0, -1)
    return warp(image, flow), inside(flow)


def _slopes(image: Array) -> Array:
    """∂/∂x and ∂/∂y of [b h w]: [2 b h w]."""
    return jnp.stack([jnp.gradient(image, axis=2), jnp.gradient(image, axis=1)])


def _around(x: Array) -> Array:
    """The mean of the eight neighbours in [... h w], 1/6 of those beside, 1/12 of those across; edges go on."""
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:] - 4 * x[..., 1:-1, 1:-1]) / 12
