"""Augmentations of sound."""

import dataclasses

import numpy as np

from data_pipelines.fakes import codecs
from data_pipelines.loading.transforms.base import Example, Range, Transform
from mmdf_jax.audio import SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class _Sound(Transform):
    """Changes the samples, as float64 in int16's units, if there are any; the result is rounded and clipped."""

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        if "audio" not in example or not example["audio_mask"]:
            return {}
        samples = self.change(example["audio"].astype(np.float64), rng)
        return {"audio": np.clip(np.rint(samples), -32768, 32767).astype(np.int16)}

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


@dataclasses.dataclass(frozen=True)
class Gain(_Sound):
    """Louder or softer by `db` decibels."""

    db: Range = (-6.0, 6.0)

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return samples * 10 ** (rng.uniform(*self.db) / 20)


@dataclasses.dataclass(frozen=True)
class AudioNoise(_Sound):
    """Gaussian noise at `snr` dB below the window's level; its power falls with frequency as f ** -slope.

    Slope 0 is white noise, 1 pink, 2 brown. Digital silence stays.
    """

    snr: Range = (10.0, 40.0)
    slope: Range = (0.0, 2.0)

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        snr, slope = rng.uniform(*self.snr), rng.uniform(*self.slope)
        spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
        bins = np.maximum(np.arange(len(spectrum)), 20.0 * len(samples) / SAMPLE_RATE)  # level below 20 Hz
        noise = np.fft.irfft(spectrum * bins ** (-slope / 2), len(samples))
        return samples + noise * (_rms(samples) / _rms(noise) * 10 ** (-snr / 20))


@dataclasses.dataclass(frozen=True)
class BandLimit(_Sound):
    """Keeps the frequencies from `low` to `high` Hz, without delay; Butterworth slopes of that `order`."""

    low: Range = (20.0, 300.0)
    high: Range = (3000.0, 8000.0)
    order: int = 6

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low, high = rng.uniform(*self.low), rng.uniform(*self.high)
        length = 2 * len(samples)  # zeros behind, for the filter's ringing
        frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        above = 1 / np.sqrt(1 + (low / np.maximum(frequency, 1e-3)) ** (2 * self.order)) if low > 0 else 1.0
        below = 1 / np.sqrt(1 + (frequency / high) ** (2 * self.order))
        return np.fft.irfft(np.fft.rfft(samples, length) * above * below, length)[: len(samples)]


@dataclasses.dataclass(frozen=True)
class Reverb(_Sound):
    """A room: exponentially decaying noise behind the direct sound, which keeps its place; the level stays.

    `rt60` is the time in s in which the tail falls by 60 dB, `direct` the direct sound's energy over the tail's in dB.
    """

    rt60: Range = (0.1, 0.6)
    direct: Range = (0.0, 20.0)

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rt60, direct = rng.uniform(*self.rt60), rng.uniform(*self.direct)
        time = np.arange(1, max(2, round(rt60 * SAMPLE_RATE))) / SAMPLE_RATE
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
        room = np.concatenate([[1.0], tail * 10 ** (-direct / 20) / np.sqrt(np.sum(tail**2))])
        length = len(samples) + len(room)
        wet = np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(room, length), length)[: len(samples)]
        return wet * (_rms(samples) / max(_rms(wet), 1e-9))


@dataclasses.dataclass(frozen=True)
class AudioCodec(_Sound):
    """One of `codecs` (codecs.AUDIO_CODECS) at `bit_rate` bits/s and back, without delay."""

    codecs: tuple[str, ...] = tuple(codecs.AUDIO_CODECS)
    bit_rate: Range = (12_000, 64_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.codecs if name not in codecs.AUDIO_CODECS]
        if unknown or not self.codecs:
            known, found = ", ".join(codecs.AUDIO_CODECS), ", ".join(unknown) or "none"
            raise ValueError(f"AudioCodec.codecs: expected some of {known}, found {found}")

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        codec, rate = self.codecs[rng.integers(len(self.codecs))], round(rng.uniform(*self.bit_rate))
        return codecs.audio_round_trip(samples.astype(np.int16), codec, rate)


@dataclasses.dataclass(frozen=True)
class Pitch(_Sound):
    """A voice higher or lower by `semitones`, formants and all, but no faster: lips still fit.

    A phase vocoder lengthens it (Flanagan & Golden 1966), resampling (soxr) shortens it again.
    """

    semitones: Range = (-2.0, 2.0)

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        import soxr

        rate = 2 ** (rng.uniform(*self.semitones) / 12)
        length = len(samples)
        longer = _lengthened(samples, rate)
        if len(longer) == length:
            return samples
        shifted = soxr.resample(longer, len(longer), length)
        return np.pad(shifted, (0, max(0, length - len(shifted))))[:length]


_STFT, _HOP = 1024, 256


def _lengthened(samples: np.ndarray, rate: float) -> np.ndarray:
    """Samples [s] played over round(s * rate) samples at the same pitch."""
    import scipy.signal

    length = round(len(samples) * rate)
    if length == len(samples) or len(samples) < _STFT:
        return samples
    options = {"nperseg": _STFT, "noverlap": _STFT - _HOP}
    spectrum = scipy.signal.stft(samples, **options)[2]
    places = np.arange(0, spectrum.shape[1] - 1, 1 / rate)
    left = places.astype(int)
    part = places - left
    magnitude = (1 - part) * np.abs(spectrum[:, left]) + part * np.abs(spectrum[:, left + 1])
    # How far each bin's phase runs on in a hop, by its own account.
    steps = np.angle(spectrum[:, left + 1] * np.conj(spectrum[:, left]))
    phase = np.angle(spectrum[:, :1]) + np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, 1)[:, :-1]], axis=1)
    out = scipy.signal.istft(magnitude * np.exp(1j * phase), **options)[1]
    return np.pad(out, (0, max(0, length - len(out))))[:length]
