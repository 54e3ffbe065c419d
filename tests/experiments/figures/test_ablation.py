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
    good, poor = (ablation.of_table(table(gap), samples=20) for gap in (1.0, 0.0))
    variants = {"whole": [good, poor], "no comparison": [poor]}
    figure = ablation.draw(variants, groups=["face_swap", "dubbing", "voice_clone"], title="parts")
    chance = (15 + 6) / 36  # fakes are above the reals of the same person and of those before
    np.testing.assert_allclose(heights(figure)[:1], (1 + chance) / 2)
    np.testing.assert_allclose(heights(figure)[2:], chance)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["face\nswap", "dubbing"]
    assert len(figure.axes[0].containers) > 4  # bars, and the intervals of the single run
    style.save(figure, tmp_path / "ablation.png")


@pytest.mark.parametrize(
    ("variants", "groups", "message"),
    [
        ({}, (), "at least one variant"),
        ({"whole": []}, (), "at least one variant"),
        ({"whole": [{"all fakes": (0.9, 0.8, 1.0), "dubbing": (0.7, 0.5, 0.9)}]}, ("lips",), "have all fakes, dubbing"),
    ],
)
def test_nothing_to_draw_is_refused(variants, groups, message):
    with pytest.raises(ValueError, match=message):
        ablation.draw(variants, groups=groups)


def test_runs_are_named_on_the_command_line(tmp_path):
    for run in ("a", "b", "c"):
        score_table.write(tmp_path / run / "scores" / "test.csv", table(1.0 if run == "a" else 0.0))
    items = [f"whole={tmp_path / 'a'}", f"less={tmp_path / 'b'}", f"less={tmp_path / 'c'}"]
    found = ablation.of_runs(items, samples=5)
    assert {name: len(runs) for name, runs in found.items()} == {"whole": 1, "less": 2}
    assert found["whole"][0]["face_swap"][0] == 1
    with pytest.raises(ValueError, match="'runs/a': expected NAME=RUN"):
        ablation.of_runs(["runs/a"])
    with pytest.raises(FileNotFoundError, match="no such score table"):
        ablation.of_runs([f"whole={tmp_path}"])


def test_segments_are_drawn_by_their_precision(tmp_path):
    path = tmp_path / "segments.csv"
    path.write_text("Fakes,AP@0.5,AP@0.5 low,AP@0.5 high\nall fakes,0.8,0.7,0.9\nwhole fakes,,,\n")
    found = ablation.of_runs([f"whole={tmp_path}"], "AP@0.5")
    assert found == {"whole": [{"all fakes": (0.8, 0.7, 0.9)}]}
    axes = ablation.draw(found, measure="AP@0.5").axes[0]
    assert [patch.get_height() for patch in axes.patches] == [0.8]
    assert axes.get_ylabel() == "AP@0.5 of the segments"
    with pytest.raises(FileNotFoundError, match=r"no such file; AP@0.5 is known of runs of configs/hierarchical.py"):
        ablation.of_runs([f"whole={tmp_path / 'none'}"], "AP@0.5")
