"""Figures of segments and of types: what they say is what the metrics say."""

import matplotlib
import numpy as np
import pytest

from experiments.figures import confusion, precision_recall, span_length, style
from mmdf_jax.metrics import localisation, types

TRUTHS = [[(0.0, 0.3)], [(1.0, 2.0), (3.0, 3.3)], [], [(0.5, 1.5)], [(0, 4)], [(0, 0.4)]]
PROPOSALS = [
    [(0.0, 0.3, 0.9)],
    [(1.0, 1.8, 0.8)],
    [(0, 1, 0.7)],
    [(0.5, 1.5, 0.6)],
    [],
    [(0, 0.4, 0.6), (5, 6, 0.6), (7, 8, 0.6)],
]  # four tie
PEOPLE = ["a", "a", "b", "b", "c", "c"]


def texts(figure):
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def saved(figure, folder):
    style.save(figure, folder / "figure.png")
    return (folder / "figure.png").stat().st_size > 3000


def test_the_area_under_the_curve_is_the_ap_that_the_legend_says(tmp_path):
    figure = precision_recall.draw(PROPOSALS, TRUTHS, PEOPLE, ious=(0.5, 0.9), samples=40)
    for line, iou in zip(figure.axes[0].lines, (0.5, 0.9), strict=True):
        recall, precision = line.get_data()
        ap = localisation.average_precision(PROPOSALS, TRUTHS, iou)
        assert np.diff(recall) @ precision[:-1] == pytest.approx(ap)
        assert f"IoU ≥ {iou}: AP {ap:.3f} [" in texts(figure)
    assert "6 true spans in 5 of 6 clips" in texts(figure) and saved(figure, tmp_path)


def test_recall_by_length(tmp_path):
    figure = span_length.draw(PROPOSALS, TRUTHS, PEOPLE, ious=(0.5, 0.9), samples=40)
    curves = [line.get_ydata() for line in figure.axes[0].lines if line.get_label().startswith("IoU")]
    # .2–.4: (0, .3) found, (3, 3.3) not; .4–.8: found; .8–1.6: (1, 2) at IoU .8 and (.5, 1.5) at 1; ≥ 3.2: not found
    np.testing.assert_allclose(curves, [[0.5, 1, 1, 0], [0.5, 1, 0.5, 0]])
    names = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert names == ["0.2–0.4\n(2)", "0.4–0.8\n(1)", "0.8–1.6\n(2)", "≥ 3.2\n(1)"]
    assert saved(figure, tmp_path)


@pytest.mark.parametrize("clips", [0, 3])
@pytest.mark.parametrize("module", [precision_recall, span_length])
def test_without_true_spans_the_figure_says_so(module, clips, tmp_path):
    figure = module.draw([[(0, 1, 0.5)]] * clips, [[]] * clips, ["a"] * clips)
    assert "No clip is fake in a known span." in texts(figure) and saved(figure, tmp_path)


def test_confusion_of_types_says_counts_shares_and_f1(tmp_path):
    names = ["real", "face_swap", "voice_clone", "unknown"]
    matrix = types.confusion([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], 4)
    figure = confusion.draw_types(matrix, names, abstained=2, title="types")
    said = texts(figure)
    assert f"macro-F1 {types.f1(matrix):.3f}" in said and f"accuracy {types.accuracy(matrix):.3f}" in said
    assert "67 %" in said and "face swap\n(2)" in said and "unknown\n(0)" in said
    assert f"F1 {types.class_f1(matrix)[1]:.2f}" in said and "2 more clips without an answer" in said
    assert saved(figure, tmp_path)
    empty = confusion.draw_types(np.zeros((2, 2)), ["real", "fake"])
    assert "No clip has a type." in texts(empty)
    with pytest.raises(ValueError, match=r"expected a matrix of 3 named classes, found \(4, 4\)"):
        confusion.draw_types(matrix, names[:3])


def test_pictures_are_the_same_bytes_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        style.save(precision_recall.draw(PROPOSALS, TRUTHS), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
