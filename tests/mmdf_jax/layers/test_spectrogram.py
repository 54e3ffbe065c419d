"""The spectral front ends against librosa's."""

import jax
import librosa
import numpy as np
import pytest
import scipy.fft

from mmdf_jax import audio
from mmdf_jax.layers import spectrogram

RATE = audio.SAMPLE_RATE


def voice(samples: int, batch: int = 2, seed: int = 0) -> np.ndarray:
    """Harmonic sound with a gliding pitch, noise and a silent gap, float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / RATE
    pitch = 120 + 60 * np.sin(2 * np.pi * 1.3 * t + rng.uniform(0, 6, (batch, 1)))
    phase = 2 * np.pi * np.cumsum(pitch, axis=-1) / RATE
    x = sum(np.sin(k * phase) / k for k in range(1, 20)) * 0.2 + 0.02 * rng.normal(size=(batch, samples))
    x[:, samples // 2 : samples // 2 + samples // 10] = 0
    return x.astype(np.float32)


def close(ours: np.ndarray, theirs: np.ndarray, rtol: float = 1e-4) -> None:
    """Equal to `rtol` of the largest magnitude in each example."""
    theirs = np.swapaxes(theirs, -1, -2)
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max(axis=(-1, -2), keepdims=True)
    np.testing.assert_array_less(np.abs(np.asarray(ours) - theirs) / scale, rtol)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize("win_length", [None, 400])
def test_power_spectrogram(pad_mode, win_length):
    x = voice(7001)
    theirs = abs(librosa.stft(x, n_fft=512, hop_length=160, win_length=win_length, pad_mode=pad_mode)) ** 2
    close(jax.jit(lambda x: spectrogram.power_spectrogram(x, win_length=win_length, pad_mode=pad_mode))(x), theirs)


def test_power_spectrogram_without_centering():
    x = voice(7001)
    close(
        spectrogram.power_spectrogram(x, center=False, hop=100),
        abs(librosa.stft(x, n_fft=512, hop_length=100, center=False)) ** 2,
    )


@pytest.mark.parametrize(
    ("bins", "n_fft", "fmin", "fmax"), [(80, 512, 0.0, None), (64, 1024, 50.0, 7600.0), (20, 400, 0, 4000)]
)
def test_mel_filters(bins, n_fft, fmin, fmax):
    theirs = librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=bins, fmin=fmin, fmax=fmax).T
    np.testing.assert_allclose(audio.mel_filters(RATE, n_fft, bins, fmin, fmax), theirs, rtol=1e-5, atol=1e-9)


def test_log_mel():
    x = voice(25600)
    mel = librosa.feature.melspectrogram(y=x, sr=RATE, n_fft=512, hop_length=160, win_length=400, n_mels=64)
    close(spectrogram.log_mel(x, bins=64, win_length=400, scale="power"), mel)
    close(spectrogram.log_mel(x, bins=64, win_length=400, scale="log"), np.log(np.maximum(mel, 1e-10)))
    close(spectrogram.log_mel(x, bins=64, win_length=400), librosa.power_to_db(mel, top_db=None))
    floored = np.stack([librosa.power_to_db(m) for m in mel])
    close(spectrogram.log_mel(x, bins=64, win_length=400, top_db=80.0), floored)


@pytest.mark.parametrize("bins", [13, 40])
def test_mfcc(bins):
    x = voice(20000)
    theirs = [librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=bins, n_fft=1024, hop_length=160, n_mels=128) for y in x]
    close(jax.jit(lambda x: spectrogram.mfcc(x, bins=bins, n_fft=1024))(x), np.stack(theirs))


def test_lfcc():
    x = voice(20000)
    power = abs(librosa.stft(x, n_fft=512, hop_length=160)) ** 2
    edges = np.linspace(0, RATE / 2, 72)
    hz = librosa.fft_frequencies(sr=RATE, n_fft=512)
    bank = np.stack([np.interp(hz, edges[i : i + 3], [0, 1, 0]) for i in range(70)])
    db = np.stack([librosa.power_to_db(bank @ p) for p in power])
    theirs = scipy.fft.dct(db, axis=-2, type=2, norm="ortho")[:, :20]
    close(spectrogram.lfcc(x, bins=20, filters=70), theirs)


@pytest.mark.parametrize("front_end", [spectrogram.log_mel, spectrogram.mfcc, spectrogram.lfcc])
def test_no_front_end_takes_xlas_fft_which_can_hang_on_cpus(front_end):
    assert "fft" not in jax.jit(lambda x: front_end(x)).lower(voice(20000)).as_text()


def test_dct_basis_is_orthonormal():
    basis = audio.dct_basis(32, 32).astype(np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(32), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: spectrogram.log_mel(x, bins=400), "too many for n_fft"),
        (lambda x: spectrogram.log_mel(x, scale="bel"), "scale must be"),
        (lambda x: spectrogram.log_mel(x, pad_mode="wrap"), "pad_mode must be"),
        (lambda x: spectrogram.power_spectrogram(x, win_length=600), "longer than n_fft"),
        (lambda x: spectrogram.power_spectrogram(x[:, :100], center=False), "fewer than one frame"),
        (lambda x: spectrogram.mfcc(x, bins=200), "coefficients asked"),
    ],
)
def test_what_cannot_be_computed_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(voice(8000))


@pytest.mark.parametrize("front_end", [spectrogram.log_mel, spectrogram.mfcc, spectrogram.lfcc])
def test_gradients_of_silence_and_sound_are_finite(front_end):
    x = voice(8000)
    x[1] = 0
    grad = jax.jit(jax.grad(lambda x: front_end(x).mean()))(x)
    assert np.isfinite(grad).all()
