"""The hierarchical report on made score tables: who knows all, who knows nothing, and types that nobody knows."""

import json

import numpy as np
import pytest

from experiments.evaluators.hierarchical import Evaluator, ious, pixel_auc
from experiments.figures import style
from experiments.score_table import ScoreRow, curve_cell, read, write
from mmdf_jax.metrics import classification

VOCABULARY = [["real"], ["swap"], ["voice"], ["dubbing", "dubbing_other"]]
NAMES = [entry[0] for entry in VOCABULARY]
LABELS = {"real": (0, 0), "swap": (1, 0), "voice": (0, 1), "dubbing": (0, 0), "dubbing_other": (0, 0), "new": (1, 1)}


def row(i, method, split, right=True, partial=False):
    """A clip of 2 s about which the detector is right, or answers all by the next type."""
    kind = next((k for k, entry in enumerate(VOCABULARY) if method in entry), 1)
    answer = kind if right else (kind + 1) % len(NAMES)
    fake, spans = method != "real", [[0.4, 1.2]] if partial else []
    score = (0.9 if answer else 0.1) + 0.001 * (i % 7)
    parts = np.where(np.arange(1, 4) == answer, 0.8, 0.1) * score
    if method == "new":
        parts = np.full(3, score / 3)
    types = dict(zip(NAMES, [1 - score, *parts], strict=True))
    truth = np.array([0.4 <= (t + 0.5) / 25 < 1.2 for t in range(50)]) if partial else np.ones(50, bool)
    curve = np.where(truth & fake & right, 0.9, 0.05)
    video, audio = LABELS[method]
    cues = {"video": video, "audio": audio, "sync": int(method.startswith("dubbing"))}
    masks = {
        f"{name}_{key}": value
        for name, hit in (("map", right), ("cam", not right))
        for key, value in (
            ("inside", curve_cell(np.eye(64)[50 if hit else 10] * (12.0 if video else 0.0))),
            ("outside", curve_cell(np.eye(64)[10 if hit else 50] * (52.0 if video else 0.0))),
            ("pointing", float(hit) if video else np.nan),
            ("empty", np.nan if fake else 0.1),
        )
    }
    extra = {
        "partial": float(partial),
        "spans": json.dumps(spans),
        **{f"type_{name}": value for name, value in types.items()},
        **{f"flat_{name}": value for name, value in types.items()},
        **{f"cue_{name}": 0.9 * value + 0.05 for name, value in cues.items()},
        "segments": json.dumps([[*(spans or [[0.0, 2.0]])[0], 0.9]] if fake and right else []),
        **{f"frame_{name}": curve_cell(curve if value else curve * 0 + 0.01) for name, value in cues.items()},
        **masks,
        "loss": 0.3,
    }
    return ScoreRow(
        f"{split}/{method}{i}", int(fake), score, "made", split, f"p{i % 5}", method, video, audio, extra=extra
    )


def table(split, right=True, methods=tuple(LABELS)[:5]):
    return [row(i, method, split, right, partial=i % 2 == 1) for method in methods for i in range(6)]


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator(VOCABULARY)


def test_who_knows_all_has_full_marks(evaluator, tmp_path):
    val, test = table("val"), table("test")
    write(tmp_path / "test.csv", test)
    found = evaluator.results(val, read(tmp_path / "test.csv"), samples=20)
    for name in ("AUC", "Macro-F1", "AP@0.5", "AP@0.75", "AP@0.95", "Frame AUC", "Pixel AUC", "Pointing game", "IoU"):
        assert found[name] == pytest.approx(1), name
    assert found["Macro-F1 low"] < 1 and found["Types unknown"] == 0
    tables = evaluator.tables(val, test, found, samples=20)
    assert [line["Macro-F1"] for line in tables["types"].rows] == pytest.approx([1, 1, 1])
    assert [line["Pixel AUC"] for line in tables["regions"].rows] == pytest.approx([1, 0])
    assert np.trace([[line[name] for name in NAMES] for line in tables["confusion"].rows]) == 30
    groups = {line["Fakes"]: line for line in tables["segments"].rows}
    assert groups["partial fakes"]["Segments"] == groups["whole fakes"]["Segments"] == 12
    assert groups["partial dubbing"]["AP@0.5"] == 1 and np.isnan(groups["whole fakes"]["Frame AUC"])


def test_who_is_wrong_has_none(evaluator):
    found = evaluator.results(table("val"), table("test", right=False), samples=0)
    assert found["Macro-F1"] == 0 and found["AP@0.5"] == 0 and found["Pointing game"] == 0
    assert 0 < found["Hierarchical F1"] < 1  # a fake called another kind of fake is half right


def test_unknown_types_are_answered_as_such(evaluator):
    test = [*table("test"), *[row(i, "new", "test") for i in range(4)]]
    found = evaluator.results(table("val"), test, samples=0)
    assert found["Types unknown"] == 4 and found["Macro-F1"] == 1
    answers = evaluator._answers(table("val"), test[-4:])
    assert (answers["hierarchical"] == len(NAMES)).all()
    lines = evaluator.text({**_costs(), **found}, evaluator.tables(table("val"), test, found, samples=0), "test split")
    assert any("4 clips are of a method that is in no type" in line for line in lines)


def test_the_report_fits_the_page_and_the_figures_are_drawn(evaluator, tmp_path):
    val, test = table("val"), table("test")
    found = {**_costs(), **evaluator.results(val, test, samples=20)}
    tables = evaluator.tables(val, test, found, samples=20)
    lines = evaluator.text(found, tables, "test split")
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("hierarchical") and "1.000 [" in line for line in lines)
    for name, figure in evaluator.figures(test, found, tables, title="run: ", samples=20).items():
        style.save(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 0


def test_a_table_of_another_kind_is_refused(evaluator):
    with pytest.raises(
        ValueError, match=r"no column 'segments': expected that of a hierarchical run whose types are real, "
    ):
        evaluator.results([], [ScoreRow("a", 1, 0.5)], samples=0)


def test_histograms_give_the_numbers_of_their_cells():
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 9, 64), rng.integers(0, 5, 64)
    labels = np.repeat([1, 0], [inside.sum(), outside.sum()])
    scores = np.concatenate([np.repeat(np.arange(64), inside), np.repeat(np.arange(64), outside)])
    assert pixel_auc(inside.astype(float), outside.astype(float)) == pytest.approx(classification.auc(labels, scores))
    called = scores >= 20
    expected = (called & (labels == 1)).sum() / (called | (labels == 1)).sum()
    assert ious(inside.astype(float), outside.astype(float))[20] == pytest.approx(expected)


def _costs():
    numbers = ("Parameters (M)", "Training time (min)", "Inference (ms/sample)", "Peak memory (GB)")
    return {"Model": "m", "Modality": "x", **dict.fromkeys(numbers, np.nan)}
