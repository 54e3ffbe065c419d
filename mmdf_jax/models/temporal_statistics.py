"""What a face's video changes by, in twelve numbers: what detectors of temporal artefacts must be better than.

They look at brightness, at differences of frames and at optical flow, inside the face and around it. None has a
parameter. Frames that are not valid count nowhere.
"""

import jax.numpy as jnp
import numpy as np

from mmdf_jax.layers import flow_measures
from mmdf_jax.layers.frame_changes import differences
from mmdf_jax.typing import Array

NAMES = (
    *("flicker", "inner flicker", "inner flicker, second difference", "roughness", "change"),
    *("motion", "inner motion", "acceleration", "divergence", "warp error", "warp error, top", "sharpness spread"),
)
_CENTRE, _RADII = (0.5, 0.5), (0.3, 0.24)  # of the inner face in an aligned crop, y and x, in parts of its side
_AROUND = 1.35  # times the radii: from where on the border begins


def statistics(grey: Array, small: Array, flow: Array, valid: Array) -> Array:
    """[b 12] in the order of NAMES, as logarithms: each is positive, and ratios say more than distances.

    grey: [b t h w] frames in [0, 1]; small: the frames [b t h' w'] in 0 to 255 that `flow` [b t-1 h' w' 2] leads from,
    each to the next; valid: [b t] bool.
    """
    level = {name: jnp.einsum("bthw,hw->bt", grey, jnp.asarray(mask)) for name, mask in _regions_and_all(grey).items()}
    logs = {name: jnp.log(jnp.maximum(values, 1e-3)) for name, values in level.items()}
    overall = jnp.abs(differences(logs["all"], valid))
    apart = jnp.abs(differences(logs["inner"] - logs["border"], valid))
    change = jnp.abs(differences(grey, valid)).mean((2, 3))
    pairs = (valid[:, 1:] & valid[:, :-1]).astype(jnp.float32)
    triples = pairs[:, 1:] * pairs[:, :-1]

    small_inner, small_border = (jnp.asarray(mask) for mask in _regions(*small.shape[2:]))
    b, t, h, w = small.shape
    first, second, flows = small[:, :-1].reshape(-1, h, w), small[:, 1:].reshape(-1, h, w), flow.reshape(-1, h, w, 2)
    error = flow_measures.warp_error(first, second, flows).reshape(b, t - 1, -1)
    speed = _length(flow)
    relative = jnp.einsum("bthwc,hw->btc", flow, small_inner) - jnp.einsum("bthwc,hw->btc", flow, small_border)
    later = relative[:, 1:] - relative[:, :-1]
    expansion = jnp.abs(flow_measures.divergence(flows)).reshape(b, t - 1, -1)
    fine = jnp.log(jnp.abs(_laplacian(grey)).mean((2, 3)) + 1e-4)
    spread = jnp.sqrt(_mean((fine - _mean(fine, valid)[:, None]) ** 2, valid) + 1e-8)

    values = [
        _mean(overall[:, 1:, 0], pairs),
        _mean(apart[:, 1:, 0], pairs),
        _mean(apart[:, 1:-1, 1], triples),
        _mean(change[:, 1:-1, 1], triples) / (_mean(change[:, 1:, 0], pairs) + 1e-6),
        _mean(change[:, 1:, 0], pairs),
        _mean(speed.mean((2, 3)), pairs),
        _mean(_length(relative), pairs),
        _mean(_length(later), triples),
        _mean(expansion.mean(-1), pairs),
        _mean(error.mean(-1), pairs),
        _mean(jnp.quantile(error, 0.95, axis=-1), pairs),
        spread,
    ]
    return jnp.log(jnp.stack(values, axis=-1) + 1e-5)


def _regions_and_all(grey: Array) -> dict[str, np.ndarray]:
    h, w = grey.shape[2:]
    inner, border = _regions(h, w)
    return {"inner": inner, "border": border, "all": np.full((h, w), 1 / (h * w), np.float32)}


def _regions(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [h w] of the inner face and of what is around it, each of sum 1."""
    y, x = (np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w
    away = np.hypot((y[:, None] - _CENTRE[0]) / _RADII[0], (x - _CENTRE[1]) / _RADII[1])
    masks = (np.float32(away <= 1), np.float32(away > _AROUND))
    return tuple(mask / max(mask.sum(), 1) for mask in masks)


def _length(vectors: Array) -> Array:
    """[… 2] -> […], with a gradient at 0."""
    return jnp.sqrt((vectors**2).sum(-1) + 1e-8)


def _laplacian(x: Array) -> Array:
    """Of frames [b t h w], without their edges."""
    middle = x[:, :, 1:-1, 1:-1]
    return x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1] + x[:, :, 1:-1, :-2] + x[:, :, 1:-1, 2:] - 4 * middle


def _mean(x: Array, weights: Array) -> Array:
    """The mean of x [b t] by weights [b t], 0 where there are none: [b]."""
    weights = weights.astype(jnp.float32)
    return (x * weights).sum(1) / jnp.maximum(weights.sum(1), 1)
