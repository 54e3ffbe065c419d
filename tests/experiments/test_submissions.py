"""Prediction files of published programs: what stands in them, read back and scored as those programs score."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

from experiments import evaluate, score_table
from experiments.score_table import ScoreRow
from experiments.submissions import lavdf
from mmdf_jax.metrics.localisation import average_precision, average_recall

TRUTHS = {"a": [[0.4, 1.2]], "b": [[0.0, 0.6], [1.5, 2.0]], "c": [], "d": [[0.2, 0.9]]}
SEGMENTS = {
    "a": [[0.5, 2.0, 0.3], [0.4, 1.2, 0.9]],
    "b": [[0.0, 0.5, 0.8], [1.5, 2.0, 0.0]],  # a score of 0 stays above the filling
    "c": [[0.1, 0.2, 0.4]],
    "d": [],
}


def rows(dataset, part, **changes):
    made = []
    for i, (name, segments) in enumerate(SEGMENTS.items()):
        cell = score_table.segments_cell(np.array(segments))
        made.append(
            ScoreRow(
                f"{dataset}/{part}/id{i}/{name}.mp4",
                int(bool(TRUTHS[name])),
                0.25 * i,
                dataset=dataset,
                split="test",
                extra={"segments": cell, **changes},
            )
        )
    return made


def run(workdir, table, name="test", **flags):
    score_table.write(workdir / "scores" / f"{name}.csv", table)
    with flagsaver.flagsaver(workdir=str(workdir), **flags):
        evaluate.main(["evaluate"])


def read(path):
    """(proposals, truths) in the order of the file, as a program of LAV-DF's kind would have them; and the names."""
    found = json.loads(path.read_text())
    proposals = [[(start, end, score) for score, start, end in clip] for clip in found.values()]
    return proposals, [TRUTHS[name.rpartition("/")[2][0]] for name in found], list(found)


def test_lavdf(tmp_path, capsys):
    run(tmp_path, rows("lav_df", "test"), submission="lavdf")
    path = tmp_path / "submissions" / "test" / "lavdf.json"
    assert f"Wrote {path}" in capsys.readouterr().out
    frames, truths, names = read(path)
    assert names == [f"test/id{i}/{name}.mp4" for i, name in enumerate("abcd")]
    assert frames[0][:2] == [(10, 30, 0.9), (12.5, 50, 0.3)]  # by falling score, 25 a second
    assert {len(clip) for clip in frames} == {100}
    proposals = [[(start / 25, end / 25, score) for start, end, score in clip] for clip in frames]
    # The program runs on it, and what was filled up changes nothing.
    assert average_recall(proposals, truths, official="lavdf")[100] == pytest.approx((10 + 7 + 10) / 40)
    given = [SEGMENTS[name] for name in "abcd"]
    assert average_precision(proposals, truths) == average_precision(given, truths)
    assert average_precision(proposals, truths, official="lavdf") == pytest.approx(
        average_precision(given, truths, official="avdeepfake1m"), abs=1e-6
    )


def test_avdeepfake1m(tmp_path):
    run(tmp_path, rows("av_deepfake1m", "val"), submission="avdeepfake1m", split="val", name="val")
    folder = tmp_path / "submissions" / "val"
    proposals, truths, names = read(folder / "prediction.json")
    assert names == [f"id{i}/{name}.mp4" for i, name in enumerate("abcd")]  # without the part, as in its metadata
    assert proposals[0] == [(0.4, 1.2, 0.9), (0.5, 2.0, 0.3)]
    assert len(proposals[3]) == 1 and proposals[3][0][0] > 1e4 and proposals[3][0][2] < 0
    # With the one far proposal the clip without any counts as missed, which an empty list would not.
    assert average_recall(proposals, truths, official="avdeepfake1m")[5] == pytest.approx((10 + 7 + 10) / 40)
    lines = [line.split(";") for line in (folder / "prediction.txt").read_text().splitlines()]
    assert lines == [[name, repr(0.25 * i)] for i, name in enumerate(names)]


def test_a_clip_without_a_score_gets_one_half_and_an_empty_list_of_segments_a_far_one(tmp_path):
    table = rows("av_deepfake1m", "val")
    table[1] = ScoreRow("av_deepfake1m/val/id1/b.mp4", 1, dataset="av_deepfake1m", status="undecodable")
    out = tmp_path / "elsewhere"
    run(tmp_path, table, submission="avdeepfake1m", out=str(out))
    assert (out / "prediction.txt").read_text().splitlines()[1] == "id1/b.mp4;0.5"
    assert json.loads((out / "prediction.json").read_text())["id1/b.mp4"] == [[-1.0, 1e5, 1e5 + 1]]


@pytest.mark.parametrize(
    "table, submission, message",
    [
        ([ScoreRow("a", 1, 0.5)], "lavdf", r"test\.csv: the score table has no column `segments`"),
        ([ScoreRow("a", 1, 0.5)], "avdeepfake1m", "only a detector that says when a clip is fake has one"),
        ([ScoreRow("a", 1, 0.5, extra={"segments": "[[0, 1]]"})], "lavdf", "found spans only"),
        ([ScoreRow("a", 1, 0.5, extra={"segments": "soon"})], "lavdf", "clip 'a', column segments: .* found 'soon'"),
        ([ScoreRow("a", 1, 0.5, extra={"segments": 3.5})], "lavdf", "clip 'a', column segments: .* found 3.5"),
        ([*rows("x", "y"), ScoreRow("y/id0/a.mp4", 1, 0.5)], "lavdf", "two clips .* of the file"),
        (rows("x", "y"), "codabench", "--submission=codabench: expected one of avdeepfake1m, lavdf"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(tmp_path, table, submission, message):
    with pytest.raises(SystemExit, match=message) as error:
        run(tmp_path, table, submission=submission)
    assert str(error.value).startswith("error: ") and "\n" not in str(error.value)
    assert not (tmp_path / "submissions").exists()


def test_segments_survive_the_table(tmp_path):
    score_table.write(tmp_path / "t.csv", [*rows("x", "y"), ScoreRow("z", 0, 0.1)])
    again = score_table.read(tmp_path / "t.csv")
    for row, expected in zip(again, [*SEGMENTS.values(), []], strict=True):
        assert score_table.segments(row).tolist() == expected
    score_table.write(tmp_path / "t.csv", [ScoreRow("z", 0, 0.1, extra={"segments": ""})])
    assert score_table.segments(score_table.read(tmp_path / "t.csv")[0]).shape == (0, 0)


def test_a_file_is_the_clip_id_below_its_dataset():
    assert lavdf.file_of(ScoreRow("lav_df/test/1.mp4", 0, dataset="lav_df")) == "test/1.mp4"
    assert lavdf.file_of(ScoreRow("mine/1.mp4", 0)) == "mine/1.mp4"
