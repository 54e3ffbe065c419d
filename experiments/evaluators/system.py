"""The integrated system: what choosing and combining gain, how well its probabilities hold, and where it abstains."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import operating_points
from experiments.evaluators import classification, comparison
from experiments.evaluators.comparison import AUC, DIFFERENCE, p_value
from experiments.figures import reliability, risk_coverage, selection_gains, tippett
from experiments.operating_points import Limits
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table
from mmdf_jax.fusion import late, selection
from mmdf_jax.metrics import calibration, likelihood, selective
from mmdf_jax.metrics import classification as metrics
from mmdf_jax.metrics.calibrators import EPSILON

MEMBER, PIPELINE, SYSTEM, BEST = "member", "pipeline", "system", ", the best on validation"
COVERAGES = (1.0, 0.9, 0.8)
BOUNDED = "its ratios within their bounds"
NESTED = ("Log-loss nested", "Log-loss naive", "AUC nested", "AUC naive")
COMPARISON_COLUMNS = ("Detector", "Kind", "Clips", *NESTED, *AUC, *DIFFERENCE)
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

    The tables have further columns: `score_<member>`; `uncalibrated`, the system's score before calibration; and
    `fused_<pipeline>`. On validation these, and the score itself, are held out by nested cross-validation, and
    `naive_<pipeline>` has what the choice did see. error: the rate that the conformal thresholds allow.
    """

    error: float = operating_points.ERRORS[0]

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """Per method; pipelines and members; the system's rivals; calibration; risk by coverage; operating points."""
        held_out = classification.Scored.of(val)
        limits = operating_points.limits(held_out.labels, held_out.scores, held_out.groups, self.error)
        best = comparison.best_on(val, comparison.columns(val, "score_"))
        without = [dataclasses.replace(r, extra=_without_members(r.extra)) for r in test]
        methods = classification.per_method(without, row["Threshold"], samples=samples)
        labels, scores = np.array([r.label for r in test]), comparison.scores(test, "score")
        points = operating_points.measured(limits.thresholds, test, labels, scores, samples=samples)
        rivals = {f"best member, {best.removeprefix('score_')}": comparison.scores(test, best)}
        rivals["mean of all members"] = _of_members(test)
        return {
            "methods": Table(classification.METHOD_COLUMNS, methods),
            "system_comparison": _comparison(val, test, best, samples),
            "system_rivals": comparison.with_rivals(test, rivals, samples),
            "calibration": _calibration(test, limits),
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
            *comparison.lines_of_rivals(tables["system_rivals"].rows, "the system’s rivals", "the system minus it"),
            "",
            *_calibration_lines(tables["calibration"].rows),
            "",
            *_risk_lines(tables["risk_coverage"].rows),
            "",
            *_point_lines(tables["operating_points"].rows),
        ]


def _without_members(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if not name.startswith("score_")}


def _of_members(rows: Sequence[ScoreRow]) -> np.ndarray:
    """The mean of the members' scores as they are [n]: what one has without any fit."""
    names = comparison.columns(rows, "score_")
    return late.mean(np.stack([comparison.scores(rows, name) for name in names], axis=1))


def _scored(rows: Sequence[ScoreRow], column: str) -> tuple[np.ndarray, np.ndarray]:
    """(labels [k], scores [k]) of the clips that have a score in the column; "" is the mean of all members."""
    values = comparison.scores(rows, column) if column else _of_members(rows)
    known = ~np.isnan(values)
    return np.array([row.label for row in rows])[known], values[known]


# What choosing and combining gain


def _comparison(val: Sequence[ScoreRow], test: Sequence[ScoreRow], best: str, samples: int) -> Table:
    """A row for each member and pipeline: validation, nested and naive; test; and the difference to the best member."""
    labels, pipelines = np.array([row.label for row in val]), comparison.columns(test, "fused_")
    losses = {name: selection.loss_of_all(labels, comparison.scores(val, name)) for name in pipelines}
    chosen = min(pipelines, key=lambda name: round(losses[name], 9))
    pairs = [(comparison.scores(test, name), comparison.scores(test, best)) for name in pipelines]
    gaps = dict(zip(pipelines, comparison.differences(test, pairs, samples=samples), strict=True))
    rows = []
    for name in (*comparison.columns(test, "score_"), *pipelines):
        values = comparison.scores(test, name)
        row = {
            **dict.fromkeys(COMPARISON_COLUMNS, math.nan),
            "Detector": name.partition("_")[2],
            "Kind": SYSTEM if name == chosen else PIPELINE if name in losses else MEMBER,
            "Clips": int((~np.isnan(values)).sum()),
            **comparison.auc_of(test, values, samples=samples),
            **gaps.get(name, {}),
        }
        if name in losses:
            row |= {
                "Log-loss nested": losses[name],
                "Log-loss naive": selection.loss_of_all(labels, comparison.scores(val, _naive(name))),
                "AUC nested": metrics.auc(*_scored(val, name)),
                "AUC naive": metrics.auc(*_scored(val, _naive(name))),
            }
        else:
            row["AUC naive"] = metrics.auc(*_scored(val, name))
            row["Kind"] += BEST * (name == best)
        rows.append(row)
    return Table(COMPARISON_COLUMNS, rows)


def _naive(name: str) -> str:
    """The column of a pipeline's naive scores, of that of its nested ones."""
    return name.replace("fused_", "naive_", 1)


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
        mark = {SYSTEM: "▸ ", PIPELINE: "  "}.get(row["Kind"], "  best: ")
        against = comparison.gap(row) if row["Kind"] in (SYSTEM, PIPELINE) else ""
        lines.append(
            f"{terminal.fit(mark + row['Detector'], _NAME - 1):<{_NAME}}"
            + "".join(f"{number(row[column]):>7}" for column in NESTED)
            + f"  {with_interval(*(row[column] for column in AUC)):<21}{against:<24}"
            + (f"{p_value(row['Holm p']):>6}" if against else "")
        )
    return [
        *(line.rstrip() for line in lines),
        "▸ is the system: the least nested log-loss on validation, calibrated. Nested: choice, weights and",
        "calibration never saw the person. Naive: the choice did; what it seems to gain, choosing overfits.",
    ]


# Calibration


def _calibration(test: Sequence[ScoreRow], limits: Limits) -> Table:
    """How well scores hold as probabilities on test, before and after; ratios at validation's share of fakes."""
    columns = {
        "mean of members, as they are": "",
        "fused, before calibration": "uncalibrated",
        "the system, calibrated": "score",
    }
    rows = []
    for name, column in columns.items():
        y, p = _scored(test, column)
        llr = likelihood.log_lr(p, limits.prior)
        quality = {
            "ECE": calibration.ece(y, p),
            "ECE equal mass": calibration.ece_equal_mass(y, p),
            "MCE": calibration.mce(y, p),
            "Brier": calibration.brier(y, p),
            "Log-loss": calibration.log_loss(y, np.clip(p, EPSILON, 1 - EPSILON)),
        }
        rows.append({"Score": name, "Column": column, "Clips": len(p), **quality, **_ratios(y, llr)})
    # These ratios are what a verdict states. Probabilities follow from them at any prior and have no row of their own.
    bounded = {"Score": BOUNDED, "Column": "", "Clips": len(p), **dict.fromkeys(quality, math.nan)}
    rows.append(bounded | _ratios(y, np.clip(llr, *limits.llr_bounds)))
    least, greatest = np.exp(limits.llr_bounds)
    of_validation = {"Prior": limits.prior, "Least ratio": least, "Greatest ratio": greatest}
    return Table(CALIBRATION_COLUMNS, [row | of_validation for row in rows])


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
    return selective.of_verdicts(*_scored(rows, column), threshold)


def _risks(val: Sequence[ScoreRow], test: Sequence[ScoreRow], best: str) -> Table:
    """The share of wrong verdicts by the share of clips that get one; thresholds are of validation."""
    columns = {
        "the system": "score",
        f"best member, {best.removeprefix('score_')}": best,
        "mean of all members": "",
    }
    rows = []
    for name, column in columns.items():
        threshold = metrics.threshold_for(*_scored(val, column))
        errors, confidence = _errors(test, column, threshold)
        rows.append(
            {
                "Score": name,
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
