"""Manipulations: face swap, lip re-enactment, voice cloning and dubbing, each with the traces that its kind leaves.

A `weight [t]` or `[s]` in [0, 1] says where in time the fake shows: throughout, or in a feathered span.
"""

import cv2
import numpy as np

from data_pipelines.fakes import vocoding
from data_pipelines.talking_heads.camera import wander

METHODS = ("face_swap", "lip_reenactment", "voice_clone", "face_swap_voice_clone", "dubbing", "dubbing_other_voice")
# How plain the traces are: ranges of what is drawn, so that detectors can be ranked.
RESOLUTION, CHECKER = (30, 41), (0.09, 0.14)  # pixels of a swapped face, and relative gains
DETAIL, MOUTH_CHECKER = (0.32, 0.42), (0.11, 0.18)  # of a re-enacted mouth; of the frame's resolution
NOISE = (0.5, 0.95)  # how much of the sensor's noise is put on what was generated
BANDS, ITERATIONS = (56, 81), 3  # of a cloned voice
_INNER = [*range(0, 17), *range(26, 16, -1)]  # hull of jaw and brows


def swap_face(
    frames: np.ndarray, marks: np.ndarray, donor: np.ndarray, donor_marks: np.ndarray, weight: np.ndarray,
    number: np.ndarray, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Puts the donor's inner face, who performs the same, onto the frames.

    frames, donor `[t h w 3]` uint8; marks `[t 68 2]` pixels; number `[t]`: the picture that each frame shows (see
    camera.shown), for what wanders holds with it. Returns frames and how far each pixel was blended `[t h w]` uint8. As
    in face-swapping autoencoders: the face is generated at a low resolution with the checkerboard of transposed
    convolutions, fitted to each frame's (slowly wandering) landmarks by an affine warp, colour-matched only roughly,
    and blended in along a feathered hull.
    """
    t, h, w, _ = frames.shape
    resolution = int(rng.integers(*RESOLUTION))  # pixels of the generated face
    checker = _checkerboard(resolution + 1, rng.uniform(*CHECKER))
    tint = 1 + rng.normal(0, 0.03, 3)
    match = rng.uniform(0.75, 0.95)
    feather = rng.uniform(1.2, 2.6)
    shrink = rng.uniform(0.86, 0.96)
    flicker = 1 + wander((t,), rng.uniform(0.005, 0.01), rng)[number]
    unsteady = (wander((t, 1, 2), 0.4, rng) + wander((t, 68, 2), 0.4, rng))[number]
    out, blended = frames.copy(), np.zeros((t, h, w), np.uint8)
    for i in np.flatnonzero(weight):
        source, target = donor_marks[i], marks[i] + unsteady[i]
        low, high = source.min(0) - 4, source.max(0) + 4
        squeeze = resolution / (high - low).max()
        small = np.array([[squeeze, 0, -squeeze * low[0]], [0, squeeze, -squeeze * low[1]]])
        generated = cv2.warpAffine(donor[i], small, (resolution + 1, resolution + 1), flags=cv2.INTER_AREA) * checker
        centre = target[_INNER].mean(0)
        patch, mask = _soft_hull(centre + shrink * (target[_INNER] - centre), (h, w), feather)
        corner = np.array([patch[1].start, patch[0].start])
        fit = _affine(squeeze * (source - low), target - corner)
        face = cv2.warpAffine(generated, fit, mask.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (mask > 0.5).astype(np.uint8)
        wanted, wanted_spread = (v[:, 0] for v in cv2.meanStdDev(frames[i][patch], mask=inside))
        given, given_spread = (v[:, 0] for v in cv2.meanStdDev(face, mask=inside))
        scale = 1 + match * (np.clip((wanted_spread + 1) / (given_spread + 1), 0.6, 1.6) - 1)
        gain = scale * tint * flicker[i]
        bias = (given + match * (wanted - given) - scale * given) * tint * flicker[i]
        matched = face * gain.astype(np.float32) + bias.astype(np.float32)
        out[i][patch] = _blend(frames[i][patch], matched, mask * weight[i])
        blended[i][patch] = np.rint(255 * mask * weight[i])
    return out, blended


def reenact_lips(
    frames: np.ndarray, marks: np.ndarray, other: np.ndarray, other_marks: np.ndarray, weight: np.ndarray,
    number: np.ndarray, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Replaces the mouth by that of `other`, the same person in the same pose saying something else; as `swap_face`.

    As in lip-sync generators (Wav2Lip and after): a small, soft patch with a checkerboard, blended into the lower face,
    whose jaw and cheeks go on with the old speech.
    """
    t, h, w, _ = frames.shape
    detail = rng.uniform(*DETAIL)  # of the frame's resolution
    checker = _checkerboard(w, rng.uniform(*MOUTH_CHECKER))
    feather = rng.uniform(1.6, 3.0)
    flicker = 1 + wander((t,), rng.uniform(0.005, 0.01), rng)[number]
    unsteady = wander((t, 2), 0.4, rng)[number]
    out, blended = frames.copy(), np.zeros((t, h, w), np.uint8)
    for i in np.flatnonzero(weight):
        points = np.concatenate([marks[i, 48:60], other_marks[i, 48:60]])
        low, high = points.min(0), points.max(0)
        centre, radius = (low + high) / 2 + unsteady[i], (high - low) / 2 * [1.25, 1.3] + [3, 4]
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        patch, mask = _soft_hull(centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1), (h, w), feather)
        size = mask.shape[::-1]
        small = cv2.resize(other[i][patch], None, fx=detail, fy=detail, interpolation=cv2.INTER_AREA)
        mouth = cv2.resize(small * checker[: small.shape[0], : small.shape[1]], size, interpolation=cv2.INTER_LINEAR)
        ring = ((mask > 0.1) & (mask < 0.6)).astype(np.uint8)
        offset = np.subtract(cv2.mean(frames[i][patch], ring), cv2.mean(mouth, ring))[:3].astype(np.float32)
        mouth = (mouth + 0.9 * offset) * np.float32(flicker[i])
        out[i][patch] = _blend(frames[i][patch], mouth, mask * weight[i])
        blended[i][patch] = np.rint(255 * mask * weight[i])
    return out, blended


def clone_voice(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same speech `[s]` through a mel vocoder; see vocoding.phase_loss for what it loses."""
    return vocoding.phase_loss(sound, int(rng.integers(*BANDS)), ITERATIONS, rng)


def splice(sound: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`other` where weight `[s]` is 1, `sound` where it is 0, both at equal loudness, cross-faded at equal power."""
    other = other * np.sqrt(np.mean(sound**2) / (np.mean(other**2) + 1e-12))
    return (sound * np.sqrt(1 - weight) + other * np.sqrt(weight)).astype(np.float32)


def ramp(times: np.ndarray, spans: tuple[tuple[float, float], ...], feather: float) -> np.ndarray:
    """Weight at `times` (s): 1 in the spans, 0 outside, ramps of `feather` s over their ends; 1 without a span."""
    if not spans:
        return np.ones(len(times), np.float32)
    inside = np.max([np.minimum(times - start, end - times) for start, end in spans], 0)
    return np.clip(inside / feather + 0.5, 0, 1).astype(np.float32)


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares affine map `[2 3]` of points `[k 2]`."""
    design = np.concatenate([source, np.ones((len(source), 1))], 1)
    return np.linalg.lstsq(design, target, rcond=None)[0].T


def _checkerboard(size: int, amount: float) -> np.ndarray:
    """Gains `[size size 1]` that alternate from pixel to pixel, as transposed convolutions leave them (Odena, 2016)."""
    sign = 1 - 2 * (np.arange(size) % 2)
    return (1 + amount * (sign[:, None] * sign))[..., None].astype(np.float32)


def _soft_hull(points: np.ndarray, shape: tuple[int, int], feather: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of the image that the points' convex hull touches, and the feathered hull `[h w]` float32 in it."""
    margin = int(2.5 * feather) + 2
    left, top = np.maximum(points.min(0).astype(int) - margin, 0)
    right, bottom = np.minimum(points.max(0).astype(int) + margin, np.array(shape)[::-1])
    mask = np.zeros((bottom - top, right - left), np.uint8)
    hull = cv2.convexHull(np.round((points - [left, top]) * 16).astype(np.int32))
    cv2.fillPoly(mask, [hull], 255, cv2.LINE_AA, 4)
    return np.s_[top:bottom, left:right], cv2.GaussianBlur(mask, (0, 0), feather).astype(np.float32) / 255


def _blend(frame: np.ndarray, face: np.ndarray, mask: np.ndarray) -> np.ndarray:
    mixed = frame + (face - frame) * mask[..., None]
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
