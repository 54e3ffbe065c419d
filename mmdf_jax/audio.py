"""What the whole project holds of sound: its rate, and the filters of spectral features. NumPy alone."""

import functools

import numpy as np

SAMPLE_RATE = 16_000  # per second; every record, batch and audio encoder


@functools.lru_cache(maxsize=16)
def mel_filters(sample_rate: int, n_fft: int, bins: int, fmin: float, fmax: float | None) -> np.ndarray:
    """Triangular filters of equal area, equally spaced on Slaney's mel scale (Auditory Toolbox): [n_fft//2+1 bins]."""
    fmax = sample_rate / 2 if fmax is None else fmax
    edges = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(fmax), bins + 2))
    return (_triangles(edges, sample_rate, n_fft) * (2.0 / (edges[2:] - edges[:-2]))).astype(np.float32)


@functools.lru_cache(maxsize=16)
def linear_filters(sample_rate: int, n_fft: int, bins: int, fmin: float, fmax: float | None) -> np.ndarray:
    """Triangular filters of unit height, equally spaced in frequency: [n_fft//2+1 bins]."""
    edges = np.linspace(fmin, sample_rate / 2 if fmax is None else fmax, bins + 2)
    return _triangles(edges, sample_rate, n_fft).astype(np.float32)


def dct_basis(inputs: int, outputs: int) -> np.ndarray:
    """The first `outputs` columns of the orthonormal DCT-II: [inputs outputs]."""
    if outputs > inputs:
        raise ValueError(f"dct_basis: {outputs} coefficients asked of {inputs} filters; at most as many are possible")
    n, k = np.arange(inputs)[:, None], np.arange(outputs)
    basis = np.cos(np.pi * k * (2 * n + 1) / (2 * inputs)) * np.sqrt(2.0 / inputs)
    basis[:, 0] /= np.sqrt(2.0)
    return basis.astype(np.float32)


def hann(length: int) -> np.ndarray:
    """A periodic Hann window: [length]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _triangles(edges: np.ndarray, sample_rate: int, n_fft: int) -> np.ndarray:
    """Triangles rising from edges[i] to edges[i+1] and falling to edges[i+2] (Hz): [n_fft//2+1 len(edges)-2]."""
    ramps = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)[:, None] - edges
    width = np.diff(edges)
    bank = np.maximum(0.0, np.minimum(ramps[:, :-2] / width[:-1], -ramps[:, 2:] / width[1:]))
    if not bank.any(axis=0).all():
        raise ValueError(
            f"spectrogram: {len(edges) - 2} filters are too many for n_fft={n_fft}: "
            f"{int((~bank.any(axis=0)).sum())} of them cover no frequency bin; use fewer bins or a longer n_fft"
        )
    return bank


def _hz_to_mel(f: float | np.ndarray) -> np.ndarray:
    """Slaney's scale: linear to 1000 Hz (15 mel), then 27 mel per factor of 6.4."""
    return np.where(f < 1000.0, f * 3 / 200, 15 + 27 * np.log(np.maximum(f, 1000.0) / 1000.0) / np.log(6.4))


def _mel_to_hz(m: np.ndarray) -> np.ndarray:
    return np.where(m < 15, m * 200 / 3, 1000.0 * 6.4 ** ((m - 15) / 27))
