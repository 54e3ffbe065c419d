"""A log-mel spectrogram in numpy, for the eye; what models hear is computed on the device by their own layers."""

import numpy as np

SAMPLE_RATE = 16000
FLOOR_DB = -80.0
WINDOW, HOP, BANDS = 400, 160, 80  # 25 ms windows every 10 ms, the usual of speech work


def mel(frequency: np.ndarray | float) -> np.ndarray:
    """Hertz to mel (O'Shaughnessy 1987)."""
    return 2595 * np.log10(1 + np.asarray(frequency, float) / 700)


def log_mel(audio: np.ndarray) -> np.ndarray:
    """[s] samples at 16 kHz, int16 or float, to [t BANDS] decibels below the loudest cell, not under FLOOR_DB."""
    audio = np.asarray(audio, np.float64)
    audio = np.pad(audio, WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows, 512)) ** 2
    energy = power @ _triangles(power.shape[1]).T
    peak = energy.max()
    if peak <= 0:
        return np.full(energy.shape, FLOOR_DB)
    return np.maximum(10 * np.log10(np.maximum(energy / peak, 1e-12)), FLOOR_DB)


def _triangles(bins: int) -> np.ndarray:
    """Overlapping triangles, equally spaced in mel from 0 to 8 kHz. [BANDS bins]"""
    edges = np.linspace(0, mel(SAMPLE_RATE / 2), BANDS + 2)[:, None]
    at = mel(np.linspace(0, SAMPLE_RATE / 2, bins))
    width = edges[1] - edges[0]
    # Never narrower than the bins are apart, else the lowest bands would be empty.
    width = np.maximum(width, np.interp(edges[1:-1], at[:-1], np.diff(at)))
    return np.clip(1 - np.abs(at - edges[1:-1]) / width, 0, None)
