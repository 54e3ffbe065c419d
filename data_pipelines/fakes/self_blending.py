"""Self-blended faces: a changed copy of a face blended into itself leaves a face swap's traces, without a second face.

Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022, arXiv 2204.08376. Theirs takes the hull
from detected landmarks; here the crops are aligned, so the mean face's hull does. What is drawn holds for a clip.
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from data_pipelines.loading import transforms

# Half outlines (x >= 0) in distances between the outer eye corners, from the middle between them, y downwards.
_JAW = [(0.78, 0.0), (0.75, 0.3), (0.68, 0.58), (0.54, 0.85), (0.34, 1.06), (0.0, 1.16)]
_BROWS = [(0.0, -0.28), (0.18, -0.3), (0.42, -0.36), (0.64, -0.22)]
_HULLS = {
    "face": [*_BROWS, *_JAW],
    "inner": [*_BROWS, (0.58, 0.25), (0.48, 0.7), (0.3, 0.98), (0.0, 1.05)],
    "lower": [(0.0, 0.3), (0.3, 0.4), (0.62, 0.45), *_JAW[3:]],
}
_DETAIL = 8  # points between two of an outline, for its deformation to be smooth
_FRAME = 0x5EED  # keeps the generators of single frames apart from others


@dataclasses.dataclass(frozen=True)
class Blend:
    """What was drawn for a clip.

    outline [k 2] of the face's part that is replaced, and `feather` of its edge, in eye distances; `ratio` of source to
    target inside; `move [2 3]` of the source in eye distances; changes of the source's colours and detail. Swaps are
    made frame by frame: `unsteady`: eye distances by which the source moves, `flicker`: relative change of its
    brightness, both anew in every frame.
    """

    outline: np.ndarray
    feather: float
    ratio: float
    move: np.ndarray
    recolour: Callable[[np.ndarray], np.ndarray]
    refine: Callable[[np.ndarray], np.ndarray]
    unsteady: float
    flicker: float
    seed: int

    def __call__(self, image: np.ndarray, crop: np.ndarray, frame: int) -> np.ndarray:
        """The picture [h w c] uint8 of that frame, blended; `crop [2 3]`: where it shows what (see faces.face_map)."""
        height, width, channels = image.shape
        unit = crop[0, 0]
        rng = np.random.default_rng((self.seed, _FRAME, frame))
        weight = self.weight((height, width), crop)
        source = self.refine(self.recolour(image[None]))[0]
        move = self.move.copy()
        move[:, 2] += rng.normal(0, self.unsteady, 2)
        # In pixels: crop o move o crop^-1; the crop only scales and shifts.
        turn = move[:, :2]
        shift = unit * move[:, 2] + crop[:, 2] - turn @ crop[:, 2]
        matrix = np.column_stack([turn, shift])
        source = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        source = source.reshape(height, width, channels)
        source = source.astype(np.float32) * np.float32(1 + rng.normal(0, self.flicker))
        mixed = image + (source - image) * weight[..., None]
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)

    def weight(self, shape: tuple[int, int], crop: np.ndarray) -> np.ndarray:
        """Share of the source [h w] float32 in a picture of that shape."""
        points = self.outline @ crop[:, :2].T + crop[:, 2]
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(self.feather * crop[0, 0], 0.4))
        return soft.astype(np.float32) * (self.ratio / 255)


def outline(part: str) -> np.ndarray:
    """The closed outline [k 2] of a part of the mean face (face, inner or lower), in distances between the outer eye
    corners, from the middle between them."""
    half = np.array(_HULLS[part])
    return np.concatenate([half, (half * [-1, 1])[::-1]])


def draw(
    rng: np.random.Generator,
    *,
    shift: float,
    scale: float,
    colour: float,
    detail: tuple[float, float],
    feather: tuple[float, float],
    ratio: tuple[float, float],
) -> Blend:
    """Draws a blend.

    shift: of the source against the target, in eye distances; scale: relative, of its size; colour: of brightness,
    contrast and saturation, relative, and ten times the turn of the hue; detail: the factor by which a third of the
    sources each are shrunk and enlarged again, without and with aliasing (the others are sharpened); feather (eye
    distances) and ratio as in Blend.
    """
    hull = outline(list(_HULLS)[rng.integers(len(_HULLS))])
    jitter = transforms.ColourJitter(1.0, brightness=colour, contrast=colour, saturation=2 * colour, hue=colour / 10)
    size = 1 + rng.uniform(-scale, scale, 2)
    refine = (transforms.Downscale(1.0, factor=detail).draw, lambda rng: _aliased(rng, detail), _sharpened)[
        rng.integers(3)
    ]
    return Blend(
        outline=_deformed(hull, rng),
        feather=rng.uniform(*feather),
        ratio=rng.uniform(*ratio),
        move=np.column_stack([np.diag(size), rng.uniform(-shift, shift, 2)]),
        recolour=jitter.draw(rng),
        refine=refine(rng),
        unsteady=rng.uniform(0, 0.03),
        flicker=rng.uniform(0, 0.03),
        seed=int(rng.integers(2**32)),
    )


def _deformed(outline: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A closed outline [k 2], resampled, with its distance from the middle swelling and shrinking smoothly by 10 %."""
    closed = np.concatenate([outline, outline[:1]])
    places = np.linspace(0, len(outline), len(outline) * _DETAIL, endpoint=False)
    dense = np.stack([np.interp(places, np.arange(len(closed)), column) for column in closed.T], axis=1)
    angle = 2 * np.pi * np.arange(len(dense)) / len(dense)
    waves = sum(rng.normal(0, 0.06 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 4))
    middle = dense.mean(0)
    return middle + (dense - middle) * np.clip(0.97 + waves, 0.8, 1.15)[:, None]


def _aliased(rng: np.random.Generator, detail: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
    """Keeps one pixel of every so many of frames [n h w c], and interpolates between them."""
    factor = rng.uniform(*detail)

    def change(frames: np.ndarray) -> np.ndarray:
        height, width, channels = frames.shape[1:]
        small = (max(1, round(width / factor)), max(1, round(height / factor)))
        few = (cv2.resize(frame, small, interpolation=cv2.INTER_NEAREST) for frame in frames)
        return np.stack([cv2.resize(frame, (width, height)).reshape(height, width, channels) for frame in few])

    return change


def _sharpened(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Unsharp masking of frames [n h w c], over 1.5 % of their width."""
    amount = rng.uniform(0.5, 1.5)

    def change(frames: np.ndarray) -> np.ndarray:
        out = []
        for frame in frames:
            soft = cv2.GaussianBlur(frame, (0, 0), 0.015 * frame.shape[1]).reshape(frame.shape).astype(np.float32)
            out.append(np.clip(np.rint(frame + amount * (frame - soft)), 0, 255).astype(np.uint8))
        return np.stack(out)

    return change
