"""Detectors compared on the same clips: differences in AUC, paired over identities and corrected for their number."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table
from mmdf_jax.fusion import late
from mmdf_jax.metrics import classification
from mmdf_jax.stats.bootstrap import interval, paired_difference
from mmdf_jax.stats.corrections import holm
from mmdf_jax.stats.delong import paired_test
from mmdf_jax.tasks.detection import STREAM_LABELS

AUC = ("AUC", "AUC low", "AUC high")
# p and its correction are of the paired bootstrap; DeLong's takes clips of one person as independent.
DIFFERENCE = ("Difference", "Difference low", "Difference high", "p", "Holm p", "DeLong p")
RIVAL_COLUMNS = ("Rival", "Clips", *AUC, *DIFFERENCE)
_NAME = 34  # columns of the page for a rival's name


def columns(rows: Sequence[ScoreRow], prefix: str = "") -> list[str]:
    """The names of the rows' further columns that begin with `prefix`, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.extra if name.startswith(prefix)))


def scores(rows: Sequence[ScoreRow], column: str) -> np.ndarray:
    """A column of scores [n], nan where it is empty."""
    return np.array([row.score if column == "score" else row.extra.get(column, math.nan) for row in rows], float)


def auc_of(rows: Sequence[ScoreRow], values: np.ndarray, *, samples: int) -> dict[str, float]:
    """AUC of scores [n] by the clips' labels, with its interval; clips without a score are left out."""
    known = ~np.isnan(values)
    labels, groups = _labels(rows, known), _groups(rows, known)
    found = interval(classification.auc, labels, values[known], groups, samples=samples)
    return dict(zip(AUC, (found.value, found.low, found.high), strict=True))


def differences(
    rows: Sequence[ScoreRow], pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, samples: int
) -> list[dict[str, float]]:
    """DIFFERENCE of each pair (a, b) of scores [n]: AUC of a - AUC of b, on the clips that both have scored.

    Holm's correction is over all pairs.
    """
    found = []
    for a, b in pairs:
        both = ~np.isnan(a) & ~np.isnan(b)
        labels, groups = _labels(rows, both), _groups(rows, both)
        gap = paired_difference(classification.auc, labels, a[both], b[both], groups, samples=samples)
        delong = paired_test(labels, a[both], b[both]).p
        found.append(dict(zip(DIFFERENCE, (gap.value, gap.low, gap.high, gap.p, math.nan, delong), strict=True)))
    for row, adjusted in zip(found, holm([row["p"] for row in found]).tolist(), strict=True):
        row["Holm p"] = adjusted
    return found


def best_on(val: Sequence[ScoreRow], names: Sequence[str]) -> str:
    """The column of the highest AUC by the clip's label on validation, "" if none is known."""
    found = {}
    for column in names:
        values = scores(val, column)
        known = ~np.isnan(values)
        auc = classification.auc(_labels(val, known), values[known])
        if not math.isnan(auc):
            found[column] = auc
    return max(found, key=found.__getitem__, default="")


def stream_columns(rows: Sequence[ScoreRow]) -> list[str]:
    """The columns that hold the score of one stream: `score_<stream>` of a stream that a single detector can read.

    A score that compares streams (`score_sync`) is none of them: it is part of what a joint model adds.
    """
    return [name for name in columns(rows, "score_") if name.removeprefix("score_") in STREAM_LABELS]


def with_own_streams(val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int) -> Table | None:
    """The joint score against what its own streams' scores reach without it, all by the clip's label.

    The rivals: the best single stream (chosen on validation), mean, maximum and noisy-or of the streams' scores. None
    if the run has fewer than two streams, or no validation to choose on.
    """
    names = stream_columns(test)
    best = best_on(val, names)
    if len(names) < 2 or not best:
        return None
    streams = np.stack([scores(test, name) for name in names], axis=1)
    rules: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mean": late.mean,
        "maximum": late.maximum,
        "noisy-or": late.noisy_or,
    }
    rivals = {f"best single stream ({best.removeprefix('score_')})": scores(test, best)}
    rivals |= {f"{name} of the streams": rule(streams) for name, rule in rules.items()}
    return with_rivals(test, rivals, samples)


def with_rivals(test: Sequence[ScoreRow], rivals: Mapping[str, np.ndarray], samples: int) -> Table:
    """The column `score` against each of `rivals` {name: scores [n]}, by the clip's label; one row for each rival."""
    own = scores(test, "score")
    gaps = differences(test, [(own, rival) for rival in rivals.values()], samples=samples)
    rows = [
        {
            "Rival": name,
            "Clips": int((~np.isnan(rival) & ~np.isnan(own)).sum()),
            **auc_of(test, rival, samples=samples),
            **difference,
        }
        for (name, rival), difference in zip(rivals.items(), gaps, strict=True)
    ]
    return Table(RIVAL_COLUMNS, rows)


def lines_of_rivals(rows: Sequence[Mapping[str, Any]], head: str, difference: str) -> list[str]:
    """The table `with_rivals` on the terminal; head, difference: of the columns of rivals and of differences."""
    lines = [f"{head:<{_NAME}}  {'AUC [95 %]':<22}{difference:<26}{'Holm p':>7}"]
    for row in rows:
        lines.append(
            f"{terminal.fit(row['Rival'], _NAME):<{_NAME}}  "
            f"{with_interval(*(row[name] for name in AUC)):<22}{gap(row):<26}{p_value(row['Holm p']):>7}"
        )
    return lines


def p_value(p: float) -> str:
    """Three digits, `<0.001` below them, or a dash."""
    return "<0.001" if p < 0.0005 else number(p)


def gap(row: Mapping[str, Any]) -> str:
    """`+0.031 [+0.004, +0.058]`, or a dash."""
    return terminal.gain(*(row[name] for name in DIFFERENCE[:3]))


def _labels(rows: Sequence[ScoreRow], known: np.ndarray) -> np.ndarray:
    return np.array([row.label for row in rows], int)[known]


def _groups(rows: Sequence[ScoreRow], known: np.ndarray) -> list[tuple[str, str]]:
    return [row.group for row, has in zip(rows, known, strict=True) if has]
