"""The report on a detector that judges every step of a video: the classifier's, its branches and rivals, the steps."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.evaluators import classification, comparison
from experiments.figures import frame_scores
from experiments.report import terminal
from experiments.report.terminal import with_interval
from experiments.score_table import ScoreRow, Table
from mmdf_jax.segments import frame_labels
from mmdf_jax.stats.bootstrap import Interval, interval
from mmdf_jax.tasks.temporal import frame_auc, timeline

BRANCH, BASELINE = "branch_", "baseline_"
RIVAL_COLUMNS = ("Score", "Clips", *comparison.AUC, *comparison.DIFFERENCE)
FRAME_COLUMNS = ("Method", "Clips", *comparison.AUC)
_NAME = 38  # columns of the page


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Reports on the classifier as `classification` does, on `branch_<name>`, `baseline_<name>` and `frame_scores`."""

    classification: classification.Evaluator

    @property
    def judged_by(self) -> str:
        """The label that `score` answers for."""
        return self.classification.judged_by

    @property
    def headline(self) -> tuple[str, ...]:
        return (*self.classification.headline, "Frame AUC")

    @property
    def averaged(self) -> tuple[str, ...]:
        return self.classification.averaged

    def results(self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int) -> dict[str, Any]:
        """The classifier's, and `Frame AUC`: within each clip whose picture is fake in spans, the mean over clips.

        Raises:
          ValueError: a row has no score, or the table has no column `frame_scores`.
        """
        row = self.classification.results(val, test, samples=samples)
        if test and not any("frame_scores" in entry.extra for entry in test):
            raise ValueError("the score table has no column `frame_scores`; is it of temporal_consistency.py?")
        frames = _frames(test, samples)
        return {**row, "Frame AUC": frames.value, "Frame AUC low": frames.low, "Frame AUC high": frames.high}

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """The classifier's; `rivals.csv`: each branch and baseline, and the detector minus it; `frames.csv`."""
        judged = self._judged(test)
        columns = [name for name in _columns(test) if name.startswith((BRANCH, BASELINE))]
        others = [comparison.scores(judged, name) for name in columns]
        rivals = compared(judged, dict(zip(columns, others, strict=True)), samples=samples)
        methods: dict[str, list[ScoreRow]] = {classification.PARTIAL: list(test)}
        for entry in test:
            methods.setdefault(classification.method_of(entry), []).append(entry)
        frames = [(name, _frames(group, samples)) for name, group in methods.items()]
        found = [
            {"Method": name, "Clips": _partial(methods[name]), **_named(value)}
            for name, value in frames
            if not math.isnan(value.value)
        ]
        return {
            **self.classification.tables(val, test, row, samples=samples),
            "rivals": Table(RIVAL_COLUMNS, rivals),
            "frames": Table(FRAME_COLUMNS, found),
        }

    def conditions(
        self, test: Sequence[ScoreRow], under: Mapping[str, Sequence[ScoreRow]], *, samples: int
    ) -> tuple[Table, list[str]]:
        """The detector on the same clips under each condition, and as they are minus that; the table and its lines."""
        judged, of_clip = self._judged(test), {}
        for name, rows in under.items():
            known = {entry.clip_id: entry.score for entry in rows}
            of_clip[name] = np.array([known.get(entry.clip_id, math.nan) for entry in judged])
        rows = compared(judged, of_clip, samples=samples)
        return Table(RIVAL_COLUMNS, rows), _lines("test split under", "as it is minus that", rows)

    def figures(
        self,
        test: Sequence[ScoreRow],
        row: Mapping[str, Any],
        tables: Mapping[str, Table],
        *,
        title: str,
        samples: int,
    ) -> dict[str, Figure]:
        """The classifier's, and the scores of the steps over time."""
        drawn = self.classification.figures(test, row, tables, title=title, samples=samples)
        if shown := _shown(self._judged(test)):
            drawn["frame_scores"] = frame_scores.draw(shown, title=f"{title}each frame of a clip, and its true spans")
        return drawn

    def text(self, row: Mapping[str, Any], tables: Mapping[str, Table], scored: str) -> list[str]:
        """The classifier's lines, the branches and baselines, and the steps."""
        lines = self.classification.text(row, tables, scored)
        if rivals := tables["rivals"].rows:
            named = [{**entry, "Score": _shown_name(entry["Score"])} for entry in rivals]
            lines = [*lines, "", *_lines("alone, by the same label", "detector minus it", named)]
        if frames := tables["frames"].rows:
            lines += ["", f"{'frames within partial fakes':<{_NAME}}{'clips':>6}  AUC [95 %]"]
            lines += [
                f"{terminal.fit(entry['Method'], _NAME - 1):<{_NAME}}{entry['Clips']:>6}  "
                + with_interval(*(entry[name] for name in comparison.AUC))
                for entry in frames
            ]
        return lines

    def pooled(self, tables: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
        """One table of several folds': scores as ranks within their fold; steps stay in their clip, as they are."""
        columns = _columns([row for table in tables for row in table])
        return classification.ranked(tables, [name for name in columns if name.startswith((BRANCH, BASELINE))])

    def label(self, row: ScoreRow) -> int:
        """The label that a row is judged by."""
        return self.classification.label(row)

    def _judged(self, rows: Sequence[ScoreRow]) -> list[ScoreRow]:
        return [dataclasses.replace(row, label=self.label(row)) for row in rows]


def compared(rows: Sequence[ScoreRow], others: Mapping[str, np.ndarray], *, samples: int) -> list[dict[str, Any]]:
    """One row of RIVAL_COLUMNS for each of the scores [n] of the same clips: its AUC, and that of `score` minus it."""
    own = comparison.scores(rows, "score")
    gaps = comparison.differences(rows, [(own, other) for other in others.values()], samples=samples)
    return [
        {
            "Score": name,
            "Clips": int((~np.isnan(other) & ~np.isnan(own)).sum()),
            **comparison.auc_of(rows, other, samples=samples),
            **gap,
        }
        for (name, other), gap in zip(others.items(), gaps, strict=True)
    ]


def _lines(what: str, difference: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{what:<{_NAME}}{'AUC [95 %]':<22}{difference:<26}{'Holm p':>7}"]
    for row in rows:
        auc = with_interval(*(row[name] for name in comparison.AUC))
        lines.append(
            f"{terminal.fit(row['Score'], _NAME - 1):<{_NAME}}{auc:<22}{comparison.gap(row):<26}"
            f"{comparison.p_value(row['Holm p']):>7}"
        )
    return lines


def _shown_name(column: str) -> str:
    if column.startswith(BRANCH):
        return f"branch: {column.removeprefix(BRANCH)}"
    return f"logistic regression on {column.removeprefix(BASELINE)}"


def _columns(rows: Sequence[ScoreRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.extra))


def _partial(rows: Sequence[ScoreRow]) -> int:
    return sum(not math.isnan(frame_auc(row)) for row in rows)


def _frames(rows: Sequence[ScoreRow], samples: int) -> Interval:
    """The mean over clips of the AUC within each, with its interval over people; nan where none is fake in spans."""
    found = [(row.group, value) for row in rows if not math.isnan(value := frame_auc(row))]
    if not found:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    groups, values = zip(*found, strict=True)
    return interval(lambda _, x: float(x.mean()), np.zeros(len(values), int), values, groups, samples=samples)


def _named(value: Interval) -> dict[str, float]:
    return dict(zip(comparison.AUC, (value.value, value.low, value.high), strict=True))


def _shown(judged: Sequence[ScoreRow]) -> list[frame_scores.Shown]:
    """The first partial fake of each method whose picture is fake, the first fake throughout, and a real clip."""
    partial: dict[str, ScoreRow] = {}
    whole: list[ScoreRow] = []
    real: list[ScoreRow] = []
    for row in judged:
        spans, scores = timeline(row)
        if not np.isfinite(scores).any():
            continue
        if spans and frame_labels(spans, len(scores)).any():
            partial.setdefault(classification.method_of(row), row)
        elif not spans:
            (whole if row.label == 1 else real).append(row)
    chosen = [*partial.values(), *whole[:1], *real[:1]]
    return [
        frame_scores.Shown(
            f"{classification.method_of(row)} · {row.clip_id}", timeline(row)[1], tuple(timeline(row)[0]), row.label
        )
        for row in chosen
    ]
