"""Voice: source-filter synthesis of an articulation, and the room and microphone that it is recorded with."""

import dataclasses

import numpy as np

from data_pipelines.talking_heads import articulation
from data_pipelines.talking_heads.articulation import Articulation
from data_pipelines.talking_heads.identity import Voice
from mmdf_jax.audio import SAMPLE_RATE

_WINDOW, _HOP, _FFT = 512, 128, 1024
_BANDWIDTHS = (70.0, 100.0, 140.0, 220.0, 300.0)


@dataclasses.dataclass(frozen=True)
class Room:
    """A place of recording: impulse response `[k]`, the background's level (`snr`, dB) and spectral slope, and the
    microphone's band (Hz)."""

    response: np.ndarray
    snr: float
    slope: float
    low: float = 0.0
    high: float = SAMPLE_RATE / 2


def draw_room(rng: np.random.Generator) -> Room:
    """A random room, from a quiet to a loud one, with any microphone."""
    decay = rng.uniform(0.02, 0.08)  # s
    taps = np.arange(int(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(taps)) * np.exp(-taps / decay) * rng.uniform(0.01, 0.05)
    tail[0] = 1
    snr = rng.uniform(0, 10) if rng.random() < 0.15 else rng.uniform(10, 30)
    high = rng.uniform(3400, 7000) if rng.random() < 0.4 else 8000.0
    return Room(tail.astype(np.float32), snr, rng.uniform(0.4, 1.1), rng.uniform(30, 250), high)


def synthesize(track: Articulation, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Speech-like sound `[s]` float32 for a track, roughly unit RMS in vowels; s = duration * SAMPLE_RATE.

    Source: Rosenberg's glottal pulse (1971, type C) differentiated, with jitter, shimmer and breath; filter: a cascade
    of five resonators (Klatt, 1980) applied to short overlapping windows, frication noise around its own centre.
    """
    n = len(track.jaw) * SAMPLE_RATE // articulation.RATE
    steps = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    grid = np.arange(len(track.jaw)) / articulation.RATE

    def at_samples(values: np.ndarray) -> np.ndarray:
        return np.interp(steps, grid, values).astype(np.float32)

    wander = np.interp(steps, np.linspace(0, steps[-1], 40), rng.normal(0, voice.jitter, 40))
    phase = np.cumsum(at_samples(track.f0) * voice.f0 * (1 + wander)) / SAMPLE_RATE
    cycle = phase.astype(np.int64)
    phase = (phase + rng.normal(0, voice.jitter / 2, cycle[-1] + 2)[cycle] - cycle).astype(np.float32)
    amplitude = (1 + rng.normal(0, voice.shimmer, cycle[-1] + 2)[cycle]).astype(np.float32)
    rise, fall = voice.open_quotient * 0.67, voice.open_quotient * 0.33
    pulse = np.where(
        phase < rise,
        np.sin(np.pi * phase / rise) / rise,
        np.where(phase < rise + fall, -np.sin(np.pi / 2 * (phase - rise) / fall) / fall, 0),
    )
    noise = rng.standard_normal(n, dtype=np.float32)
    breath = noise * voice.breathiness * (6 + 6 * (phase < voice.open_quotient))
    loudness = at_samples(track.voicing * (0.25 + 0.75 * track.opening))
    voiced = loudness * (pulse * amplitude + breath)
    unvoiced = at_samples(track.frication) * rng.standard_normal(n, dtype=np.float32)

    frames = (n + _WINDOW) // _HOP + 1
    centres = np.clip(np.arange(frames) * _HOP / SAMPLE_RATE, 0, grid[-1])
    formants = np.stack([np.interp(centres, grid, track.formants[:, i]) for i in range(3)], 1)
    formants = np.concatenate([formants, np.tile([3500.0, 4600.0], (frames, 1))], 1) * voice.formant_scale
    tract = _resonators(np.minimum(formants, 7400), voice.tilt)
    hiss = _band(np.interp(centres, grid, track.noise) * voice.formant_scale**0.5)
    spectrum = _analyse(voiced, frames) * tract + _analyse(unvoiced, frames) * hiss
    return _overlap_add(spectrum, n)


def record(speech: np.ndarray, room: Room, rng: np.random.Generator) -> np.ndarray:
    """The speech `[s]` as the room's microphone hears it: reverberation, background noise at the room's SNR, and no
    more than the microphone's band."""
    n = len(speech)
    size = 1 << (n + len(room.response) - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(room.response, size), size)[:n]
    hum = np.fft.rfft(rng.standard_normal(n, dtype=np.float32))
    hum *= (1 + np.arange(len(hum)) * (SAMPLE_RATE / n) / 200.0) ** -room.slope
    hum = np.fft.irfft(hum, n)
    level = np.sqrt(np.mean(wet**2) / np.mean(hum**2)) * 10 ** (-room.snr / 20)
    spectrum = np.fft.rfft(wet + level * hum)
    hz = np.arange(len(spectrum)) * (SAMPLE_RATE / n)
    # Butterworth responses of third order: magnitudes only, so that nothing is delayed.
    spectrum /= np.sqrt(1 + (room.low / np.maximum(hz, 1e-3)) ** 6)
    if room.high < SAMPLE_RATE / 2:
        spectrum /= np.sqrt(1 + (hz / room.high) ** 12)
    return np.fft.irfft(spectrum, n).astype(np.float32)


def level(sound: np.ndarray, rms: float, crest: float) -> np.ndarray:
    """`sound` brought to exactly this RMS and (where it has more) this crest factor, by soft limiting.

    Both are drawn independently of the label, so that neither loudness nor peak tells anything.
    """
    sound = sound - sound.mean()
    sound /= np.sqrt(np.mean(sound**2)) + 1e-9
    low, high = 1e-3, 20.0
    for _ in range(14):
        drive = np.sqrt(low * high)
        limited = np.tanh(drive * sound)
        if np.abs(limited).max() > crest * np.sqrt(np.mean(limited**2)):
            low = drive
        else:
            high = drive
    limited = np.tanh(high * sound)
    return (limited * (rms / np.sqrt(np.mean(limited**2)))).astype(np.float32)


def _frequencies() -> np.ndarray:
    return np.arange(_FFT // 2 + 1, dtype=np.float32) * (2 * np.pi / _FFT)


def _resonators(formants: np.ndarray, tilt: float) -> np.ndarray:
    """Complex response `[f w]` of the cascade for formants `[f 5]` in Hz."""
    step = np.exp(-1j * _frequencies()).astype(np.complex64)
    response = np.broadcast_to((1 - tilt) / (1 - tilt * step), (len(formants), len(step))).astype(np.complex64)
    for i, bandwidth in enumerate(_BANDWIDTHS):
        radius = np.float32(np.exp(-np.pi * bandwidth / SAMPLE_RATE))
        middle = (2 * radius * np.cos(2 * np.pi * formants[:, i] / SAMPLE_RATE)).astype(np.float32)[:, None]
        response *= (1 - middle + radius**2) / (1 - middle * step + (radius * step) ** 2)
    return response * np.float32(0.12)


def _band(centres: np.ndarray) -> np.ndarray:
    """Amplitude response `[f w]` of frication around `centres` `[f]` Hz: a broad log-frequency bump."""
    hz = _frequencies() * (SAMPLE_RATE / (2 * np.pi)) + 50
    octaves = np.log2(hz[None, :] / centres.astype(np.float32)[:, None])
    return 0.35 * np.exp(-0.5 * (octaves / 0.55) ** 2)


def _analyse(sound: np.ndarray, frames: int) -> np.ndarray:
    """Spectra `[frames w]` of Hann windows, frame i centred on sample i * _HOP."""
    padded = np.zeros((frames - 1) * _HOP + _WINDOW, np.float32)
    padded[_WINDOW // 2 : _WINDOW // 2 + len(sound)] = sound[: len(padded) - _WINDOW // 2]
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    return np.fft.rfft(windows * np.hanning(_WINDOW + 1)[:-1].astype(np.float32), _FFT).astype(np.complex64)


def _overlap_add(spectrum: np.ndarray, n: int) -> np.ndarray:
    """Sum of the filtered windows, `[n]` float32; the window's overlaps add up to _WINDOW / _HOP / 2."""
    pieces = np.fft.irfft(spectrum, _FFT).astype(np.float32)
    total = np.zeros((len(pieces) - 1) * _HOP + _FFT, np.float32)
    for k in range(_FFT // _HOP):  # hops of one phase do not overlap
        part = pieces[:, k * _HOP : (k + 1) * _HOP].reshape(-1)
        total[k * _HOP : k * _HOP + len(part)] += part
    return total[_WINDOW // 2 : _WINDOW // 2 + n] * (2 * _HOP / _WINDOW)
