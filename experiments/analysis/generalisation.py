"""How far quality carries: AUC by method, on every other dataset that was scored, and on methods that were left out."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.analysis.detectors import SPLITS, Detector, clips_of
from experiments.evaluators.classification import method_of
from experiments.evaluators.comparison import p_value
from experiments.report.terminal import with_interval
from experiments.score_table import ScoreRow
from mmdf_jax.metrics import classification
from mmdf_jax.stats.bayes import signed_rank
from mmdf_jax.stats.bootstrap import interval
from mmdf_jax.stats.corrections import holm
from mmdf_jax.stats.effects import rank_biserial
from mmdf_jax.stats.paired_tests import Friedman, friedman, wilcoxon

COLUMNS = (
    *("Kind", "Detector", "Run", "Of", "Held out", "Clip AUC", "Clip AUC low", "Clip AUC high"),
    *("Clips", "Fakes", "Identities", "Coverage"),
)
RANK_COLUMNS = (
    *("Detector", "Other", "Datasets", "Mean rank", "Mean rank of other", "Wilcoxon p", "Holm p", "Rank-biserial"),
    *("P(worse)", "P(practically equal)", "P(better)"),
)
METHOD, DATASET, DEGRADED, LEFT_OUT = "method", "dataset", "degraded", "left-out method"
_DEGRADED = "-degraded"  # how experiments.evaluate ends the name of a table of clips that were made worse
_WITHOUT = re.compile(r"(.+)-without-(.+)")


def compared(detectors: Sequence[Detector]) -> list[Detector]:
    """The detectors but for those that were trained without a method, which no claim is about."""
    lacking = without(detectors)
    return [one for one in detectors if not one.held_out and one.name not in lacking]


def without(detectors: Sequence[Detector]) -> dict[str, tuple[str, str]]:
    """{`<name>-without-<method>`: (name, method)} of the detectors that have not seen a method of the test clips."""
    known = methods(clips_of(detectors))
    found = {one.name: _WITHOUT.fullmatch(one.name) for one in detectors}
    return {name: (match[1], match[2]) for name, match in found.items() if match and match[2] in known}


def own_split(table: str) -> bool:
    """Whether a table is of the data that its detector was trained on, as it is (`test`) or made worse (`test-still`).

    All other tables are of other datasets, as experiments.evaluate names them: `<dataset>-<split>`.
    """
    return table.partition("-")[0] in SPLITS


def rows(detectors: Sequence[Detector], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row with COLUMNS for each detector and method, dataset or left-out method, by the clip's label.

    A method's fakes stand against all reals. Further tables are of other datasets, held out as a whole, or of degraded
    clips. A detector `<name>-without-<method>` has not seen that method; a row for it follows, and one for `<name>`.
    """
    clips = clips_of(detectors)
    found = []
    for detector in compared(detectors):
        for method in methods(clips):
            found.append(_row(METHOD, detector, "test", method, _against_reals(clips, method), False, config))
    for table in ("test", *_further(detectors)):
        worse = table.endswith(_DEGRADED) or (own_split(table) and table != "test")
        others, kind = clips_of(detectors, table), DEGRADED if worse else DATASET
        for detector in compared(detectors):
            if any(table in one for one in detector.tables):
                found.append(_row(kind, detector, table, table, others, not own_split(table), config))
    by_name = {one.name: one for one in detectors}
    for name, (whole, method) in without(detectors).items():
        some = _against_reals(clips, method)
        found.append(_row(LEFT_OUT, by_name[name], "test", method, some, True, config))
        if whole in by_name:
            found.append(_row(LEFT_OUT, by_name[whole], "test", method, some, False, config))
    return found


def worst_left_out(table: Sequence[Mapping[str, Any]]) -> str:
    """Which detector tells the fakes of its left-out method worst, in a sentence; "" where no method was left out."""
    rows = [row for row in table if row["Kind"] == LEFT_OUT and not math.isnan(row["Clip AUC"])]
    unseen = [row for row in rows if row["Held out"] == "yes"]
    if not unseen:
        return ""
    worst = min(unseen, key=lambda row: row["Clip AUC"])
    name = _WITHOUT.fullmatch(worst["Detector"])[1]
    seen = [row for row in rows if (row["Detector"], row["Of"]) == (name, worst["Of"])]
    beside = f"; trained on it, it has {_with_interval(seen[0])}" if seen else ""
    return f"Worst without a method in training: {name} on {worst['Of']}, clip AUC {_with_interval(worst)}{beside}."


def _with_interval(row: Mapping[str, Any]) -> str:
    return with_interval(row["Clip AUC"], row["Clip AUC low"], row["Clip AUC high"])


def methods(clips: Sequence[ScoreRow]) -> list[str]:
    """The methods of the fakes, in order of name."""
    return sorted({method_of(clip) for clip in clips if clip.label == 1})


def _against_reals(clips: Sequence[ScoreRow], method: str) -> list[ScoreRow]:
    return [clip for clip in clips if clip.label == 0 or method_of(clip) == method]


def _further(detectors: Sequence[Detector]) -> list[str]:
    return sorted({name for detector in detectors for one in detector.tables for name in one} - set(SPLITS))


def _row(
    kind: str,
    detector: Detector,
    table: str,
    of: str,
    clips: Sequence[ScoreRow],
    held_out: bool,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """AUC of one training, with its interval: the best on validation, else the first that has the table."""
    scored = [table in one for one in detector.tables]
    training = detector.best if scored[detector.best] else scored.index(True)
    labels = np.array([clip.label for clip in clips], int)
    values = detector.scores(clips, table, missing=config["missing"])[training]
    known = ~np.isnan(values)
    groups = [clip.group for clip, has in zip(clips, known, strict=True) if has]
    sure = {"samples": config["bootstrap"], "level": 1 - config["alpha"]}
    auc = interval(classification.auc, labels[known], values[known], groups, **sure)
    return {
        "Kind": kind,
        "Detector": detector.name,
        "Run": detector.runs[training],
        "Of": of,
        "Held out": "yes" if held_out else "no",
        "Clip AUC": auc.value,
        "Clip AUC low": auc.low,
        "Clip AUC high": auc.high,
        "Clips": int(known.sum()),
        "Fakes": int(labels[known].sum()),
        "Identities": auc.groups,
        "Coverage": float(known.mean()) if len(known) else math.nan,
    }


def matrix(table: Sequence[Mapping[str, Any]], kind: str) -> tuple[list[str], list[str], np.ndarray]:
    """(detectors [r], methods or datasets [c], AUC [r c]) of the rows of a kind, nan where there is none."""
    own = [row for row in table if row["Kind"] == kind]
    names = list(dict.fromkeys(row["Detector"] for row in own))
    of = list(dict.fromkeys(row["Of"] for row in own))
    values = np.full((len(names), len(of)), np.nan)
    for row in own:
        values[names.index(row["Detector"]), of.index(row["Of"])] = row["Clip AUC"]
    return names, of, values


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Detectors compared over datasets: names [m], Friedman's test, and a row with RANK_COLUMNS of each pair.

    without: the detectors that were not scored on all of these datasets.
    """

    names: Sequence[str]
    without: Sequence[str]
    datasets: int
    friedman: Friedman
    rows: Sequence[Mapping[str, Any]]

    def apart(self, alpha: float) -> np.ndarray:
        """Whether the corrected test of a pair tells the two apart [m m]."""
        found = np.zeros((len(self.names), len(self.names)), bool)
        for row in self.rows:
            i, j = (self.names.index(row[which]) for which in ("Detector", "Other"))
            found[i, j] = found[j, i] = row["Holm p"] < alpha
        return found

    def __str__(self) -> str:
        test = self.friedman
        return (
            f"Over {self.datasets} datasets Friedman's chi-squared is {test.chi2:.2f} (p {p_value(test.p)}), Iman and "
            f"Davenport's F {test.f:.2f} (p {p_value(test.f_p)})."
            + (f" Not scored on all of them, and left out: {', '.join(self.without)}." if self.without else "")
        )


def ranks(table: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> Ranks | None:
    """The comparison over datasets of the detectors that were scored on them all; None with fewer datasets than asked.

    Pairs are compared by Wilcoxon's signed ranks with Holm's correction, which does not depend on the other detectors
    as Nemenyi's test does (Benavoli, Corani & Mangili 2016), and by the Bayesian signed-rank test.
    """
    every, _, values = matrix(table, DATASET)
    rows, columns = shared(values, config["least_datasets"])
    if len(columns) < config["least_datasets"]:
        return None
    names, values = [every[i] for i in rows], values[np.ix_(rows, columns)]
    found = friedman(values.T)
    pairs = list(itertools.combinations(range(len(names)), 2))
    p = [wilcoxon(values[i], values[j], "pratt").p for i, j in pairs]
    compared_pairs = []
    for (i, j), single, adjusted in zip(pairs, p, holm(p).tolist(), strict=True):
        worse, equal, better = signed_rank(values[i], values[j], config["rope"]["auc"])
        row = {"Detector": names[i], "Other": names[j], "Datasets": len(columns)}
        row |= {"Mean rank": float(found.ranks[i]), "Mean rank of other": float(found.ranks[j])}
        row |= {"Wilcoxon p": single, "Holm p": adjusted, "Rank-biserial": rank_biserial(values[i], values[j], "pratt")}
        compared_pairs.append(row | {"P(worse)": worse, "P(practically equal)": equal, "P(better)": better})
    return Ranks(names, [name for name in every if name not in names], len(columns), found, compared_pairs)


def shared(values: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """The detectors and the datasets of a matrix [r c] that has no gap between them, as indices; two detectors or more.

    Of the sets of datasets that detectors were scored on, it is one of `least` datasets or more if there is any, then
    the one that leaves most cells. Both are empty where no two detectors share a dataset.
    """
    known, best = ~np.isnan(values), (np.zeros(0, int), np.zeros(0, int))
    for columns in known:
        rows = known[:, columns].all(1)
        found = (np.flatnonzero(rows), np.flatnonzero(columns))
        sizes = [(len(of) >= least, len(among) * len(of)) for among, of in (found, best)]
        if len(found[0]) > 1 and len(found[1]) and sizes[0] > sizes[1]:
            best = found
    return best
