"""Voice: pitch, formants, level and noise come out as they were asked for."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.talking_heads import articulation, identity, voice


def _hold(vowel: str, seconds: float = 1.0) -> articulation.Articulation:
    sound = articulation.VOWELS[vowel]
    n = round(seconds * articulation.RATE)
    flat = np.ones(n, np.float32)
    formants = np.tile(np.array(sound.formants, np.float32), (n, 1))
    return articulation.Articulation(
        sound.jaw * flat, sound.rounding * flat, 0 * flat, flat, 0 * flat, 2000 * flat, formants, flat
    )


@pytest.fixture(scope="module")
def speaker():
    who = identity.draw(np.random.default_rng(5), "speaker").voice
    return dataclasses.replace(who, f0=125.0, formant_scale=1.0, jitter=0.001, shimmer=0.005, breathiness=0.005)


def test_pitch(speaker):
    sound = voice.synthesize(_hold("a"), speaker, np.random.default_rng(0))[4000:12000]
    echo = np.correlate(sound, sound, "full")[len(sound) - 1 :]
    period = 60 + np.argmax(echo[60:300])
    assert voice.SAMPLE_RATE / period == pytest.approx(125, rel=0.03)


@pytest.mark.parametrize("vowel", ["a", "ae", "i", "o"])
def test_formants_are_the_peaks_of_the_spectral_envelope(speaker, vowel):
    sound = voice.synthesize(_hold(vowel), speaker, np.random.default_rng(0))[4000:12000]
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    hz = np.arange(len(power)) * voice.SAMPLE_RATE / len(sound)
    harmonics = np.arange(1, 24) * 125.0
    height = np.array([power[np.abs(hz - h) < 25].max() for h in harmonics])
    for wanted in articulation.VOWELS[vowel].formants[:2]:
        near = np.abs(harmonics - wanted) < 130
        around = (np.abs(harmonics - wanted) < 420) & ~(np.abs(harmonics - wanted) < 190)
        assert height[near].max() > 1.5 * np.median(height[around])


def test_fricatives_are_noise_at_their_centre(speaker):
    n = 200
    flat = np.ones(n, np.float32)
    track = dataclasses.replace(_hold("a"), voicing=0 * flat, frication=flat, noise=6000 * flat)
    sound = voice.synthesize(track, speaker, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.arange(len(power)) * voice.SAMPLE_RATE / len(sound)
    assert np.sum(hz * power) / np.sum(power) == pytest.approx(5700, rel=0.12)


def test_length_silence_and_determinism(speaker):
    track = articulation.utterance(2.6, np.random.default_rng(1))
    first, second = (voice.synthesize(track, speaker, np.random.default_rng(4)) for _ in range(2))
    assert first.shape == (41600,) and first.dtype == np.float32 and np.array_equal(first, second)
    assert np.abs(first[:300]).max() < 0.01 * np.abs(first).max()


def test_record_adds_the_rooms_noise(speaker):
    speech = voice.synthesize(_hold("a"), speaker, np.random.default_rng(0))
    dry = voice.Room(np.array([1.0], np.float32), 20.0, 0.5)
    noise = voice.record(speech, dry, np.random.default_rng(1)) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(noise**2)) == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(("rms", "crest"), [(0.05, 4.2), (0.11, 5.4)])
def test_level_sets_loudness_and_peak_exactly(speaker, rms, crest):
    sound = voice.synthesize(articulation.utterance(2.6, np.random.default_rng(1)), speaker, np.random.default_rng(2))
    sound = voice.level(sound, rms, crest)
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(rms, rel=1e-3)
    assert np.abs(sound).max() / rms == pytest.approx(crest, rel=0.01)


def test_record_keeps_to_the_microphones_band(speaker):
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    narrow = voice.Room(np.array([1.0], np.float32), 40.0, 0.5, low=200.0, high=3400.0)
    heard = voice.record(noise, narrow, np.random.default_rng(1))
    power = np.abs(np.fft.rfft(heard)) ** 2
    hz = np.arange(len(power)) / 2
    middle = power[(hz > 500) & (hz < 2500)].mean()
    assert power[(hz > 5000)].mean() < 0.02 * middle and power[hz < 60].mean() < 0.02 * middle
    assert np.argmax(np.correlate(heard[1000:3000], noise[1000:3000], "full")) == 1999  # and nothing comes late
