"""Lip-sync: offsets, confidences and a detector made of them, from the score tables of mmdf_jax.tasks.lip_sync.

Offsets are in frames of 40 ms, positive where the sound comes late. Whether an offset is right is judged on real clips
alone, whose own sound is believed to be in step.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.evaluators.classification import is_real, method_of
from experiments.figures import sync as sync_figures
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table, curve
from mmdf_jax.metrics import classification
from mmdf_jax.metrics import sync as measures
from mmdf_jax.metrics.calibrators import sigmoid
from mmdf_jax.stats.bootstrap import Interval, interval
from mmdf_jax.tasks.lip_sync import RUNS, TOLERANCE

WHOLE = "clip"  # all of a clip's windows averaged
FEATURES = ("similarity", "confidence", "|offset|", "low quantile")
NETWORK = "network"
SMOOTHED = 5  # frames over which the similarity is averaged before its low quantile is taken
LOW = 0.1
OFFSET_COLUMNS = (
    *("Method", "Windows", "Clips", "Accuracy", "Accuracy low", "Accuracy high"),
    *("Network minus it", "Difference low", "Difference high"),
)
METHOD_COLUMNS = (
    *("Method", "Fakes", "Reals", "Abstained", "AUC", "AUC low", "AUC high", "AUC similarity"),
    *("Similarity", "Confidence", "In step", "Coverage"),
)
CLIP_COLUMNS = (
    *("clip_id", "identity", "method", "label", "score", "offset", "confidence", "similarity", "low_quantile"),
    *("lse_d", "lse_c", "coverage"),
)
REALS, ALL_FAKES = "real", "all fakes"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a clip's row says: offset in frames, confidence and similarity as cosines, coverage as a share of time.

    lse_d, lse_c: minimum distance, and median distance minus it, of this network's own unit vectors: they compare with
    SyncNet's in their definition, not in their scale. All nan where nothing was measured.
    """

    offset: float
    confidence: float
    similarity: float
    low: float
    lse_d: float
    lse_c: float
    coverage: float

    @classmethod
    def of(cls, row: ScoreRow) -> "Measured":
        counts = curve(row, "sync_count")
        found = measures.read_curve(measures.mean_curve(curve(row, "sync_sum"), counts))
        distance = measures.read_curve(-measures.mean_curve(curve(row, "distance_sum"), counts))
        timeline = curve(row, "similarity")
        known = timeline[~np.isnan(timeline)]
        low = np.quantile(_smoothed(known), LOW) if len(known) else math.nan
        mean = known.mean() if len(known) else math.nan
        coverage = len(known) / len(timeline) if len(timeline) else math.nan
        return cls(
            found.offset, found.confidence, float(mean), float(low), -distance.best, distance.confidence, coverage
        )

    @property
    def features(self) -> tuple[float, ...]:
        """FEATURES."""
        return self.similarity, self.confidence, abs(self.offset), self.low

    @property
    def in_step(self) -> bool:
        return abs(self.offset) <= TOLERANCE


def _smoothed(values: np.ndarray) -> np.ndarray:
    width = min(SMOOTHED, len(values))
    return np.convolve(values, np.ones(width) / width, "valid")


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Reports offsets of real clips, and a detection score: a logistic on FEATURES, fitted on validation alone."""

    headline = ("Accuracy", "Accuracy clip", "AUC")
    averaged = ("LSE-D", "LSE-C", "Coverage", "Best validation accuracy")

    def results(self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int) -> dict[str, Any]:
        """The quality columns of results.csv; `Accuracy`: share of single windows of 0.2 s right to within a frame.

        Raises:
          ValueError: the table lacks the curves of a lip-sync run.
        """
        if test and not any("sync_sum" in row.extra for row in test):
            raise ValueError("the score table has no column sync_sum: expected that of a lip-sync run")
        reals = [row for row in test if is_real(row) and row.ok]
        of_reals = [Measured.of(row) for row in reals]
        accuracies = {run: _accuracy(reals, "", run, samples) for run in (*RUNS, WHOLE)}
        single = accuracies[RUNS[0]]
        weights = fit(val)
        quality = {
            "Accuracy": single.value,
            "Accuracy low": single.low,
            "Accuracy high": single.high,
            **{f"Accuracy {run}": found.value for run, found in accuracies.items() if run != RUNS[0]},
            "LSE-D": _mean([one.lse_d for one in of_reals]),
            "LSE-C": _mean([one.lse_c for one in of_reals]),
            "Confidence": _mean([one.confidence for one in of_reals]),
            "Coverage": _mean([one.coverage for one in of_reals]),
        }
        fakes = [row for row in test if not is_real(row) and row.ok]
        auc = _auc(fakes, reals, weights, samples)
        return {
            **quality,
            "AUC": auc.value,
            "AUC low": auc.low,
            "AUC high": auc.high,
            "Best validation accuracy": _accuracy([r for r in val if is_real(r) and r.ok], "", RUNS[0], 0).value,
            **{f"Weight {name}": value for name, value in zip(("bias", *FEATURES), weights, strict=True)},
            "Clips": sum(row.ok for row in test),
            "Abstained": sum(not row.ok for row in test),
            "Identities": len({row.group for row in test if row.ok}),
        }

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """`offsets`: by method and windows averaged; `methods`: detection; `clips`: every clip, a score table too."""
        weights = _weights(row)
        return {
            "offsets": Table(OFFSET_COLUMNS, _offsets(test, samples)),
            "methods": Table(METHOD_COLUMNS, _per_method(test, weights, samples)),
            "clips": Table(CLIP_COLUMNS, [_clip(one, weights) for one in test if one.ok]),
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
        """Histogram of offsets, accuracy against averaged windows, curves and similarity over time."""
        ok = [one for one in test if one.ok]
        return {
            "offsets": sync_figures.offsets(
                {name: [Measured.of(one).offset for one in group] for name, group in _shown(ok).items()},
                title=f"{title}offset of whole clips",
            ),
            "averaged_windows": sync_figures.averaged_windows(
                _offsets(test, 0), title=f"{title}offset right to within a frame"
            ),
            "sync_over_time": sync_figures.over_time(
                [
                    (
                        f"{name} · {group[0].clip_id}",
                        measures.mean_curve(curve(group[0], "sync_sum"), curve(group[0], "sync_count")),
                        curve(group[0], "similarity"),
                        spans_of(group[0]),
                    )
                    for name, group in _shown(ok).items()
                    if group
                ],
                title=title.rstrip(": "),
            ),
        }

    def text(self, row: Mapping[str, Any], tables: Mapping[str, Table], scored: str) -> list[str]:
        """The lines of the terminal's report; scored: what was scored, for the title."""
        lines = terminal.heading(row, f"{scored}: {row['Clips']} clips of {row['Identities']} identities")
        if row["Abstained"]:
            lines.append(
                f"Abstained from {row['Abstained']} more: no mouth or no voice; they stand in no number below."
            )
        lines += terminal.cells(
            ("LSE-D", number(row["LSE-D"])),
            ("LSE-C", number(row["LSE-C"])),
            ("confidence", number(row["Confidence"])),
            ("coverage", number(row["Coverage"])),
            ("on validation: accuracy", number(row["Best validation accuracy"])),
        )
        return [*lines, *terminal.costs(row), "", *_offset_lines(tables["offsets"].rows), "", *_method_lines(tables)]

    def pooled(self, tables: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
        """One table of several folds': offsets are in frames and cosines have no scale of their own, so as they are."""
        return [row for table in tables for row in table]


def fit(val: Sequence[ScoreRow], ridge: float = 0.1, steps: int = 50) -> tuple[float, ...]:
    """Bias and weights of FEATURES of a ridge logistic regression (Newton's method) for streams that disagree.

    Positives are the fakes whose two streams are each real (dubbing), or all fakes where there are none; negatives the
    reals. Without both, the similarity alone decides, by a fixed weight.
    """
    measured = [(row, Measured.of(row).features) for row in val if row.ok]
    measured = [(row, x) for row, x in measured if not np.isnan(x).any()]
    dubbed = [x for row, x in measured if row.label == 1 and row.video_label == row.audio_label == 0]
    fakes = dubbed or [x for row, x in measured if row.label == 1]
    reals = [x for row, x in measured if is_real(row)]
    if not fakes or not reals:
        return 2.0, -4.0, *[0.0] * (len(FEATURES) - 1)
    x = np.array([*fakes, *reals])
    y = np.repeat([1.0, 0.0], [len(fakes), len(reals)])
    share = np.where(y == 1, 0.5 / len(fakes), 0.5 / len(reals)) * len(y)  # both classes weigh alike
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-6)
    z = np.column_stack([np.ones(len(x)), (x - mean) / deviation])
    penalty = np.diag([1e-6, *[ridge] * len(FEATURES)]) * len(y)
    weights = np.zeros(z.shape[1])
    for _ in range(steps):
        p = sigmoid(z @ weights)
        gradient = z.T @ (share * (p - y)) + penalty @ weights
        weights -= np.linalg.solve(z.T @ (z * (share * p * (1 - p))[:, None]) + penalty, gradient)
    slopes = weights[1:] / deviation
    return float(weights[0] - slopes @ mean), *map(float, slopes)


def score(row: ScoreRow, weights: Sequence[float]) -> float:
    """P(the streams disagree) of a clip; nan where nothing was measured."""
    x = np.array(Measured.of(row).features)
    return float(sigmoid(weights[0] + x @ np.array(weights[1:])))


def spans_of(row: ScoreRow) -> list[tuple[float, float]]:
    """The fake spans of a clip, s, as its column `spans` says them."""
    flat = str(row.extra.get("spans") or "").translate(str.maketrans("[]", "  ")).replace(",", " ").split()
    return list(zip(map(float, flat[::2]), map(float, flat[1::2]), strict=True))


def _weights(row: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(row[f"Weight {name}"] for name in ("bias", *FEATURES))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _right(row: ScoreRow, prefix: str, run: int | str) -> float:
    """Share of a clip's runs of windows whose offset is right; nan where it is unknown."""
    if run != WHOLE:
        return float(row.extra.get(f"{prefix}accuracy_{run}", math.nan))
    sums, counts = curve(row, f"{prefix}sync_sum"), curve(row, f"{prefix}sync_count")
    offset = measures.read_curve(measures.mean_curve(sums, counts)).offset
    return math.nan if math.isnan(offset) else float(abs(offset) <= TOLERANCE)


def _accuracy(reals: Sequence[ScoreRow], prefix: str, run: int | str, samples: int) -> Interval:
    return _interval([(row.group, _right(row, prefix, run)) for row in reals], samples)


def _interval(values: Sequence[tuple[Any, float]], samples: int) -> Interval:
    """Mean of values in [0, 1] that are known, with its interval over groups."""
    known = [(group, value) for group, value in values if not math.isnan(value)]
    if not known:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    groups, numbers = zip(*known, strict=True)
    return interval(lambda _, x: float(x.mean()), np.zeros(len(numbers), int), numbers, groups, samples=samples)


def _offsets(test: Sequence[ScoreRow], samples: int) -> list[dict[str, Any]]:
    reals = [row for row in test if is_real(row) and row.ok]
    suffix = f"_accuracy_{RUNS[0]}"
    others = list(
        dict.fromkeys(name.removesuffix(suffix) for row in test for name in row.extra if name.endswith(suffix))
    )
    rows = []
    for method, prefix in [(NETWORK, ""), *((name, f"{name}_") for name in others)]:
        for run in (*RUNS, WHOLE):
            found = _accuracy(reals, prefix, run, samples)
            if math.isnan(found.value):
                continue
            paired = [(row.group, (1 + _right(row, "", run) - _right(row, prefix, run)) / 2) for row in reals]
            # The interval is of shares, so that the difference enters as a number from 0 to 1.
            gain = _interval(paired if prefix else [], samples)
            rows.append(
                {
                    "Method": method,
                    "Windows": run,
                    "Clips": sum(not math.isnan(_right(row, prefix, run)) for row in reals),
                    "Accuracy": found.value,
                    "Accuracy low": found.low,
                    "Accuracy high": found.high,
                    "Network minus it": 2 * gain.value - 1,
                    "Difference low": 2 * gain.low - 1,
                    "Difference high": 2 * gain.high - 1,
                }
            )
    return rows


def _auc(fakes: Sequence[ScoreRow], reals: Sequence[ScoreRow], weights: Sequence[float], samples: int) -> Interval:
    if not fakes or not reals:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    labels = [1] * len(fakes) + [0] * len(reals)
    scores = [score(row, weights) for row in (*fakes, *reals)]
    known = [i for i, value in enumerate(scores) if not math.isnan(value)]
    groups = [(*fakes, *reals)[i].group for i in known]
    return interval(classification.auc, [labels[i] for i in known], [scores[i] for i in known], groups, samples=samples)


def _families(test: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Fakes by method, and within a method whole and partial ones, and those with the same or another person's part."""
    fakes = [row for row in test if not is_real(row)]
    families = {ALL_FAKES: fakes} if fakes else {}
    for method in sorted({method_of(row) for row in fakes}):
        own = [row for row in fakes if method_of(row) == method]
        families[method] = own
        parts = {
            "whole": [row for row in own if row.extra.get("partial") == 0],
            "partial": [row for row in own if row.extra.get("partial") == 1],
            "same person": [row for row in own if row.extra.get("partner") == "same"],
            "other person": [row for row in own if row.extra.get("partner") == "other"],
        }
        for one, other in (("whole", "partial"), ("same person", "other person")):
            if parts[one] and parts[other]:
                families |= {f"{method}, {name}": parts[name] for name in (one, other)}
    return families


def _per_method(test: Sequence[ScoreRow], weights: Sequence[float], samples: int) -> list[dict[str, Any]]:
    reals = [row for row in test if is_real(row)]
    rows = []
    for name, group in {REALS: reals, **_families(test)}.items():
        ok = [row for row in group if row.ok]
        measured = [Measured.of(row) for row in ok]
        against = [row for row in reals if row.ok]
        fakes = [] if name == REALS else ok
        auc = _auc(fakes, against, weights, samples)
        alone = _auc(fakes, against, (0.0, -1.0, 0.0, 0.0, 0.0), 0)
        rows.append(
            {
                "Method": name,
                "Fakes": len(fakes),
                "Reals": len(against),
                "Abstained": len(group) - len(ok),
                "AUC": auc.value,
                "AUC low": auc.low,
                "AUC high": auc.high,
                "AUC similarity": alone.value,
                "Similarity": _mean([one.similarity for one in measured]),
                "Confidence": _mean([one.confidence for one in measured]),
                "In step": _mean([float(one.in_step) for one in measured if not math.isnan(one.offset)]),
                "Coverage": _mean([one.coverage for one in measured]),
            }
        )
    return rows


def _clip(row: ScoreRow, weights: Sequence[float]) -> dict[str, Any]:
    one = Measured.of(row)
    named = {name: getattr(row, name) for name in ("clip_id", "identity", "method", "label")}
    values = (one.offset, one.confidence, one.similarity, one.low, one.lse_d, one.lse_c, one.coverage)
    return {**named, "score": score(row, weights), **dict(zip(CLIP_COLUMNS[5:], values, strict=True))}


def _shown(ok: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Reals, and the fakes whose streams disagree, throughout or in spans."""
    dubbed = [row for row in ok if row.label == 1 and row.video_label == row.audio_label == 0]
    groups = {
        REALS: [row for row in ok if is_real(row)],
        "streams disagree": [row for row in dubbed if not row.extra.get("partial")],
        "disagree in spans": [row for row in dubbed if row.extra.get("partial")],
    }
    return {name: group for name, group in groups.items() if group}


def _offset_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    runs = (*RUNS, WHOLE)
    lines = [f"{'offset within a frame, windows of 0.2 s averaged:':<52}" + "".join(f"{run:>8}" for run in runs)]
    for method in dict.fromkeys(row["Method"] for row in rows):
        of_run = {row["Windows"]: row for row in rows if row["Method"] == method}
        first = of_run[RUNS[0]]
        gain = ""
        if method != NETWORK:
            gain = with_interval(first["Network minus it"], first["Difference low"], first["Difference high"])
            gain = f"network better by {gain}"
        cells = "".join(f"{number(of_run[run]['Accuracy']) if run in of_run else terminal.ABSENT:>8}" for run in runs)
        lines.append(f"  {method:<9}{terminal.fit(gain, 41):<41}{cells}")
    return lines


def _method_lines(tables: Mapping[str, Table]) -> list[str]:
    head = f"{'method (against all reals)':<38}{'fakes':>6}  {'AUC [95 %]':<22}{'cosine':>8}{'conf.':>8}{'in step':>8}"
    lines = [head]
    for row in tables["methods"].rows:
        auc = with_interval(row["AUC"], row["AUC low"], row["AUC high"])
        lines.append(
            f"{terminal.fit(row['Method'], 37):<38}{row['Fakes'] or '':>6}  {auc:<22}"
            f"{number(row['Similarity']):>8}{number(row['Confidence']):>8}{number(row['In step']):>8}"
        )
    return lines
