"""Ablation bars: their heights are the AUC of each variant's runs."""

import numpy as np
import pytest

from experiments import score_table
from experiments.figures import ablation, style
from experiments.score_table import ScoreRow


def table(gap):
    rows = []
    for person in range(6):
        for method in ("real", "dubbing", "face_swap"):
            fake = method != "real"
            score = (0.1 * person + (gap if method == "face_swap" else 0.3 * gap * fake) + 0.01 * fake) / 2
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
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["face\nswap", "dubbing"]
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


def test_runs_are_named_on_the_command_line(tmp_path):
    for run in ("a", "b", "c"):
        score_table.write(tmp_path / run / "scores" / "test.csv", table(1.0 if run == "a" else 0.0))
    found = ablation.of_runs([f"whole={tmp_path / 'a'}", f"less={tmp_path / 'b'}", f"less={tmp_path / 'c'}"])
    assert {name: len(runs) for name, runs in found.items()} == {"whole": 1, "less": 2}
    assert found["whole"] == [score_table.read(tmp_path / "a" / "scores" / "test.csv")]
    with pytest.raises(ValueError, match="'runs/a': expected NAME=RUN"):
        ablation.of_runs(["runs/a"])
    with pytest.raises(FileNotFoundError, match="no such score table"):
        ablation.of_runs([f"whole={tmp_path}"])
