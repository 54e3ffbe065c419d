"""Real or fake: the results, the tables, the figures and the text of a binary detector, from its score tables."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from experiments.evaluators import comparison
from experiments.figures import confusion, roc, score_distributions
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table
from mmdf_jax.metrics import calibration, classification
from mmdf_jax.stats.bootstrap import Interval, interval
from mmdf_jax.tasks.detection import TARGETS, judged_label, stream_label

METHOD_COLUMNS = (
    *("Method", "Score", "Fakes", "Reals", "Identities", "Abstained"),
    *("AUC", "AUC low", "AUC high", "Recall", "Threshold"),
)
NAME = 30  # columns for a method's name
ALL_FAKES, PARTIAL = "all fakes", "partial fakes"


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Reports on the column `score`, P(fake), and on each `score_<stream>`.

    judged_by: the column of the label that `score` answers for: `label`, `video_label` or `audio_label` (the clip's
      label where that is unknown).
    """

    judged_by: str = "label"

    headline = ("AUC", "EER", "AP", "Accuracy", "F1", "ECE")  # what a cross-validation lists by fold
    averaged = ("Precision", "Recall", "Threshold", "Best validation accuracy")  # and what it averages besides

    def results(self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int) -> dict[str, Any]:
        """The quality columns of results.csv, on test at the threshold that validation fixed.

        Raises:
          ValueError: a row that is not abstained from has no score.
        """
        if missing := [row.clip_id for row in (*val, *test) if row.ok and not row.scored]:
            raise ValueError(f"the score table has no score of {missing[0]!r}: expected a column `score`, P(fake)")
        return summarise(self._judged(val), self._judged(test), samples=samples)

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """Further tables {name of the CSV file: table}: one row per method; of several streams, what fusion adds."""
        tables = {"methods": Table(METHOD_COLUMNS, per_method(test, row["Threshold"], samples=samples))}
        if self.judged_by == "label" and (fusion := comparison.with_own_streams(val, test, samples=samples)):
            tables["fusion"] = fusion
        return tables

    def figures(
        self,
        test: Sequence[ScoreRow],
        row: Mapping[str, Any],
        tables: Mapping[str, Table],
        *,
        title: str,
        samples: int,
    ) -> dict[str, Figure]:
        """{name of the PNG file: figure}: ROC, confusion, scores per method."""
        judged, threshold = self._judged(test), row["Threshold"]
        seen = Scored.of(judged)
        methods = [method_of(row) for row in judged if row.scored]
        return {
            "roc": roc.draw(
                seen.labels, seen.scores, seen.groups, threshold=threshold, title=f"{title}ROC", samples=samples
            ),
            "confusion": confusion.draw(
                seen.labels, seen.scores, threshold=threshold, abstained=seen.abstained, title=f"{title}confusion"
            ),
            "score_distributions": score_distributions.draw(
                seen.scores, methods, seen.labels, threshold=threshold, title=f"{title}scores per method"
            ),
        }

    def text(self, row: Mapping[str, Any], tables: Mapping[str, Table], scored: str) -> list[str]:
        """The lines of the terminal's report; scored: what was scored, for the title."""
        lines = [*_overall(row, self.judged_by, scored), "", *_per_method(tables["methods"].rows)]
        if "fusion" not in tables:
            return lines
        head = "without fusion, by the clip’s label"
        return [*lines, "", *comparison.lines_of_rivals(tables["fusion"].rows, head, "joint score minus it")]

    def pooled(self, tables: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
        """One table of several folds': scores of different models are not on one scale, so they enter as ranks."""
        return ranked(tables)

    def label(self, row: ScoreRow) -> int:
        """The label that a row is judged by."""
        return judged_label(row, self.judged_by)

    def _judged(self, rows: Sequence[ScoreRow]) -> list[ScoreRow]:
        return [dataclasses.replace(row, label=self.label(row)) for row in rows]


@dataclasses.dataclass(frozen=True)
class Scored:
    """Labels [n], scores [n] and groups [n] of the clips that have a score, and the count of those that do not."""

    labels: np.ndarray
    scores: np.ndarray
    groups: list[tuple[str, str]]
    abstained: int

    @classmethod
    def of(cls, rows: Sequence[ScoreRow]) -> "Scored":
        scored = [row for row in rows if row.scored]
        return cls(
            np.array([row.label for row in scored], int),
            np.array([row.score for row in scored], float),
            [row.group for row in scored],
            len(rows) - len(scored),
        )


def is_real(row: ScoreRow) -> bool:
    return row.label == 0


def method_of(row: ScoreRow) -> str:
    """The row's manipulation method, or a stand-in where its table names none."""
    return row.method or ("real" if is_real(row) else "fake")


def threshold_of(val: Sequence[ScoreRow]) -> float:
    """The operating threshold, fitted on validation; nan where that lacks reals or fakes."""
    scored = Scored.of(val)
    return classification.threshold_for(scored.labels, scored.scores)


def summarise(val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int = 2000) -> dict[str, Any]:
    """Quality on test at the threshold that validation fixed, and how much was judged.

    What is unknown or undefined is nan. Abstained clips stand in no metric; they are counted in a column.
    """
    threshold = threshold_of(val)
    seen, held_out = Scored.of(test), Scored.of(val)
    quality = _at_threshold(seen, threshold)
    auc = interval(classification.auc, seen.labels, seen.scores, seen.groups, samples=samples)
    return {
        **quality,
        "AUC": auc.value,
        "AUC low": auc.low,
        "AUC high": auc.high,
        "EER": classification.eer(seen.labels, seen.scores),
        "AP": classification.average_precision(seen.labels, seen.scores),
        "ECE": calibration.ece(seen.labels, seen.scores),
        "Best validation accuracy": _at_threshold(held_out, threshold)["Accuracy"],
        "Threshold": threshold,
        "Clips": len(seen.labels),
        "Abstained": seen.abstained,
        "Identities": auc.groups,
    }


def _at_threshold(scored: Scored, threshold: float) -> dict[str, float]:
    names = ("Accuracy", "Precision", "Recall", "F1")
    if math.isnan(threshold):
        return dict.fromkeys(names, math.nan)
    counts = classification.confusion(scored.labels, scored.scores, threshold)
    return dict(zip(names, (counts.accuracy, counts.precision, counts.recall, counts.f1), strict=True))


def per_method(test: Sequence[ScoreRow], threshold: float, *, samples: int = 2000) -> list[dict[str, Any]]:
    """One row per method (its fakes against all reals) and per score column, with METHOD_COLUMNS as keys.

    `Score` is `score` or a stream's own column (`score_image`, …). A stream is judged by its own label: of a
    dubbed clip the picture is real, and in the row `all fakes` it counts as such; a method whose stream is real
    throughout has no row for it. Partial fakes, where a column `partial` marks them, have a row of their own and
    stand in their methods' rows too. A score of another name than a stream's answers to the clip's label. `Recall`
    is at `threshold` (of `score` only); nan elsewhere. `Abstained` counts the method's fakes without that score.
    """
    streams = comparison.columns(test, "score_")
    rows = []
    for name, fakes in _families(test).items():
        rows.append(_method_row(name, "score", fakes, [row for row in test if is_real(row)], threshold, samples))
        for column in streams:
            own = {id(row): _own_label(column, row) for row in test}
            positives = [row for row in fakes if own[id(row)] == 1]
            negatives = [row for row in test if is_real(row) or (name == ALL_FAKES and own[id(row)] == 0)]
            if positives:
                rows.append(_method_row(name, column, positives, negatives, math.nan, samples))
    return rows


def _families(test: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    fakes = [row for row in test if not is_real(row)]
    families = {ALL_FAKES: fakes} if fakes else {}
    for method in sorted({method_of(row) for row in fakes}):
        families[method] = [row for row in fakes if method_of(row) == method]
    if partial := [row for row in fakes if row.extra.get("partial") == 1]:
        families[PARTIAL] = partial
    return families


def _own_label(column: str, row: ScoreRow) -> int:
    """The label that a stream's score answers for; of a score of another name the clip's."""
    labels = {name: getattr(row, name) for name in TARGETS}
    return stream_label(column.removeprefix("score_"), labels)


def _method_row(
    name: str,
    column: str,
    fakes: Sequence[ScoreRow],
    reals: Sequence[ScoreRow],
    threshold: float,
    samples: int,
) -> dict[str, Any]:
    def score(row: ScoreRow) -> float:
        return row.score if column == "score" else float(row.extra.get(column, math.nan))

    abstained = sum(math.isnan(score(row)) for row in fakes)
    fakes, reals = ([row for row in rows if not math.isnan(score(row))] for rows in (fakes, reals))
    both = [*fakes, *reals]
    labels = np.repeat([1, 0], [len(fakes), len(reals)])
    scores = np.array([score(row) for row in both])
    auc: Interval = interval(classification.auc, labels, scores, [row.group for row in both], samples=samples)
    recall = math.nan
    if fakes and not math.isnan(threshold):
        recall = classification.confusion(labels, scores, threshold).recall
    return {
        "Method": name,
        "Score": column,
        "Fakes": len(fakes),
        "Reals": len(reals),
        "Identities": auc.groups,
        "Abstained": abstained,
        "AUC": auc.value,
        "AUC low": auc.low,
        "AUC high": auc.high,
        "Recall": recall,
        "Threshold": threshold,
    }


def ranked(tables: Sequence[Sequence[ScoreRow]], columns: Sequence[str] = ()) -> list[ScoreRow]:
    """The rows of all tables, their scores replaced by ranks in (0, 1) within their table: also the streams', and those
    in `columns`."""
    rows = []
    for table in tables:
        table = list(table)
        ranks = [name for name in comparison.columns(table) if name.startswith("score_") or name in columns]
        for name in ("score", *ranks):
            values = np.array([row.score if name == "score" else row.extra.get(name, math.nan) for row in table])
            known = ~np.isnan(values)
            values[known] = rankdata(values[known]) / (known.sum() + 1)
            for i, value in enumerate(values.tolist()):
                change = {"score": value} if name == "score" else {"extra": {**table[i].extra, name: value}}
                table[i] = dataclasses.replace(table[i], **change)
        rows += table
    return rows


def _overall(row: Mapping[str, Any], judged_by: str, scored: str) -> list[str]:
    lines = terminal.heading(row, f"{scored}: {row['Clips']} clips of {row['Identities']} identities")
    if judged_by != "label":
        lines.append(f"Judged by {judged_by}: a clip whose {judged_by.split('_')[0]} is real counts as real.")
    if row["Abstained"]:
        lines.append(f"Abstained from {row['Abstained']} more: they have no score and stand in no number below.")
    if math.isnan(row["AUC"]):
        lines.append("AUC, EER and AP need real and fake clips: the test split has one class only.")
    if math.isnan(row["Threshold"]):
        lines.append("No threshold: the validation split lacks real or fake clips, so nothing was decided.")
    auc = with_interval(row["AUC"], row["AUC low"], row["AUC high"])
    ranking = (
        ("AUC", f"{auc} (95 % over identities)" if "[" in auc else auc),
        ("EER", number(row["EER"])),
        ("AP", number(row["AP"])),
        ("ECE", number(row["ECE"])),
    )
    decisions = [(name, number(row[name.capitalize()])) for name in ("accuracy", "precision", "recall")]
    decisions += [("F1", number(row["F1"])), ("on validation: accuracy", number(row["Best validation accuracy"]))]
    decisions = [("threshold", number(row["Threshold"])), *decisions]
    return [*lines, *terminal.cells(*ranking), *terminal.cells(*decisions), *terminal.costs(row)]


def _per_method(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    if not methods:
        return ["No fake clips, hence no table per method."]
    streams = list(dict.fromkeys(row["Score"] for row in methods if row["Score"] != "score"))
    room = terminal.WIDTH - NAME - 37
    streams = streams[: room // 6]  # what the page is wide enough for; the CSV has all
    cell = min(8, room // max(len(streams), 1))
    names = [stream.removeprefix("score_") for stream in streams]
    head = f"{'method (against all reals)':<{NAME}}{'fakes':>6}  {'AUC [95 %]':<22}{'recall':>7}"
    lines = [head + "".join(f"{terminal.fit(name, cell - 1):>{cell}}" for name in names)]
    of_stream = {(row["Method"], row["Score"]): row["AUC"] for row in methods}
    for row in methods:
        if row["Score"] != "score":
            continue
        lines.append(
            f"{terminal.fit(row['Method'], NAME - 1):<{NAME}}{row['Fakes']:>6}  "
            f"{with_interval(row['AUC'], row['AUC low'], row['AUC high']):<22}{number(row['Recall']):>7}"
            + "".join(f"{number(of_stream.get((row['Method'], stream), math.nan)):>{cell}}" for stream in streams)
        )
    if streams:
        lines.append(f"{', '.join(names)}: AUC of that stream's own score against that stream's own label.")
    return lines
