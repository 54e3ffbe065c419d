"""Fusions of score tables: the report on the one that the config names, and all of them beside the single detectors."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.evaluators import classification, comparison
from experiments.evaluators.comparison import AUC, DIFFERENCE, p_value
from experiments.figures import fusion_comparison, score_scatter
from experiments.figures.style import shorten
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table
from mmdf_jax.fusion import late
from mmdf_jax.metrics import classification as metrics

SINGLE, COMPARISON, FUSION = "single stream", "comparison of streams", "fusion"
COLUMNS = (
    *("Detector", "Kind", "Clips", "Abstained", *AUC, "Validation AUC"),
    *("Threshold", "Accuracy", "Recall", "Specificity", *DIFFERENCE),
)
_NAME, _CELL = 16, 12  # columns of the page for a detector's name and for one number per method


@dataclasses.dataclass(frozen=True)
class Evaluator(classification.Evaluator):
    """Reports on the score, and compares every fusion with the best single stream, all by the clip's label.

    fusion: the name of the fusion in the column `score`; the others are `fused_<name>`. comparisons: the members that
    compare streams. The others, in `score_<member>`, are single streams; the best of them is chosen on validation.
    """

    fusion: str = ""
    comparisons: Sequence[str] = ()

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """One row per method, and one row per detector and fusion."""
        methods = classification.per_method(test, row["Threshold"], samples=samples)
        return {
            "methods": Table(classification.METHOD_COLUMNS, methods),
            "fusion_comparison": self.compared(val, test, samples=samples),
        }

    def figures(
        self,
        test: Sequence[ScoreRow],
        row: Mapping[str, Any],
        tables: Mapping[str, Table],
        *,
        title: str,
        samples: int,
    ) -> dict[str, Figure]:
        """Those of a classifier, the fusions beside each other, and the scores of two streams by method."""
        drawn = super().figures(test, row, tables, title=title, samples=samples)
        drawn["fusion_comparison"] = fusion_comparison.draw(
            tables["fusion_comparison"].rows, title=f"{title}AUC, and difference to the best single stream"
        )
        members = comparison.columns(test, "score_")
        pair = [name for name in ("score_audio", "score_video") if name in members] + members
        if len(set(pair)) > 1:
            x, y = list(dict.fromkeys(pair))[:2]
            drawn["score_scatter"] = score_scatter.draw(
                comparison.scores(test, x),
                comparison.scores(test, y),
                [classification.method_of(row) for row in test],
                [row.label for row in test],
                names=(x.removeprefix("score_"), y.removeprefix("score_")),
                title=f"{title}two streams' scores by method",
            )
        return drawn

    def text(self, row: Mapping[str, Any], tables: Mapping[str, Table], scored: str) -> list[str]:
        """The report of the named fusion, then the comparison of all."""
        table = tables["fusion_comparison"]
        return [*super().text(row, tables, scored), "", *_compared(table.rows), "", *_recalls(table)]

    def compared(self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int) -> Table:
        """One row per detector and fusion, with COLUMNS, and AUC and recall of each method."""
        kinds = {
            name: COMPARISON if name.removeprefix("score_") in self.comparisons else SINGLE
            for name in comparison.columns(test, "score_")
        }
        kinds |= dict.fromkeys(("score", *comparison.columns(test, "fused_")), FUSION)
        best = comparison.best_on(val, [name for name, kind in kinds.items() if kind == SINGLE])
        fused = [name for name, kind in kinds.items() if kind == FUSION] if best else []
        pairs = [(comparison.scores(test, name), comparison.scores(test, best)) for name in fused]
        gaps = dict(zip(fused, comparison.differences(test, pairs, samples=samples), strict=True))
        methods = sorted({classification.method_of(row) for row in test if row.label == 1})
        rows = []
        for name, kind in kinds.items():
            detector = self.fusion if name == "score" else name.removeprefix("score_").removeprefix("fused_")
            values, held_out = comparison.scores(test, name), comparison.scores(val, name)
            known = ~np.isnan(held_out)
            on_val = np.array([r.label for r in val], int)[known], held_out[known]
            votes = kind == FUSION and detector in late.VOTES
            threshold = 0.5 if votes else metrics.threshold_for(*on_val)
            row = {
                **dict.fromkeys(COLUMNS, math.nan),
                "Detector": detector,
                "Kind": kind + (", the best on validation" if name == best else ""),
                "Clips": int((~np.isnan(values)).sum()),
                "Abstained": int(np.isnan(values).sum()),
                **comparison.auc_of(test, values, samples=samples),
                "Validation AUC": metrics.auc(*on_val),
                "Threshold": threshold,
                **{key: value for key, value in _rates(test, values, threshold).items() if key != "AUC"},
                **gaps.get(name, {}),
            }
            for method in methods:
                kept = np.array([not r.label or classification.method_of(r) == method for r in test])
                some = [r for r, keep in zip(test, kept, strict=True) if keep]
                rates = _rates(some, values[kept], threshold)
                row |= {f"AUC {method}": rates["AUC"], f"Recall {method}": rates["Recall"]}
            rows.append(row)
        of_methods = [f"{what} {method}" for what in ("AUC", "Recall") for method in methods]
        return Table((*COLUMNS, *of_methods), rows)


def _rates(rows: Sequence[ScoreRow], values: np.ndarray, threshold: float) -> dict[str, float]:
    """AUC, and the rates at the threshold (nan without one), over the clips that have a score."""
    known = ~np.isnan(values)
    labels, values = np.array([row.label for row in rows], int)[known], values[known]
    found = {"AUC": metrics.auc(labels, values)}
    if math.isnan(threshold):
        return found | dict.fromkeys(("Accuracy", "Recall", "Specificity"), math.nan)
    counts = metrics.confusion(labels, values, threshold)
    rates = {"Accuracy": counts.accuracy, "Recall": counts.recall, "Specificity": counts.specificity}
    return found | rates


def _compared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    best = next((row["Detector"] for row in rows if row["Kind"].endswith("validation")), "")
    head = f"{'by clip label':<{_NAME}}{'AUC [95 %]':<22}{'minus best single stream':<26}{'Holm p':>7}{'DeLong p':>10}"
    lines = [f"{head}{'accuracy':>10}"]
    for row in rows:
        difference = "best single stream" if row["Detector"] == best else comparison.gap(row)
        lines.append(
            f"{terminal.fit(row['Detector'], _NAME - 1):<{_NAME}}{with_interval(*(row[name] for name in AUC)):<22}"
            f"{difference:<26}{p_value(row['Holm p']):>7}{p_value(row['DeLong p']):>10}{number(row['Accuracy']):>10}"
        )
    return [
        *lines,
        "The best single stream is chosen on validation. Differences are paired over identities. Accuracy",
        "is at the threshold of validation, where a fusion never saw the identity that it scores.",
    ]


def _recalls(table: Table) -> list[str]:
    """The share of each method's fakes that each detector finds, and of the reals that it calls real."""
    columns = [name for name in table.columns if name.startswith("Recall ")]
    columns = columns[: (terminal.WIDTH - _NAME) // _CELL - 1]  # what the page is wide enough for; the CSV has all
    names = [name.removeprefix("Recall ") for name in columns]
    lines = [f"{'recall of':<{_NAME}}" + "".join(f"{shorten(name, _CELL - 1):>{_CELL}}" for name in [*names, "reals"])]
    for row in table.rows:
        cells = [row[name] for name in [*columns, "Specificity"]]
        lines.append(
            f"{terminal.fit(row['Detector'], _NAME - 1):<{_NAME}}"
            + "".join(f"{number(cell):>{_CELL}}" for cell in cells)
        )
    return lines
