"""Spectral front ends computed on the device: log-mel, MFCC, LFCC and constant-Q, equal to librosa's.

All take audio `x [b s]` in [-1, 1] and return features over time `[b t d]` (librosa returns them transposed). With
`center=True` frame i is centred on sample i * hop and there are 1 + s // hop frames. Everything linear is a product
with a constant computed in float64 when the function is traced. Also the Fourier transform: XLA's FFT on CPUs (jaxlib
0.11) waits for threads of the pool that it runs in, and hangs where as many FFTs run at once as the pool has threads:
those of one program, or of several devices.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from mmdf_jax.layers.pool import max_over
from mmdf_jax.typing import Array

SAMPLE_RATE = 16000


def to_float(x: Array) -> Array:
    """int16 samples, or floats in [-1, 1], as float32 in [-1, 1]; float64 stays."""
    if x.dtype == jnp.int16:
        return x.astype(jnp.float32) / 32768
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"audio: expected int16 or float samples in [-1, 1], got {x.dtype}")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def frame_mask(mask: Array, frames: int, *, hop: int) -> Array:
    """Which of the centred frames a sample has: mask [b s] (True on real samples, a prefix) to [b frames] bool."""
    return jnp.arange(frames) * hop <= mask.sum(-1, keepdims=True)


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
    window = _hann(n_fft if win_length is None else win_length)
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


def cqt(
    x: Array,
    mask: Array | None = None,
    *,
    bins: int = 84,
    bins_per_octave: int = 12,
    hop: int = 160,
    fmin: float = 32.70319566257483,
    filter_scale: float = 1.0,
    pad_mode: str = "constant",
    scale: str = "db",
    top_db: float | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> Array:
    """Constant-Q transform (Brown 1991), magnitudes of `librosa.cqt` with `sparsity=0`: [b s] -> [b t bins].

    As there (Schörkhuber and Klapuri 2010), the signal is halved octave by octave for as long as the hop is even.
    As there too, it is first decimated if few low octaves are asked for; rounding may then add a frame at the end.

    mask: [b s] bool, True on real samples (a prefix). Halving smears a sound past its end; given a mask, that is cut
      off as it is where the sound is alone.
    scale: "power", "log" or "db", as in `log_mel` (of the squared magnitude), or "magnitude".
    fmin: centre of the lowest bin, Hz (C1).
    Raises ValueError if the highest filter passes half the sample rate.
    """
    bands, lengths = [], None if mask is None else mask.sum(-1, keepdims=True)
    for octave in _cqt_octaves(bins, bins_per_octave, hop, fmin, filter_scale, sample_rate):
        x = decimate(x, octave.factor) * math.sqrt(octave.factor)
        if lengths is not None:
            lengths = (lengths + octave.factor // 2) // octave.factor
            x = jnp.where(jnp.arange(x.shape[-1]) < lengths, x, 0.0)
        frames = _frames(_center(x, octave.n_fft, pad_mode), octave.n_fft, octave.hop)
        bands.append(_project(frames, octave.wavelets.real) ** 2 + _project(frames, octave.wavelets.imag) ** 2)
    frames = min(band.shape[1] for band in bands)
    power = jnp.concatenate([band[:, :frames] for band in reversed(bands)], axis=-1)
    if scale == "power":
        return power
    if scale == "magnitude":
        return jnp.sqrt(power)
    if scale == "log":
        return jnp.log(jnp.maximum(power, 1e-10))
    if scale == "db":
        return power_to_db(power, top_db=top_db)
    raise ValueError(f"cqt: scale must be 'power', 'magnitude', 'log' or 'db', not {scale!r}")


def decimate(x: Array, factor: int) -> Array:
    """Every `factor`-th sample (a power of 2) of the low-passed x, silent beyond its ends: [b s] -> [b ceil(s/factor)].

    Equal to `librosa.resample` with soxr's HQ quality, short half-band filters and a steep one before the last halving,
    to 1e-5; beyond a factor of 8 the first samples to 1e-3.
    """
    if factor == 1:
        return x
    samples, stages = x.shape[-1], round(math.log2(factor))
    half_band = _windowed_sinc(np.arange(-15, 16), 0.5, beta=13.25, half_width=17.23)
    for _ in range(stages - 1):
        # What the filter smears before the start is dropped, what it smears past the end is not.
        x = _halve(x, half_band, x.shape[-1] // 2 + 8)
    # soxr rounds the number of samples, and librosa rounds it up, with a zero.
    kept = (samples + factor // 2) // factor
    return jnp.pad(_halve(x, _low_pass(stages), kept), ((0, 0), (0, -(-samples // factor) - kept)))


def _halve(x: Array, taps: np.ndarray, count: int) -> Array:
    """x, silent beyond its ends, through a filter of an odd number of taps; of every second sample the first `count`.

    As products of overlapping frames, each of which gives as many samples as the filter has taps.
    """
    reach, block = len(taps) // 2, len(taps)
    length = 2 * (block - 1) + len(taps)
    rows = max(1, -(-count // block))
    ends = 2 * block * (rows - 1) + length
    x = jnp.pad(x, ((0, 0), (reach, max(0, ends - reach - x.shape[-1]))))[:, :ends]
    basis = np.zeros((length, block))
    for i in range(block):
        basis[2 * i : 2 * i + len(taps), i] = taps
    return _project(_frames(x, length, 2 * block), basis).reshape(x.shape[0], -1)[:, :count]


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


def _project(x: Array, basis: np.ndarray) -> Array:
    """x [b t d] @ basis in full fp32 (a GPU would take TF32, a relative error of 1e-3)."""
    return jnp.matmul(x, basis.astype(np.float32), precision=jax.lax.Precision.HIGHEST)


def _hann(length: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


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


@dataclasses.dataclass(frozen=True)
class _Octave:
    """One octave of the constant-Q transform: `factor` to decimate by first, then hop, frame length and wavelets."""

    factor: int
    hop: int
    n_fft: int
    wavelets: np.ndarray  # [n_fft bins] complex, without negative frequencies


@functools.lru_cache(maxsize=4)
def _cqt_octaves(
    bins: int, bins_per_octave: int, hop: int, fmin: float, filter_scale: float, sample_rate: float
) -> list[_Octave]:
    """The octaves, highest first."""
    freqs = fmin * 2.0 ** (np.arange(bins) / bins_per_octave)
    # Bandwidth of each filter from its neighbours' distance in octaves; the bins are equally spaced, so one suffices.
    ratio = 2.0 ** (2.0 / bins_per_octave)
    seconds = filter_scale / ((ratio - 1) / (ratio + 1)) / freqs
    # 1.50018 is the equivalent noise bandwidth of a Hann window, in bins, as librosa has it.
    cutoff = freqs[-1] + 0.5 * 1.50018310546875 / seconds[-1]
    if cutoff > sample_rate / 2:
        raise ValueError(
            f"cqt: the filter at {freqs[-1]:.0f} Hz reaches {cutoff:.0f} Hz, beyond half the sample rate "
            f"({sample_rate / 2:.0f} Hz); use fewer bins or a lower fmin"
        )
    stops = range(bins, 0, -bins_per_octave)
    # Before the first octave librosa halves as often as leaves its filters in the lower half of the band, and the hop
    # even for all octaves to come.
    twos = (hop & -hop).bit_length() - 1
    factor = 2 ** max(0, min(math.ceil(math.log2(sample_rate / 2 / cutoff)) - 2, twos - len(stops) + 1))
    octaves = []
    for stop in stops:
        hop, sample_rate = hop // factor, sample_rate / factor
        band = slice(max(stop - bins_per_octave, 0), stop)
        lengths = seconds[band] * sample_rate
        n_fft = 2 ** math.ceil(math.log2(lengths[0]))
        wavelets = np.zeros((n_fft, len(lengths)), complex)
        for i, (f, length) in enumerate(zip(freqs[band], lengths, strict=True)):
            t = np.arange(-length // 2, length // 2)
            wave = np.exp(2j * np.pi * f / sample_rate * t) * _hann(len(t))
            wave *= length / n_fft / np.abs(wave).sum() / np.sqrt(length)
            left = (n_fft - len(t)) // 2
            wavelets[left : left + len(t), i] = wave
        # librosa multiplies half spectra, of a frame and of each wavelet: as much as the frame times the wavelet's
        # positive frequencies, transformed once more.
        positive = np.fft.fft(wavelets, axis=0)[: n_fft // 2 + 1]
        octaves.append(_Octave(factor, hop, n_fft, np.fft.fft(positive, n_fft, axis=0)))
        factor = 2 if hop % 2 == 0 else 1
    return octaves


def _low_pass(stages: int) -> np.ndarray:
    """Taps of the filter before the last of `stages` halvings.

    Its stop band begins at the new Nyquist frequency; its pass band ends at 0.9137 of that. soxr's HQ attenuates by
    126 dB, and by 20 log10(stages) more; window and length are fitted to its impulse responses, and equal them to 1e-6.
    """
    beta = 13.0402 + 0.969 * math.log(stages)
    reach = 2 * math.ceil(7.38 * beta)  # 389 taps for one stage
    return _windowed_sinc(np.arange(-reach, reach + 1), 0.4784359, beta=beta, half_width=reach + 0.5)


def _windowed_sinc(lags: np.ndarray, cutoff: float, *, beta: float, half_width: float) -> np.ndarray:
    """Taps of a low-pass filter that halves the amplitude at `cutoff` of the Nyquist frequency, in a Kaiser window."""
    window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (lags / half_width) ** 2))) / np.i0(beta)
    return np.where(np.abs(lags) <= half_width, cutoff * np.sinc(cutoff * lags) * window, 0.0)
