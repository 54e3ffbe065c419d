"""Codec round trips: as long, in step, worse the lower the rate, the same every time."""

import numpy as np
import pytest

from data_pipelines.fakes import codecs


def speech(seconds=1.5, seed=0):
    """Harmonics under a syllable-like envelope, and bursts of noise between."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    voice = sum(np.sin(2 * np.pi * k * (140 + 20 * np.sin(5 * time)) * time) / k for k in range(1, 25))
    loud = np.maximum(np.sin(2 * np.pi * 3 * time), 0)
    return np.rint(4000 * voice * loud + 800 * rng.normal(size=len(time)) * (1 - loud)).astype(np.int16)


def error(before, after):
    return float(np.mean((after.astype(float) - before) ** 2) / np.mean(before.astype(float) ** 2))


@pytest.mark.parametrize("codec", codecs.AUDIO_CODECS)
def test_sound_comes_back_in_step(codec):
    before = speech()
    after = codecs.audio_round_trip(before, codec, 32_000)
    assert (after.shape, after.dtype) == (before.shape, before.dtype)
    low = [np.convolve(x.astype(float), np.ones(8) / 8, "same") for x in (before, after)]  # mulaw is narrow
    lags = range(-40, 41)
    fits = [np.corrcoef(low[0][100:-100], np.roll(low[1], -lag)[100:-100])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(fits))]) <= 1 and max(fits) > 0.95
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, codecs.audio_round_trip(before, codec, 32_000))


@pytest.mark.parametrize("codec", ["aac", "mp3", "opus"])
def test_less_rate_is_less_like_it(codec):
    before = speech()
    low, high = (error(before, codecs.audio_round_trip(before, codec, rate)) for rate in (8_000, 64_000))
    assert high < 0.2 and low > 1.5 * high


def test_silence_and_scraps_come_back_as_they_are():
    for samples in (np.zeros(16_000, np.int16), np.ones(10, np.int16), np.zeros(0, np.int16)):
        assert codecs.audio_round_trip(samples, "aac", 16_000) is samples
    click = np.zeros(4000, np.int16)
    click[-200:] = 9000
    assert np.argmax(np.abs(codecs.audio_round_trip(click, "aac", 64_000)) > 2000) > 3500  # the end is not lost
    with pytest.raises(ValueError, match="expected one of aac, mp3, opus, mulaw, found 'amr'"):
        codecs.audio_round_trip(click, "amr", 1)


def moving(size=(40, 48), channels=3, count=9):
    height, width = size
    y, x = np.mgrid[:height, :width]
    waves = [128 + 80 * np.sin((x + 2 * i) / 4 + c) * np.cos(y / 5) for i in range(count) for c in range(channels)]
    return np.rint(np.stack(waves, -1).reshape(height, width, count, channels).transpose(2, 0, 1, 3)).astype(np.uint8)


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize(("size", "channels"), [((40, 48), 3), ((33, 31), 3), ((34, 32), 3), ((32, 32), 1)])
def test_frames_come_back_in_order(size, channels, still):
    before = moving(size, channels)
    after = codecs.video_round_trip(before, 20, still=still)
    assert (after.shape, after.dtype) == (before.shape, np.uint8)
    apart = [[np.abs(a.astype(int) - b).mean() for b in before] for a in after]
    assert np.argmin(apart, axis=1).tolist() == list(range(len(before)))
    assert abs(after.mean((0, 1, 2)) - before.mean((0, 1, 2))).max() < 2  # no shift in colour
    for _ in range(5):
        np.testing.assert_array_equal(after, codecs.video_round_trip(before, 20, still=still))


def test_a_lower_quality_is_less_like_it():
    before = moving()
    errors = [np.abs(codecs.video_round_trip(before, crf).astype(int) - before).mean() for crf in (18, 30, 45)]
    assert errors[0] < errors[1] < errors[2] and errors[2] > 3
