"""The figures of an analysis, each with how to read it, from detectors and the tables that were computed."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from experiments import metrics_log
from experiments.analysis import failures, findings, generalisation
from experiments.analysis.detectors import Detector
from experiments.figures import agreement as agreement_figure
from experiments.figures import claims as claims_figure
from experiments.figures import (
    confusion,
    critical_difference,
    det,
    gallery,
    pareto,
    reliability,
    risk_coverage,
    roc_curves,
    training_curves,
)
from experiments.figures import table as table_figure
from experiments.score_table import ScoreRow
from mmdf_jax.metrics import selective
from mmdf_jax.stats.effects import cohen_kappa
from mmdf_jax.tasks.detection import judged_label

_PANELS = {
    "label": "by the clip's label",
    "video_label": "by whether the picture is fake",
    "audio_label": "by whether the voice is fake",
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """A detector's best training on the test clips that it has scored: its own labels [n], scores [n], identities."""

    detector: Detector
    labels: np.ndarray
    scores: np.ndarray
    groups: list[tuple[str, str]]
    threshold: float

    @classmethod
    def of(cls, detector: Detector, clips: Sequence[ScoreRow], missing: str) -> "Seen":
        values = detector.scores(clips, missing=missing)[detector.best]
        some = [clip for clip, value in zip(clips, values, strict=True) if not math.isnan(value)]
        labels = np.array([judged_label(clip, detector.judged_by) for clip in some], int)
        threshold = detector.threshold(detector.best, detector.judged_by)
        return cls(detector, labels, values[~np.isnan(values)], [clip.group for clip in some], threshold)

    @property
    def name(self) -> str:
        return self.detector.name


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure, its heading on the page, and how to read it."""

    figure: Figure
    heading: str
    caption: str


def draw(
    study: pathlib.Path,
    detectors: Sequence[Detector],
    clips: Sequence[ScoreRow],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    config: Mapping[str, Any],
    ranks: generalisation.Ranks | None = None,
) -> dict[str, Drawn]:
    """{name of the file: figure}. tables: the rows of `claims`, `quality`, `generalisation` and `failures`."""
    seen = [Seen.of(one, clips, config["missing"]) for one in detectors]
    both = [one for one in seen if len(set(one.labels.tolist())) == 2]
    decided = [one for one in both if not math.isnan(one.threshold)]
    declared = [row for row in tables["claims"] if row["Declared"] == "yes"]
    drawn, level = {}, findings.level(config)
    if any(not math.isnan(row["Gain"]) for row in declared):
        drawn["claims"] = Drawn(
            claims_figure.draw(declared, title="The declared claims"),
            "The declared claims",
            f"A dot to the right of the line: the first is better. The bar is the {level} interval over identities of "
            "that comparison alone; filled dots stay significant after Holm's correction over the family. Within the "
            "grey band a difference counts as none in practice. *: of several, the best on validation.",
        )
    drawn["roc_bands"] = Drawn(
        roc_curves.draw_bands(
            [(one.name, one.labels, one.scores, one.groups) for one in both],
            title=f"ROC with {level} bands over identities, each by its own label",
            level=1 - config["alpha"],
            samples=config["bootstrap"],
        ),
        "ROC curves with bands",
        "How many fakes are caught at each rate of false alarms. Chance is the diagonal; the band is where the curve "
        "would lie with other people in the test set; grey are the other detectors. A curve without an error has no "
        "band: nothing in it says where errors would come.",
    )
    drawn["det_curves"] = Drawn(
        det.draw(_panels(both, lambda one: (one.name, one.labels, one.scores)), title="Detection error trade-off"),
        "Detection error trade-off",
        "Both error rates, spread out where they are low. Further down and to the left is better; the number is the "
        "error rate where both are equal (EER). A curve that never errs is not to be seen.",
    )
    if decided:
        drawn["confusion_of_all"] = Drawn(
            confusion.draw_all(
                [(one.name, one.labels, one.scores, one.threshold) for one in decided],
                title="Verdicts on test at the threshold of validation",
            ),
            "Confusion matrices",
            "Rows are the truth, columns the verdict. The threshold was fixed on validation.",
        )
        drawn["risk_coverage_of_all"] = Drawn(
            risk_coverage.draw_all(
                _panels(decided, lambda one: (one.name, *selective.of_verdicts(one.labels, one.scores, one.threshold))),
                title="Wrong verdicts, as the least confident clips are left out",
            ),
            "Risk by coverage",
            "To the right all clips are answered; to the left only the most confident. A curve that falls to the left "
            "belongs to a detector that knows when it does not know.",
        )
    drawn["reliability_of_all"] = Drawn(
        reliability.draw_all(
            [(one.name, one.labels, one.scores) for one in both], title="Reliability, each by its own label"
        ),
        "Reliability",
        "On the diagonal, scores of .8 are fakes eight times in ten. Bars below count the clips (blue real, orange "
        "fake) that each point rests on; thin counts make wild points.",
    )
    drawn["agreement"] = Drawn(
        agreement_figure.draw(*_agreement(detectors, clips, config["missing"]), title="Agreement between detectors"),
        "Agreement between detectors",
        "Above: do two detectors order the clips alike? Below: do they err on the same clips, beyond chance? Detectors "
        "that err on different clips are worth combining.",
    )
    auc = {row["Run"]: row for row in tables["quality"] if row["Metric"] == "AUC" and row["Judged by"] == "label"}
    points = [
        pareto.Point(one.name, one.ms, row["Value"], row["Low"], row["High"], one.single)
        for one in detectors
        if (row := auc.get(one.runs[one.best]))
    ]
    drawn["pareto"] = Drawn(
        pareto.draw(points, title="Quality against cost, by the clip's label"),
        "Quality against cost",
        "AUC by the clip's label against milliseconds per clip. A detector of one stream cannot see what is wrong with "
        "the other, and stands lower for it. On the line, in bold: no other detector is better and as cheap.",
    )
    names, methods, values = generalisation.matrix(tables["generalisation"], generalisation.METHOD)
    drawn["auc_by_method"] = Drawn(
        table_figure.draw(values, names, methods, title="AUC of each method's fakes against all reals, clip's label"),
        "Which detector finds which manipulation",
        "White is chance. A detector of pictures cannot find a cloned voice, and none of single streams a dubbed clip.",
    )
    names, datasets, values = generalisation.matrix(tables["generalisation"], generalisation.DATASET)
    if len(datasets) > 1:
        drawn["auc_by_dataset"] = Drawn(
            table_figure.draw(values, names, datasets, title="Clip AUC by dataset"),
            "Other datasets",
            "White is chance. test is of the dataset that the detectors were trained on; no clip of the others was. A "
            "row is of one training: the best on validation, or the first that was scored there.",
        )
    if ranks:
        drawn["critical_difference"] = Drawn(
            critical_difference.draw(
                ranks.names, ranks.friedman.ranks, ranks.apart(config["alpha"]), title="Mean ranks over datasets"
            ),
            "Mean ranks over datasets",
            "1 is best. A bar joins detectors that pairwise Wilcoxon tests with Holm's correction do not tell apart. "
            "Few datasets and many detectors make long bars: more such tests cannot show.",
        )
    drawn["failures"] = Drawn(
        gallery.draw(_gallery(tables["failures"], detectors), [one.name for one in detectors], title="Where to look"),
        "Failures",
        "Every detector's score of these clips: orange says fake, blue real.",
    )
    if curves := _training(study, detectors):
        drawn["training_of_all"] = Drawn(
            training_curves.draw_all(curves, title="Training of each detector"),
            "Training",
            "Grey: the loss that falls; blue: AUC on validation, by which the kept step was chosen.",
        )
    return drawn


def _panels(seen: Sequence[Seen], what: Any) -> dict[str, list[Any]]:
    panels: dict[str, list[Any]] = {}
    for one in seen:
        panels.setdefault(_PANELS[one.detector.judged_by], []).append(what(one))
    return panels


def _agreement(
    detectors: Sequence[Detector], clips: Sequence[ScoreRow], missing: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    scores = [one.scores(clips, missing=missing)[one.best] for one in detectors]
    labels = np.array([clip.label for clip in clips])
    thresholds = [one.threshold(one.best, "label") for one in detectors]
    m = len(detectors)
    ranks, kappas = np.full((m, m), np.nan), np.full((m, m), np.nan)
    for i in range(m):
        for j in range(m):
            both = ~np.isnan(scores[i]) & ~np.isnan(scores[j])
            if both.sum() < 3:
                continue
            a, b = (rankdata(scores[k][both]) for k in (i, j))
            if a.std() and b.std():
                ranks[i, j] = np.corrcoef(a, b)[0, 1]
            if not math.isnan(thresholds[i] + thresholds[j]):
                wrong = [(scores[k][both] >= thresholds[k]) != (labels[both] == 1) for k in (i, j)]
                kappas[i, j] = cohen_kappa(*wrong)
    return [one.name for one in detectors], ranks, kappas


def _gallery(
    rows: Sequence[Mapping[str, Any]], detectors: Sequence[Detector]
) -> list[tuple[str, list[str], np.ndarray]]:
    headings = {
        failures.WRONG: "most confident errors",
        failures.APART: "least agreement",
    }
    folders = [row["Clip"].split("/")[:-1] for row in rows]
    alike = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    shared = sum(len(parts[0]) + 1 for parts in alike)  # letters that all names begin with say nothing
    parts = []
    for kind, heading in headings.items():
        own = [row for row in rows if row["Kind"] == kind]
        values = np.array([[row[one.name] for one in detectors] for row in own]).reshape(-1, len(detectors))
        parts.append((heading, [f"{row['Truth']}: {row['Clip'][shared:]}" for row in own], values))
    return parts


def _training(study: pathlib.Path, detectors: Sequence[Detector]) -> list[tuple[str, training_curves.Curves]]:
    found = []
    for one in detectors:
        run = one.runs[one.best]
        if curves := training_curves.curves_of(metrics_log.read(study / "runs" / run / "metrics.jsonl")):
            found.append((run, curves))
    return found
