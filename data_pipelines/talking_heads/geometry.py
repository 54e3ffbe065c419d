"""Geometry: head motion, the outlines of face, eyes and mouth, their 68 landmarks, and where a head's points are seen.

Head coordinates: the eyes lie at y = 0, x to the right, y down, the unit is half the width of an average face. All
functions work on every frame of a clip at once: arrays `[t k 2]`.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from data_pipelines.talking_heads.articulation import Articulation
from data_pipelines.talking_heads.identity import Identity

UNIT = 39.0  # pixels per head unit in a frame of SIZE
SIZE = 160


@dataclasses.dataclass(frozen=True)
class Motion:
    """What the head does, per frame `[t]`: angles in radians, shifts in head units, the rest in [0, 1] or [-1, 1]."""

    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    x: np.ndarray
    y: np.ndarray
    zoom: np.ndarray
    blink: np.ndarray
    gaze_x: np.ndarray
    gaze_y: np.ndarray
    brow: np.ndarray
    smile: np.ndarray
    jaw: np.ndarray
    rounding: np.ndarray
    closure: np.ndarray
    opening: np.ndarray


def perform(track: Articulation, times: np.ndarray, rng: np.random.Generator) -> Motion:
    """Head, eyes and brows of somebody who says `track`, sampled at `times` (s) `[t]`."""
    t = len(times)

    def drift(amount: float, seconds: float, mean: float = 0.0) -> np.ndarray:
        pad = int(8 * seconds * 25)
        walk = ndimage.gaussian_filter1d(rng.standard_normal(t + 2 * pad), seconds * 25)[pad : pad + t]
        return mean + amount * walk * np.sqrt(2 * np.sqrt(np.pi) * seconds * 25)

    blink = np.zeros(t)
    moment = rng.uniform(0.2, 2.5)
    while moment < times[-1]:
        blink = np.maximum(blink, np.clip(1.35 - np.abs(times - moment) / 0.075, 0, 1))
        moment += rng.uniform(0.9, 3.5)
    gaze = np.zeros((2, t))
    moment = 0.0
    while moment < times[-1]:
        gaze[:, times >= moment] = rng.normal(0, [[0.28], [0.18]])
        moment += rng.uniform(0.3, 1.6)
    f0 = np.interp(times, np.arange(len(track.f0)) / 200, track.f0) - 1
    return Motion(
        yaw=drift(0.07, 0.45, rng.normal(0, 0.11)),
        pitch=drift(0.04, 0.35, rng.normal(0, 0.05)) + 0.10 * f0,
        roll=drift(0.025, 0.5, rng.normal(0, 0.04)),
        x=drift(0.05, 0.6),
        y=drift(0.03, 0.5),
        zoom=drift(0.012, 0.8, 1.0),
        blink=blink,
        gaze_x=np.clip(gaze[0], -0.8, 0.8),
        gaze_y=np.clip(gaze[1], -0.6, 0.6),
        brow=np.clip(drift(0.18, 0.3) + 1.2 * np.maximum(f0, 0), -0.3, 1),
        smile=drift(0.15, 0.6, rng.uniform(-0.1, 0.5)),
        **track.at(times),
    )


def depth(x: np.ndarray, y: np.ndarray, identity: Identity) -> np.ndarray:
    """Relief of the head towards the viewer, in head units."""
    head = 0.75 * np.exp(-((x / 1.05) ** 2) - ((y - 0.15) / 1.5) ** 2)
    nose = np.exp(-((x / 0.17) ** 2) - ((y - identity.nose_length * 0.85) / 0.26) ** 2)
    return head + 0.24 * nose


@dataclasses.dataclass(frozen=True)
class View:
    """Places the head in the frame: scale in pixels per head unit and the pixel of the head's origin."""

    scale: float
    x: float
    y: float


def project(points: np.ndarray, identity: Identity, motion: Motion, view: View, *, deform: bool = True) -> np.ndarray:
    """Head coordinates `[t k 2]` (or `[1 k 2]`) to pixels `[t k 2]`; deform: skin that jaw and brows pull along."""
    return np.array([view.x, view.y]) + view.scale * (points + _displacement(points, identity, motion, deform=deform))


def unproject(pixels: np.ndarray, identity: Identity, motion: Motion, view: View) -> np.ndarray:
    """Inverse of `project`: pixels `[k 2]` to head coordinates `[t k 2]`, by fixed-point iteration."""
    rest = ((pixels - np.array([view.x, view.y])) / view.scale)[None]
    points = np.broadcast_to(rest, (len(motion.yaw), *pixels.shape))
    for _ in range(4):
        points = rest - _displacement(points, identity, motion, deform=True)
    return points


def _displacement(points: np.ndarray, identity: Identity, motion: Motion, *, deform: bool) -> np.ndarray:
    """How far the motion carries points of the head `[t k 2]`, in head units; shoulders follow only a little."""

    def column(values: np.ndarray) -> np.ndarray:
        return values[:, None].astype(np.float32)

    x, y = np.moveaxis(points.astype(np.float32), -1, 0)
    z = depth(x, y, identity)
    yaw, pitch, roll = column(motion.yaw), column(motion.pitch), column(motion.roll)
    zoom = column(motion.zoom) - 1
    pivot = 1.3
    dx = z * np.sin(yaw) - x * (1 - np.cos(yaw)) - (y - pivot) * roll + zoom * x + column(motion.x)
    dy = -z * np.sin(pitch) + x * roll - (y - pivot) * roll**2 / 2 + zoom * (y - pivot) + column(motion.y)
    follow = 1 - 0.9 / (1 + np.exp(-(y - 1.75) / 0.12))
    dx, dy = dx * follow, dy * follow
    if deform:
        below = 1 / (1 + np.exp(-(y - identity.mouth_y - 0.12) / 0.09))
        ends = np.exp(-(np.maximum(y - identity.chin, 0) ** 2) / 0.06 - (x / 0.85) ** 4)
        dy = dy + 0.20 * column(motion.jaw) * below * ends
        side = np.abs(x) - identity.eye_distance
        brow = np.exp(-((y + identity.brow_height) ** 2) / 0.02 - side**2 / 0.12)
        dy = dy - 0.07 * column(motion.brow) * brow
    return np.stack([dx, dy], -1)


def outline(identity: Identity, count: int = 64) -> np.ndarray:
    """The face's closed contour `[count 2]`, clockwise from the left temple through the chin."""
    w, j, chin = identity.width, identity.jaw_width, identity.chin
    right = [(w, 0.0), (w * 0.97, 0.45), (j * 1.07, 0.88), (j * 0.72, 0.86 * chin), (j * 0.34, 0.975 * chin)]
    upper = [(w * 0.97, -0.45), (w * 0.75, -0.88), (w * 0.4, identity.forehead * 0.97)]
    left = [(-x, y) for x, y in right]
    corners = [
        *left,
        (0, chin),
        *reversed(right),
        *upper,
        (0, identity.forehead),
        *[(-x, y) for x, y in reversed(upper)],
    ]
    return closed_spline(np.array(corners), count)


def closed_spline(corners: np.ndarray, count: int) -> np.ndarray:
    """Catmull-Rom curve through the corners, `count` points equally spaced in the parameter."""
    k = np.arange(count) * len(corners) / count
    i, s = k.astype(int), (k % 1)[:, None]
    a, b, c, d = (corners[(i + o) % len(corners)] for o in (-1, 0, 1, 2))
    return 0.5 * (2 * b + (c - a) * s + (2 * a - 5 * b + 4 * c - d) * s**2 + (3 * b - a - 3 * c + d) * s**3)


def eye_lids(identity: Identity, motion: Motion, side: int, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lid `[t k 2]` of the eye on `side` (-1 left in the image, 1 right) at u in [-1, 1] `[k]`."""
    x = side * identity.eye_distance + identity.eye_width * u
    middle = -identity.eye_slant * side * u * identity.eye_width
    arch = (1 - u**2) ** 0.8
    height = identity.eye_height * (1 + 0.25 * motion.brow - 0.12 * motion.gaze_y)[:, None]
    blink = motion.blink[:, None]
    lower = middle + 0.62 * height * arch * (1 - 0.25 * blink)
    upper = middle - 1.05 * height * arch * (1 - blink) + blink * 0.62 * height * arch * 0.75
    x = np.broadcast_to(x, upper.shape)
    return np.stack([x, upper], -1), np.stack([x, lower], -1)


def lips(identity: Identity, motion: Motion, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outer upper, inner upper, inner lower, outer lower edge of the lips `[t k 2]` at u in [-1, 1] `[k]`."""
    rounding, opening, closure = (v[:, None] for v in (motion.rounding, motion.opening, motion.closure))
    smile = motion.smile[:, None]
    rounded, spread = np.maximum(rounding, 0), np.maximum(-rounding, 0)
    width = identity.mouth_width * (1 - 0.34 * rounded + 0.12 * spread + 0.06 * smile - 0.06 * opening)
    gap = 0.30 * opening
    arch = np.maximum(1 - u**2, 0)
    corner = identity.mouth_y + 0.30 * gap - 0.05 * smile * u**2
    upper_in = corner - 0.42 * gap * arch**0.6 + 0.008 * np.exp(-((u / 0.25) ** 2))
    lower_in = corner + 0.70 * gap * arch**0.6 + 0.008 * np.exp(-((u / 0.25) ** 2))
    press = 1 - 0.35 * closure
    bow = 1 - 0.28 * np.exp(-((u / 0.13) ** 2)) - 0.35 * np.abs(u)
    upper_out = upper_in - identity.lip_upper * press * (1 + 0.3 * rounded) * 1.25 * arch**0.5 * bow
    lower_out = lower_in + identity.lip_lower * press * (1 + 0.25 * rounded) * arch**0.6
    inner = np.broadcast_to(0.88 * width * u, upper_in.shape)
    outer = np.broadcast_to(width * u, upper_in.shape)
    pairs = ((outer, upper_out), (inner, upper_in), (inner, lower_in), (outer, lower_out))
    upper, inner_upper, inner_lower, lower = (np.stack(pair, -1) for pair in pairs)
    return upper, inner_upper, inner_lower, lower


def brows(identity: Identity, side: int, u: np.ndarray) -> np.ndarray:
    """Middle line of a brow at rest `[k 2]`, u from -1 (left end in the image) to 1."""
    x = side * identity.eye_distance + identity.eye_width * 1.3 * u
    y = -identity.brow_height - identity.brow_arch * (1 - (u - 0.25 * side) ** 2) + 0.03
    return np.stack([x, y], -1)


def landmarks(identity: Identity, motion: Motion, view: View) -> np.ndarray:
    """The 68 iBUG landmarks `[t 68 2]` float32 in pixels, exactly where the renderer draws them."""
    t = len(motion.yaw)
    chain = outline(identity, 18 * 64)[: 10 * 64 + 1]  # from the first of its 18 corners to the eleventh
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(chain, axis=0), axis=1))])
    stations = np.linspace(0, length[-1], 17)
    jaw = np.stack([np.interp(stations, length, chain[:, i]) for i in range(2)], 1)
    nose = identity.nose_length
    bridge = np.stack([np.zeros(4), np.linspace(0.06, nose * 0.92, 4)], 1)
    base = np.stack(
        [np.array([-1, -0.5, 0, 0.5, 1]) * identity.nose_width * 0.75, nose + np.array([0.08, 0.11, 0.13, 0.11, 0.08])],
        1,
    )
    ends = np.linspace(-1, 1, 5)
    rest = np.concatenate([jaw, brows(identity, -1, ends), brows(identity, 1, ends), bridge, base])
    eyes = []
    for side in (-1, 1):
        upper, lower = eye_lids(identity, motion, side, np.array([-1, -0.36, 0.36, 1]))
        eyes += [upper, lower[:, 2:0:-1]]
    upper, inner_upper, inner_lower, lower = lips(identity, motion, np.array([-1, -0.6, -0.25, 0, 0.25, 0.6, 1]))
    # Inner corners and the three points between them; the outer row starts at the left corner, clockwise.
    mouth = [upper, lower[:, 5:0:-1], inner_upper[:, [0, 1, 3, 5, 6]], inner_lower[:, [5, 3, 1]]]
    return np.concatenate(
        [
            np.broadcast_to(project(rest[None], identity, motion, view), (t, len(rest), 2)),
            project(np.concatenate([*eyes, *mouth], 1), identity, motion, view, deform=False),
        ],
        1,
    ).astype(np.float32)
