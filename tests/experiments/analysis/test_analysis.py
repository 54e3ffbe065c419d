"""The analysis of a study from its score tables: what it writes, what it says, and what it refuses."""

import math
import pathlib
import re
import subprocess
import sys

import pytest

from experiments import files, suite
from experiments.analysis import analysis, compare, detectors, page
from experiments.figures import style
from experiments.report import html
from experiments.run_directory import log
from mmdf_jax.metrics import calibration, classification
from mmdf_jax.stats.bootstrap import paired_difference
from mmdf_jax.stats.corrections import holm
from tests.experiments.analysis import written
from tests.experiments.analysis.written import table
from tests.experiments.study import hand_written

ROOT = pathlib.Path(__file__).parents[3]
COLUMNS = "Experiment,Run,Judged by,Modality,Inference (ms/sample),Parameters (M)"
RUNS = {
    "image-clip": {"skill": 0.8},
    "image-efficientnet": {"skill": 1.5},
    "audio-hubert": {},
    "early_fusion": {"skill": 0.3},
    "cross_attn": {"skill": 3.0},
    "system": {"skill": 1.0, "extra": {"uncalibrated": lambda score: score**3, "note": lambda score: "-"}},
}


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing is most of the time: a figure is built, and one of them is drawn."""
    monkeypatch.setattr(style, "settle", lambda figure: None)
    monkeypatch.setattr(style, "save_for_print", lambda figure, path: files.write_text(f"{path}.png", "drawn"))
    draw = html.picture

    def picture(figure, what, caption="", *, photo=False):
        return draw(figure, what, caption) if what == "Training" else f"<img alt='{what}'>"

    monkeypatch.setattr(html, "picture", picture)


@pytest.fixture
def study(tmp_path):
    written.study(tmp_path / "study", RUNS)
    return tmp_path / "study"


def test_a_study_and_a_detector_from_outside(study, undrawn, tmp_path):
    mine = written.outside(tmp_path / "mine", every=10)
    said = analysis.analyse(study, {"mine": mine}, written.config())
    rows = table(study / "Results" / analysis.TABLE)
    fusion = [row for row in rows if row["Family"] == "fusion"]
    assert [row["Better"] for row in fusion] == list(written.declared.FUSIONS)

    # The numbers are those of the functions that compute them, on validation's choice of the rival.
    chosen = {row["Than"] for row in fusion}
    singles = ("image-clip", "image-efficientnet", "audio-hubert")
    best = max(singles, key=lambda name: classification.auc(*written.scores(study, name, "val")[:2]))
    assert chosen == {best} and {row["Than chosen from"] for row in fusion} == {"3"}
    labels, a, groups = written.scores(study, "cross_attn")
    gap = paired_difference(classification.auc, labels, a, written.scores(study, best)[1], groups, samples=40)
    row = next(row for row in fusion if row["Better"] == "cross_attn")
    assert [float(row[name]) for name in ("Gain", "Gain low", "Gain high", "p")] == [
        *(pytest.approx(value) for value in (gap.value, gap.low, gap.high, gap.p))
    ]
    made = [row for row in fusion if row["p"]]
    assert [float(row["Holm p"]) for row in made] == pytest.approx(holm([float(row["p"]) for row in made]).tolist())
    assert row["Verdict"] == compare.SUPPORTED and row["Identities"] == "6" and row["Coverage of than"] == "1.0"
    assert sum(float(row[f"P({what})"]) for what in ("worse", "practically equal", "better")) == pytest.approx(1)

    # A claim of a detector that is not there is named, and the others go on.
    absent = {row["Better"]: row["Why not"] for row in fusion if row["Verdict"] == compare.ABSENT}
    assert absent["hierarchical"] == "no detector hierarchical" and set(absent) == {
        *("late_fusion", "contrastive", "hierarchical")
    }
    assert "no detector hierarchical" in said and "Not made: late_fusion over" in (study / "report.html").read_text()

    # Less of the Brier score is better.
    calibrated = next(row for row in rows if row["Than"] == "itself uncalibrated")
    labels, values, _ = written.scores(study, "system")
    gain = calibration.brier(labels, values**3) - calibration.brier(labels, values)
    assert float(calibrated["Gain"]) == pytest.approx(gain) and calibrated["DeLong p"] == ""

    # All pairs are there and exploratory; the detector that lacks clips is compared on those that it has.
    pairs = [row for row in rows if row["Declared"] == "no"]
    assert len(pairs) == 7 * 6 / 2
    assert {row["Clips"] for row in pairs if row["Than"] == "mine"} == {"43"} != {row["Clips"] for row in pairs}
    assert {row["Coverage of than"] for row in pairs if row["Than"] == "mine"} == {str(43 / 48)}
    quality = table(study / "Results" / analysis.QUALITY)
    assert {row["Coverage"] for row in quality if row["Detector"] == "mine"} == {str(43 / 48)}
    assert [row["Judged by"] for row in quality if row["Run"] == "audio-hubert" and row["Metric"] == "AUC"] == [
        *("audio_label", "label")
    ]
    read = detectors.read(study, {"mine": mine})[-1]
    assert {row.method for row in read.tables[0]["val"].values()} == set(hand_written.METHODS) and not read.has("note")
    assert max(map(len, said.partition("Files:")[0].splitlines())) <= 100 and "report.html" in said
    assert {path.stem for path in (study / "Figures").iterdir()} >= {"claims", "roc_bands", "pareto", "failures"}


def test_the_page_stands_alone_and_is_the_same_when_made_again(study, undrawn):
    analysis.analyse(study, {}, written.config())
    names = ("Results/statistical_analysis.csv", "Results/metrics_with_intervals.csv", "report.html")
    before = [(study / name).read_bytes() for name in names]
    (study / "runs" / "cross_attn" / "metrics.jsonl").unlink()  # so that no training is drawn
    for name in ("own.png", "claims_of_mine.pdf"):
        (study / "Figures" / name).write_text("the user's")
    analysis.analyse(study, {}, written.config())
    assert [(study / name).read_bytes() for name in names[:2]] == before[:2]
    left = {path.name for path in (study / "Figures").iterdir()}
    assert not left & {"training_of_all.png", "training_of_all.pdf"} and {"own.png", "claims_of_mine.pdf"} <= left
    written.log(study, "cross_attn")
    analysis.analyse(study, {}, written.config())
    assert [(study / name).read_bytes() for name in names] == before
    text = before[-1].decode()
    assert not re.search(r"(?:src|href)=.(?!data:)", text) and "<script" not in text and "data:image/png" in text
    assert "rendered faces and voices, a stand-in" in text and "No Friedman test" in text
    for heading in ("Findings", "The detectors", "Failures", "How far it carries", "What this does not say", "Words"):
        assert f"<h2>{heading}</h2>" in text
    # What the study has trained without a method stands apart: no claim and no other number is about it.
    runs = {"cross_attn-without-dubbing": {"skill": 0.5}, "image-clip-without-nothing": {}}
    written.study(study / "apart", runs)
    (study / "apart" / "Results").rename(study / "Results" / "held_out")
    said = analysis.analyse(study, {}, written.config())
    assert [(study / name).read_bytes() for name in names[:2]] == before[:2]
    rows = [row for row in table(study / "Results" / analysis.GENERALISATION) if "left-out" in row["Kind"]]
    assert [(row["Detector"], row["Held out"]) for row in rows] == [
        *(("cross_attn-without-dubbing", "yes"), ("cross_attn", "no"))
    ]
    worst = f"Worst without a method in training: cross_attn on dubbing, clip AUC {float(rows[0]['Clip AUC']):.3f} "
    assert worst in (study / "report.html").read_text() and worst in " ".join(said.split())


def test_several_trainings_stand_in_rows_of_their_own_and_widen_the_interval(tmp_path, undrawn):
    one = {"cross_attn": {"skill": 1.5}, "image-clip": {"skill": 0.5}}
    three = one | {f"cross_attn-seed{seed}": {"skill": 0.2 * seed} for seed in (1, 2)}
    found = {}
    for name, runs in (("one", one), ("three", three)):
        written.study(tmp_path / name, runs)
        analysis.analyse(tmp_path / name, {}, written.claim("cross_attn", "image-clip"))
        (found[name],) = (row for row in table(tmp_path / name / "Results" / analysis.TABLE) if row["Family"] == "one")
    aucs = [classification.auc(*written.scores(tmp_path / "three", run)[:2]) for run in three if "cross" in run]
    assert float(found["three"]["Value of better"]) == pytest.approx(sum(aucs) / 3)
    assert float(found["three"]["Standard error"]) > float(found["one"]["Standard error"])
    quality = table(tmp_path / "three" / "Results" / analysis.QUALITY)
    assert {row["Run"] for row in quality} == set(three) and {row["Detector"] for row in quality} == set(one)
    text = (tmp_path / "three" / "report.html").read_text()
    assert "Some were trained up to 3 times" in text and "image-clip was trained once" in text
    assert "Each detector was trained once" in (tmp_path / "one" / "report.html").read_text()


@pytest.mark.parametrize(("missing", "score"), [("as_real", 0.0), ("as_fake", 1.0), ("as_chance", 0.5)])
def test_a_missing_clip_counts_as_the_user_says(tmp_path, missing, score, undrawn):
    written.study(tmp_path, {"cross_attn": {}})
    mine = written.outside(tmp_path / "mine", every=10)
    config = written.claim("mine", "cross_attn") | {"missing": missing, "bootstrap": 5}
    analysis.analyse(tmp_path, {"mine": mine}, config)
    labels, _, _ = written.scores(tmp_path, "cross_attn")
    given = {row["clip_id"]: float(row["score"]) for row in table(mine / "test.csv")}
    clips = sorted(row["clip_id"] for row in table(tmp_path / "Results/scores/cross_attn/test.csv"))
    expected = classification.auc(labels, [given.get(clip, score) for clip in clips])
    row = table(tmp_path / "Results" / analysis.TABLE)[0]
    assert float(row["Value of better"]) == pytest.approx(expected) and row["Clips"] == "48"
    assert f"counts as if it had said {score:g}" in (tmp_path / "report.html").read_text()


def test_tables_alone_without_a_study_or_a_validation(tmp_path, undrawn):
    folders = {name: written.outside(tmp_path / name, seed=seed, val=False) for name, seed in (("a", 3), ("b", 30))}
    said = analysis.analyse(tmp_path / "new", folders, written.config())
    (pair,) = (row for row in table(tmp_path / "new/Results" / analysis.TABLE) if row["Declared"] == "no")
    assert pair["McNemar p"] == "" and pair["p"] != "" and pair["Identities"] == "48"  # no identities: each clip is one
    assert "0 supported" not in said and "9 not made" in said and "Of the one pair" in said
    assert "– none of its 6 claims could be made; the first: no detector early_fusion; no detector image-clip" in said
    # Nobody says who is in the clips: that is told, and no number of people.
    assert "48 clips of people who are not named" in said and "each of them counts as a person of its own" in said
    assert " of 48 people" not in (tmp_path / "new/report.html").read_text()
    config = written.claim("a", "b")
    config["families"][0]["claims"][0]["than"]["of"] = ("a", "b")
    analysis.analyse(tmp_path / "new", folders, config)
    assert table(tmp_path / "new/Results" / analysis.TABLE)[0]["Why not"] == "no validation to choose the best of 2 on"


def put(folder, lines):
    folder.mkdir()
    (folder / "test.csv").write_text("\n".join(["clip_id,label,score", *lines]) + "\n")
    return folder


def test_bad_input_is_one_line(tmp_path):
    def error(further, study=tmp_path / "none"):
        with pytest.raises((ValueError, OSError)) as raised:
            analysis.analyse(study, further, written.config())
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert re.search(r"complete_results\.csv: no such table; experiments\.suite --workdir=.* gathers", error({}))
    mine = put(tmp_path / "mine", ["a,0,.1", "b,1,.9"])
    assert error({"mine": mine}) == "one detector (mine): nothing to compare; add one with --tables=NAME=FOLDER"
    fakes = put(tmp_path / "fakes", ["a,1,.1", "b,1,.9"])
    assert error({"x": fakes, "y": fakes}) == "all 2 test clips are fake: expected real and fake clips"
    others = put(tmp_path / "others", ["c,0,.1", "d,1,.9"])
    assert error({"x": mine, "y": others}).startswith("no test clip of y ('c', …) is one of x ('a', …): detectors")
    turned = put(tmp_path / "turned", ["a,1,.1", "b,1,.9"])
    assert error({"x": mine, "y": turned}) == "clip 'a' of test: real for x, fake for y"
    empty = put(tmp_path / "empty", [])
    assert error({"x": mine, "y": empty}).endswith("empty/test.csv: expected clips, found an empty table")
    (tmp_path / "bare").mkdir()
    assert "bare/test.csv: no such score table; expected clip_id,label,score" in error({"y": tmp_path / "bare"})
    written.study(tmp_path / "study", {"cross_attn": {}})
    assert "--tables=cross_attn=…: the study has a detector of this name" in error(
        {"cross_attn": mine}, tmp_path / "study"
    )
    for path in (tmp_path / "study").glob("Results/scores/cross_attn/test.csv"):
        path.unlink()
    assert "cross_attn/test.csv: no such score table" in error({"mine": mine}, tmp_path / "study")
    results = tmp_path / "study/Results/complete_results.csv"
    for text, message in (
        ("Run\na\n", "column 'Experiment' is missing; gather the study again"),
        ("Experiment,Run,Judged by\n06,a,label\n", "column 'Modality' is missing; gather the study again"),
        (f"{COLUMNS}\n06,a,truth,video,1,1\n", "run a, column Judged by: expected one of label, video_label"),
        (f"{COLUMNS}\n06,a,label,video,1,1\n06,a,label,video,1,1\n", "column Run: expected each run once, found 'a' 2"),
        (f"{COLUMNS}\n06,a,label\n", "column 'Modality' is missing"),
        (
            f"{COLUMNS}\n06,cross_attn,label,video,fast,1\n",
            "column Inference (ms/sample): expected a number, found 'fast'",
        ),
        ('"', "not a CSV table in UTF-8 (unexpected end of data)"),
        (COLUMNS, "complete_results.csv: no run in it has a score table with P(fake)"),
    ):
        results.write_text(text)
        if "fast" in text:
            written.study(tmp_path / "study", {"cross_attn": {}})
            results.write_text(text)
        assert message in error({}, tmp_path / "study")
    results.write_bytes(b"Run\n\xff\n")
    assert "not a CSV table in UTF-8" in error({}, tmp_path / "study")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"missing": "guess"}, r"config\.missing=guess: expected one of exclude, as_real"),
        ({"alpha": 1.5}, r"config\.alpha=1\.5: expected a number between 0 and 1"),
        ({"alpha": 0.9}, r"config\.power=0\.8: expected more than config\.alpha=0\.9"),
        ({"rope": {"auc": -0.1}}, r"config\.rope\.auc: expected a number of at least 0"),
        ({"pictures": 1}, r"config\.pictures=1: expected true or false"),
        ({"bootstrap": 1}, r"config\.bootstrap=1: expected a whole number of at least 2"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        analysis.analyse(tmp_path, {}, written.config() | change)


def test_the_command_ends_with_one_line(tmp_path):
    words = [sys.executable, "-m", "experiments.analyze", f"--workdir={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and "complete_results.csv: no such table" in done.stderr


def test_the_tables_of_the_command_line(tmp_path):
    assert detectors.folders([f"a={tmp_path}"]) == {"a": tmp_path}
    for words in (["a"], ["=b"], ["a="], [f"a={tmp_path}", f"a={tmp_path}"]):
        with pytest.raises(ValueError, match=r"--tables=.*: expected NAME=FOLDER, each name once"):
            detectors.folders(words)
    with pytest.raises(FileNotFoundError, match=r"--tables=a=nowhere: no such folder"):
        detectors.folders(["a=nowhere"])


def test_the_suite_analyses_what_it_has_gathered(tmp_path, monkeypatch, caplog):
    called = []
    monkeypatch.setattr(analysis, "analyse", lambda study, further, config: called.append(config) or "the summary")
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level("INFO", log.name):
        suite._analyse(tmp_path)
    assert "the summary" in caplog.text and called[0]["families"][0]["name"] == "fusion"
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"is gathered, but not analysed: .*no such table"):
        suite._analyse(tmp_path)


def test_a_gain_too_small_to_matter_is_none_however_small_its_p():
    row = {"Holm p": 0.001, "Gain": 0.002, "P(practically equal)": 0.99}
    assert compare._verdict(row, 0.05) == compare.EQUAL
    assert compare._verdict(row | {"P(practically equal)": 0.5}, 0.05) == compare.SUPPORTED
    assert compare._verdict(row | {"P(practically equal)": 0.5, "Gain": -0.2}, 0.05) == compare.CONTRADICTED
    assert compare._verdict({"Holm p": math.nan, "Gain": 0.1, "P(practically equal)": math.nan}, 0.05) == compare.OPEN
    assert set(page._MARKS) == {*compare.VERDICTS}
