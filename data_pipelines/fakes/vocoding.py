"""Phase loss: speech from its mel spectrogram alone, as vocoders make it."""

import numpy as np

from mmdf_jax.audio import SAMPLE_RATE, mel_filters

_WINDOW, _HOP = 800, 200  # 50 ms every 12.5 ms


def phase_loss(samples: np.ndarray, bands: int, iterations: int, rng: np.random.Generator) -> np.ndarray:
    """The same speech [s] float with an invented phase, as long and as loud.

    Magnitudes come back from a mel power spectrogram of that many `bands`; the phase begins at random and goes through
    that many iterations of Griffin & Lim (1984), which smears onsets and blurs high harmonics.
    """
    import scipy.signal
    import scipy.sparse

    length = len(samples)
    samples = np.pad(np.asarray(samples, np.float32), (0, max(0, _WINDOW - length)))  # float32: twice as fast
    options = {"nperseg": _WINDOW, "noverlap": _WINDOW - _HOP}
    spectrum = scipy.signal.stft(samples, **options)[2]
    filters = mel_filters(SAMPLE_RATE, _WINDOW, bands, 0.0, None).T
    bank = scipy.sparse.csr_array(filters)  # few entries, and a BLAS would fight other workers for threads
    mel = bank @ (spectrum.real**2 + spectrum.imag**2) / filters.sum(1, keepdims=True)
    magnitude = np.sqrt(bank.T @ mel / np.maximum(filters.sum(0), 1e-3)[:, None])
    phase = np.float32(2 * np.pi) * rng.random(magnitude.shape, np.float32)
    spectrum = magnitude * (np.cos(phase) + 1j * np.sin(phase))
    for _ in range(iterations):
        again = scipy.signal.stft(_inverse(spectrum, len(samples), options), **options)[2]
        spectrum = magnitude * again / np.maximum(np.abs(again), 1e-9)
    made = _inverse(spectrum, len(samples), options)[:length]
    return made * np.sqrt(np.mean(samples[:length] ** 2) / max(np.mean(made**2), 1e-12))


def _inverse(spectrum: np.ndarray, length: int, options: dict[str, int]) -> np.ndarray:
    import scipy.signal

    samples = scipy.signal.istft(spectrum, **options)[1]
    return np.pad(samples, (0, max(0, length - len(samples))))[:length]
