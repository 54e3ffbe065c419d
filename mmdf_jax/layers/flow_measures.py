"""What optical flow tells: pictures moved by it, how well they then agree, and how the motion spreads and changes.

A flow [b h w 2] in pixels, x then y, says where the pixels of a first picture are found in a second one:
first(p) ≈ second(p + flow(p)). Every measure is differentiable, also where it is 0.
"""

import jax.numpy as jnp

from mmdf_jax.typing import Array


def warp(image: Array, flow: Array) -> Array:
    """The image as it is found at p + flow(p), between pixels bilinearly: float32, of the image's shape.

    image: [b h w] or [b h w c] of any dtype; flow: [b h w 2]. Beyond its edge a picture goes on as at the edge. Raises
    ValueError where the shapes disagree.
    """
    if image.ndim not in (3, 4) or flow.shape != (*image.shape[:3], 2):
        raise ValueError(
            f"warp: expected image [b h w] or [b h w c], flow [b h w 2], found {image.shape}, {flow.shape}"
        )
    b, h, w = image.shape[:3]
    flow = flow.astype(jnp.float32)
    x = jnp.clip(jnp.arange(w) + flow[..., 0], 0, w - 1)
    y = jnp.clip(jnp.arange(h)[:, None] + flow[..., 1], 0, h - 1)
    left, top = jnp.floor(x), jnp.floor(y)
    right, bottom = jnp.minimum(left + 1, w - 1), jnp.minimum(top + 1, h - 1)
    x, y = (x - left)[..., None], (y - top)[..., None]
    pixels = image.reshape(b, h * w, -1).astype(jnp.float32)

    def corner(row: Array, column: Array) -> Array:
        place = (row * w + column).astype(jnp.int32).reshape(b, h * w, 1)
        return jnp.take_along_axis(pixels, place, 1, mode="clip").reshape(b, h, w, -1)

    above = corner(top, left) * (1 - x) + corner(top, right) * x
    below = corner(bottom, left) * (1 - x) + corner(bottom, right) * x
    return (above * (1 - y) + below * y).reshape(image.shape)


def inside(flow: Array) -> Array:
    """Whether p + flow(p) lies within the picture: [b h w] bool, of flow [b h w 2]. Elsewhere measures guess."""
    h, w = flow.shape[1:3]
    x, y = jnp.arange(w) + flow[..., 0], jnp.arange(h)[:, None] + flow[..., 1]
    return (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)


def warp_error(first: Array, second: Array, flow: Array) -> Array:
    """|first(p) - second(p + flow(p))|, in the pictures' own units: [b h w], of pictures [b h w] and flow [b h w 2]."""
    return jnp.abs(first.astype(jnp.float32) - warp(second, flow))


def forward_backward(forward: Array, backward: Array) -> Array:
    """How far from p one lands by the flow there and the other flow back: [b h w] pixels, of flows [b h w 2].

    0 where the motion is consistent; large where something is covered or uncovered (Sundaram et al. 2010, eq. 5).
    """
    gap = forward.astype(jnp.float32) + warp(backward, forward)
    square = (gap**2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)  # the root's gradient at 0 is infinite


def divergence(flow: Array) -> Array:
    """How fast the picture expands, ∂flow_x/∂x + ∂flow_y/∂y: [b h w] per frame, of flow [b h w 2].

    By central differences, at the edges by one-sided ones.
    """
    flow = flow.astype(jnp.float32)
    return jnp.gradient(flow[..., 0], axis=2) + jnp.gradient(flow[..., 1], axis=1)


def acceleration(flows: Array) -> Array:
    """How the motion of each point changes along its own path: [b t-1 h w 2] pixels per frame², of flows [b t h w 2].

    flows: from frame i to i + 1. The next flow is read where the point has gone: flow_i+1(p + flow_i(p)) - flow_i(p).
    Raises ValueError where there are fewer than two flows.
    """
    if flows.ndim != 5 or flows.shape[1] < 2:
        raise ValueError(f"acceleration: expected flows [b t h w 2] with t of at least 2, found {flows.shape}")
    now, later = (x.reshape(-1, *flows.shape[2:]) for x in (flows[:, :-1], flows[:, 1:]))
    change = warp(later, now) - now
    return change.reshape(flows.shape[0], -1, *flows.shape[2:])
