"""Who speaks, of several people in a picture: the one whose mouth moves with the sound."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.prepare import faces, media
from data_pipelines.prepare.faces import Track

_LOWER_LIP, _JAW = slice(65, 68), slice(7, 10)
_SPEECH = (200.0, 4000.0)  # Hz: the band whose loudness is taken
_TREND = 25  # frames: slower changes are those of the pose, of the head's size and of loudness
_LEAD, _LAG = 5, 2  # frames by which the mouth may move before and after the sound
_SHORTEST = 50  # frames in which a face must be seen to be compared with the sound
_CERTAIN = 1.5  # standard errors of a correlation by which the speaker's must pass that of the largest face
_RUN = 3  # frames that are about as good as one alone, for speech changes little between pictures


@dataclasses.dataclass(frozen=True)
class Choice:
    """Whose face is followed, and why: the dataset's `given` track; the `only` one seen for long; the `largest`; or the
    one that moves with the `sound`.

    correlation: of its mouth with the sound; None where nothing was compared.
    """

    track: Track
    by: str
    correlation: float | None = None


def choose(tracks: Sequence[Track], audio: np.ndarray | None) -> Choice:
    """The speaker's track of those of a clip, which come with the largest first; one at least.

    The largest face speaks unless the mouth of another one, that is seen at least half as long, moves clearly better
    with the sound: by one and a half standard errors of a correlation over so many frames. Between pairs of 14 real
    talking heads, 4 to 20 s long, that both talk, this finds half of the smaller ones that are heard, and takes the
    smaller one for 0.5 % of the larger ones that are heard. Nothing is computed for one face.

    audio: [s] int16, on the tracks' clock; None where there is no sound.
    """
    largest = tracks[0]
    enough = max(_SHORTEST, largest.found.sum() / 2)
    steady = [largest, *(track for track in tracks[1:] if track.found.sum() >= enough)]
    if len(steady) == 1:
        return Choice(largest, "only")
    if audio is None or not np.any(audio) or largest.found.sum() < _SHORTEST:
        return Choice(largest, "largest")
    loudness = envelope(audio, len(largest.found))
    values = [correlation(track, loudness) for track in steady]
    best = int(np.argmax(values))
    margin = _CERTAIN * np.sqrt(_RUN / min(steady[best].found.sum(), largest.found.sum()))
    if values[best] - values[0] < margin:
        return Choice(largest, "largest", values[0])
    return Choice(steady[best], "sound", values[best])


def correlation(track: Track, loudness: np.ndarray) -> float:
    """How well a mouth moves with loudness [t], -1 to 1.

    Normalised cross-correlation of the sound's envelope with how low lower lip and jaw are, without slow changes; the
    mean over the two at the best shift. Mouths open before the sound is heard, by 0.1 to 0.3 s (Chandrasekaran et al.
    2009), so the mouth may come up to 0.2 s before the sound and 0.08 s after it. Frames where the face was not seen
    count for nothing.
    """
    seen = np.flatnonzero(track.found)
    mouth = _steady(mouth_opening(track.landmarks))
    sound = _steady(loudness[:, None])
    shifted = []
    for shift in range(-_LAG, _LEAD + 1):
        heard = seen[(seen + shift >= 0) & (seen + shift < len(sound))]
        if len(heard) < _SHORTEST // 2:
            continue
        a, b = mouth[heard] - mouth[heard].mean(0), sound[heard + shift] - sound[heard + shift].mean(0)
        norm = np.sqrt((a * a).sum(0) * (b * b).sum(0))
        shifted.append(np.divide((a * b).sum(0), norm, out=np.zeros_like(norm), where=norm > 1e-9).mean())
    return float(max(shifted, default=0.0))


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """[t 2] of landmarks [t 68 2]: how low lower lip and jaw are, in distances between the outer eye corners of the
    aligned face. Of dlib's landmarks they tell more than the gap between the lips does, which is small and noisy."""
    points = faces.frontal(landmarks)
    return np.stack([points[:, _LOWER_LIP, 1].mean(1), points[:, _JAW, 1].mean(1)], -1)


def envelope(audio: np.ndarray, frames: int) -> np.ndarray:
    """[t] root mean square of the speech band of audio [s] int16 about each of the frames, 0 to 1."""
    from scipy import signal

    band = signal.butter(2, _SPEECH, "bandpass", fs=media.SAMPLE_RATE, output="sos")
    speech = signal.sosfiltfilt(band, audio / 32768.0) if len(audio) > 100 else np.zeros(0)
    step = media.SAMPLE_RATE // media.FPS
    samples = np.zeros(frames * step)
    count = min(len(speech), len(samples) - step // 2)
    samples[step // 2 : step // 2 + count] = speech[:count]
    return np.sqrt((samples.reshape(frames, step) ** 2).mean(1))


def _steady(values: np.ndarray) -> np.ndarray:
    """Values [t n] without what changes slower than about once a second."""
    return values.astype(np.float64) - faces.smooth(values, _TREND)
