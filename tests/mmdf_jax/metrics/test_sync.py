"""SyncNet's measures against the published code's own numbers (sync_vectors.json says from which commits)."""

import json
import pathlib

import numpy as np
import pytest

from mmdf_jax.metrics import sync

VECTORS = json.loads(pathlib.Path(__file__).with_name("sync_vectors.json").read_text())
CASES = {case["name"]: case for case in VECTORS["cases"]}
LSE = "lse_over_all_cases_above_with_vshift_15"


def of_case(name):
    inputs = CASES[name]["inputs"]
    return sync.syncnet(np.array(inputs["video_features"]), np.array(inputs["audio_features"]), inputs["vshift"])


@pytest.mark.parametrize("name", [name for name in CASES if name != LSE])
def test_equals_the_published_code(name):
    found, expected = of_case(name), CASES[name]["expected"]
    assert found.offset == expected["offset"]
    assert found.confidence == pytest.approx(expected["confidence_f64"], abs=1e-8)
    assert found.min_distance == pytest.approx(expected["min_distance_f64"], abs=1e-8)
    np.testing.assert_allclose(found.frame_confidence, expected["framewise_conf_medfilt9_f64"], atol=1e-8)


def test_lse_over_all_cases_above_with_vshift_15():
    expected = CASES[LSE]["expected"]
    distance, confidence = sync.lse([of_case(name) for name in CASES[LSE]["inputs"]["clips"]])
    assert distance == pytest.approx(expected["LSE_D"], abs=1e-6)
    assert confidence == pytest.approx(expected["LSE_C"], abs=1e-6)


def test_all_eleven_cases_are_here():
    assert len(CASES) == 11


def test_syncnet_refuses_features_of_unlike_length():
    with pytest.raises(ValueError, match=r"expected two arrays \[t d\] alike, found \(3, 2\) and \(4, 2\)"):
        sync.syncnet(np.zeros((3, 2)), np.zeros((4, 2)))


def test_a_shift_of_too_few_pairs_is_unknown():
    curve = sync.mean_curve(np.array([9.0, 4.0, 3.0, 4.0, 0.9]), np.array([1, 4, 6, 4, 2]))
    np.testing.assert_allclose(curve, [np.nan, 1, 0.5, 1, 0.45])


def test_offset_is_positive_where_the_sound_is_late():
    found = sync.read_curve(np.array([np.nan, 0.1, 0.2, 0.9, np.nan]))
    assert (found.offset, found.best) == (1, 0.9)
    assert found.confidence == pytest.approx(0.7)


@pytest.mark.parametrize("curve", [np.zeros(0), np.full(5, np.nan)])
def test_nothing_is_known_of_an_empty_curve(curve):
    assert np.isnan(sync.read_curve(curve).offset)
