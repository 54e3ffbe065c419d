"""The verdict figure: every panel of a fake, a real clip without anything known, and a refusal."""

import dataclasses

import numpy as np
import pytest

from experiments.figures import style, verdict
from experiments.figures.verdict import Frame, Verdict


def fake():
    rng = np.random.default_rng(0)
    mask = np.zeros((8, 8))
    mask[2:5, 3:6] = 1
    picture = rng.integers(0, 255, (32, 32, 3), np.uint8)
    return Verdict(
        "swap · a",
        0.9,
        0.5,
        {"real": 0.1, "swap": 0.7, "dubbing": 0.2},
        {"video": np.linspace(0, 1, 60), "audio": np.full(60, np.nan), "sync": np.zeros(60)},
        [(0.4, 1.2, 0.9), (1.0, 1.3, 0.1)],
        label=1,
        truth="swap",
        spans=[(0.5, 1.2)],
        frames=[Frame(0.2 * i, picture, mask * 0.8, mask) for i in range(11)],
        audio=rng.integers(-900, 900, 38_400, np.int16),
    )


def test_all_that_is_known_is_drawn(tmp_path):
    figure = verdict.draw(fake())
    bars, scores = figure.axes[:2]
    assert [patch.get_x() for patch in bars.patches] == [0.5, 0.4]  # the truth, and what has a score of 0.3
    assert len(scores.lines) == 3 and bars.get_xlim() == (0, 2.4)
    assert sum(bool(axes.images) for axes in figure.axes) == verdict.SHOWN + 1  # frames, and the spectrogram
    style.save(figure, tmp_path / "verdict.png")
    assert (tmp_path / "verdict.png").stat().st_size > 0


def test_little_may_be_known(tmp_path):
    figure = verdict.draw(dataclasses.replace(fake(), frames=(), audio=None, spans=None, label=-1, threshold=np.nan))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"not known", "no pictures", "no sound"} <= set(texts)
    assert any("undecided" in text and "truth: unknown" in text for text in texts)
    style.save(figure, tmp_path / "verdict.png")


def test_a_clip_without_a_timeline_is_refused():
    with pytest.raises(ValueError, match="verdict of 'x': expected a timeline"):
        verdict.draw(Verdict("x", 0.5, 0.5, {}, {"video": np.zeros(0)}, []))
