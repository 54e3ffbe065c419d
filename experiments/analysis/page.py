"""report.html of a study: what was asked, what was found, how sure that is, and what cannot be said; in one file."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.analysis import compare, failures, findings, generalisation
from experiments.analysis.claims import Family
from experiments.analysis.detectors import MISSING, Detector
from experiments.analysis.figures import Drawn
from experiments.evaluators.comparison import p_value
from experiments.figures import style
from experiments.report import html
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow
from experiments.system_file import EMBEDDED

_MARKS = {
    compare.SUPPORTED: ("yes", "✓ supported"),
    compare.CONTRADICTED: ("no", "✗ contradicted"),
    compare.EQUAL: ("open", "= practically equal"),
    compare.OPEN: ("open", "? not shown"),
    compare.ABSENT: ("open", "– not made"),
}
_SHOWN = ("AUC", "EER", "Accuracy", "F1", "ECE", "Brier")
_JUDGED = {"label": "the clip", "video_label": "its picture", "audio_label": "its voice"}
_ORDER = (  # of the figures, by the part of the page
    ("roc_bands", "det_curves", "pareto", "auc_by_method"),
    ("confusion_of_all", "reliability_of_all", "risk_coverage_of_all", "agreement", "training_of_all"),
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """All that the page and the console tell: detectors, test clips, families, tables, config, and what is absent."""

    detectors: Sequence[Detector]
    clips: Sequence[ScoreRow]
    families: Sequence[Family]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    config: Mapping[str, Any]
    absent: Sequence[str]
    ranks: generalisation.Ranks | None = None
    pictures: Mapping[str, Sequence[Figure]] = dataclasses.field(default_factory=dict)  # of failures, by their kind

    def quality(self) -> list[dict[str, Mapping[str, Any]]]:
        """{metric: its row} of each run by the label that it answers for, the AUC by the clip's label as `clip AUC`."""
        found: dict[str, dict[str, Mapping[str, Any]]] = {}
        own = {run: one.judged_by for one in self.detectors for run in one.runs}
        for row in self.tables["quality"]:
            of_run = found.setdefault(row["Run"], {})
            if row["Judged by"] == own[row["Run"]]:
                of_run[row["Metric"]] = row
            if row["Judged by"] == "label" and row["Metric"] == "AUC":
                of_run["clip AUC"] = row
        return list(found.values())


def page(facts: Facts, drawn: Mapping[str, Drawn]) -> str:
    """The page as HTML."""
    made = [row for row in facts.tables["claims"] if row["Declared"] == "yes"]
    title = "What the study shows"
    return html.document(
        title,
        [
            html.paragraph(_statement(facts), "statement"),
            f"<h1>{html.text(title)}</h1>",
            _what(facts),
            html.section("Findings", html.paragraph(findings.counts(made), "big") + _families(facts)),
            _figure(drawn, "claims"),
            html.section("The detectors", _detectors(facts)),
            *(_figure(drawn, name) for name in _ORDER[0]),
            html.section("How they judge", " "),
            *(_figure(drawn, name) for name in _ORDER[1]),
            html.section("Failures", _failures(facts)),
            _figure(drawn, "failures"),
            _pictures(facts),
            _figure(drawn, "embeddings"),
            html.section("How far it carries", _carries(facts)),
            _figure(drawn, "auc_by_dataset"),
            _figure(drawn, "critical_difference"),
            html.section("What this does not say", _list(facts.absent)),
            html.section("Every comparison in full", _in_full(facts)),
            html.section("Words", _words(facts)),
        ],
    )


def _statement(facts: Facts) -> str:
    names = sorted({clip.dataset for clip in facts.clips if clip.dataset})
    stand_in = (
        f"The clips of {EMBEDDED} are rendered faces and voices, a stand-in that lets the whole study run anywhere: "
        "nothing here is a claim about real deepfakes. "
        if EMBEDDED in names
        else ""
    )
    return (
        f"{stand_in}Numbers hold for clips like those of the test set, made by the same methods. A difference that is "
        "not shown may still be there; the page says how large it could be."
    )


def _what(facts: Facts) -> str:
    fakes = sum(clip.label for clip in facts.clips)
    kinds = generalisation.methods(facts.clips)
    trainings = [len(one.runs) for one in facts.detectors]
    repeated = ""
    if (most := max(trainings)) > 1:
        count = f"Each was trained {most} times" if min(trainings) == most else f"Some were trained up to {most} times"
        repeated = (
            f" {count}, with other seeds: claims are about the mean over trainings, figures show the training that is "
            "best on validation."
        )
    datasets = ", ".join(sorted({clip.dataset for clip in facts.clips if clip.dataset})) or "an unnamed dataset"
    words = (
        f"{len(facts.detectors)} detectors of manipulated video and voice are compared on the same test clips: "
        f"{findings.test_set(facts.clips)}, from {datasets}, {fakes} of them fake "
        f"({', '.join(kind.replace('_', ' ') for kind in kinds)}).{repeated} Thresholds, calibration, weights and "
        "every choice between detectors come from other clips of other people (validation). The claims below were "
        "written into a config before any of this was computed."
    )
    lacking = MISSING[facts.config["missing"]]
    note = "stands in none of its numbers, nor in comparisons with it"
    if not math.isnan(lacking):
        note = f"counts as if it had said {lacking:g}"
    return html.paragraph(words) + html.paragraph(f"A clip that a detector has no score of {note}.", "small")


def _families(facts: Facts) -> str:
    parts = []
    for family, rows in findings.families(facts.tables["claims"], facts.families):
        absent = [row for row in rows if row["Verdict"] == compare.ABSENT]
        items = "".join(
            f'<tr><td class="{_MARKS[row["Verdict"]][0]}">{_MARKS[row["Verdict"]][1]}</td>'
            f"<td>{html.text(findings.sentence(row))}</td></tr>"
            for row in rows
            if row not in absent
        )
        judged = "" if family.label == "label" else f"Judged by whether {_JUDGED[family.label]} is fake."
        methods = f"Fakes by {', '.join(family.methods)} alone, against all reals." if family.methods else ""
        note = html.paragraph(f"{judged} {methods}".strip(), "small") if judged or methods else ""
        lacking = html.paragraph(f"Not made: {findings.not_made(absent)}.", "small") if absent else ""
        parts.append(f"<h3>{html.text(family.question)}</h3>{note}<table>{items}</table>{lacking}")
    rows = [row for row in facts.tables["claims"] if row["Declared"] == "no"]
    return "".join(parts) + html.paragraph(f"Besides, exploratory: {findings.pairs(rows)}")


def _detectors(facts: Facts) -> str:
    head = ["Detector", "Reads", "Answers for", *_SHOWN, "AUC, the clip", "Coverage", "ms"]
    rows = []
    costs = {run: one.ms for one in facts.detectors for run in one.runs}
    for own in facts.quality():
        first = own["AUC"]
        cells = [first["Run"], style.shorten(first["Modality"].replace(" + ", ", "), 26), _JUDGED[first["Judged by"]]]
        for name in _SHOWN:
            row = own.get(name)
            wide = name in ("AUC",)
            text = "–" if row is None else with_interval(row["Value"], row["Low"], row["High"])
            cells.append(text if wide or row is None else number(row["Value"]))
        clip = own["clip AUC"]
        cells.append(with_interval(clip["Value"], clip["Low"], clip["High"]) if clip is not first else "the same")
        rows.append([*cells, f"{first['Coverage']:.0%}", number(costs[first["Run"]], 1)])
    note = html.paragraph(
        f"In brackets: {findings.level(facts.config)} interval over identities. Those of the other columns stand in "
        "Results/metrics_with_intervals.csv. Coverage: the share of test clips that the detector has a score of. ms: "
        "milliseconds per clip. A detector of one stream answers for that stream: of a dubbed clip the "
        "picture is real. Its AUC by whether the clip is fake stands beside that.",
        "small",
    )
    return html.table(head, rows, numbers=True) + note


def _failures(facts: Facts) -> str:
    count = len([row for row in facts.tables["failures"] if row["Kind"] == failures.WRONG])
    all_of_them = len(failures.deciding(facts.detectors)) == len(facts.detectors)
    who = "the detectors" if all_of_them else "the detectors that answer for the whole clip"
    return html.paragraph(
        f"The {count} clips on which {who} are together most surely wrong, and the {count} that they least agree on. "
        "Look at these first: they show limits of a detector, or a wrong label. Identities and methods stand in "
        "Results/failures.csv."
    )


def _pictures(facts: Facts) -> str:
    """The clips of the gallery as they look and sound, each part folded away."""
    if not facts.pictures:
        return ""
    parts = [
        html.folded(
            f"{kind}: {len(figures)} clips in pictures",
            "".join(html.picture(figure, f"{kind}, clip {i}", photo=True) for i, figure in enumerate(figures, 1)),
        )
        for kind, figures in facts.pictures.items()
    ]
    note = (
        "Of each clip: frames at even steps, where it is fake, where detectors that localise say so, its sound "
        "(spectrogram), and P(fake) of every detector, orange from 0.5 on. The pictures are the dataset's: its licence "
        "says who may see this page. --config.pictures=false leaves them out."
    )
    return html.paragraph(note, "small") + "".join(parts)


def _carries(facts: Facts) -> str:
    rows = facts.tables["generalisation"]
    names, methods, values = generalisation.matrix(rows, generalisation.METHOD)
    coverage = {
        row["Detector"]: row["Coverage"] for row in rows if (row["Kind"], row["Of"]) == (generalisation.DATASET, "test")
    }
    table = []
    for name, own in zip(names, values, strict=True):
        if np.isnan(own).all():
            continue
        worst = int(np.nanargmin(own))
        table.append(
            [name, number(float(np.nanmean(own))), f"{methods[worst]} ({own[worst]:.3f})", f"{coverage[name]:.0%}"]
        )
    parts = [html.table(["Detector", "Mean clip AUC over methods", "Worst method", "Coverage"], table)] if table else []
    names, datasets, values = generalisation.matrix(rows, generalisation.DATASET)
    others = [i for i, name in enumerate(datasets) if name != "test"]
    if others:
        held = values[:, others]
        cells = []
        for name, own in zip(names, held, strict=True):
            if np.isnan(own).all():
                continue
            worst = int(np.nanargmin(own))
            cells.append([name, number(float(np.nanmean(own))), f"{datasets[others[worst]]} ({own[worst]:.3f})"])
        parts.append("<h3>Datasets that were held out</h3>")
        parts.append(html.table(["Detector", "Mean clip AUC over held-out datasets", "Worst dataset"], cells))
        if facts.ranks:
            parts.append(html.paragraph(f"{facts.ranks} All pairs stand in Results/ranks_over_datasets.csv."))
    else:
        parts.append(
            html.paragraph(
                "No other dataset was scored: how the detectors do there is not known, and it is usually far worse. "
                "experiments.evaluate --workdir=RUN --data=… scores one."
            )
        )
    left_out = [row for row in rows if row["Kind"] == generalisation.LEFT_OUT]
    if left_out:
        cells = [
            [
                row["Detector"],
                row["Of"],
                "no" if row["Held out"] == "yes" else "yes",
                with_interval(row["Clip AUC"], row["Clip AUC low"], row["Clip AUC high"]),
                f"{row['Coverage']:.0%}",
            ]
            for row in left_out
        ]
        parts.append("<h3>Methods that were left out of training</h3>")
        parts.append(
            html.table(
                ["Detector", "Method", "Trained on it", f"Clip AUC [{findings.level(facts.config)}]", "Clips scored"],
                cells,
            )
        )
        parts.append(html.paragraph(generalisation.worst_left_out(rows)))
    return "".join(parts)


def _in_full(facts: Facts) -> str:
    """Every number of every claim, folded away; of all pairs only those that differ."""
    head = [
        "Better",
        "Than",
        "Values",
        f"Gain [{findings.level(facts.config)}]",
        "p",
        "Holm",
        "DeLong",
        "McNemar",
        "d",
        "P(worse / equal / better)",
    ]
    head += ["Could have shown", "Clips", "People", "Over folds: p", "Verdict"]
    parts = []
    for name in dict.fromkeys(row["Family"] for row in facts.tables["claims"]):
        rows = [row for row in facts.tables["claims"] if row["Family"] == name]
        title = f"{name}: {findings.counts(rows)}"
        if rows[0]["Declared"] == "no":
            count, rows = len(rows), [row for row in rows if row["Holm p"] < facts.config["alpha"]]
            title = f"{name}: the {len(rows)} of {count} that differ significantly"
        parts.append(html.folded(title, html.table(head, [_full_row(row) for row in rows], numbers=True)))
    return "".join(parts) + html.paragraph("All of it stands in Results/statistical_analysis.csv.", "small")


def _full_row(row: Mapping[str, Any]) -> list[str]:
    if row["Verdict"] == compare.ABSENT:
        return [row["Better"], row["Than"], *["–"] * 12, f"not made: {row['Why not']}"]
    probable = " / ".join(number(row[f"P({what})"], 2) for what in ("worse", "practically equal", "better"))
    return [
        findings.side(row, "Better"),
        findings.side(row, "Than"),
        f"{row['Value of better']:.3f} / {row['Value of than']:.3f}",
        findings.gain(row),
        *(p_value(row[name]) for name in ("p", "Holm p", "DeLong p", "McNemar p")),
        number(row["d over identities"], 2),
        probable,
        number(row["Smallest gain shown at the power"]),
        str(row["Clips"]),
        str(row["Identities"]),
        p_value(row["Nadeau-Bengio p"]),
        row["Verdict"],
    ]


def _words(facts: Facts) -> str:
    config = facts.config
    power = f"{config['power']:.0%}"
    rope = ", ".join(f"{value:g} {findings.UNITS[metric]}" for metric, value in config["rope"].items())
    words = [
        ("AUC", "The chance that a fake scores higher than a real clip; .5 is guessing, 1 is perfect."),
        ("EER", "The error rate at the threshold where as many fakes are missed as real clips are accused."),
        ("ECE, Brier", "How far scores, read as probabilities, are from the truth; 0 is best."),
        ("AURC", "The mean error rate as the least confident clips are left out; 0 is best."),
        (
            "Interval over identities",
            f"{findings.level(config)}: what other people in the test set might have given. Clips of one person "
            "resemble each other, so people are resampled and not clips. Where all of them show the same, the interval "
            "is what people unlike these could change. Without brackets there are too few people.",
        ),
        (
            "p, Holm p",
            "p: how often so large a difference would come up if there were none, by paired bootstrap over identities. "
            "Holm p: after correction for all comparisons of the family; verdicts rest on it.",
        ),
        ("DeLong p, McNemar p", "Tests of the AUC and of the verdicts that take clips as independent: too small here."),
        ("Over folds: p", "Nadeau and Bengio's test over the folds that both detectors were cross-validated on."),
        (
            "P(worse / equal / better)",
            f"The posterior of the difference under a flat prior; equal in practice is a difference of at most {rope}.",
        ),
        (
            "d",
            "The gain of a person in units of its spread over people (Cohen's d of pairs): 0.2 is small, 0.8 large. Of "
            "several trainings it is that of the best on validation, and so are DeLong's and McNemar's p.",
        ),
        (
            "Could have shown",
            f"The smallest true gain that a test set of these people would have shown in {power} of cases, before "
            "correction.",
        ),
        ("Coverage", "The share of test clips that the detector has a score of."),
    ]
    return html.table([], words)


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.text(item)}</li>" for item in items) + "</ul>" if items else ""


def _figure(drawn: Mapping[str, Drawn], name: str) -> str:
    if name not in drawn:
        return ""
    one = drawn[name]
    return html.picture(one.figure, one.heading, one.caption)
