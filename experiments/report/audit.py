"""Audit of a dataset: what its splits share, and whether anything irrelevant tells its fakes from its reals."""

import collections
import dataclasses
import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.audit import leaks as leak_audit
from data_pipelines.audit import simple_statistics
from data_pipelines.audit.shortcuts import features
from data_pipelines.clip import SPLITS, Clip
from data_pipelines.prepare import records, splits
from experiments.report.terminal import number
from experiments.score_table import write_csv
from mmdf_jax.metrics import classification
from mmdf_jax.stats.bootstrap import Interval, interval

COLUMNS = ("audit", "check", "value", "low", "high", "clips", "verdict", "sentence")
ALL_TOGETHER = "all together"
_WIDTH = 100
_SHOWN = 10  # leaks of one kind that the report names
_FOLDS, _LEVEL, _SAMPLES = 5, 0.95, 1000
_EXCLUDED = 0.8  # an interval around chance that reaches beyond this AUC says nothing
PLAIN, PLAIN_TOGETHER = 0.70, 0.85  # AUC up to which one simple statistic, or all, may tell a method
_MATTERS = 0.55  # a probe that is not at chance is only a trace below this AUC


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """How well one probe tells fakes from reals of people it did not see. `auc` is nan if it could not be tried."""

    probe: str
    auc: Interval
    clips: int

    @property
    def verdict(self) -> str:
        if math.isnan(self.auc.low):
            return "unknown"
        if self.auc.low <= 0.5:
            return "chance" if self.auc.high <= _EXCLUDED else "unclear"
        return "SHORTCUT" if self.auc.value >= _MATTERS else "trace"

    def __str__(self) -> str:
        verdict = self.verdict
        if verdict == "unknown":
            return f"{self.probe} could not be probed: too few real or fake clips of different people have it."
        limits = f"AUC {number(self.auc.value)} [{number(self.auc.low)}, {number(self.auc.high)}]"
        if verdict == "SHORTCUT":
            return (
                f"{self.probe} alone tells fakes from reals ({limits}): a detector may learn it, and its numbers here "
                "then mean less than they seem."
            )
        if verdict == "unclear":
            return (
                f"{self.probe} may or may not tell fakes from reals ({limits}): an interval that wide, of {self.clips} "
                "clips, says nothing; more people are needed."
            )
        if verdict == "trace":
            return f"{self.probe} differs a little between fakes and reals ({limits}): not chance, but of no great use."
        return f"{self.probe} does not tell fakes from reals ({limits})."


@dataclasses.dataclass(frozen=True)
class Separation:
    """How well simple statistics tell the clips of one method from the reals.

    single: AUC of the best statistic, whichever way it points (chosen on the same clips, so a little too high);
    together: AUC of all of them, on people that the regression did not see; nan if it could not be tried. The intervals
    are at 95 %, each by itself.
    """

    method: str
    statistic: str
    single: Interval
    together: Interval
    clips: int

    @property
    def verdict(self) -> str:
        if math.isnan(self.single.low):
            return "unknown"
        if self.single.low > PLAIN or self.together.low > PLAIN_TOGETHER:
            return "PLAIN"
        return "unclear" if self.single.high > PLAIN or self.together.high > PLAIN_TOGETHER else "hidden"

    def __str__(self) -> str:
        if self.verdict == "unknown":
            return f"{self.method} could not be compared with the reals: too few people."
        best = f"best is {self.statistic} (AUC {number(self.single.value)}), together {number(self.together.value)}"
        if self.verdict == "hidden":
            return f"{self.method} is not given away by simple statistics: {best}."
        if self.verdict == "unclear":
            return f"{self.method} may or may not be given away by simple statistics: {best}; more people are needed."
        return f"{self.method} is given away by simple statistics: {best}; a detector of it proves little."


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found. `shortcuts` and `separations` are empty where there are no records."""

    clips: tuple[Clip, ...]
    compared: Mapping[str, int]
    leaks: tuple[leak_audit.Leak, ...]
    shortcuts: tuple[Shortcut, ...] = ()
    separations: tuple[Separation, ...] = ()


def of_clips(clips: Sequence[Clip], *, workers: int = 0) -> Audit:
    """Leaks between the splits of these clips, whose files are read; clips without a split get theirs as in `prepare`.

    Raises ValueError if there is no clip.
    """
    if not clips:
        raise ValueError("there is no clip to audit")
    clips = splits.assign(clips)
    prints = leak_audit.of_files(clips, workers=workers)
    return Audit(tuple(clips), leak_audit.compared(clips, prints), tuple(leak_audit.leaks(clips, prints)))


def of_records(folder: str | pathlib.Path) -> Audit:
    """Leaks and shortcuts of a folder of records. FileNotFoundError or ValueError if there are none."""
    records.read_header(folder)
    clips = [row.clip for _, row in records.read_index(folder)]
    prints = leak_audit.of_records(folder)
    return Audit(
        tuple(clips),
        leak_audit.compared(clips, prints),
        tuple(leak_audit.leaks(clips, prints)),
        shortcuts(folder),
        separations(folder),
    )


# Shortcuts


def shortcuts(folder: str | pathlib.Path, *, seed: int = 0) -> tuple[Shortcut, ...]:
    """The probes of `features`, then all of them together, over all clips of known label.

    Each probe is a logistic regression on ranks and their squares (a category: one indicator each), cross-validated in
    folds that share no identity; its AUC's interval is the bootstrap's over identities. The intervals hold together at
    95 % (Bonferroni), so that of many probes none is called a shortcut by chance.
    """
    rows = [(row.clip, values) for row, values in features(folder) if row.clip.label in (0, 1)]
    clips = [clip for clip, _ in rows]
    labels = np.array([clip.label for clip in clips], int)
    groups = [(clip.dataset, clip.identity) if clip.identity else ("", clip.clip_id) for clip in clips]
    probes = tuple(dict.fromkeys(name for _, values in rows for name in values))
    designs = {name: _design([values.get(name) for _, values in rows]) for name in probes}
    designs[ALL_TOGETHER] = np.concatenate(list(designs.values()), axis=1) if designs else np.zeros((0, 0))
    level = 1 - (1 - _LEVEL) / len(designs)
    return tuple(_probe(name, design, labels, groups, level, seed) for name, design in designs.items())


def separations(folder: str | pathlib.Path, *, seed: int = 0) -> tuple[Separation, ...]:
    """For each method, in order of name, how well the simple statistics tell it from all reals of the folder."""
    measured = [(row.clip, values) for row, values in simple_statistics.statistics(folder)]
    found = []
    for method in sorted({clip.method for clip, _ in measured if clip.label == 1}):
        chosen = [(clip, v) for clip, v in measured if clip.label == 0 or (clip.label == 1 and clip.method == method)]
        labels = np.array([clip.label for clip, _ in chosen])
        groups = [(clip.dataset, clip.identity) if clip.identity else ("", clip.clip_id) for clip, _ in chosen]
        table = np.stack([values for _, values in chosen])
        aucs = [_two_sided(labels, column) for column in table.T]
        best = int(np.nanargmax(aucs)) if np.isfinite(aucs).any() else 0
        known = np.isfinite(table[:, best])
        column = table[known, best]
        if classification.auc(labels[known], column) < 0.5:
            column = -column
        kept = [group for group, k in zip(groups, known, strict=True) if k]
        single = interval(classification.auc, labels[known], column, kept, samples=_SAMPLES, level=_LEVEL, seed=seed)
        together = _probe(ALL_TOGETHER, _design([tuple(row) for row in table]), labels, groups, _LEVEL, seed)
        name = method or "fakes of no named method"
        found.append(Separation(name, simple_statistics.NAMES[best], single, together.auc, int(labels.sum())))
    return tuple(found)


def _two_sided(labels: np.ndarray, column: np.ndarray) -> float:
    """AUC of a statistic whichever way it points; nan if one class has no value."""
    known = np.isfinite(column)
    auc = classification.auc(labels[known], column[known]) if len(set(labels[known])) == 2 else math.nan
    return max(auc, 1 - auc)


def _design(values: Sequence[Any]) -> np.ndarray:
    """Columns [n k] for a regression; a row of nan where there is no value."""
    known = [value for value in values if value is not None]
    if known and isinstance(known[0], str):
        words = sorted(set(known))
        rows = [[float(value == word) for word in words] if value is not None else None for value in values]
    else:
        rows = list(values)
    width = len(next((row for row in rows if row is not None), (0.0,)))
    table = np.array([row if row is not None else [np.nan] * width for row in rows], float).reshape(len(rows), width)
    if known and isinstance(known[0], str):
        return table
    # Ranks take away outliers and units. Their squares find cues that lie in the middle or at both ends.
    ranks = np.stack([_ranks(column) for column in table.T], axis=1)
    return np.concatenate([ranks, ranks**2], axis=1)


def _ranks(column: np.ndarray) -> np.ndarray:
    """Mid-ranks from -1 to 1; nan stays."""
    known = np.isfinite(column)
    _, inverse, counts = np.unique(column[known], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    out = np.full(len(column), np.nan)
    out[known] = 2 * (middle[inverse] + 0.5) / max(known.sum(), 1) - 1
    return out


def _probe(
    name: str, design: np.ndarray, labels: np.ndarray, groups: Sequence[tuple[str, str]], level: float, seed: int
) -> Shortcut:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    if name == ALL_TOGETHER:  # the middle rank stands for a value that a clip lacks
        design = np.nan_to_num(design, nan=0.0)
    known = np.isfinite(design).all(1)
    design, labels = design[known], labels[known]
    groups = [group for group, k in zip(groups, known, strict=True) if k]
    people = min((len({g for g, y in zip(groups, labels, strict=True) if y == one}) for one in (0, 1)), default=0)
    folds = min(_FOLDS, people)
    nan = Interval(math.nan, math.nan, math.nan, len(set(groups)), 0)
    if folds < 2:
        return Shortcut(name, nan, len(labels))
    codes = {group: i for i, group in enumerate(sorted(set(groups)))}
    scores = np.full(len(labels), np.nan)
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in cut.split(design, labels, [codes[group] for group in groups]):
        if len(set(labels[train])) == 2:
            # Classes are balanced: otherwise a fold's intercept betrays the labels that the fold lacks.
            model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(design[train], labels[train])
            scores[test] = model.decision_function(design[test])
    kept = np.isfinite(scores)
    kept_groups = [group for group, k in zip(groups, kept, strict=True) if k]
    auc = interval(
        classification.auc, labels[kept], scores[kept], kept_groups, samples=_SAMPLES, level=level, seed=seed
    )
    return Shortcut(name, auc, int(kept.sum()))


# What is told


def rows(audit: Audit) -> list[dict[str, Any]]:
    """The rows of audit.csv: a leak check's `value` is how many leaks it found, a probe's its AUC."""
    counts = collections.Counter(leak.check for leak in audit.leaks)
    table = [
        {
            "audit": "leak",
            "check": check,
            "value": float(counts[check]),
            "low": math.nan,
            "high": math.nan,
            "clips": audit.compared[check],
            "verdict": "LEAK" if counts[check] else "none" if audit.compared[check] else "unknown",
            "sentence": _leak_sentence(check, audit),
        }
        for check in leak_audit.CHECKS
    ]
    table += [
        {
            "audit": "shortcut",
            "check": shortcut.probe,
            "value": shortcut.auc.value,
            "low": shortcut.auc.low,
            "high": shortcut.auc.high,
            "clips": shortcut.clips,
            "verdict": shortcut.verdict,
            "sentence": str(shortcut),
        }
        for shortcut in audit.shortcuts
    ]
    for separation in audit.separations:
        common = {"clips": separation.clips, "verdict": separation.verdict, "sentence": str(separation)}
        for which, auc in (("best statistic", separation.single), ("all statistics", separation.together)):
            values = {"value": auc.value, "low": auc.low, "high": auc.high}
            table.append({"audit": "statistics", "check": f"{separation.method}, {which}", **values, **common})
    return table


def write(path: str | pathlib.Path, audit: Audit) -> None:
    """audit.csv."""
    write_csv(path, COLUMNS, rows(audit))


def render(audit: Audit) -> str:
    """The report: a table, and a plain sentence on each line of it."""
    sizes = collections.Counter(clip.split for clip in audit.clips)
    counted = ", ".join(f"{split} {sizes[split]}" for split in SPLITS if sizes[split])
    lines = [f"Audit of {len(audit.clips)} clips: {counted}", ""]
    lines.append(f"  {'across splits':<18}{'clips compared':>15}{'leaks':>8}   verdict")
    table = rows(audit)
    for row in table:
        if row["audit"] == "leak":
            lines.append(f"  {row['check']:<18}{row['clips']:>15}{row['value']:>8.0f}   {row['verdict']}")
    if audit.shortcuts:
        lines += ["", f"  {'shortcut probe':<18}{'clips probed':>15}{'AUC':>8}   {'interval':<17}verdict"]
        for row in table:
            if row["audit"] == "shortcut":
                limits = f"[{number(row['low'])}, {number(row['high'])}]"
                value = number(row["value"])
                lines.append(f"  {row['check']:<18}{row['clips']:>15}{value:>8}   {limits:<17}{row['verdict']}")
        lines.append("  (the intervals hold together at 95 %, over identities that the probe did not see)")
    if audit.separations:
        lines += ["", f"  {'simple statistics':<40}{'fakes':>6}{'AUC':>8}   {'interval':<17}verdict"]
        for row in table:
            if row["audit"] == "statistics":
                limits = f"[{number(row['low'])}, {number(row['high'])}]"
                cells = f"  {row['check']:<40}{row['clips']:>6}{number(row['value']):>8}   {limits:<17}{row['verdict']}"
                lines.append(cells)
    lines.append("")
    for row in {row["sentence"]: row for row in table}.values():
        lines += textwrap.wrap(_capital(row["sentence"]), _WIDTH, subsequent_indent="  ", break_long_words=False)
        if row["audit"] == "leak":
            lines += _named([leak for leak in audit.leaks if leak.check == row["check"]])
    if not audit.shortcuts:
        lines.append(
            "Shortcuts were not probed: no records with these crops (run experiments.prepare first, or give --out)."
        )
    return "\n".join(lines)


def _leak_sentence(check: str, audit: Audit) -> str:
    found = sum(leak.check == check for leak in audit.leaks)
    if found:
        clips = len({clip.clip_id for leak in audit.leaks if leak.check == check for clip in leak.clips})
        return f"{check}: {found} shared across splits, in {clips} clips: results on this split are not to be trusted."
    if not audit.compared[check]:
        return f"{check}: unknown, for no clip has {leak_audit.CHECKS[check]}."
    return f"{check}: none is shared across splits."


def _named(leaks: Sequence[leak_audit.Leak]) -> list[str]:
    lines = [f"  {leak}" for leak in leaks[:_SHOWN]]
    return lines + ([f"  and {len(leaks) - _SHOWN} more"] if len(leaks) > _SHOWN else [])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
