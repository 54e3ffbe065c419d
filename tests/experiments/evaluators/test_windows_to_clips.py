"""The reductions from windows to clips, against what one computes by hand."""

import numpy as np
import pytest

from experiments.evaluators.windows_to_clips import reduce

INDEX = np.array([0, 0, 1, 1, 1])
STARTS = np.array([0.0, 1.0, 0.0, 0.5, 1.0])
NAN = np.nan


def reduced(reduction, values, clips=3):
    return reduce(reduction, np.array(values), INDEX, clips, starts=STARTS, seconds=1.0)


def test_scalars_leave_out_what_is_unknown():
    values = [0.2, 0.4, 0.1, NAN, 0.9]
    np.testing.assert_allclose(reduced("mean", values), [0.3, 0.5, NAN])
    np.testing.assert_allclose(reduced("median", [0.2, 0.4, 0.1, 0.3, 0.9]), [0.3, 0.3, NAN])
    np.testing.assert_allclose(reduced("median", values), [0.3, 0.5, NAN])
    np.testing.assert_allclose(reduced("max", values), [0.4, 0.9, NAN])


def test_a_curve_is_averaged_element_by_element():
    # Offsets that three windows see differently: the mean of the curves peaks at none of the windows' own maxima.
    curves = [[0, 1], [1, 0], [3, 2, 0], [0, 2, 3], [0, NAN, 0]]
    curves = [[*curve, NAN][:3] for curve in curves]
    found = reduced("curve", curves)
    np.testing.assert_allclose(found[0], [0.5, 0.5, NAN])
    np.testing.assert_allclose(found[1], [1, 2, 1])
    assert np.isnan(found[2]).all()


def test_windows_are_stitched_along_the_clips_time():
    values = [[0, 0.2, 0.4, 0.6], [1, 1, NAN, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    first, second, none = reduced("stitched", values)
    np.testing.assert_allclose(first, [0, 0.2, 0.4, 0.6, 1, 1, NAN, 1])  # 0 to 2 s in steps of 0.25 s
    np.testing.assert_allclose(second, [0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0])
    assert len(none) == 0


def test_a_gap_between_windows_is_unknown():
    found = reduce("stitched", np.ones((2, 2)), np.array([0, 0]), 1, starts=np.array([0.0, 3.0]), seconds=1.0)
    np.testing.assert_allclose(found[0], [1, 1, NAN, NAN, NAN, NAN, 1, 1])


@pytest.mark.parametrize(
    ("reduction", "values", "message"),
    [
        ("least", [0.0] * 5, "no reduction 'least'; known: mean"),
        ("curve", [0.0] * 5, "is of 2 axes, found one of shape"),
    ],
)
def test_what_cannot_be_meant_is_refused(reduction, values, message):
    with pytest.raises(ValueError, match=message):
        reduced(reduction, values)
