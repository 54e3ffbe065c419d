"""The integrated system: what choosing and combining gain, how well its probabilities hold, and where it abstains."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import system_file
from experiments.evaluators import classification, comparison
from experiments.evaluators.comparison import AUC, DIFFERENCE, p_value
from experiments.figures import reliability, risk_coverage, selection_gains, tippett
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table
from mmdf_jax.fusion import late
from mmdf_jax.metrics import calibration, likelihood, selective
from mmdf_jax.metrics import classification as metrics
from mmdf_jax.metrics.calibrators import EPSILON

MEMBER, PIPELINE, SYSTEM, BEST = "member", "pipeline", "system", ", the best on validation"
COVERAGES = (1.0, 0.9, 0.8)
BOUNDED = "its ratios within their bounds"
NESTED = ("Log-loss nested", "Log-loss naive", "AUC nested", "AUC naive")
COMPARISON_COLUMNS = ("Detector", "Kind", "Clips", *NESTED, *AUC, *DIFFERENCE)
RIVAL_COLUMNS = ("Rival", "Clips", *AUC, *DIFFERENCE)
CALIBRATION_COLUMNS = (
    *("Score", "Column", "Clips", "ECE", "ECE equal mass", "MCE", "Brier", "Log-loss"),
    *("Cllr", "Cllr min", "Cllr calibration", "Prior", "Least ratio", "Greatest ratio"),
)
RISK_COLUMNS = ("Score", "Column", "Clips", "Threshold", *(f"Risk at {share:.0%}" for share in COVERAGES), "AURC")
POINT_COLUMNS = (
    *("Point", "Real up to", "Fake from", "False alarms", "False alarms low", "False alarms high"),
    *("Misses", "Misses low", "Misses high", "Abstained", "Abstained low", "Abstained high", "Clips", "Identities"),
)
_NAME = 19  # columns of the page for the name of a member or a pipeline


@dataclasses.dataclass(frozen=True)
class Evaluator(classification.Evaluator):
    """Reports on the system's score, calibrated P(fake), and on what it was chosen from, all by the clip's label.

    Columns: `score_<member>`; `fused_<pipeline>`, on validation by nested cross-validation; there `naive_<pipeline>`.
    comparisons: the members that compare streams. error: the rate that the conformal thresholds allow.
    """

    comparisons: Sequence[str] = ()
    error: float = system_file.ERRORS[0]

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """Per method; pipelines and members; the system's rivals; calibration; risk by coverage; operating points."""
        labels, held_out = np.array([r.label for r in val]), comparison.scores(val, "uncalibrated")
        known = ~np.isnan(held_out)
        groups = [r.group for r, has in zip(val, known, strict=True) if has]
        found = system_file.calibrate(labels[known], held_out[known], groups, self.error)
        best = comparison.best_on(val, _columns(val, "score_"))
        without = [dataclasses.replace(r, extra=_without_members(r.extra)) for r in test]
        methods = classification.per_method(without, row["Threshold"], samples=samples)
        points = system_file.operating_points(
            found.thresholds, test, np.array([r.label for r in test]), comparison.scores(test, "score"), samples
        )
        return {
            "methods": Table(classification.METHOD_COLUMNS, methods),
            "system_comparison": _comparison(val, test, best, samples),
            "system_rivals": _rivals(test, best, samples),
            "calibration": _calibration(test, found),
            "risk_coverage": _risks(val, test, best),
            "operating_points": Table(POINT_COLUMNS, [_point_row(point) for point in points]),
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
        """Those of a classifier; reliability and Tippett plots, the risk-coverage curve, what selection gains."""
        drawn = super().figures(test, row, tables, title=title, samples=samples)
        labels = np.array([r.label for r in test])
        before, after = tables["calibration"].rows[1:3]
        scores = {one["Score"]: comparison.scores(test, one["Column"]) for one in (before, after)}
        drawn["reliability"] = reliability.draw(labels, scores, title=f"{title}reliability on test")
        drawn["tippett"] = tippett.draw(
            labels,
            likelihood.log_lr(scores[after["Score"]], after["Prior"]),
            bounds=(math.log(after["Least ratio"]), math.log(after["Greatest ratio"])),
            title=f"{title}likelihood ratios on test",
        )
        curves = {one["Score"]: _errors(test, one["Column"], one["Threshold"]) for one in tables["risk_coverage"].rows}
        conformal = tables["operating_points"].rows[-1]
        drawn["risk_coverage"] = risk_coverage.draw(
            curves, abstained=conformal["Abstained"], title=f"{title}error rate by coverage"
        )
        drawn["selection_gains"] = selection_gains.draw(
            tables["system_comparison"].rows, title=f"{title}what choosing and combining gain"
        )
        return drawn

    def text(self, row: Mapping[str, Any], tables: Mapping[str, Table], scored: str) -> list[str]:
        """The report of a classifier, then the system's own."""
        return [
            *super().text(row, tables, scored),
            "",
            *_compared(tables["system_comparison"].rows),
            "",
            *_rival_lines(tables["system_rivals"].rows),
            "",
            *_calibration_lines(tables["calibration"].rows),
            "",
            *_risk_lines(tables["risk_coverage"].rows),
            "",
            *_point_lines(tables["operating_points"].rows),
        ]


def _columns(rows: Sequence[ScoreRow], prefix: str) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row.extra)
    return [name for name in names if name.startswith(prefix)]


def _without_members(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if not name.startswith("score_")}


def _of_members(rows: Sequence[ScoreRow]) -> np.ndarray:
    """The mean of the members' scores as they are [n]: what one has without any fit."""
    return late.mean(np.stack([comparison.scores(rows, name) for name in _columns(rows, "score_")], axis=1))


# What choosing and combining gain


def _comparison(val: Sequence[ScoreRow], test: Sequence[ScoreRow], best: str, samples: int) -> Table:
    """A row for each member and pipeline: validation, nested and naive; test; and the difference to the best member."""
    labels, pipelines = np.array([row.label for row in val]), _columns(test, "fused_")
    nested = {name: comparison.scores(val, name) for name in pipelines}
    naive = {name: comparison.scores(val, name.replace("fused_", "naive_", 1)) for name in pipelines}
    losses = {name: calibration.log_loss(labels, values) for name, values in nested.items()}
    chosen = min(pipelines, key=lambda name: round(losses[name], 9))
    pairs = [(comparison.scores(test, name), comparison.scores(test, best)) for name in pipelines]
    gaps = dict(zip(pipelines, comparison.differences(test, pairs, samples=samples), strict=True))
    rows = []
    for name in (*_columns(test, "score_"), *pipelines):
        values = comparison.scores(test, name)
        row = {
            **dict.fromkeys(COMPARISON_COLUMNS, math.nan),
            "Detector": name.partition("_")[2],
            "Kind": MEMBER if name not in nested else SYSTEM if name == chosen else PIPELINE,
            "Clips": int((~np.isnan(values)).sum()),
            **comparison.auc_of(test, values, samples=samples),
            **gaps.get(name, {}),
        }
        if name in nested:
            row |= {
                "Log-loss nested": losses[name],
                "Log-loss naive": calibration.log_loss(labels, naive[name]),
                "AUC nested": metrics.auc(labels, nested[name]),
                "AUC naive": metrics.auc(labels, naive[name]),
            }
        else:
            own = comparison.scores(val, name)
            known = ~np.isnan(own)
            row["AUC naive"] = metrics.auc(labels[known], own[known])
            row["Kind"] += BEST * (name == best)
        rows.append(row)
    return Table(COMPARISON_COLUMNS, rows)


def _rivals(test: Sequence[ScoreRow], best: str, samples: int) -> Table:
    """The system against the best member, chosen on validation, and against the mean of all members."""
    rivals = {f"best member, {best.removeprefix('score_')}": comparison.scores(test, best)}
    rivals["mean of all members"] = _of_members(test)
    own = comparison.scores(test, "score")
    gaps = comparison.differences(test, [(own, rival) for rival in rivals.values()], samples=samples)
    rows = [
        {
            "Rival": name,
            "Clips": int((~np.isnan(rival) & ~np.isnan(own)).sum()),
            **comparison.auc_of(test, rival, samples=samples),
            **gap,
        }
        for (name, rival), gap in zip(rivals.items(), gaps, strict=True)
    ]
    return Table(RIVAL_COLUMNS, rows)


def _compared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = f"{'':<{_NAME}}{'log-loss':^14}{'AUC, validation':^16}"
    lines = [
        head.rstrip(),
        f"{'chosen, combined':<{_NAME}}{'nested':>7}{'naive':>7}{'nested':>7}{'naive':>7}  "
        f"{'test AUC [95 %]':<21}{'minus best member':<24}{'Holm p':>6}",
    ]
    for row in rows:
        if row["Kind"] == MEMBER:
            continue
        mark = {SYSTEM: "▸ ", PIPELINE: "  "}.get(row["Kind"], "  ")
        name = row["Detector"] if row["Kind"] in (SYSTEM, PIPELINE) else f"best: {row['Detector']}"
        against = comparison.gap(row) if row["Kind"] in (SYSTEM, PIPELINE) else ""
        lines.append(
            f"{terminal.fit(mark + name, _NAME - 1):<{_NAME}}"
            + "".join(f"{number(row[column]):>7}" for column in NESTED)
            + f"  {with_interval(*(row[column] for column in AUC)):<21}{against:<24}"
            + (f"{p_value(row['Holm p']):>6}" if against else "")
        )
    return [
        *(line.rstrip() for line in lines),
        "▸ is the system: the least nested log-loss on validation, calibrated. Nested: choice, weights and",
        "calibration never saw the person. Naive: the choice did; what it seems to gain, choosing overfits.",
    ]


def _rival_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{'the system minus':<34}{'AUC of that [95 %]':<24}{'difference [95 %]':<26}{'Holm p':>7}{'DeLong p':>9}"]
    for row in rows:
        lines.append(
            f"{terminal.fit(row['Rival'], 33):<34}{with_interval(*(row[name] for name in AUC)):<24}"
            f"{comparison.gap(row):<26}{p_value(row['Holm p']):>7}{p_value(row['DeLong p']):>9}"
        )
    return lines


# Calibration


def _calibration(test: Sequence[ScoreRow], found: system_file.Calibrated) -> Table:
    """How well scores hold as probabilities on test, before and after; ratios at validation's share of fakes."""
    labels = np.array([row.label for row in test])
    scores = {
        "mean of members, as they are": ("", _of_members(test)),
        "fused, before calibration": ("uncalibrated", comparison.scores(test, "uncalibrated")),
        f"the system ({found.method})": ("score", comparison.scores(test, "score")),
    }
    rows = []
    for name, (column, values) in scores.items():
        known = ~np.isnan(values)
        y, p = labels[known], values[known]
        llr = likelihood.log_lr(p, found.prior)
        quality = {
            "ECE": calibration.ece(y, p),
            "ECE equal mass": calibration.ece_equal_mass(y, p),
            "MCE": calibration.mce(y, p),
            "Brier": calibration.brier(y, p),
            "Log-loss": calibration.log_loss(y, np.clip(p, EPSILON, 1 - EPSILON)),
        }
        rows.append({"Score": name, "Column": column, "Clips": len(p), **quality, **_ratios(y, llr)})
    # What a verdict states: probabilities follow from it at any prior, and have no error of their own.
    bounded = {"Score": BOUNDED, "Column": "", "Clips": len(p), **dict.fromkeys(quality, math.nan)}
    rows.append(bounded | _ratios(y, np.clip(llr, *found.llr_bounds)))
    limits = dict(
        zip(("Prior", "Least ratio", "Greatest ratio"), (found.prior, *np.exp(found.llr_bounds)), strict=True)
    )
    return Table(CALIBRATION_COLUMNS, [row | limits for row in rows])


def _ratios(labels: np.ndarray, llr: np.ndarray) -> dict[str, float]:
    return {
        "Cllr": likelihood.cllr(labels, llr),
        "Cllr min": likelihood.cllr_min(labels, llr),
        "Cllr calibration": likelihood.cllr_cal(labels, llr),
    }


def _calibration_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ("ECE", "ECE equal mass", "Brier", "Log-loss", "Cllr", "Cllr min")
    lines = [f"{'calibration on test':<32}" + "".join(f"{name:>{_width(name)}}" for name in names)]
    for row in rows:
        lines.append(f"{row['Score']:<32}" + "".join(f"{number(row[name]):>{_width(name)}}" for name in names))
    low, high = (rows[-1][side] for side in ("Least ratio", "Greatest ratio"))
    return [
        *lines,
        f"Validation supports likelihood ratios from {_ratio(low)} to {_ratio(high)}; each person there counts once.",
        "Cllr: bits; silence costs 1. Cllr min: what remains after the best calibration, on test itself.",
    ]


def _width(name: str) -> int:
    return max(len(name) + 2, 9)


def _ratio(value: float) -> str:
    return f"1/{1 / value:.3g}" if 0 < value < 1 else f"{value:.3g}"


# Abstention


def _errors(rows: Sequence[ScoreRow], column: str, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(errors [k] 0 or 1, confidence [k]) of the scored clips; confidence: how far from the threshold, in logits."""
    values = comparison.scores(rows, column) if column else _of_members(rows)
    known = ~np.isnan(values)
    labels, values = np.array([row.label for row in rows])[known], values[known]
    return selective.of_verdicts(labels, values, threshold)


def _risks(val: Sequence[ScoreRow], test: Sequence[ScoreRow], best: str) -> Table:
    labels = np.array([row.label for row in val])
    rows = []
    for name, column in (("the system", "score"), (f"best member, {best.removeprefix('score_')}", best), ("mean", "")):
        values = comparison.scores(val, column) if column else _of_members(val)
        known = ~np.isnan(values)
        threshold = metrics.threshold_for(labels[known], values[known])
        errors, confidence = _errors(test, column, threshold)
        rows.append(
            {
                "Score": name if column else "mean of all members",
                "Clips": len(errors),
                "Threshold": threshold,
                **{f"Risk at {share:.0%}": selective.risk_at(errors, confidence, share) for share in COVERAGES},
                "AURC": selective.aurc(errors, confidence),
                "Column": column,
            }
        )
    return Table(RISK_COLUMNS, rows)


def _risk_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = "".join(f"{f'at {share:.0%}':>10}" for share in COVERAGES)
    lines = [f"{'share of wrong verdicts on test':<34}{heads}{'AURC':>10}"]
    for row in rows:
        cells = [row[f"Risk at {share:.0%}"] for share in COVERAGES] + [row["AURC"]]
        lines.append(f"{terminal.fit(row['Score'], 33):<34}" + "".join(f"{number(cell):>10}" for cell in cells))
    return [
        *lines,
        "At the threshold of validation, when the least confident clips are left out down to that coverage.",
    ]


def _point_row(point: Mapping[str, Any]) -> dict[str, Any]:
    row = {"Point": point["what"], "Real up to": point["threshold"]["low"], "Fake from": point["threshold"]["high"]}
    for column, rate in (("False alarms", "false_alarms"), ("Misses", "misses"), ("Abstained", "abstained")):
        row |= dict(zip((column, f"{column} low", f"{column} high"), point[rate], strict=True))
    return row | {"Clips": point["clips"], "Identities": point["identities"]}


def _point_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{'threshold':<13}{'real up to':>10}{'fake from':>10}   {'false alarms':<22}{'misses':<22}abstained"]
    for row in rows:
        rates = [
            with_interval(*(row[f"{name}{side}"] for side in ("", " low", " high")))
            for name in ("False alarms", "Misses", "Abstained")
        ]
        lines.append(
            f"{row['Point']:<13}{_threshold(row['Real up to']):>10}{_threshold(row['Fake from']):>10}   "
            f"{rates[0]:<22}{rates[1]:<22}{rates[2]}"
        )
    return lines


def _threshold(value: float) -> str:
    return number(value) if math.isfinite(value) else "never"
