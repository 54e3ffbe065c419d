"""Attention inside against outside the fake spans: ratios by hand, streams without an answer, and the figure."""

import matplotlib
import numpy as np
import pytest

from experiments.figures import attention_spans, style
from experiments.figures.attention_spans import ALL, SpanAttention, ratios


def test_the_ratio_is_of_attention_per_second():
    sync = np.array([0.1, 0.4, 0.4, 0.1])  # steps of 0.5 s; the middle two are fake
    video = np.full((2, 1, 2), 0.25)
    found = ratios({"sync": sync, "video": video}, 3.0, 2.0, [(3.5, 4.0), (4.0, 4.5)])
    assert found["sync"] == pytest.approx(4)
    # the middles of video's two steps, 3.5 and 4.5 s: the first is inside
    assert found["video"] == pytest.approx(1)
    assert found[ALL] == pytest.approx((0.8 + 0.5) / (0.2 + 0.5))


def test_streams_that_cannot_tell_are_left_out():
    attention = {"image": np.ones((1, 4, 4)), "audio": np.zeros(8)}
    assert ratios(attention, 0.0, 1.6, [(0.2, 0.9)]) == {}
    assert ratios({"sync": np.ones(4)}, 5.0, 1.6, [(0.2, 0.9)]) == {}
    assert ratios({"sync": np.eye(4)[1]}, 0.0, 1.6, [(0.4, 0.8)])["sync"] > 1e9


def test_the_figure_says_the_medians(tmp_path):
    windows = [SpanAttention("a", "dubbing", "sync", ratio) for ratio in (0.0, 4.2, 1e12)]
    windows += [SpanAttention("b", "face_swap", stream, 1.5) for stream in ("sync", "depth", ALL)]
    assert attention_spans.medians(windows)["", "sync"] == pytest.approx(2.85)
    figure = attention_spans.draw(windows, title="where")
    said = {text.get_text() for text in figure.findobj(matplotlib.text.Text)}
    assert {"4.2", "1.5", "dubbing", "face_swap", "depth", ALL, "inside ÷ outside"} <= said
    style.save(figure, tmp_path / "spans.png")
    with pytest.raises(ValueError, match="at least one window"):
        attention_spans.draw([])
