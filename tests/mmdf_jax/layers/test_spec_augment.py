"""SpecAugment: whole frames and bins go, as many and as wide as asked, elsewhere in every example."""

import jax
import numpy as np
import pytest

from mmdf_jax.layers.spec_augment import spec_augment

KEY = jax.random.key(0)


def struck(**options):
    """Which frames [b t] and bins [b d] of 400 examples are gone, and that nothing else is."""
    x = np.ones((400, 50, 40), np.float32)
    out = np.asarray(spec_augment(KEY, x, **options))
    frames, bins = (out == 0).all(2), (out == 0).all(1)
    np.testing.assert_array_equal(out, x * ~frames[:, :, None] * ~bins[:, None])
    return frames, bins


def runs(gone):
    """How many blocks each row has."""
    return (np.diff(np.pad(gone, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(1)


def test_blocks_have_their_number_and_width():
    frames, bins = struck(time_masks=1, time_share=0.2, bin_masks=0)
    assert not bins.any() and runs(frames).max() == 1
    assert frames.sum(1).max() in (10, 11) and abs(frames.sum(1).mean() - 5) < 0.4  # uniform from 0 to 10
    frames, bins = struck(time_masks=0, bin_masks=2, bin_share=0.25)
    assert not frames.any() and runs(bins).max() == 2 and bins.sum(1).max() <= 21


def test_blocks_fall_everywhere_and_differently():
    frames, bins = struck()
    assert frames.any(0).all() and bins.any(0).all()
    assert len({row.tobytes() for row in frames}) > 350


def test_nothing_asked_for_is_nothing_done():
    frames, bins = struck(time_masks=0, bin_masks=0)
    assert not frames.any() and not bins.any()
    frames, bins = struck(time_share=0.0, bin_share=0.0)
    assert not frames.any() and not bins.any()


@pytest.mark.parametrize("options", [{"time_masks": -1}, {"bin_share": 1.5}])
def test_impossible_options(options):
    with pytest.raises(ValueError, match=r"expected (time|bin)_masks >= 0"):
        spec_augment(KEY, np.ones((1, 4, 4)), **options)
