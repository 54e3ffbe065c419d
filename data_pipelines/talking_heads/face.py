"""Face: renders a person who speaks: the painted head warped by its motion, eyes and mouth drawn on top."""

import dataclasses

import cv2
import numpy as np

from data_pipelines.talking_heads import geometry, skin
from data_pipelines.talking_heads.geometry import SIZE, Motion, View
from data_pipelines.talking_heads.identity import Colour, Identity
from data_pipelines.talking_heads.skin import Light

_CELL = 10  # the warp is computed on a grid of this pitch and interpolated
_ARC = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 15))  # points of a lid or lip, denser at the corners


@dataclasses.dataclass(frozen=True)
class Scene:
    """Where a clip is taken: background `[SIZE SIZE 3]` uint8, light, clothes, and how the head lies in the frame."""

    background: np.ndarray
    light: Light
    clothes: Colour
    view: View


def scene(rng: np.random.Generator) -> Scene:
    """A random place: a wall with a few blurred things on it, lit from somewhere above."""
    turn, height = rng.uniform(-0.9, 0.9), rng.uniform(0.1, 0.75)
    direction = np.array([np.sin(turn), -height, 1.1])
    warmth = rng.normal(0, 0.035)
    tint = np.array([1 + warmth, 1.0, 1 - warmth]) * rng.uniform(0.82, 1.04)
    light = Light(tuple(direction / np.linalg.norm(direction)), rng.uniform(0.42, 0.66), tuple(tint))
    view = View(geometry.UNIT * rng.uniform(0.92, 1.08), SIZE / 2 + rng.normal(0, 3), SIZE * 0.44 + rng.normal(0, 2.5))
    hue = rng.uniform(0, 180)
    clothes = _hsv(rng.uniform(0, 180), rng.uniform(20, 170), rng.uniform(40, 220))
    return Scene(_background(hue, tint, rng), light, clothes, view)


def render(identity: Identity, motion: Motion, place: Scene, rng: np.random.Generator) -> np.ndarray:
    """Frames `[t SIZE SIZE 3]` uint8 RGB of the person in the place. rng only draws the folds of the clothes."""
    texture = skin.paint(identity, place.light, place.clothes, rng)
    maps = _warps(identity, motion, place.view)
    colours, outlines = zip(*_eyes(identity, motion, place), *_mouth(identity, motion, place), strict=True)
    pixels = geometry.project(np.concatenate(outlines, 1), identity, motion, place.view, deform=False)
    ends = np.cumsum([outline.shape[1] for outline in outlines])[:-1]
    polygons = np.split(np.round(pixels * 16).astype(np.int32), ends, 1)  # fixed point, 4 bits
    colours = [tuple(float(c) for c in np.clip(colour, 0, 255)) for colour in colours]
    frames = np.empty((len(motion.yaw), SIZE, SIZE, 3), np.uint8)
    background = place.background.astype(np.float32) / 255
    for t, frame in enumerate(frames):
        grid = cv2.resize(maps[t], (SIZE + 2 * _CELL, SIZE + 2 * _CELL), interpolation=cv2.INTER_LINEAR)
        grid = np.ascontiguousarray(grid[_CELL:-_CELL, _CELL:-_CELL])
        head = cv2.remap(texture, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        behind = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(head, 3)), cv2.COLOR_GRAY2RGB)
        cv2.multiply(background, behind, frame, dtype=cv2.CV_8U)
        cv2.add(frame, cv2.cvtColor(head, cv2.COLOR_RGBA2RGB), frame)
        for colour, polygon in zip(colours, polygons, strict=True):
            cv2.fillPoly(frame, [polygon[t]], colour, cv2.LINE_AA, 4)
    return frames


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return tuple(float(c) for c in cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0])


def _background(hue: float, tint: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    wall = np.array(_hsv(hue, rng.uniform(5, 90), rng.uniform(90, 215)))
    slope = 1 + rng.uniform(-0.35, 0.35) * (x - 0.5) + rng.uniform(-0.3, 0.3) * (y - 0.5)
    image = (wall * slope[..., None]).astype(np.float32)
    for _ in range(rng.integers(0, 6)):
        corner, extent = rng.uniform(-0.1, 0.9, 2) * SIZE, rng.uniform(0.08, 0.45, 2) * SIZE
        colour = _hsv(rng.uniform(0, 180), rng.uniform(5, 120), rng.uniform(30, 235))
        far = tuple(int(v) for v in corner + extent)
        cv2.rectangle(image, tuple(int(v) for v in corner), far, colour, -1, cv2.LINE_AA)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.5, 6))
    image *= (
        1
        + rng.uniform(0, 0.03)
        * cv2.GaussianBlur(rng.standard_normal(image.shape[:2], np.float32), (0, 0), 0.8)[..., None]
    )
    return np.clip(image * tint, 0, 255).astype(np.uint8)


def _warps(identity: Identity, motion: Motion, view: View) -> np.ndarray:
    """Texture coordinates `[t g g 2]` float32 on a grid whose cells are centred like cv2.resize expects."""
    line = (np.arange(SIZE // _CELL + 2) - 1) * _CELL + (_CELL - 1) / 2
    pixels = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    points = geometry.unproject(pixels.astype(np.float32), identity, motion, view)
    return skin.to_texture(points).reshape(len(points), len(line), len(line), 2).astype(np.float32)


def _eyes(identity: Identity, motion: Motion, place: Scene) -> list[tuple[Colour, np.ndarray]]:
    """(colour, polygons `[t k 2]`) of both eyes, in drawing order; the iris is cut off by the lids."""
    tint = np.array(place.light.tint) * (0.55 + 0.45 * place.light.ambient)
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    shapes = []
    for side in (-1, 1):
        upper, lower = geometry.eye_lids(identity, motion, side, _ARC)
        x = upper[..., 0]
        thick = np.array([0, 0.028])
        height = identity.eye_height
        centre_x = side * identity.eye_distance + 0.38 * identity.eye_width * motion.gaze_x[:, None]
        centre_y = 0.35 * height * motion.gaze_y[:, None] - 0.12 * height

        def disc(radius: float, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
            px = np.clip(centre_x + dx + radius * np.cos(angle), x.min() + 0.01, x.max() - 0.01)  # noqa: B023
            py = centre_y + dy + radius * np.sin(angle)  # noqa: B023
            u = np.clip((px - side * identity.eye_distance) / identity.eye_width, -1, 1)  # noqa: B023
            top, bottom = (lid[..., 1] for lid in geometry.eye_lids(identity, motion, side, u))  # noqa: B023
            return np.stack([px, np.clip(py, top, bottom)], -1)

        iris = np.array(identity.iris)
        radius = 0.46 * identity.eye_width
        lashes = np.concatenate([upper - thick, upper[:, ::-1] + 0.5 * thick], 1)
        shapes += [
            (np.array([226, 218, 214]) * tint, np.concatenate([upper, lower[:, ::-1]], 1)),
            (iris * 0.45 * tint, disc(radius)),
            (iris * tint, disc(radius * 0.82)),
            (np.array([14, 12, 12]), disc(radius * 0.42)),
            (np.array([245, 245, 245]) * tint, disc(radius * 0.17, 0.03 * np.sign(place.light.direction[0]), -0.03)),
            (np.array(identity.hair) * 0.35 + 8, lashes),
            (
                np.array(identity.skin) * [0.62, 0.5, 0.48] * tint,
                np.concatenate([lower, lower[:, ::-1] + 0.4 * thick], 1),
            ),
        ]
    return shapes


def _mouth(identity: Identity, motion: Motion, place: Scene) -> list[tuple[Colour, np.ndarray]]:
    """(colour, polygons `[t k 2]`) of lips, the mouth's inside, teeth and tongue, in drawing order."""
    tint = np.array(place.light.tint) * (0.70 + 0.30 * place.light.ambient)
    upper, inner_upper, inner_lower, lower = geometry.lips(identity, motion, _ARC)

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a, b[:, ::-1]], 1)

    lip = np.array(identity.lips)
    gap = inner_lower - inner_upper
    teeth = inner_upper + np.minimum(0.6 * gap, 0.065 * np.array([0, 1]) * (1 - 0.5 * _ARC[:, None] ** 2))
    tongue = inner_lower - gap * 0.32 * (1 - _ARC[:, None] ** 2)
    inset, rim = slice(2, -2), np.array([0, 0.010])
    shapes = [
        (lip * 0.84 * tint, between(upper, inner_upper)),
        (lip * 1.0 * tint, between(inner_lower, lower)),
        (
            lip * 1.13 * tint + 6,
            between(inner_lower * [1, 0.6] + lower * [0, 0.4], inner_lower * [1, 0.25] + lower * [0, 0.75])[:, 4:-4],
        ),
        (lip * 0.45 * tint, between(inner_upper - rim, inner_lower + rim)),
        (np.array([46, 16, 18]) * tint, between(inner_upper, inner_lower)),
        (np.array([150, 74, 76]) * tint, between(tongue, inner_lower)[:, inset]),
        (np.array([200, 192, 178]) * tint, between(inner_upper, teeth)[:, inset]),
    ]
    return shapes
