"""The text of a report: it fits, says the numbers, and says what is missing."""

import math

import numpy as np
import pytest

from experiments.evaluators.classification import Evaluator
from experiments.report import write
from experiments.report.terminal import WIDTH
from experiments.score_table import ScoreRow


def table(methods=("face_swap", "voice_clone"), people=8):
    rng = np.random.default_rng(0)
    return [
        ScoreRow(
            f"{method}/{person}",
            int(method != "real"),
            float(rng.random() / 2 + (method != "real") / 2.2),
            identity=str(person),
            method=method,
            video_label=int(method != "real"),
            audio_label=int(method == "voice_clone"),
            extra={f"score_{stream}": float(rng.random()) for stream in ("image", "video", "audio")},
        )
        for method in ("real", *methods)
        for person in range(people)
    ]


def text(test, run=None):
    evaluator = Evaluator()
    row = {**write.described(run or {}), **evaluator.results(test, test, samples=50)}
    return "\n".join(evaluator.text(row, evaluator.tables(test, test, row, samples=50), "test split")), row


def test_it_says_the_numbers():
    run = {"model": "cross_attn", "modality": "image + audio + video", "parameters_m": 1.234, "train_minutes": 3.21}
    page, row = text(table(), run)
    assert "cross_attn · image + audio + video" in page and "24 clips of 8 identities" in page
    assert f"AUC {row['AUC']:.3f} [{row['AUC low']:.3f}, {row['AUC high']:.3f}] (95 % over identities)" in page
    assert "parameters 1.23 M" in page and "training 3.2 min" in page and "peak memory" not in page
    (line,) = [line for line in page.splitlines() if line.startswith("face_swap")]
    assert line.split()[1] == "8" and line.endswith("–")  # no face swap has a fake voice


@pytest.mark.parametrize("count", [0, 1, 40])
def test_it_fits_whatever_the_methods(count):
    methods = [f"an_extraordinarily_long_method_name_of_a_generator_{i}" for i in range(count)]
    page, _ = text(table(methods, people=4), {"model": "m" * 150})
    assert max(map(len, page.splitlines())) <= WIDTH
    assert page.count("an_extraordinarily") == count
    assert "nan" not in page


def test_it_tells_what_is_missing():
    page, _ = text([ScoreRow("a", 0, 0.5), ScoreRow("b", 0, math.nan, status="abstained: no stream")])
    assert "Abstained from 1 more" in page
    assert "one class only" in page and "No threshold" in page and "No fake clips" in page
