"""Spectral front ends computed on the device: log-mel, MFCC and LFCC, equal to librosa's.

All take audio `x [b s]` in [-1, 1] and return features over time `[b t d]` (librosa returns them transposed). With
`center=True` frame i is centred on sample i * hop and there are 1 + s // hop frames. Everything linear is a product
with a constant computed in float64 when the function is traced. Also the Fourier transform: XLA's FFT on CPUs (jaxlib
0.11) waits for threads of the pool that it runs in, and hangs where as many FFTs run at once as the pool has threads:
those of one program, or of several devices.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mmdf_jax.audio import SAMPLE_RATE, dct_basis, hann, linear_filters, mel_filters
from mmdf_jax.layers.pool import max_over
from mmdf_jax.typing import Array


def to_float(x: Array) -> Array:
    """int16 samples, or floats in [-1, 1], as float32 in [-1, 1]; float64 stays."""
    if x.dtype == jnp.int16:
        return x.astype(jnp.float32) / 32768
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"audio: expected int16 or float samples in [-1, 1], got {x.dtype}")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def power_spectrogram(
    x: Array,
    *,
    n_fft: int = 512,
    hop: int = 160,
    win_length: int | None = None,
    center: bool = True,
    pad_mode: str = "constant",
) -> Array:
    """Squared magnitude of the short-time Fourier transform with a periodic Hann window: [b s] -> [b t n_fft//2+1].

    win_length: window length in samples, zero-padded in the middle of n_fft (None: n_fft).
    pad_mode: how `center` extends the signal by n_fft // 2 on both sides: "constant" (zeros) or "reflect".
    """
    window = hann(n_fft if win_length is None else win_length)
    if len(window) > n_fft:
        raise ValueError(f"power_spectrogram: win_length={len(window)} is longer than n_fft={n_fft}")
    left = (n_fft - len(window)) // 2
    window = np.pad(window, (left, n_fft - len(window) - left)).astype(np.float32)
    if center:
        x = _center(x, n_fft, pad_mode)
    # Samples n and n_fft - n have the same cosine, and sines of opposite sign: one product serves both.
    n = np.arange(left, n_fft // 2 + 1)
    first, second = (_frames(x, n_fft, hop, part) * window[part] for part in (n, -n % n_fft))
    phase = 2 * np.pi / n_fft * (np.outer(n, np.arange(n_fft // 2 + 1)) % n_fft)
    cosine = np.where(n == -n % n_fft, 0.5, 1.0)[:, None] * np.cos(phase)
    return _project(first + second, cosine) ** 2 + _project(first - second, np.sin(phase)) ** 2


def power_to_db(power: Array, *, amin: float = 1e-10, top_db: float | None = 80.0) -> Array:
    """10 log10 of `power [b t d]`, floored at `amin` and, per example, at `top_db` below its maximum."""
    db = 10.0 / math.log(10.0) * jnp.log(jnp.maximum(power, amin))
    if top_db is None:
        return db
    peak = max_over(db.reshape(*db.shape[:-2], -1), -1)
    return jnp.maximum(db, peak[..., None, None] - top_db)


def log_mel(
    x: Array,
    *,
    bins: int = 80,
    fmin: float = 0.0,
    fmax: float | None = None,
    scale: str = "db",
    top_db: float | None = None,
    sample_rate: int = SAMPLE_RATE,
    **stft: int | bool | str | None,
) -> Array:
    """Mel spectrogram, Slaney's scale and area normalisation: [b s] -> [b t bins].

    scale: "power", "log" (natural, floored at 1e-10) or "db" (floored as by `power_to_db`).
    stft: options of `power_spectrogram`.
    """
    power = power_spectrogram(x, **stft)
    mel = _project(power, mel_filters(sample_rate, 2 * (power.shape[-1] - 1), bins, fmin, fmax))
    if scale == "power":
        return mel
    if scale == "log":
        return jnp.log(jnp.maximum(mel, 1e-10))
    if scale == "db":
        return power_to_db(mel, top_db=top_db)
    raise ValueError(f"log_mel: scale must be 'power', 'log' or 'db', not {scale!r}")


def mfcc(x: Array, *, bins: int = 20, mels: int = 128, **options: int | float | bool | str | None) -> Array:
    """Mel-frequency cepstral coefficients, `librosa.feature.mfcc`: [b s] -> [b t bins].

    The orthonormal DCT-II of the mel spectrogram in dB, floored 80 dB below its maximum; options: as of `log_mel`.
    """
    options = {"top_db": 80.0, **options}
    return _project(log_mel(x, bins=mels, **options), dct_basis(mels, bins))


def lfcc(
    x: Array,
    *,
    bins: int = 20,
    filters: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    top_db: float | None = 80.0,
    sample_rate: int = SAMPLE_RATE,
    **stft: int | bool | str | None,
) -> Array:
    """Linear-frequency cepstral coefficients, the front end of the ASVspoof baselines: [b s] -> [b t bins].

    As `mfcc`, with triangular filters of equal width and unit height in place of the mel filters.
    """
    power = power_spectrogram(x, **stft)
    bank = linear_filters(sample_rate, 2 * (power.shape[-1] - 1), filters, fmin, fmax)
    return _project(power_to_db(_project(power, bank), top_db=top_db), dct_basis(filters, bins))


def _project(x: Array, basis: np.ndarray) -> Array:
    """x [b t d] @ basis in full fp32 (a GPU would take TF32, a relative error of 1e-3)."""
    return jnp.matmul(x, basis.astype(np.float32), precision=jax.lax.Precision.HIGHEST)


def _center(x: Array, n_fft: int, pad_mode: str) -> Array:
    if pad_mode not in ("constant", "reflect"):
        raise ValueError(f"spectrogram: pad_mode must be 'constant' or 'reflect', not {pad_mode!r}")
    return jnp.pad(x, ((0, 0), (n_fft // 2, n_fft // 2)), mode=pad_mode)


def _frames(x: Array, length: int, hop: int, part: np.ndarray | None = None) -> Array:
    """Overlapping frames, of each the samples of these numbers (None: all): [b s] -> [b t length]."""
    if x.shape[-1] < length:
        raise ValueError(f"spectrogram: {x.shape[-1]} samples are fewer than one frame of {length}")
    starts = np.arange(0, x.shape[-1] - length + 1, hop)
    return x[:, starts[:, None] + (np.arange(length) if part is None else part)]
