"""Files through the road of every dataset to verdict.json and report.html, with a detector that has no network."""

import dataclasses
import json
import pathlib
import re
import wave

import cv2
import hand_made
import numpy as np
import pytest
from hand_made import film

from experiments import detect
from experiments.verdict import detector, examine, verdict


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of each kind, good and bad."""
    folder = tmp_path_factory.mktemp("files")
    film(folder / "good.mp4")
    film(folder / "long.mp4", seconds=6.4, grey=60, loud=None, size=64)
    film(folder / "dark.mp4", grey=15, loud=0.0, spread=12, seconds=1.2)
    film(folder / "blink.mp4", seconds=0.12)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a film")
    cv2.imwrite(str(folder / "picture.jpg"), np.full((80, 60, 3), 200, np.uint8))
    (folder / "frames").mkdir()
    for i in range(30):
        cv2.imwrite(str(folder / "frames" / f"{i}.png"), np.full((64, 64, 3), 100 + i, np.uint8))
    (folder / "nothing").mkdir()
    return folder


@pytest.fixture(scope="module")
def judged(files, tmp_path_factory):
    """The command's work on all of them: {name: verdict.json's part}, the exit, the lines, the folder."""
    folder = tmp_path_factory.mktemp("model")
    made = hand_made.make(folder)
    patch = pytest.MonkeyPatch()
    patch.setattr(detector, "load", lambda *_: made)
    patch.setattr(examine, "PIECE", 2.0)  # long.mp4 has three pieces
    paths = [*map(str, sorted(files.iterdir())), str(files / "gone.mp4")]
    lines = []
    patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
    every = detect.run(paths, pathlib.Path("model"), prior=0.1, out=folder / "out")
    patch.undo()
    document = json.loads((folder / "out" / "verdict.json").read_text())
    found = {pathlib.Path(one["file"]["path"]).name: one for one in document["verdicts"]}
    return found, every, "\n".join(lines), folder / "out", document


def test_what_is_written_is_as_the_schema_says(judged):
    hand_made.check(judged[4])
    assert len(judged[4]["verdicts"]) == 10
    with pytest.raises(AssertionError, match="unknown"):
        hand_made.check(judged[4] | {"more": 1})


def test_a_good_file_is_judged_by_stream_and_together(judged):
    one = judged[0]["good.mp4"]
    evidence = one["evidence"]
    assert evidence["favours"] == "fake" and evidence["interval"][0] <= evidence["lr"] <= evidence["interval"][1]
    assert "6 people" in evidence["interval_of"]
    odds = evidence["lr"] * 0.1 / 0.9
    assert evidence["probability"] == pytest.approx(odds / (1 + odds)) and evidence["prior"] == 0.1
    assert [stream["stream"] for stream in one["streams"]] == ["image", "audio"]
    assert one["coverage"]["seconds_judged"] == pytest.approx(2.0, abs=0.1) and one["highest"] == "person 1"
    assert one["abstention"] is None and one["file"]["status"] == "ok"
    assert re.fullmatch(r"[0-9a-f]{64}", one["file"]["sha256"])


def test_a_long_file_is_judged_in_pieces_and_stretches(judged):
    one = judged[0]["long.mp4"]
    assert len(one["stretches"]) == 3 and one["coverage"]["pictures"] == 160
    assert [stretch["start"] for stretch in one["stretches"]] == sorted(s["start"] for s in one["stretches"])
    assert all(stretch["scores"]["model"] == pytest.approx(60 / 255, abs=0.02) for stretch in one["stretches"])
    assert one["coverage"]["seconds_judged"] == pytest.approx(6.4, abs=0.2)
    assert len(one["people"]) == 1 and one["evidence"]["favours"] == "real"


def test_what_is_no_basis_for_a_conclusion_is_abstained_from(judged):
    found, every, lines, _, _ = judged
    dark = found["dark.mp4"]
    assert dark["abstention"]["why"] == "quality" and "the face is dark" in dark["abstention"]["words"]
    assert {"dark", "silent"} <= {flag["name"] for flag in dark["quality"]["flags"]}
    assert not any(stream["stream"] == "audio" for stream in dark["streams"])  # silence counts as no sound
    for name, words in {
        "empty.mp4": "the file is empty",
        "text.mp4": "undecodable",
        "nothing": "a folder without pictures",
        "gone.mp4": "there is no such file",
    }.items():
        assert found[name]["evidence"] is None and found[name]["abstention"]["why"] == "nothing_to_judge"
        line = next(line for line in lines.splitlines() if f"/{name}: " in line)
        assert words in line
    assert not every


def test_a_picture_and_a_folder_of_frames_are_judged(judged):
    picture, frames = judged[0]["picture.jpg"], judged[0]["frames"]
    assert picture["evidence"] and picture["file"]["container"] == "picture"
    assert picture["stretches"][0]["scores"]["model"] == pytest.approx(0.75 * 200 / 255, abs=0.02)  # bars at its sides
    assert frames["evidence"] and frames["file"]["container"] == "folder of pictures"
    assert judged[0]["blink.mp4"]["evidence"]
    assert "short" in {flag["name"] for flag in judged[0]["blink.mp4"]["quality"]["flags"]}


def test_nobody_is_accused(judged):
    _, _, lines, folder, _ = judged
    text = lines + "".join(path.read_text() for path in folder.glob("*.html"))
    assert not re.search(r"\b(is|are|was) (a )?(deep)?fakes?\b|\bforged\b|\bguilty\b|\bproves\b", text)
    assert (
        "times more probable if the file is manipulated than if it is genuine, for a system trained on heads" in lines
    )


def test_a_report_needs_nothing_from_elsewhere(judged):
    reports = {path.name: path.read_text() for path in judged[3].glob("*.html")}
    assert len(reports) == 11  # one for each file, and their list
    for text in reports.values():
        assert "<script" not in text and not re.search(r'(src|href)="(?!data:|[\w.-]+\.html")', text)
        assert "default-src 'none'" in text
    good = next(text for name, text in reports.items() if name.endswith("good.mp4.html"))
    assert good.count("data:image/png") == 3  # over time, faces, places
    assert "moderately strong" in good and judged[0]["good.mp4"]["file"]["sha256"] in good


def test_out_of_distribution_and_between_the_thresholds(files, tmp_path):
    far = hand_made.make(tmp_path / "a", measures={"brightness": 50.0, "contrast": 15.0})
    (one,) = examine.examine([str(files / "good.mp4")], far, shown=False)
    content = verdict.verdict(one, far, 0.5).content
    assert content["abstention"]["why"] == "out_of_distribution" and content["distance"]["quantile"] == 1
    assert set(content["distance"]["z"]) == {"brightness", "contrast"}
    near = hand_made.make(tmp_path / "b", measures={"brightness": 180.0})
    unsure = near.system.thresholds | {"conformal": {"error": 0.2, "low": 0.0, "high": float("inf")}}
    near = dataclasses.replace(near, system=dataclasses.replace(near.system, thresholds=unsure))
    content = verdict.verdict(one, near, 0.5).content
    assert content["abstention"]["why"] == "between_thresholds" and content["distance"]["quantile"] < 1
    hand_made.check(content, hand_made.SCHEMA["properties"]["verdicts"]["items"])


def test_a_system_of_drawn_heads_says_so_first_and_concludes_nothing(files, tmp_path, capsys, monkeypatch):
    data = hand_made.system().data | {"embedded": True}
    made = hand_made.make(tmp_path, measures={"brightness": 50.0}, data=data)  # and the film is unlike these
    monkeypatch.setattr(detector, "load", lambda *_: made)
    detect.run([str(files / "good.mp4")], tmp_path, out=tmp_path / "out")
    first, second, third, fourth, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("Trained on the embedded corpus of drawn talking heads")
    assert "good.mp4: nothing should be concluded: the system is a stand-in" in second
    assert third.startswith("  besides: out of distribution: ")
    assert fourth.startswith("  for the record, without weight: likelihood ratio ") and "support for" not in fourth
    page = (tmp_path / "out" / "report.html").read_text()
    assert (
        page.index("Nothing should be concluded") < page.index("without weight")
        and "more probable" not in (page[: page.index("How to read this")])
    )
    (content,) = json.loads((tmp_path / "out" / "verdict.json").read_text())["verdicts"]
    assert content["abstention"]["why"] == "stand_in" and content["evidence"]["lr"] > 1
    assert [one["why"] for one in content["abstention"]["also"]] == ["out_of_distribution"]
    hand_made.check(content, hand_made.SCHEMA["properties"]["verdicts"]["items"])


@pytest.mark.parametrize(
    ("name", "words"), [("", "found none"), ("study.json", "study has no"), ("config.json", "run has no")]
)
def test_a_model_that_is_none_is_one_line(tmp_path, name, words):
    if name:
        (tmp_path / name).write_text("{}")
    with pytest.raises(FileNotFoundError, match=words) as raised:
        detector.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_member_without_a_run_cannot_judge(tmp_path, monkeypatch):
    made = hand_made.system(members=(dataclasses.replace(hand_made.MEMBER, run=""),))
    monkeypatch.setattr(detector, "find", lambda *_: (made, tmp_path))
    with pytest.raises(ValueError, match="member model is a score table, which cannot judge a file"):
        detector.load(tmp_path)


def test_what_a_file_lacks_has_no_evidence_and_no_map(files, tmp_path):
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.int16(9000 * np.sin(np.arange(32000) * 0.5)).tobytes())
    made = hand_made.make(tmp_path)
    (one,) = examine.examine([str(tmp_path / "tone.wav")], made, shown=False)
    found = verdict.verdict(one, made, 0.5).content
    assert [stream["stream"] for stream in found["streams"]] == ["audio"] and not one.mapped
    assert found["people"][0]["name"] == found["highest"] == "the sound" and found["coverage"]["people_judged"] == 0
    assert "no_face" not in {flag["name"] for flag in found["quality"]["flags"]}
    hand_made.check(found, hand_made.SCHEMA["properties"]["verdicts"]["items"])
