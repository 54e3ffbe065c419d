"""Dense optical flow by two classical methods, on any device and differentiable: Lucas–Kanade and Horn–Schunck.

Both go from coarse to fine: enlarge the coarse flow, warp the second picture by it, estimate what is left. Pictures are
grey, [b h w] in 0 to 255 of any dtype; fold a clip's frames into b. Flows are float32 [b h w 2] in pixels, x then y:
where the pixels of `first` are found in `second`. Gradients are finite, but seldom wanted: stop them where a flow is
only an input.

Filters are products with a constant banded matrix for each axis, which compile several times faster than convolutions.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from mmdf_jax.layers.flow_measures import warp
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
) -> Array:
    """The flow that fits a window around each pixel best in least squares, [b h w 2].

    levels: of the pyramid, each half as large; iterations: at each level; sigma: of the Gaussian window, pixels; ridge:
    added to the mean squared slopes, grey levels² per pixel², above 0: keeps the flow still where nothing is seen;
    max_step: the most that an iteration moves along an axis, pixels.

    Lucas and Kanade 1981, with the slopes of `first`, so that windows are weighed once per level (Baker and Matthews
    2004, section 3.2). Raises ValueError where the pictures do not fit each other or the levels.
    """

    def refine(one: Array, two: Array, flow: Array) -> Array:
        window = [_gaussian(np.arange(n), n, sigma) for n in one.shape[1:]]
        slopes = _slopes(one)
        xx, xy, yy = _filter(jnp.stack([slopes[0] ** 2, slopes[0] * slopes[1], slopes[1] ** 2]), *window)
        xx, yy = xx + ridge, yy + ridge
        determinant = xx * yy - xy**2

        def step(flow: Array, _: None) -> tuple[Array, None]:
            x, y = _filter(slopes * (one - warp(two, jnp.moveaxis(flow, 0, -1))), *window)
            move = jnp.stack([yy * x - xy * y, xx * y - xy * x]) / determinant
            return flow + jnp.clip(move, -max_step, max_step), None

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
        kernels = [_binomial(n) for n in one.shape[1:]]
        own = _slopes(one)

        def linearize(flow: Array, _: None) -> tuple[Array, None]:
            moved = warp(two, jnp.moveaxis(flow, 0, -1))
            slopes = (own + _slopes(moved)) / 2
            error = moved - one - (slopes * flow).sum(0)
            weight = slopes / (alpha**2 + (slopes**2).sum(0))

            def step(flow: Array, _: None) -> tuple[Array, None]:
                # The binomial kernel without its middle is Horn and Schunck's: 1/6 beside, 1/12 across.
                around = (4 * _filter(flow, *kernels) - flow) / 3
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
        pyramid.append(_filter(pyramid[-1], *(_halve(n) for n in pyramid[-1].shape[2:])))
    flow = jnp.zeros_like(pyramid[-1])
    for pair in reversed(pyramid):
        old, new = flow.shape[2:], pair.shape[2:]
        if old != new:
            scale = np.array([new[1] / old[1], new[0] / old[0]], np.float32)[:, None, None, None]
            flow = scale * _filter(flow, *(_enlarge(a, b) for a, b in zip(old, new, strict=True)))
        flow = refine(pair[0], pair[1], flow)
    return jnp.moveaxis(flow, 0, -1)


def _slopes(image: Array) -> Array:
    """∂/∂x and ∂/∂y of [b h w]: [2 b h w]."""
    return jnp.stack([jnp.gradient(image, axis=2), jnp.gradient(image, axis=1)])


def _filter(x: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """x [... h w] by a matrix for each axis. At full precision: grey levels need more digits than TF32 has."""
    return jnp.einsum("yh,...hw,xw->...yx", rows, x, columns, precision=lax.Precision.HIGHEST)


def _gaussian(places: np.ndarray, n: int, sigma: float) -> np.ndarray:
    """[places n]: a Gaussian around each place, cut at 3 sigma, of the pixels that there are."""
    away = np.abs(places[:, None] - np.arange(n)) / sigma
    weights = np.exp(-0.5 * away**2) * (away <= 3)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _binomial(n: int) -> np.ndarray:
    """¼, ½, ¼; the picture goes on as at its edge."""
    matrix = np.eye(n) / 2 + np.eye(n, k=1) / 4 + np.eye(n, k=-1) / 4
    matrix[0, 0] = matrix[-1, -1] = 0.75
    return matrix.astype(np.float32)


def _halve(n: int) -> np.ndarray:
    """[half n], smoothed so that nothing is aliased."""
    half = (n + 1) // 2
    return _gaussian((np.arange(half) + 0.5) * n / half - 0.5, n, 0.9)


def _enlarge(n: int, to: int) -> np.ndarray:
    """[to n], linear between pixels, constant beyond the outer ones."""
    places = np.clip((np.arange(to) + 0.5) * n / to - 0.5, 0, n - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(n)), 0).astype(np.float32)
