"""Claims, folds, other datasets, failures: the parts of an analysis, each on tables written by hand."""

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from data_pipelines.clip import Clip
from experiments import embeddings, score_table
from experiments.analysis import (
    analysis,
    claims,
    compare,
    detectors,
    failures,
    figures,
    findings,
    generalisation,
    media,
    space,
)
from experiments.analysis.claims import Side
from experiments.analysis.detectors import Detector
from experiments.figures import critical_difference, pareto, style
from experiments.report import html
from mmdf_jax.metrics import classification
from mmdf_jax.stats.paired_tests import friedman, nadeau_bengio, wilcoxon
from tests.experiments.analysis import written
from tests.experiments.study import hand_written


def detector(name, *, seed=0, skill=1.0, others=(), **facts):
    """A detector whose further tables are called `others`."""
    tables = {}
    for i, table in enumerate(("val", "test", *others)):
        tables[table] = {row.clip_id: row for row in hand_written.rows(table, seed + i, "label", skill)}
    return Detector(name, (tables,), (name,), **facts)


def test_wrong_claims_are_one_line():
    def error(**changes):
        with pytest.raises(ValueError) as raised:
            claims.read(written.claim("a", "b", **changes))
        return str(raised.value)

    assert error(label="truth") == ("config.families[0].label='truth': expected one of label, video_label, audio_label")
    assert error(metric="f1") == "config.families[0].metric='f1': expected one of auc, brier"
    assert error(claims=()) == "config.families[0].claims: expected a claim or more, found none"
    assert "expected an object with better and than" in error(claims=({"better": {"of": ("a",)}},))
    assert "claims[0].better: expected of (names of detectors)" in error(claims=({"better": {}, "than": {}},))
    wrong = ({"better": {"of": "a"}, "than": {"of": ("b",)}},)
    assert "claims[0].better.of='a': expected a list of names" in error(claims=wrong)
    wrong = ({"better": {"of": ("a",), "column": "c"}, "than": {"of": ("b",)}},)
    assert "claims[0].better.called: expected a name for the column c" in error(claims=wrong)
    assert "expected an object with name, question" in error(more=1)
    assert error(name=claims.ALL_PAIRS) == "config.families: the name 'all pairs' is taken twice; choose another"


def test_the_declared_claims_are_wellformed_and_name_runs_of_the_plan():
    from experiments.study import plan

    runs = {one.name for one in plan.EXPERIMENTS}
    families = claims.read(written.declared.get_config().to_dict())
    assert [family.name for family in families][:3] == ["fusion", "joint", "dubbing"]
    assert {name for family in families for pair in family.claims for side in pair for name in side.of} <= runs


def test_a_side_is_chosen_on_validation_by_the_familys_clips():
    strong, weak = detector("strong", skill=3.0), detector("weak", skill=0.1, seed=9)
    family = claims.Family("f", "?", ())
    chosen = claims.choose(Side(("weak", "strong", "absent")), family, [weak, strong])
    assert (chosen.name, chosen.among) == ("strong", 2)
    assert claims.choose(Side(("absent",)), family, [weak]) == "no detector absent"
    assert claims.choose(Side(("weak",), "other", "it"), family, [weak]) == "no column other in the tables of weak"
    # Judged on one method alone, the other way round.
    flipped = {
        table: {
            clip: dataclasses.replace(row, score=1 - row.score) if row.method == "dubbing" else row
            for clip, row in rows.items()
        }
        for table, rows in strong.tables[0].items()
    }
    strong = dataclasses.replace(strong, tables=(flipped,))
    on_dubbing = dataclasses.replace(family, methods=("dubbing",))
    assert claims.choose(Side(("weak", "strong")), on_dubbing, [weak, strong]).name == "weak"
    labels = on_dubbing.labels(detectors.clips_of([strong]))
    assert np.unique(labels, return_counts=True)[1].tolist() == [24, 12, 12]


def test_folds_that_both_know_give_the_corrected_test(tmp_path):
    differences = []
    for name, seed in (("a", 1), ("b", 50)):
        aucs = []
        for fold in range(3):
            rows = hand_written.rows(f"fold{fold}", seed + fold, "label", 1.0)
            score_table.write(tmp_path / name / f"fold{fold}" / "scores" / "test.csv", rows)
            aucs.append(classification.auc([row.label for row in rows], [row.score for row in rows]))
        differences.append(aucs)
        pooled = [row for fold in range(3) for row in hand_written.rows(f"fold{fold}", seed + fold, "label", 1.0)]
        score_table.write(tmp_path / name / "scores" / "test.csv", pooled)
    found = detectors.read(tmp_path / "none", {name: tmp_path / name for name in "ab"})
    assert [len(one.folds) for one in found] == [3, 3]
    (family,) = claims.read(written.claim("a", "b"))
    (row,) = compare.family_rows(family, found, detectors.clips_of(found), written.config())
    expected = nadeau_bengio(np.subtract(*differences), 1 / 3)
    assert row["Folds"] == 3 and row["Nadeau-Bengio p"] == pytest.approx(expected.p)
    assert 0 < row["P(better) over folds"] < 1 and row["Clips"] == 144
    # By another column than the score, it is that column's.
    for one in found:
        for clips in (one.tables[0]["test"], *one.folds):
            for clip, row in clips.items():
                clips[clip] = dataclasses.replace(row, score=0.5, extra={"other": row.score})
    sides = {
        key: written.declared.side(name, column="other", called=name) for key, name in (("better", "a"), ("than", "b"))
    }
    (family,) = claims.read(written.claim("a", "b", claims=(sides,)))
    (row,) = compare.family_rows(family, found, detectors.clips_of(found), written.config())
    assert row["Nadeau-Bengio p"] == pytest.approx(expected.p)


def test_ranks_over_datasets_from_the_least_number_on(tmp_path):
    others = ("d1", "d2", "d3", "d4")
    more = ("train", "test-degraded", "test-still", "d1-degraded")  # which are no datasets
    found = [
        detector(name, skill=skill, seed=seed, others=(*others, *more))
        for name, skill, seed in (("a", 3, 0), ("b", 1, 20), ("c", 0, 40))
    ]
    config = written.config()
    rows = generalisation.rows(found, config)
    names, datasets, values = generalisation.matrix(rows, generalisation.DATASET)
    assert names == ["a", "b", "c"] and datasets == ["test", *others] and not np.isnan(values).any()
    assert {row["Of"] for row in rows if row["Held out"] == "yes"} == {*others, "d1-degraded"}
    ranks = generalisation.ranks(rows, config)
    assert ranks.friedman.chi2 == friedman(values.T).chi2 and len(ranks.rows) == 3
    (pair,) = (row for row in ranks.rows if (row["Detector"], row["Other"]) == ("a", "c"))
    assert pair["Wilcoxon p"] == wilcoxon(values[0], values[2]).p == 0.0625 and pair["P(better)"] > 0.9
    assert not ranks.apart(0.05).any() and ranks.apart(0.2)[0, 2]
    assert str(ranks).startswith("Over 5 datasets Friedman's chi-squared is ")
    clips = detectors.clips_of(found)
    tables = {"claims": [], "quality": [], "generalisation": rows, "failures": failures.rows(found, clips, 2)}
    drawn = figures.draw(tmp_path, found, clips, tables, config, ranks)
    assert {"critical_difference", "auc_by_dataset"} <= set(drawn) and "claims" not in drawn
    assert generalisation.ranks(rows, config | {"least_datasets": 6}) is None
    assert not any("Friedman" in line for line in findings.absent(config, datasets=5))
    assert "there are 2 datasets" in findings.absent(config, datasets=2)[0]
    assert "there is one dataset" in findings.absent(config, datasets=1)[0]
    # A fusion of tables cannot be scored elsewhere: the others are ranked without it, and the page says so.
    fusion = detector("fusion", seed=60)
    ranks = generalisation.ranks(generalisation.rows([*found, fusion], config), config)
    assert (list(ranks.names), ranks.without, ranks.datasets) == (["a", "b", "c"], ["fusion"], 5)
    assert str(ranks).endswith("left out: fusion.")


def test_another_dataset_belongs_to_the_training_that_was_scored_on_it():
    best, other = detector("a", skill=3), detector("a", seed=20, skill=0.5, others=("d1",))
    both = dataclasses.replace(best, tables=(best.tables[0], other.tables[0]), runs=("a", "a-seed1"))
    assert both.best == 0
    rows = [row for row in generalisation.rows([both], written.config()) if row["Kind"] == generalisation.DATASET]
    assert [(row["Of"], row["Run"], row["Coverage"]) for row in rows] == [("test", "a", 1.0), ("d1", "a-seed1", 1.0)]
    elsewhere = list(other.tables[0]["d1"].values())
    expected = classification.auc([row.label for row in elsewhere], [row.score for row in elsewhere])
    assert rows[1]["Clip AUC"] == pytest.approx(expected)


def test_methods_that_were_left_out_stand_beside_those_that_were_not():
    found = [detector("a", skill=3), detector("b", seed=20), detector("a-without-dubbing", seed=40)]
    rows = [row for row in generalisation.rows(found, written.config()) if row["Kind"] == generalisation.LEFT_OUT]
    assert [(row["Detector"], row["Of"], row["Held out"]) for row in rows] == [
        *(("a-without-dubbing", "dubbing", "yes"), ("a", "dubbing", "no"))
    ]
    assert {row["Clips"] for row in rows} == {24} and {row["Fakes"] for row in rows} == {12}
    assert [one.name for one in generalisation.compared(found)] == ["a", "b"]
    # A name that only looks so is a detector like any other; one that has no whole detector beside it is told.
    others = [detector("b-without-augmentation", seed=60), detector("c-without-dubbing", seed=80)]
    assert [one.name for one in generalisation.compared([*found, *others])] == ["a", "b", "b-without-augmentation"]
    assert any(
        line.startswith("What leaving out the method costs c-without-dubbing is not known")
        for line in analysis._absent([*found, *others], {"generalisation": []}, written.config())
    )


def test_the_gallery_shows_the_surest_errors_and_the_least_agreement_first():
    found = [detector(name, skill=3, seed=seed) for name, seed in (("a", 0), ("b", 20), ("c", 40))]
    clips = detectors.clips_of(found)
    wrong, apart = clips[5].clip_id, clips[30].clip_id
    truth = {clip.clip_id: clip.label for clip in clips}
    for i, one in enumerate(found):
        table = one.tables[0]["test"]
        table[wrong] = dataclasses.replace(table[wrong], score=float(1 - truth[wrong]))
        table[apart] = dataclasses.replace(table[apart], score=(0.0, 1.0, 0.5)[i])
    blind = dataclasses.replace(detector("voice", seed=60), judged_by="audio_label")
    rows = failures.rows([*found, blind], clips, 2)
    assert [row["Kind"] for row in rows] == [failures.WRONG] * 2 + [failures.APART] * 2
    assert rows[0]["Clip"] == wrong and rows[0]["Wrong"] == rows[0]["Scored"] == 3
    assert rows[2]["Clip"] == apart and rows[2]["voice"] == blind.tables[0]["test"][apart].score


def test_a_shared_folder_is_cut_from_names_and_nothing_else():
    found = [detector("a")]
    for names, shown in ((["x1", "y2"], ["x1", "y2"]), (["s/p/x1", "s/q/y2"], ["p/x1", "q/y2"]), (["s/x", "y"],) * 2):
        rows = [{"Kind": failures.WRONG, "Truth": "real", "Clip": name, "a": 0.5} for name in names]
        assert figures._gallery(rows, found)[0][1] == [f"real: {name}" for name in shown]


def test_what_cannot_be_compared_is_not_made_and_what_has_no_spread_is_no_certainty():
    found = [detector("a"), detector("b", seed=20), detector("c")]
    assert detectors.twins(found) == [("c", "a")]
    twins = findings.absent(written.config(), datasets=1, twins=detectors.twins(found))[0]
    assert twins.startswith("a and c give the same score to every test clip, so nothing here compares them.")

    def compared(better, than, among, **changes):
        (family,) = claims.read(written.claim(better, than, **changes))
        (row,) = compare.family_rows(
            family, among, detectors.clips_of(among), analysis_config(), {"d": "its run is not finished"}
        )
        return row

    assert compared("a", "c", found)["Why not"] == "both give every clip the same score"
    assert compared("a", "a", found)["Why not"] == "both sides are a"
    assert compared("d", "e", found)["Why not"] == "no detector d (d: its run is not finished); no detector e"
    # Calibrated scores have the order of those that they were made of; the Brier score tells them apart all the same.
    squared = with_scores(found[0], "squared", lambda row: row.score**2)
    row = compared("squared", "a", [found[0], squared])
    assert (row["Verdict"], row["Why not"]) == (compare.ABSENT, "both put the clips into the same order")
    assert compared("squared", "a", [found[0], squared], metric="brier")["Verdict"] != compare.ABSENT

    # Both perfect: no test set of these people could tell them apart, and nothing is called certain.
    perfect = [with_scores(one, one.name, lambda row: (row.score + row.label) / 2) for one in found[:2]]
    row = compared("a", "b", perfect)
    assert (row["Value of better"], row["Gain"], row["p"], row["Verdict"]) == (1, 0, 1, compare.OPEN)
    unknown = ("Standard error", "DeLong p", "P(practically equal)", "Smallest gain shown at the power")
    assert np.isnan([row[name] for name in unknown]).all()
    assert findings.sentence(row) == (
        "This test set cannot tell whether a is better than b (1.000 against 1.000 AUC, gain +0.000 [-0.459, +0.459]): "
        "all of its people show the same difference."
    )


def with_scores(one, name, score):
    """The detector under another name, with score(row) in place of each score."""
    tables = {
        table: {clip: dataclasses.replace(row, score=score(row)) for clip, row in rows.items()}
        for table, rows in one.tables[0].items()
    }
    return dataclasses.replace(one, name=name, tables=(tables,))


def test_a_column_of_text_is_one_line_that_names_the_cell(tmp_path):
    lines = ["clip_id,label,score,other", "x,0,.1,.2", "y,1,.9,high"]
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.csv").write_text("\n".join(lines) + "\n")
    found = detectors.read(tmp_path / "none", {name: tmp_path / name for name in "ab"})
    sides = {"better": written.declared.side("a"), "than": written.declared.side("b", column="other", called="o")}
    (family,) = claims.read(written.claim("a", "b", claims=(sides,)))
    with pytest.raises(ValueError) as raised:
        compare.family_rows(family, found, detectors.clips_of(found), written.config())
    assert str(raised.value) == f"{tmp_path}/b/test.csv, clip 'y', column other: expected a number, found 'high'"
    (tmp_path / "a" / "test.csv").write_text("clip_id,label,score\nx,0,low\n")
    with pytest.raises(ValueError, match=r"a/test\.csv, line 2: score must be a number in \[0, 1\], found 'low'"):
        detectors.read(tmp_path / "none", {"a": tmp_path / "a"})


def test_the_vectors_of_the_best_fusion_are_laid_out(tmp_path):
    found = [
        detector(name, skill=skill, folders=(tmp_path / name,)) for name, skill in (("a", 0.1), ("b", 3), ("c", 3))
    ]
    clips = detectors.clips_of(found)
    assert space.draw(found, clips).startswith("No t-SNE of embeddings: no fusion has left its vectors")
    rng = np.random.default_rng(0)
    for name in "ab":
        embeddings.write(tmp_path / name / embeddings.FILE, {clip.clip_id: rng.normal(size=3) for clip in clips})
    drawn, again = (space.draw(found, clips) for _ in range(2))
    assert "perplexity 15, of the vector that b decides from, of 48 test clips" in drawn.caption
    points, repeated = (
        np.concatenate([of.get_offsets() for of in one.figure.axes[0].collections]) for one in (drawn, again)
    )
    assert points.shape == (48, 2) and (points == repeated).all()
    assert [len(axes.collections) for axes in drawn.figure.axes] == [4, 6]  # methods, people
    embeddings.write(tmp_path / "b" / embeddings.FILE, {clips[0].clip_id: np.zeros(3)})
    assert space.draw(found, clips).endswith("b has vectors of 1 test clips; 12 are needed.")


def test_failures_are_shown_where_their_records_are(tmp_path, monkeypatch):
    one = detector("a", seed=3)
    clips = detectors.clips_of([one])
    rows = failures.rows([one, detector("b", seed=9)], clips, 2)
    for row in rows:
        row.pop("b")
    assert media.draw(tmp_path, [one], rows).startswith("No pictures of clips: the records of")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "records_folder.txt").write_text(f"{tmp_path}\n")
    (tmp_path / "records.json").write_text("{}")
    shown, broken = rows[0]["Clip"], rows[1]["Clip"]
    partial = Clip(clip_id=shown, path="", dataset="d", split="test", label=1, video_segments=((0.2, 0.6),))
    jpeg = cv2.imencode(".jpg", np.full((40, 40, 3), 90, np.uint8))[1].tobytes()
    there = {
        shown: {"clip": partial, "frames": [jpeg] * 50, "audio": np.zeros(32_000, np.int16)},
        broken: {
            "clip": dataclasses.replace(partial, clip_id=broken),
            "frames": [b"x"],
            "audio": np.zeros(0, np.int16),
        },
    }
    index = [("test", SimpleNamespace(clip=record["clip"])) for record in there.values()]
    monkeypatch.setattr(media.records, "read_index", lambda folder: index)
    monkeypatch.setattr(media.records, "Records", lambda folder, split: list(there.values()))
    for table in one.tables:
        table["test"][shown] = dataclasses.replace(
            table["test"][shown], extra={"segments": "[[0.3, 0.7, 0.9], [1, 1.5, 0.1]]"}
        )
    drawn = media.draw(tmp_path, [one], rows)
    assert sum(map(len, drawn.values())) == sum(row["Clip"] == shown for row in rows)
    frames, spans, _, scores = drawn[failures.WRONG][0].axes
    assert [patch.get_x() for patch in spans.patches] == [0.2, 0.3]  # the truth, and what has a score of 0.3
    assert frames.images[0].get_array().shape[0] == media.SIDE and len(scores.patches) == 1
    assert html.picture(drawn[failures.WRONG][0], "x", photo=True).startswith('<img alt="x" src="data:image/jpeg;')


def test_the_front_holds_what_no_other_beats():
    points = [
        pareto.Point(name, ms, auc, auc, auc, True)
        for name, ms, auc in (("a", 1, 0.6), ("b", 2, 0.6), ("c", 3, 0.9), ("d", 3, 0.8))
    ]
    assert [one.name for one in pareto.front(points)] == ["a", "c"]
    assert "No detector states" in pareto.draw([]).axes[0].texts[0].get_text()


def test_names_that_the_font_lacks_give_no_warning():
    with style.look():
        figure = style.new_figure(2, 2)
        figure.suptitle("\u4eba")
    style.settle(figure)
    assert html.picture(figure, "x")


def test_bars_join_what_is_not_told_apart():
    apart = np.zeros((4, 4), bool)
    apart[0, 3] = apart[3, 0] = True
    assert critical_difference.cliques(np.array([1.0, 2.0, 3.0, 4.0]), apart) == [(0, 2), (1, 3)]
    assert critical_difference.cliques(np.array([4.0, 1.0, 2.0, 3.0]), ~np.eye(4, dtype=bool)) == []


def test_sentences_say_what_was_found():
    (family,) = claims.read(written.claim("a", "b"))
    found = [detector("a", skill=0.5), detector("b", skill=0.5, seed=20)]
    (row,) = compare.family_rows(family, found, detectors.clips_of(found), analysis_config())
    assert row["Verdict"] == compare.OPEN
    assert findings.sentence(row).startswith("a is not shown to be better than b: 0.")
    assert "can miss a true gain below 0." in findings.sentence(row)
    contradicted = row | {"Verdict": compare.CONTRADICTED}
    assert findings.sentence(contradicted).startswith("a is worse than b, against the claim: ")
    assert findings.counts([row, contradicted]) == "2 claims: 1 contradicted, 1 not shown"


def analysis_config():
    analysis.check(written.config())
    return written.config()
