"""Ablation bars: their heights are the AUC of each variant's runs."""

import numpy as np
import pytest

from experiments.figures import ablation, style
from experiments.score_table import ScoreRow


def table(gap):
    rows = []
    for person in range(6):
        for method in ("real", "dubbing", "face_swap"):
            fake = method != "real"
            score = 0.1 * person + (gap if method == "face_swap" else 0.3 * gap * fake) + 0.01 * fake
            rows.append(ScoreRow(f"{method}{person}", int(fake), score, "set", "test", str(person), method))
    return rows


def heights(figure):
    return [patch.get_height() for patch in figure.axes[0].patches]


def test_bars_are_means_over_runs_and_a_single_run_has_an_interval(tmp_path):
    variants = {"whole": [table(1.0), table(0.0)], "no comparison": [table(0.0)]}
    figure = ablation.draw(variants, methods=["face_swap", "dubbing", "voice_clone"], title="parts", samples=20)
    chance = (15 + 6) / 36  # fakes are above the reals of the same person and of those before
    np.testing.assert_allclose(heights(figure)[:1], (1 + chance) / 2)
    np.testing.assert_allclose(heights(figure)[2:], chance)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["face swap", "dubbing"]
    assert len(figure.axes[0].containers) > 4  # bars, and the intervals of the single run
    style.save(figure, tmp_path / "ablation.png")


@pytest.mark.parametrize(
    ("variants", "methods", "message"),
    [
        ({}, (), "at least one variant"),
        ({"whole": []}, (), "at least one variant"),
        ({"whole": [table(1.0)]}, ("lips",), "none of its methods .* all fakes, dubbing, face_swap"),
    ],
)
def test_nothing_to_draw_is_refused(variants, methods, message):
    with pytest.raises(ValueError, match=message):
        ablation.draw(variants, methods=methods, samples=5)
