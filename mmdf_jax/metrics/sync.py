"""Audio-video offset and confidence: SyncNet's published measures, and those of masked similarity curves.

Two conventions of sign meet here. SyncNet's offset is positive where the sound comes early (its own audio frame is
t - offset). Everything else in this project is positive where the sound comes late: picture t belongs to sound
t + offset, in frames of 40 ms.
"""

import dataclasses

import numpy as np

EPSILON = 1e-6  # which torch's pairwise_distance adds to every component


@dataclasses.dataclass(frozen=True)
class SyncNet:
    """What `SyncNetInstance.evaluate` of joonson/syncnet_python returns of a clip.

    offset: frames, positive where the sound comes early. confidence: median of the mean distances minus their
    minimum. min_distance: that minimum. frame_confidence [t]: median-filtered over nine frames.
    """

    offset: int
    confidence: float
    min_distance: float
    frame_confidence: np.ndarray


def syncnet(video: np.ndarray, audio: np.ndarray, reach: int = 15) -> SyncNet:
    """SyncNet's measures of features video [t d] and audio [t d], with the zero padding of the published code.

    The padding mixes invented frames in: use it to compare with published numbers, and `read_curve` otherwise.

    Raises:
      ValueError: the features differ in shape, or there is none.
    """
    video, audio = np.asarray(video, np.float64), np.asarray(audio, np.float64)
    if video.ndim != 2 or video.shape != audio.shape or not len(video):
        raise ValueError(f"syncnet: expected two arrays [t d] alike, found {video.shape} and {audio.shape}")
    padded = np.pad(audio, ((reach, reach), (0, 0)))
    shifted = np.stack([padded[k : k + len(video)] for k in range(2 * reach + 1)])
    distances = np.linalg.norm(video - shifted + EPSILON, axis=-1)
    curve = distances.mean(1)
    best, middle = int(curve.argmin()), float(np.median(curve))
    return SyncNet(
        offset=reach - best,
        confidence=middle - float(curve[best]),
        min_distance=float(curve[best]),
        frame_confidence=median_filter(middle - distances[best], 9),
    )


def lse(clips: list[SyncNet]) -> tuple[float, float]:
    """(LSE-D, LSE-C) of Prajwal et al. (2020, Wav2Lip): the clips' mean minimum distance and mean confidence."""
    return float(np.mean([c.min_distance for c in clips])), float(np.mean([c.confidence for c in clips]))


def median_filter(values: np.ndarray, width: int) -> np.ndarray:
    """Running median of values [t] over an odd `width`, zeros beyond the ends, as scipy.signal.medfilt has it."""
    return np.median(np.lib.stride_tricks.sliding_window_view(np.pad(values, width // 2), width), axis=-1)


def mean_curve(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means [k] over the pairs of frames that each shift has; nan at shifts with fewer than a third of shift 0's.

    sums, counts: [k] over shifts -reach … reach; of several windows, their sums or means.
    """
    counts = np.asarray(counts, float)
    enough = counts >= max(counts[len(counts) // 2], 1e-9) / 3 if len(counts) else counts > 0
    return np.where(enough, np.asarray(sums, float) / np.where(enough, counts, 1), np.nan)


@dataclasses.dataclass(frozen=True)
class Offset:
    """offset: frames, positive where the sound comes late. confidence: peak minus median; best: the peak."""

    offset: float
    confidence: float
    best: float


def read_curve(curve: np.ndarray) -> Offset:
    """Offset and confidence of a similarity curve [2 reach + 1], nan where a shift is unknown; all nan without any."""
    if not len(curve) or np.isnan(curve).all():
        return Offset(np.nan, np.nan, np.nan)
    best = int(np.nanargmax(curve))
    return Offset(best - len(curve) // 2, float(curve[best] - np.nanmedian(curve)), float(curve[best]))
