"""Skin: the still parts of a person — face, hair, neck, clothes — painted once per clip in head coordinates."""

import dataclasses
import functools
from collections.abc import Iterator

import cv2
import numpy as np

from data_pipelines.talking_heads import geometry
from data_pipelines.talking_heads.identity import Colour, Identity

SCALE = 50.0  # texture pixels per head unit
WIDTH, HEIGHT = 250, 250
ORIGIN = (125.0, 108.0)


@dataclasses.dataclass(frozen=True)
class Light:
    """Where the light comes from (unit vector, z towards the viewer), the ambient part, and its tint."""

    direction: tuple[float, float, float]
    ambient: float
    tint: Colour


def to_texture(points: np.ndarray) -> np.ndarray:
    """Head coordinates to texture pixels."""
    return points * SCALE + np.array(ORIGIN)


@dataclasses.dataclass(frozen=True)
class _Unlit:
    """A person before the light is known: colour `[h w 3]` premultiplied by alpha `[h w]`, how far the light models
    each point `[h w]` (0 not at all, 1 as a face), the relief's normals `[h w 3]`."""

    colour: np.ndarray
    alpha: np.ndarray
    modelling: np.ndarray
    normal: np.ndarray


def paint(identity: Identity, light: Light, clothes: Colour, rng: np.random.Generator) -> np.ndarray:
    """Texture `[HEIGHT WIDTH 4]` uint8, RGB premultiplied by alpha, without eyes and lips, which move.

    rng draws the clothes' folds and stripes.
    """
    person = _unlit(identity)
    shade = 1 + person.modelling * (_shade(person.normal, light) - 1)
    x, y = _grid()
    folds = 1 + 0.10 * np.sin(3.1 * x + 1.3 * y + rng.uniform(0, 6)) * np.sin(2.3 * x - 1.9 * y + rng.uniform(0, 6))
    stripes = 1 - 0.25 * (rng.random() < 0.35) * (np.sin(y * rng.uniform(18, 30)) > 0.3)
    cloth = folds * stripes * (0.95 - 0.12 * x * light.direction[0])
    cover = _shoulders()
    canvas = np.empty((HEIGHT, WIDTH, 4), np.float32)
    canvas[..., 3] = 255 * (person.alpha + (1 - person.alpha) * cover)
    for c in range(3):
        bare = person.colour[..., c] * shade
        canvas[..., c] = (bare + (cloth * clothes[c] - bare) * cover) * light.tint[c]
    canvas[..., :3] = np.minimum(canvas[..., :3], canvas[..., 3:])
    return canvas.astype(np.uint8)


@functools.cache
def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Head coordinates x, y `[h w]` of the texture's pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    return (x - np.float32(ORIGIN[0])) / np.float32(SCALE), (y - np.float32(ORIGIN[1])) / np.float32(SCALE)


@functools.cache
def _shoulders() -> np.ndarray:
    right = [(0.62, 1.72), (1.5, 1.98), (2.3, 2.2), (3.0, 2.6), (3.0, 4)]
    return _mask(np.array([(0, 2.02), *right, *[(-x, y) for x, y in reversed(right)]]), 0.8)


@functools.lru_cache(maxsize=16)
def _unlit(identity: Identity) -> _Unlit:
    own = np.random.default_rng(identity.seed)  # marks on the skin and strands stay with the person
    x, y = _grid()
    face = _mask(geometry.outline(identity))
    skin, hair = np.array(identity.skin, np.float32), np.array(identity.hair, np.float32)
    strands = _strands(x, y, identity, own)
    canvas = np.zeros((HEIGHT, WIDTH, 5), np.float32)  # colour, alpha, modelling

    def lay(colour: np.ndarray, mask: np.ndarray, modelling: float = 1.0) -> None:
        rows, columns = np.flatnonzero(mask.max(1) > 0.002), np.flatnonzero(mask.max(0) > 0.002)
        if len(rows) and len(columns):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            paint = np.empty((*mask[part].shape, 5), np.float32)
            paint[..., :3] = colour if np.ndim(colour) < 3 else colour[part]
            paint[..., 3:] = 1, modelling
            canvas[part] += (paint - canvas[part]) * mask[part][..., None]

    sheen = hair * strands[..., None]
    if identity.hair_style == "long":
        half = [(0.85, -1.2), (1.22, -0.3), (1.28, 0.6), (1.18, 1.7), (0.8, 2.0)]
        back = np.array([(0, -1.5), *half, *[(-x, y) for x, y in reversed(half)]])
        lay(sheen * 0.75, _mask(geometry.closed_spline(back, 80) * [identity.width, 1], 1.5), 0.35)
    neck_width = 0.50 + 0.6 * (identity.jaw_width - 0.6)
    half = [(neck_width, 0.6), (neck_width, 1.65), (0.95, 2.05)]
    neck = np.array([*half, *[(-x, y) for x, y in reversed(half)]])
    column = np.clip(1 - 0.35 * (x / neck_width) ** 2, 0.4, 1)
    under_chin = 1 - 0.40 * np.exp(-((np.maximum(y - identity.chin + 0.05, 0) / 0.28) ** 2) - (x / 0.9) ** 4)
    lay(skin * (0.88 * column * under_chin)[..., None], _mask(neck, 1.0), 0.4)
    for side in (-1, 1):
        ear = _ellipse((side * identity.width * 1.0, 0.18), (0.13, 0.27))
        if identity.hair_style != "long":
            hollow = 1 - 0.3 * np.exp(-(((x - side * identity.width * 1.03) / 0.05) ** 2) - ((y - 0.16) / 0.13) ** 2)
            lay(skin * np.array([0.80, 0.71, 0.69], np.float32) * hollow[..., None], ear, 0.2)
    lay(_complexion(x, y, identity, own), face)
    for colour, mask in _features(x, y, identity, own):
        lay(np.asarray(colour, np.float32), mask * face)
    if identity.hair_style != "bald":
        lay(sheen, _hair(identity, own) * np.clip(0.8 + 0.5 * (strands - 0.8), 0, 1), 0.35)
    else:
        lay(sheen, 0.25 * face * _soft((np.abs(x) - 0.80 * identity.width) / 0.08) * _soft((0.15 - y) / 0.2))
    if identity.glasses:
        for colour, mask in _glasses(identity):
            lay(colour, mask, 0.0)
    return _Unlit(canvas[..., :3].copy(), canvas[..., 3].copy(), canvas[..., 4].copy(), _normals(x, y, identity))


def _soft(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-4 * value, -30, 30)))


def _mask(polygon: np.ndarray, blur: float = 0.6) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.round(to_texture(polygon) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur)


def _ellipse(centre: tuple[float, float], radii: tuple[float, float], blur: float = 0.6) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return _mask(np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], 1), blur)


def _line(points: np.ndarray, width: float, blur: float = 0.6) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels = np.round(to_texture(points) * 16).astype(np.int32)
    cv2.polylines(mask, [pixels], False, 255, max(1, round(width * SCALE)), cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur)


def _noise(rng: np.random.Generator, blur: float) -> np.ndarray:
    """Smooth noise `[h w]` of unit deviation and the given scale in texture pixels."""
    step = max(1, int(blur / 1.5))
    field = rng.standard_normal((HEIGHT // step + 2, WIDTH // step + 2), dtype=np.float32)
    field = cv2.GaussianBlur(field, (0, 0), blur / step)
    return cv2.resize(field / field.std(), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def _shade(normal: np.ndarray, light: Light) -> np.ndarray:
    """Lambert shading `[h w]` with a little gloss, about 1 in full light."""
    lit = np.clip(normal @ np.array(light.direction, np.float32), 0, 1)
    return light.ambient + (1.08 - light.ambient) * lit + 0.10 * lit**24


def _normals(x: np.ndarray, y: np.ndarray, identity: Identity) -> np.ndarray:
    """Unit normals `[h w 3]` of the face's relief."""
    e, b, m = identity.eye_distance, identity.brow_height, identity.mouth_y
    relief = 1.05 * np.sqrt(np.maximum(1 - (x / (1.12 * identity.width)) ** 2 - ((y - 0.12) / 1.55) ** 2, 0.02))

    def bump(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
        return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)

    n = identity.nose_length
    relief += 0.15 * bump(0, n * 0.45, 0.10, n * 0.5) + 0.17 * bump(0, n, identity.nose_width * 0.6, 0.13)
    for side in (-1, 1):
        relief += 0.05 * bump(side * identity.nose_width * 0.62, n + 0.03, 0.07, 0.08)  # wings of the nose
        relief -= 0.10 * bump(side * e, -0.02, 0.22, 0.13) - 0.03 * bump(side * e, 0.0, 0.12, 0.07)
        relief += 0.05 * bump(side * e * 0.95, -b + 0.02, 0.30, 0.09) + 0.06 * bump(side * 0.58, 0.42, 0.24, 0.20)
        relief -= (0.02 + 0.03 * identity.wrinkles) * bump(side * 0.40, m - 0.16, 0.06, 0.22)
    relief += 0.05 * bump(0, m, 0.38, 0.17) + 0.07 * bump(0, identity.chin - 0.14, 0.24, 0.14)
    relief -= 0.05 * bump(0, m + 0.2, 0.22, 0.05) + 0.012 * bump(0, m - 0.17, 0.035, 0.09)
    gy, gx = np.gradient(relief * SCALE)
    normal = np.stack([-gx, -gy, np.ones_like(gx)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = cv2.GaussianBlur(normal.astype(np.float32), (0, 0), 1.0)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def _complexion(x: np.ndarray, y: np.ndarray, identity: Identity, own: np.random.Generator) -> np.ndarray:
    """Skin colour `[h w 3]` with blush, blotches, pores, freckles, lines and the shadow of a beard."""
    skin = np.array(identity.skin, np.float32)
    blush = sum(np.exp(-(((x - s * 0.55) / 0.25) ** 2) - ((y - 0.45) / 0.2) ** 2) for s in (-1, 1))
    blush = blush + 0.8 * np.exp(-((x / 0.16) ** 2) - ((y - identity.nose_length) / 0.14) ** 2)
    colour = skin * (1 + blush[..., None] * np.array([0.03, -0.05, -0.04], np.float32))
    grain = 0.018 * _noise(own, 8) + 0.022 * _noise(own, 1.6) + 0.016 * _noise(own, 0.7)
    grain -= 0.10 * identity.freckles * (_noise(own, 1.3) > 1.3) * np.exp(-((x / 0.7) ** 2) - ((y - 0.35) / 0.25) ** 2)
    for _ in range(own.integers(0, 4)):
        mole = own.uniform([-0.7, -0.8], [0.7, 1.2])
        grain -= 0.35 * np.exp(-((x - mole[0]) ** 2 + (y - mole[1]) ** 2) / 0.0006)
    for k in range(3):
        line = -0.62 - 0.14 * k + 0.04 * np.cos(2.5 * x)
        grain -= 0.05 * identity.wrinkles * np.exp(-(((y - line) / 0.018) ** 2) - (x / 0.45) ** 2)
    colour *= 1 + grain[..., None]
    if identity.beard:
        lower = _soft((y - 0.80 + 0.30 * (np.abs(x) > 0.5) * np.abs(x)) / 0.08)
        around = 1 - np.exp(-((x / 0.36) ** 4) - ((y - identity.mouth_y - 0.02) / 0.12) ** 4)
        stubble = np.clip(0.55 + 0.25 * _noise(own, 0.9), 0, 1)
        amount = (identity.beard * lower * around * stubble)[..., None]
        colour += (np.array(identity.hair, np.float32) * 1.1 - colour) * 0.75 * amount
    return colour


def _features(
    x: np.ndarray, y: np.ndarray, identity: Identity, own: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(colour, mask) of eye sockets, lid creases, brows and nostrils."""
    skin, hair = np.array(identity.skin, np.float32), np.array(identity.hair, np.float32)
    u = np.linspace(-1, 1, 15)
    for side in (-1, 1):
        socket = np.exp(-(((x - side * identity.eye_distance) / 0.27) ** 2) - ((y + 0.03) / 0.14) ** 2)
        yield skin * [0.62, 0.52, 0.52], 0.42 * socket
        middle = -identity.eye_slant * side * u * identity.eye_width
        crease = np.stack(
            [side * identity.eye_distance + 1.05 * identity.eye_width * u,
             middle - 0.04 - identity.eye_height * 1.25 * (1 - u**2) ** 0.8], 1)  # fmt: skip
        yield skin * [0.55, 0.45, 0.43], 0.6 * _line(crease, 0.022)
        bag = crease * [1, 0] + np.stack([0 * u, middle + 0.05 + identity.eye_height * (1 - u**2)], 1)
        yield skin * [0.68, 0.58, 0.58], (0.15 + 0.35 * identity.wrinkles) * _line(bag, 0.03, 1.2)
        brow = geometry.brows(identity, side, u)
        half = (
            identity.brow_thickness * np.clip(1.15 - 0.5 * (u * side + 1) / 2 - 0.9 * np.abs(u) ** 6, 0.12, 1)[:, None]
        )
        shape = np.concatenate([brow - [0, 1] * half, (brow + [0, 1] * half)[::-1]])
        hairs = np.clip(0.75 + 0.22 * _noise(own, 0.8), 0, 1)
        yield hair * 0.8, 0.9 * _mask(shape, 1.0) * hairs
        nostril = (side * identity.nose_width * 0.40, identity.nose_length + 0.10)
        yield skin * [0.30, 0.20, 0.18], 0.85 * _ellipse(nostril, (identity.nose_width * 0.20, 0.032), 1.0)
        wing = np.exp(-(((x - side * identity.nose_width * 0.95) / 0.035) ** 2)
                      - ((y - identity.nose_length - 0.04) / 0.08) ** 2)  # fmt: skip
        yield skin * [0.60, 0.48, 0.46], 0.55 * wing
    under = np.exp(-((x / (0.6 * identity.nose_width)) ** 2) - ((y - identity.nose_length - 0.155) / 0.035) ** 2)
    yield skin * [0.62, 0.5, 0.48], 0.5 * under


def _strands(x: np.ndarray, y: np.ndarray, identity: Identity, own: np.random.Generator) -> np.ndarray:
    """Brightness of hair `[h w]`: streaks that run away from the crown."""
    crown = (0.25 if identity.hair_style == "parted" else 0.0, identity.forehead - 0.15)
    angle = np.arctan2(x - crown[0], y - crown[1] + 0.05)
    radius = np.hypot(x - crown[0], y - crown[1])
    table = own.standard_normal(512).astype(np.float32)
    table = np.convolve(table, [0.25, 0.5, 0.25], "same")
    streak = np.interp((angle / np.pi + 1) * 256 + 6 * np.sin(2 * radius), np.arange(512), table)
    gloss = 0.22 * np.exp(-(((radius - 0.45) / 0.15) ** 2))
    return (0.88 + 0.16 * streak + gloss).astype(np.float32)


def _hair(identity: Identity, own: np.random.Generator) -> np.ndarray:
    """Mask of the hair in front: from the skull's outer edge to the hairline."""
    w, top = identity.width, identity.forehead
    volume = own.uniform(0.10, 0.22)
    side_end = {"short": 0.02, "fringe": 0.25, "parted": 0.15, "long": 0.9}[identity.hair_style]
    angle = np.linspace(np.pi, 2 * np.pi, 25)
    outer = np.stack([(w + volume * 0.8) * np.cos(angle), -0.25 + (top - volume + 0.25) * -np.sin(angle)], 1)
    outer = np.concatenate([[(-w - volume * 0.6, side_end)], outer, [(w + volume * 0.6, side_end)]])
    u = np.linspace(1, -1, 25)
    height = {"short": -0.78, "fringe": -0.52, "parted": -0.80, "long": -0.80}[identity.hair_style]
    sweep = 0.22 * u if identity.hair_style == "parted" else 0.0
    jag = 0.03 * own.standard_normal(25)
    line = height - sweep + jag + 0.55 * np.abs(u) ** 5
    inner = np.stack([0.93 * w * u, line], 1)
    inner = np.concatenate([[(0.97 * w, side_end)], inner, [(-0.97 * w, side_end)]])
    return _mask(np.concatenate([outer, inner]), 1.0)


def _glasses(identity: Identity) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(colour, mask) of the lenses' reflection, the rims, the bridge and the temples."""
    dark = np.array([28, 26, 30], np.float32)
    angle = np.linspace(0, 2 * np.pi, 40)
    for side in (-1, 1):
        square = np.stack([np.cos(angle), np.sin(angle)], 1)
        square = np.sign(square) * np.abs(square) ** 0.7
        rim = square * [0.30, 0.22] + [side * identity.eye_distance * 1.02, 0.03]
        yield np.full(3, 235, np.float32), 0.05 * _mask(rim)
        yield dark, 0.9 * _line(rim, 0.035)
        temple = np.array([(side * (identity.eye_distance + 0.30), -0.03), (side * identity.width, -0.06)])
        yield dark, 0.9 * _line(temple, 0.035)
    gap = identity.eye_distance * 1.02 - 0.30
    yield dark, 0.9 * _line(np.array([(-gap, -0.02), (0, -0.06), (gap, -0.02)]), 0.035)
