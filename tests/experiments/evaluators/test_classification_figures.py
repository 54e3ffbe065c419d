"""Figures of a run: drawn and saved for usual and for hostile tables, and they say the numbers they should."""

import math

import cv2
import matplotlib
import numpy as np
import pytest

from experiments.evaluators.classification import Evaluator
from experiments.figures import confusion, roc, score_distributions, style, training_curves
from experiments.report import write
from experiments.score_table import ScoreRow
from mmdf_jax.metrics import classification


def table(methods=("face_swap",), people=6, score=None):
    rng = np.random.default_rng(0)
    return [
        ScoreRow(
            f"{method}/{person}/{take}", int(fake), score or float(rng.random()), identity=str(person), method=method
        )
        for method, fake in (("real", False), *((method, True) for method in methods))
        for person in range(people)
        for take in range(2)
    ]


HOSTILE = {
    "usual": (table(), 0.5),
    "three clips": ([table()[i] for i in (0, 2, -1)], 0.5),
    "one class": (table(methods=()), math.nan),
    "fakes only": (table()[12:], 0.5),
    "nothing": ([], math.nan),
    "nothing scored": ([ScoreRow("a", 0, math.nan, status="abstained")], 0.5),
    "one person": (table(people=1), 0.5),
    "all scores equal": (table(score=0.3), 0.3),
    "all scores certain": (table(score=1.0), 1.0),
    "bare": ([ScoreRow("a", 0, 0.1), ScoreRow("b", 1, 0.9)], 0.5),
    "many long names": (
        table(methods=[f"$generator_{i}$ {'long name ' * 5}" for i in range(40)], people=2),
        0.5,
    ),
    "names in other scripts": (table(methods=["換臉", "lip\nsync"]), 0.5),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_every_table_gives_pictures(tmp_path, case):
    rows, threshold = HOSTILE[case]
    figures = Evaluator().figures(rows, {"Threshold": threshold}, {}, title="cross_attn: ", samples=20)
    assert list(figures) == ["roc", "confusion", "score_distributions"]
    for name, figure in figures.items():
        style.save(figure, tmp_path / f"{name}.png")
        assert cv2.imread(str(tmp_path / f"{name}.png")).std() > 1


def texts(figure):
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_figures_say_the_numbers():
    rows = table(("face_swap", "voice_clone"))
    labels, scores, groups = [r.label for r in rows], [r.score for r in rows], [r.group for r in rows]
    said = texts(roc.draw(labels, scores, groups, threshold=0.4, samples=20))
    assert f"AUC {classification.auc(labels, scores):.3f} [" in said
    assert f"EER {classification.eer(labels, scores):.3f}" in said
    assert "6 identities" in said and "threshold 0.400" in said

    counts = classification.confusion(labels, scores, 0.4)
    said = texts(confusion.draw(labels, scores, threshold=0.4, abstained=3))
    assert all(f"{count}" in said.split(" | ") for count in (counts.tp, counts.fp, counts.tn, counts.fn))
    assert f"{100 * counts.recall:.1f} %" in said and "3 more clips without a score" in said

    figure = score_distributions.draw(scores, [r.method for r in rows], labels, threshold=0.4)
    share = np.mean([r.score >= 0.4 for r in rows if r.method == "voice_clone"])
    assert f"12 clips, {100 * share:.0f} % called fake" in texts(figure)


def test_reals_stand_on_top_and_fakes_by_median():
    methods = ["b"] * 3 + ["a"] * 3 + ["real"] * 3
    figure = score_distributions.draw([0.9] * 3 + [0.4] * 3 + [0.5] * 3, methods, [1] * 6 + [0] * 3)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["real", "a", "b"]


def test_the_same_figure_gives_the_same_bytes_whatever_the_users_settings(tmp_path):
    def saved(name):
        figure = confusion.draw([0, 1], [0.1, 0.9], threshold=0.5)
        style.save(figure, tmp_path / name)
        return (tmp_path / name).read_bytes()

    before = saved("a.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 20}):
        settings = dict(matplotlib.rcParams)
        assert saved("b.png") == before
        assert dict(matplotlib.rcParams) == settings


def test_pyplot_stays_out():
    import subprocess
    import sys

    figures = "experiments.report.write, experiments.evaluators.classification, experiments.figures.attention"
    code = f"import sys, {figures}; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def log(steps=100):
    rows = [
        {"step": s, "train/loss": 1 / s, "train/grad_norm": 10.0 ** (s % 3), "train/learning_rate": 1e-3}
        for s in range(1, steps + 1)
    ]
    return rows + [{"step": s, "val/loss": 0.5, "val/auc": 0.9 - abs(s - 60) / 100} for s in range(20, steps + 1, 20)]


def test_curves_of_a_log():
    curves = training_curves.curves_of([*log(), {"step": 100, "train/loss": None}, {"step": 7, "note": "text"}])
    steps, loss = curves["train/loss"]
    assert steps.tolist() == list(range(1, 101)) and loss[1] == 0.5 and math.isnan(loss[-1])
    assert "note" not in curves
    assert training_curves.best_step(curves) == 60
    assert "best: step 60, AUC 0.900" in texts(training_curves.draw(curves))
    assert "best: step 80, AUC 0.700" in texts(training_curves.draw(curves, best=80))


def test_best_step_without_auc_is_that_of_the_lowest_loss():
    curves = training_curves.curves_of({"step": s, "val/loss": abs(s - 3), "val/auc": None} for s in range(1, 6))
    assert training_curves.best_step(curves) == 3
    assert training_curves.best_step({}) is None


def test_a_log_adds_a_picture(tmp_path):
    write.write(tmp_path, Evaluator(), table(), table(), {}, log=log(), samples=20)
    assert (tmp_path / "figures" / "training_curves.png").stat().st_size > 0


@pytest.mark.parametrize("rows", [log(1), log()[:3], [{"step": 1, "train/loss": None}], []])
def test_every_log_gives_a_picture(tmp_path, rows):
    style.save(training_curves.draw(training_curves.curves_of(rows)), tmp_path / "curves.png")


def test_failed_saving_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    style.save(confusion.draw([0, 1], [0.1, 0.9], threshold=0.5), path)
    before = path.read_bytes()
    figure = confusion.draw([0, 1], [0.9, 0.1], threshold=0.5)

    def full(*args, **kwargs):
        args[0].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(OSError, match="No space"):
        style.save(figure, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_shorten_keeps_both_ends():
    assert style.shorten("short", 10) == "short"
    assert style.shorten("abcdefghijkl", 7) == "abc…jkl"
