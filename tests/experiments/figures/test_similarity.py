"""The similarity figure: a panel per clip, spans where they are, and a refusal of what is no matrix."""

import numpy as np
import pytest

from experiments.figures import similarity, style
from experiments.figures.similarity import Similarity


def test_a_panel_per_clip_with_its_times_and_spans(tmp_path):
    clips = [
        Similarity("real · a", np.eye(5), 1.6, start=0.4, label=0),
        Similarity("partial dubbing · b", np.full((5, 4), np.nan), 1.6, label=1, spans=[(0.5, 9.0), (4.0, 5.0)]),
    ]
    figure = similarity.draw(clips, title="run: which times match")
    real, partial = figure.axes[:2]
    np.testing.assert_allclose(real.images[0].get_extent(), (0.4, 2.0, 2.0, 0.4))
    assert not real.lines and len(partial.lines) == 1  # the second span lies beyond the window
    np.testing.assert_allclose(partial.lines[0].get_xdata().max(), 1.6)
    style.save(figure, tmp_path / "similarity.png")
    assert (tmp_path / "similarity.png").stat().st_size > 0


@pytest.mark.parametrize("clips", [[], [Similarity("x", np.zeros(3), 1.0)], [Similarity("x", np.zeros((0, 3)), 1.0)]])
def test_what_is_no_matrix_is_refused(clips):
    with pytest.raises(ValueError, match="expected"):
        similarity.draw(clips)
