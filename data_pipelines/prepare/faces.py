"""Face tracks and what is cut out along them: the aligned face and the mouth."""

import dataclasses
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np

# Where five points of the iBUG 68 (outer and inner eye corners, base of the nose) lie in an upright frontal face, in
# units of the distance between the outer eye corners, from the middle between them. These points move little in
# speech, which is why the lip-reading literature aligns on them.
STABLE = (36, 39, 42, 45, 33)
_FRONTAL = np.array([(-0.5, 0.0), (-0.165, 0.0), (0.165, 0.0), (0.5, 0.0), (0.0, 0.52)], np.float32)
_FACE_CENTRE = (0.0, 0.35)  # the middle between brows and chin
_FACE_SIZE = 1.55  # a square of this side just holds brows, chin and cheeks
_LIPS = (0.0, 0.85)  # the middle of the mouth
_MOUTH = slice(48, 68)
_MOUTH_SIZE = 0.92  # side of the mouth crop
_SMOOTHING = 12  # frames over which the mouth's alignment is averaged, as Ma et al. (2022) do for lip-reading
_STEADYING = 3  # frames over which its position is: more, and it would lag behind a moving head


@dataclasses.dataclass(frozen=True)
class Track:
    """One face through a clip, at 25 frames a second.

    landmarks [t 68 2] float32, pixels of a picture `width` wide (0: of the source); found [t] bool: seen in the
    picture (False: interpolated). The last row holds for what comes after it. cuts: frames at which another shot
    begins; nothing is averaged over them.
    """

    landmarks: np.ndarray
    found: np.ndarray
    width: int = 0
    cuts: tuple[int, ...] = ()

    def scaled(self, width: int) -> "Track":
        """The same track in pixels of a picture `width` wide."""
        if self.width in (0, width):
            return self
        scale = np.float32(width / self.width)
        landmarks = (self.landmarks + np.float32(0.5)) * scale - np.float32(0.5)
        return dataclasses.replace(self, landmarks=landmarks, width=width)


def longest_gap(found: np.ndarray) -> int:
    """Most frames in a row that are False in found [t]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], found, [True]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def given(path: str | pathlib.Path, fps: float = 25.0) -> Track:
    """The track that a dataset brings along, up to its last time.

    The file is an .npz with `landmarks [n 68 2]` (pixels; NaN where there is no face) and `times [n]` (seconds from the
    first picture, increasing). Raises ValueError when it holds anything else or no face at all.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            landmarks, times = np.asarray(data["landmarks"], np.float32), np.asarray(data["times"], np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: no landmarks can be read ({error})") from None
    if landmarks.shape != (len(times), 68, 2) or np.any(np.diff(times) <= 0):
        raise ValueError(
            f"{path}: expected landmarks [n 68 2] and increasing times [n], found {landmarks.shape} and {times.shape}"
        )
    seen = np.isfinite(landmarks).all((1, 2))
    if not seen.any():
        raise ValueError(f"{path}: no frame has a face")
    landmarks, times = landmarks[seen], times[seen]
    wanted = np.arange(int(times[-1] * fps + 1e-3) + 1) / fps
    right = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    nearest = np.minimum(np.abs(times[right] - wanted), np.abs(times[np.maximum(right - 1, 0)] - wanted))
    return Track(_interpolate(landmarks, times, wanted), nearest <= 1.01 / fps)


def fill(landmarks: np.ndarray, found: np.ndarray, width: int, cuts: Sequence[int] = ()) -> Track:
    """The track through landmarks [t 68 2] known at the frames found [t]; the others are interpolated, from their own
    shot where the face is seen in it."""
    filled = np.empty_like(landmarks)
    for shot in np.split(np.arange(len(found)), cuts):
        where = shot[found[shot]] if found[shot].any() else np.flatnonzero(found)
        filled[shot] = _interpolate(landmarks[where], where, shot)
    return Track(filled, found, width, tuple(cuts))


def _interpolate(landmarks: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Landmarks [n 68 2] known at times [n], read off at wanted [t]: linear between, held at the ends."""
    if len(times) == 1:
        return np.repeat(landmarks, len(wanted), 0)
    right = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    left = right - 1
    weight = np.clip((wanted - times[left]) / (times[right] - times[left]), 0, 1).astype(np.float32)[:, None, None]
    return (1 - weight) * landmarks[left] + weight * landmarks[right]


def smooth(values: np.ndarray, window: int, cuts: Sequence[int] = ()) -> np.ndarray:
    """Centred moving average of [t ...] over time; shorter at the ends, and at cuts."""
    if cuts:
        return np.concatenate([smooth(shot, window) for shot in np.split(values, cuts)])
    if window <= 1 or len(values) <= 1:
        return values
    half = window // 2
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, 0, np.float64)])
    start = np.maximum(np.arange(len(values)) - half, 0)
    end = np.minimum(np.arange(len(values)) + half + 1, len(values))
    count = (end - start).reshape(-1, *[1] * (values.ndim - 1))
    return ((sums[end] - sums[start]) / count).astype(np.float32)


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares rotation, scale and shift [t 2 3] that takes points [t n 2] to target [n 2].

    Closed form over the complex plane: w = a z + b with a = sum(conj(z) w) / sum(|z|^2) about the means (Umeyama 1991
    without reflection).
    """
    z = points[..., 0].astype(np.complex128) + 1j * points[..., 1]
    w = target[..., 0] + 1j * target[..., 1]
    z_mean, w_mean = z.mean(-1, keepdims=True), w.mean(-1, keepdims=True)
    spread = np.maximum((np.abs(z - z_mean) ** 2).sum(-1), 1e-9)
    a = (np.conj(z - z_mean) * (w - w_mean)).sum(-1) / spread
    b = (w_mean - a[..., None] * z_mean)[..., 0]
    rows = np.stack([np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)], -2)
    return rows.astype(np.float32)


def frontal(landmarks: np.ndarray, window: int = 5) -> np.ndarray:
    """Landmarks [t 68 2] in the aligned face: in distances between the outer eye corners, from their middle."""
    maps = similarity(smooth(landmarks, window)[:, STABLE], _FRONTAL)
    return np.einsum("tij,tnj->tni", maps[:, :, :2], landmarks) + maps[:, None, :, 2]


def face_transforms(track: Track, size: int, margin: float, window: int = 5) -> np.ndarray:
    """Maps [t 2 3] from the picture to an aligned face crop of size × size pixels.

    margin: how much larger the crop is than the face itself, 0.3 for 30 %.
    """
    scale, shift = np.split(face_map(size, margin), [2], 1)
    return similarity(smooth(track.landmarks, window, track.cuts)[:, STABLE], _FRONTAL @ scale + shift[:, 0])


def face_map(size: int, margin: float) -> np.ndarray:
    """Where an aligned face crop shows what [2 3]: from distances between the outer eye corners, about their middle."""
    return _upright(size / (_FACE_SIZE * (1 + margin)), _FACE_CENTRE, size)


def mouth_map(size: int) -> np.ndarray:
    """The same of a mouth crop, for a face that is at rest."""
    return _upright(size / _MOUTH_SIZE, _LIPS, size)


def _upright(unit: float, centre: tuple[float, float], size: int) -> np.ndarray:
    """Map [2 3] of an upright face with `unit` pixels per eye distance, the point `centre` in the crop's middle."""
    shift = (size - 1) / 2 - unit * np.array(centre)
    return np.float32([[unit, 0, shift[0]], [0, unit, shift[1]]])


def mouth_transforms(track: Track, size: int) -> np.ndarray:
    """Maps [t 2 3] from the picture to a mouth crop: upright, of one scale, centred on the lips, steady."""
    unit = size / _MOUTH_SIZE
    maps = similarity(smooth(track.landmarks, _SMOOTHING, track.cuts)[:, STABLE], _FRONTAL * unit)
    lips = smooth(track.landmarks[:, _MOUTH].mean(1), _STEADYING, track.cuts)
    centre = np.einsum("tij,tj->ti", maps[:, :, :2], lips) + maps[:, :, 2]
    maps[:, :, 2] += (size - 1) / 2 - centre
    return maps


def whole_transforms(width: int, height: int, size: int) -> np.ndarray:
    """The one map [1 2 3] from the picture to the whole of it, centred in a square of size × size pixels."""
    scale = size / max(width, height)
    shift = [(size - 1) / 2 - scale * (side - 1) / 2 for side in (width, height)]
    return np.float32([[[scale, 0, shift[0]], [0, scale, shift[1]]]])


def boxes(transforms: np.ndarray, size: int) -> np.ndarray:
    """[t 4] x0 y0 x1 y1 in the picture: the square that each crop shows, before its rotation."""
    a, b = transforms[:, 0, 0].astype(np.float64), transforms[:, 1, 0].astype(np.float64)
    square = a * a + b * b
    x, y = ((size - 1) / 2 - transforms[:, i, 2] for i in (0, 1))
    centre = np.stack([a * x + b * y, a * y - b * x], -1) / square[:, None]  # inverse of [[a -b] [b a]]
    half = (size / 2 / np.sqrt(square))[:, None]
    return np.concatenate([centre - half, centre + half], -1).astype(np.float32)


def crop(image: np.ndarray, transform: np.ndarray, size: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """The crop [size size c] that a map [2 3] shows of an image [h w c], without aliasing where it shrinks."""
    factor = max(1, int(np.ceil(1 / max(np.hypot(transform[0, 0], transform[1, 0]), 1e-3) - 0.15)))
    if factor == 1:
        return cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    finer = transform * np.float32(factor)
    finer[:, 2] += (factor - 1) / 2  # pixel centres of the finer raster
    large = cv2.warpAffine(image, finer, (size * factor,) * 2, flags=cv2.INTER_LINEAR, borderMode=border)
    return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)
