"""Articulation: ranges, determinism, closures that close, silence at both ends."""

import numpy as np
import pytest

from data_pipelines.talking_heads import articulation


@pytest.mark.parametrize("duration", [0.4, 2.2, 3.0, 7.31])
def test_tracks_have_the_duration_and_stay_in_range(duration):
    track = articulation.utterance(duration, np.random.default_rng(0))
    n = round(duration * articulation.RATE)
    for name in ("jaw", "rounding", "closure", "voicing", "frication", "noise", "f0", "opening"):
        assert getattr(track, name).shape == (n,), name
    assert track.formants.shape == (n, 3)
    for name in ("jaw", "closure", "voicing", "frication", "opening"):
        assert 0 <= getattr(track, name).min() and getattr(track, name).max() <= 1, name
    assert np.abs(track.rounding).max() <= 1
    assert (np.diff(track.formants, axis=1) > 0).all()
    assert 0.4 < track.f0.min() and track.f0.max() < 1.8


def test_same_generator_same_speech():
    first, second, other = (articulation.utterance(2.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.formants, second.formants)
    assert not np.array_equal(first.jaw, other.jaw)


def test_bilabials_close_the_lips_and_vowels_open_them():
    openings = [articulation.utterance(3.0, np.random.default_rng(seed)).opening for seed in range(20)]
    assert np.mean([opening.min() < 0.03 for opening in openings]) > 0.9
    assert np.mean([opening.max() > 0.6 for opening in openings]) > 0.9


def test_silent_before_and_after():
    for seed in range(20):
        track = articulation.utterance(2.4, np.random.default_rng(seed))
        loud = track.voicing + track.frication
        assert loud[:6].max() < 0.02
        assert loud[-1] < 0.05


def test_sampling_interpolates():
    track = articulation.utterance(2.4, np.random.default_rng(3))
    at = track.at(np.array([0.1, 0.1025]))
    assert at["jaw"][0] == pytest.approx(track.jaw[20])
    assert at["jaw"][1] == pytest.approx((track.jaw[20] + track.jaw[21]) / 2, abs=1e-6)
