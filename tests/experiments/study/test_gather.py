"""What a study leaves: models by validation, tables, figures and logs, from run directories written by hand."""

import dataclasses
import json
import pathlib

import matplotlib.image
import pytest

from experiments import best_model, embeddings, files, model_from_config, run_directory, score_table, suite, system_file
from experiments.analysis import detectors, generalisation
from experiments.evaluators import classification
from experiments.figures import confusion, models_comparison, pictures, roc_curves, style
from experiments.run_directory import log
from experiments.study import card, figures, models, plan, results
from experiments.study import run as study_run
from tests.experiments.study import hand_written
from tests.experiments.study.hand_written import table

ROOT = pathlib.Path(__file__).parents[3]
# {run: what is written of it}; the second seed is better on validation and worse on test
RUNS = {
    "image-clip": {"skill": 1.0, "best": 0.7},
    "image-clip-seed1": {"skill": 0.2, "best": 0.9, "seed": 1},
    "image-dinov2": {"skill": 0.8},
    "audio-hubert": {"column": "audio_label"},
    "video-resnet3d": {},
    "cross_attn": {"column": "label", "skill": 3.0},
    "lip_sync": {"column": "label"},
    "late_fusion": {"column": "label", "best": None},
    "system": {"column": "label", "skill": 3.0, "best": None},
}
WITHOUT = {"cross_attn-without-dubbing": {"column": "label", "skill": 1.0}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with some of its runs done, two seeds of one of them, gathered; its folder is named by a link."""
    study = tmp_path_factory.mktemp("study") / "study"
    study.symlink_to(tmp_path_factory.mktemp("elsewhere"))
    for name, facts in {**RUNS, **WITHOUT}.items():
        hand_written.put(study / "runs" / name, **facts)
    lose_threshold(study / "runs" / "lip_sync" / "results.csv")
    picture = style.new_figure(4, 2)
    style.save(picture, study / "runs" / "cross_attn" / "figures" / "attention.png")
    put_system(study / "runs")
    (study / "runs" / "cross_attn" / "scores" / embeddings.FILE).write_text("vectors")
    (study / "runs" / "hierarchical").mkdir()
    (study / "runs" / "hierarchical" / "config.json").write_text("{}")  # half done
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        runs = plan.runs(study, plan.Settings(seeds=2, leave_out=("dubbing",)))
        patch.setattr(style, "save", save_one)
        suite._gather(study, runs, plan.Settings())
    return study, runs


def save_one(figure, path, **options):
    """Drawing is most of the time: one figure stands for all."""
    if "final" in str(path):
        SAVE(figure, path, **options)
    else:
        files.write_text(path, "drawn")


SAVE = style.save


def lose_threshold(path):
    """A report of something else than detection."""
    (row,) = table(path)
    score_table.write_csv(path, ["Model", "Modality", "Accuracy"], [{**dict(list(row.items())[:2]), "Accuracy": 0.1}])


def put_system(runs):
    """The system of two members, in the form that its producer writes."""
    for name in ("system", "late_fusion"):
        config = json.loads((runs / name / "config.json").read_text())
        config["members"] = {"hubert": {"run": "study/runs/audio-hubert"}}
        (runs / name / "config.json").write_text(json.dumps(config))
    one = system_file.of_run(runs / "audio-hubert", samples=20)
    (member,) = one.members
    members = tuple(
        dataclasses.replace(member, name=name, run=run)
        for name, run in (("a", "../audio-hubert"), ("b", "../cross_attn"))
    )
    made = dataclasses.replace(one, members=members, weights={"a": 0.5, "b": 0.5})
    system_file.write(runs / "system" / "system.json", made)
    (runs / "late_fusion" / "fusion_weights.csv").write_text("Fusion,Weight\n")


def test_everything_is_under_the_plans_names(study):
    study, _ = study
    names = ("clip", "dinov2", "hubert", "3dresnet", "cross_attention", "lip_sync", "late_fusion", "complete_system")
    assert sorted(path.name for path in (study / "Models").iterdir()) == sorted(f"best_{name}" for name in names)
    drawn = {path.name for path in (study / "Figures").iterdir()}
    expected = [f"{stream}_models_comparison" for stream in ("image", "audio", "video")]
    expected += ["fusion_comparison", "attention_visualizations", "roc_curves_all_models", "confusion_matrices"]
    assert drawn == {f"{name}.{kind}" for name in (*expected, "final_comparison_chart") for kind in ("png", "pdf")}
    tables = {path.name for path in (study / "Results").glob("*.csv")}
    baselines = {f"{stream}_baseline_results.csv" for stream in ("image", "audio", "video")}
    assert tables == {*baselines, "fusion_comparison.csv", "complete_results.csv"}
    for name in RUNS:
        for split in ("val", "test"):
            copied = study / "Results" / "scores" / name / f"{split}.csv"
            assert copied.read_bytes() == (study / "runs" / name / "scores" / f"{split}.csv").read_bytes()
    assert (study / "Results" / "scores" / "cross_attn" / embeddings.FILE).read_text() == "vectors"
    logs = {path.name: path.read_text() for path in (study / "Logs").iterdir()}
    parts = {f"nb{part:02d}" for part in (1, 2, 3, 5, 6, 8, 11)}
    assert set(logs) == {f"training_log_{part}.txt" for part in (*parts, "held_out")}
    assert logs["training_log_nb01.txt"].startswith("==== image-clip ====\nlog of image-clip\n")


def test_what_was_trained_without_a_manipulation_is_apart(study):
    study, _ = study
    (row,) = table(study / "Results" / "held_out" / "complete_results.csv")
    (name,) = WITHOUT
    assert row["Run"] == name and not list((study / "Results" / "scores").glob("*without*"))
    own, copied = study / "runs" / name / "scores", study / "Results" / "held_out" / "scores" / name
    assert (copied / "test.csv").read_bytes() == (own / "test.csv").read_bytes()
    everyone = detectors.read(study, {})
    assert [one.name for one in everyone][-1] == name
    assert name not in [one.name for one in generalisation.compared(everyone)]
    rows = generalisation.rows(everyone, {"missing": "exclude", "bootstrap": 20, "alpha": 0.05})
    unseen, seen = (row for row in rows if row["Kind"] == generalisation.LEFT_OUT)
    assert (unseen["Detector"], unseen["Held out"], seen["Detector"], seen["Held out"]) == (
        *(name, "yes", "cross_attn", "no"),
    )
    assert unseen["Clip AUC"] < seen["Clip AUC"] and unseen["Of"] == seen["Of"] == "dubbing"
    assert unseen["Coverage"] == seen["Coverage"] == 1.0
    said = generalisation.worst_left_out(rows)
    start = f"Worst without a method in training: cross_attn on dubbing, clip AUC {unseen['Clip AUC']:.3f} ["
    assert said.startswith(start)
    assert f"trained on it, it has {seen['Clip AUC']:.3f} [" in said
    assert generalisation.worst_left_out([row for row in rows if row["Kind"] != generalisation.LEFT_OUT]) == ""


def test_the_best_seed_is_that_of_validation(study):
    study, runs = study
    finished = [run for run in runs if run.finished and not run.experiment.without]
    best = models.best_seeds(finished)
    assert best["best_clip"].name == "image-clip-seed1"
    rows = {row["Run"]: row for row in table(study / "Results" / "complete_results.csv")}
    assert list(rows) == [run.name for run in finished] and rows["image-clip-seed1"]["Seed"] == "1"
    assert float(rows["image-clip-seed1"]["AUC"]) < float(rows["image-clip"]["AUC"])  # which nothing was chosen by
    exported = score_table.read(study / "Models" / "best_clip" / "scores" / "test.csv")
    assert exported == score_table.read(study / "runs" / "image-clip-seed1" / "scores" / "test.csv")
    late = next(run for run in finished if run.name == "late_fusion")
    val = score_table.read(late.folder / "scores" / "val.csv")
    assert models.on_validation(late) == classification.summarise(val, val, samples=0)["AUC"]


def test_rows_are_those_of_the_runs_or_of_detection(study):
    study, _ = study
    rows = {row["Run"]: row for row in table(study / "Results" / "complete_results.csv")}
    (own,) = table(study / "runs" / "audio-hubert" / "results.csv")
    for name in (*results.QUALITY, *results.COSTS, *results.COUNTS):
        assert rows["audio-hubert"][name] == own[name], name
    assert rows["audio-hubert"]["Judged by"] == "audio_label" and rows["audio-hubert"]["Experiment"] == "02"
    # The accuracy of a lip-sync report is that of offsets: here stands that of detection.
    folder = study / "runs" / "lip_sync" / "scores"
    val, test = (score_table.read(folder / f"{split}.csv") for split in ("val", "test"))
    found = classification.summarise(val, test, samples=30)
    assert float(rows["lip_sync"]["Accuracy"]) == found["Accuracy"] != 0.1
    assert rows["video-resnet3d"]["Judged by"] == "video_label" and rows["system"]["Judged by"] == "label"
    assert [row["Run"] for row in table(study / "Results" / "image_baseline_results.csv")] == [
        *("image-clip", "image-dinov2", "image-clip-seed1")
    ]


def test_fusions_are_compared_with_the_best_single_detector(study):
    study, _ = study
    rows = {row["Detector"]: row for row in table(study / "Results" / "fusion_comparison.csv")}
    kinds = {name: row["Kind"] for name, row in rows.items()}
    assert [name for name, kind in kinds.items() if kind == "fusion"] == ["late_fusion", "cross_attn", "system"]
    assert kinds["lip_sync"] == "comparison of streams" and kinds["clip"].startswith("single stream")
    (best,) = (name for name, kind in kinds.items() if kind.endswith("best on validation"))
    gap = float(rows["system"]["AUC"]) - float(rows[best]["AUC"])
    assert float(rows["system"]["Difference"]) == pytest.approx(gap) and rows[best]["Difference"] == ""
    test = score_table.read(study / "runs" / "system" / "scores" / "test.csv")
    assert float(rows["system"]["AUC"]) == pytest.approx(classification.summarise([], test, samples=0)["AUC"])


def test_the_system_finds_its_members_among_the_models(study):
    study, _ = study
    folder = study / "Models" / "best_complete_system"
    system = system_file.read(folder / "system.json")
    assert [member.run for member in system.members] == ["../best_hubert", "../best_cross_attention"]
    member = system.members[0]
    found = system_file.digest_of(folder / member.run)
    system_file.refuse_other_digest(member, found, folder)
    assert best_model.load(folder / member.run, json.loads((folder / member.run / "config.json").read_text())).step == 6
    assert "`study/runs/audio-hubert`" in (folder / "README.md").read_text()
    assert (study / "Models" / "best_late_fusion" / "fusion_weights.csv").is_file()


def contents(study):
    return {
        str(path.relative_to(study)): path.read_bytes()
        for name in ("Models", "Results", "Figures", "Logs")
        for path in (study / name).rglob("*")
        if path.is_file()
    }


def test_gathering_again_changes_nothing(study, monkeypatch, caplog):
    study, runs = study
    before = contents(study)
    (study / "Models" / ".best_clip.99").mkdir()  # of a suite that was killed
    monkeypatch.setattr(style, "save", save_one)
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level("WARNING", log.name):
        suite._gather(study, runs, plan.Settings())
    assert "so not gathered: hierarchical" in caplog.text
    assert contents(study) == before and not (study / "Models" / ".best_clip.99").exists()


def test_figures_are_for_print(study, tmp_path):
    study, _ = study
    assert (study / "Figures" / "final_comparison_chart.pdf").read_bytes().startswith(b"%PDF")
    style.save_for_print(pictures.draw([study / "runs" / "cross_attn" / "figures" / "attention.png"]), tmp_path / "a")
    raw = (tmp_path / "a.png").read_bytes()
    place = raw.index(b"pHYs") + 4
    assert int.from_bytes(raw[place : place + 4], "big") == round(300 / 0.0254)
    assert matplotlib.image.imread(tmp_path / "a.png").shape[1] == 1200  # a picture of 4 inches


def test_the_page_fits_and_the_tree_names_all(study):
    study, runs = study
    rows = [results.row_of(run) for run in runs if run.finished and run.name in RUNS]
    page = results.page(rows).splitlines()
    assert max(map(len, page)) <= 100 and any(line.startswith("audio-hubert            audio_label  ") for line in page)
    tree = results.tree(study)
    assert "    best_clip/  8 files" in tree and "    complete_results.csv" in tree and "runs/" in tree


def test_a_study_from_its_runs_to_its_last_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(style, "save_for_print", lambda figure, path: None)
    started = []

    def start(run):
        started.append(run.name)
        if run.name != "audio-wav2vec2":
            hand_written.put(run.folder)
        return study_run.Child(["sh", "-c", "echo error: the disk is full; exit 1"], study_run.output_of(run))

    monkeypatch.setattr(study_run, "start_child", start)
    runs = plan.runs(tmp_path, plan.Settings())
    wanted, added = plan.chosen(runs, ["02", "late_fusion"])
    todo = plan.in_order(run for run in runs if run in (*wanted, *added) and run.name != "late_fusion")
    failed = suite._do(tmp_path, plan.Settings(), runs, todo, added, None)
    assert list(failed) == ["audio-wav2vec2"] and len(started) == len(todo) == 6
    said = capsys.readouterr().out
    assert "also done, since others need them: image-efficientnet, video-temporal_difference, lip_sync" in said
    assert said.rindex("audio-wav2vec2: the disk is full (exit code 1") > said.rindex("Models/")
    assert "1 of 6 runs have no result; the same command tries them again" in said
    assert plan.recall(tmp_path) == plan.Settings()
    suite._do(tmp_path, plan.Settings(), runs, todo, added, None)
    assert started[6:] == ["audio-wav2vec2"]
    assert "finished before: image-efficientnet, audio-hubert" in capsys.readouterr().out


def test_where_nothing_can_be_gathered_the_runs_that_failed_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    failing = lambda run: study_run.Child(["sh", "-c", "echo error: no disk; exit 1"], study_run.output_of(run))  # noqa: E731
    monkeypatch.setattr(study_run, "start_child", failing)
    runs = plan.runs(tmp_path, plan.Settings())
    with pytest.raises(ValueError, match=r"an empty study: no run in .*runs is finished"):
        suite._do(tmp_path, plan.Settings(), runs, runs[:1], [], None)
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0].startswith("image-clip: no disk (exit code 1") and last[1].startswith("1 of 1 runs have no result")


def test_one_run_alone_is_gathered(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    hand_written.put(tmp_path / "runs" / "audio-hubert")
    monkeypatch.setattr(style, "save_for_print", lambda figure, path: None)
    suite._gather(tmp_path, plan.runs(tmp_path, plan.Settings()), plan.Settings())
    assert not (tmp_path / "Results" / "fusion_comparison.csv").exists()
    assert (tmp_path / "Models" / "best_hubert" / "model.safetensors").is_file()
    with pytest.raises(ValueError, match=r"is gathered, but not analysed: one detector \(audio-hubert\): nothing to"):
        suite._do(tmp_path, plan.Settings(), plan.runs(tmp_path, plan.Settings()), [], [], None, analysed=True)


def test_a_damaged_results_table_is_one_line(tmp_path):
    (tmp_path / "results.csv").write_text("Model\na\nb\n")
    with pytest.raises(ValueError, match=r"results\.csv: expected one row, found 2"):
        run_directory.read_results(tmp_path)


def test_a_folder_appears_as_a_whole_and_keeps_what_is_not_ours(tmp_path, monkeypatch):
    a, names = tmp_path / "a", ("x", "in/y", "z")

    def fill(**texts):
        with files.exchanged(a, names) as folder:
            (folder / "in").mkdir()
            for name, text in texts.items():
                (folder / name.replace("_", "/")).write_text(text)

    def found():
        return {str(path.relative_to(a)): path.read_text() for path in a.rglob("*") if path.is_file()}

    with pytest.raises(RuntimeError), files.exchanged(a, names) as folder:
        (folder / "x").write_text("1")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    fill(x="1", in_y="1", z="1")
    kept = {"notes": "mine", "in/notes": "mine", ".hidden": "mine"}
    for name, text in kept.items():
        (a / name).write_text(text)
    (tmp_path / ".a.of_mine").mkdir()  # not what a killed process has left
    fill(x="2", in_y="1")
    assert found() == {"x": "2", "in/y": "1", **kept} and (tmp_path / ".a.of_mine").is_dir()
    # Killed between the old files and the new ones: without its first file nobody takes the folder for whole.
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fill(x="3", in_y="3")
    assert "x" not in found() and kept.items() <= found().items()
    fill(x="3", in_y="3")
    assert found() == {"x": "3", "in/y": "3", **kept}


def test_figures_of_what_cannot_be_drawn():
    one_class = ([0, 0, 0], [0.1, 0.2, 0.3])
    assert roc_curves.draw({"a": [("x", *one_class)]}).axes[0].get_legend() is None
    (axes,) = confusion.draw_all([("x", *one_class, float("nan"))]).axes
    assert axes.texts[0].get_text() == "no threshold"
    blank = dict.fromkeys(results.COLUMNS, float("nan")) | {"Experiment": "01", "Run": "x", "Judged by": "label"}
    assert [text.get_text() for text in models_comparison.draw([blank]).axes[2].texts] == [" –"]
    assert set(figures._GROUPS) == {f"{one.number:02d}" for one in plan.EXPERIMENTS}


def test_each_models_figures_are_of_its_own_scores(study, monkeypatch):
    study, runs = study
    drawn = {}
    monkeypatch.setattr(style, "save_for_print", lambda figure, path: drawn.update({path.name: figure}))
    finished = [run for run in runs if run.finished and run.name in RUNS]
    rows = [results.row_of(run) for run in finished]
    figures.gather(study, rows, models.best_seeds(finished))
    aucs = {row["Run"]: f"{row['AUC']:.3f}" for row in rows}
    shown = {}
    for axes in drawn["roc_curves_all_models"].axes:
        shown |= dict(text.get_text().split() for text in axes.get_legend().get_texts())
    assert len(shown) == 8 and all(aucs[name] == auc for name, auc in shown.items())
    confused = {axes.get_title(loc="left"): axes for axes in drawn["confusion_matrices"].axes}
    for row in rows:
        if row["Run"] in shown:
            tn, _, fp, _, fn, _, tp, _ = (text.get_text() for text in confused[row["Run"]].texts)
            assert (int(tn) + int(tp)) / (int(tn) + int(fp) + int(fn) + int(tp)) == pytest.approx(row["Accuracy"])
    headings = [axes.get_title(loc="left") for axes in drawn["roc_curves_all_models"].axes]
    assert headings[-1] == "several streams, by the clip's label" and "image models, by the video label" in headings


def test_pictures_keep_their_size_beside_each_other(tmp_path):
    for name, size in (("a", (4, 2)), ("b", (2, 3))):
        style.save(style.new_figure(*size), tmp_path / f"{name}.png")
    figure = pictures.draw([tmp_path / "a.png", tmp_path / "b.png"])
    assert tuple(figure.get_size_inches()) == (6, 3) and len(figure.axes) == 2


def test_a_report_of_something_else_is_judged_by_its_own_label(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    runs = {run.name: run for run in plan.runs(tmp_path, plan.Settings())}
    own = runs["video-resnet3d"]
    hand_written.put(own.folder)
    (before,) = table(own.folder / "results.csv")
    lose_threshold(own.folder / "results.csv")
    row = results.row_of(own)
    assert row["Judged by"] == "video_label" and row["AUC"] == float(before["AUC"])
    configs = {name: plan._config(run.experiment, plan.Settings())[1] for name, run in runs.items()}
    judged = {name: model_from_config.judged_by(config) for name, config in configs.items()}
    pictures = {name for name in runs if name.startswith(("image", "video"))} | {"temporal_consistency"}
    assert {name for name, label in judged.items() if label == "video_label"} == pictures
    assert {name for name, label in judged.items() if label == "audio_label"} == {
        name for name in runs if name.startswith("audio")
    }


def test_the_card_of_a_fusion_over_the_embedded_dataset_and_another_warns():
    row = {"Model": "m", "Modality": "a + b", "AUC": "0.5"}
    for dataset, warned in (("folder + talking_heads", True), ("folder", False), ("", False)):
        data = system_file.data_of([score_table.ScoreRow("c", 1, 0.5, name) for name in dataset.split(" + ")], "test")
        assert ("means nothing" in card.write("x", row, data, "label", "")) == warned
