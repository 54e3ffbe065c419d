"""The declared comparisons: families of claims from a config, and the detectors that each claim means."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.analysis.detectors import Detector, clips_of
from experiments.score_table import ScoreRow
from mmdf_jax.metrics import calibration, classification
from mmdf_jax.tasks.detection import TARGETS, judged_label

ALL_PAIRS = "all pairs"
# {name of a metric: (the metric, whether more of it is better)}
METRICS = {"auc": (classification.auc, True), "brier": (calibration.brier, False)}


@dataclasses.dataclass(frozen=True)
class Side:
    """Names of detectors, of which the best on validation is meant, and the column of their score tables.

    called: what tables and sentences call it, its detector's name by default.
    """

    of: tuple[str, ...]
    column: str = "score"
    called: str = ""

    def __str__(self) -> str:
        return self.called or (self.of[0] if len(self.of) == 1 else f"the best of {len(self.of)}")


@dataclasses.dataclass(frozen=True)
class Family:
    """Claims that answer one question: pairs of sides, the first of which is said to be better.

    label: the column that all are judged by. methods: fakes of these count, against all reals; of all methods if empty.
    declared: whether the claims stood before anything was computed.
    """

    name: str
    question: str
    claims: tuple[tuple[Side, Side], ...]
    label: str = "label"
    methods: tuple[str, ...] = ()
    metric: str = "auc"
    declared: bool = True

    def labels(self, clips: Sequence[ScoreRow]) -> np.ndarray:
        """The label of each clip [n], -1 where it does not belong to this family."""
        found = np.array([judged_label(clip, self.label) for clip in clips], int)
        if self.methods:
            belongs = [clip.label == 0 or clip.method in self.methods for clip in clips]
            found = np.where(belongs, found, -1)
        return found


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A side as it is: a detector and a column of its tables. among: how many it was chosen from."""

    detector: Detector
    column: str
    called: str
    among: int = 1

    @property
    def name(self) -> str:
        """What a table calls it."""
        return self.called or self.detector.name


def read(config: Mapping[str, Any]) -> list[Family]:
    """The families of a config's `families`.

    Raises:
      ValueError: `config.families[i]…`: what is wrong.
    """
    found = [_family(spec, f"config.families[{i}]") for i, spec in enumerate(config["families"])]
    names = [family.name for family in found]
    if twice := {name for name in (*names, ALL_PAIRS) if [*names, ALL_PAIRS].count(name) > 1}:
        raise ValueError(f"config.families: the name {sorted(twice)[0]!r} is taken twice; choose another")
    return found


def _family(spec: Mapping[str, Any], where: str) -> Family:
    known = ("name", "question", "label", "methods", "metric", "claims")
    if not isinstance(spec, Mapping) or set(spec) != set(known):
        raise ValueError(f"{where}: expected an object with {', '.join(known)}, found {', '.join(spec) or 'nothing'}")
    if spec["label"] not in TARGETS:
        raise ValueError(f"{where}.label={spec['label']!r}: expected one of {', '.join(TARGETS)}")
    if spec["metric"] not in METRICS:
        raise ValueError(f"{where}.metric={spec['metric']!r}: expected one of {', '.join(METRICS)}")
    if not spec["claims"]:
        raise ValueError(f"{where}.claims: expected a claim or more, found none")
    pairs = tuple(_claim(claim, f"{where}.claims[{i}]") for i, claim in enumerate(spec["claims"]))
    return Family(spec["name"], spec["question"], pairs, spec["label"], tuple(spec["methods"]), spec["metric"])


def _claim(spec: Any, where: str) -> tuple[Side, Side]:
    if not isinstance(spec, Mapping) or set(spec) != {"better", "than"}:
        raise ValueError(f"{where}: expected an object with better and than")
    better, than = (_side(spec[key], f"{where}.{key}") for key in ("better", "than"))
    return better, than


def _side(spec: Any, where: str) -> Side:
    if not isinstance(spec, Mapping) or not set(spec) <= {"of", "column", "called"} or not spec.get("of"):
        raise ValueError(f"{where}: expected of (names of detectors) and perhaps column and called")
    if isinstance(spec["of"], str):
        raise ValueError(f"{where}.of={spec['of']!r}: expected a list of names")
    side = Side(tuple(spec["of"]), spec.get("column", "score"), spec.get("called", ""))
    if side.column != "score" and not side.called:
        raise ValueError(f"{where}.called: expected a name for the column {side.column}")
    return side


def all_pairs(detectors: Sequence[Detector]) -> Family:
    """Every detector against every other by the clip's label, which nobody has declared."""
    pairs = itertools.combinations([Side((one.name,)) for one in detectors], 2)
    return Family(ALL_PAIRS, "Which detectors differ at all?", tuple(pairs), declared=False)


def choose(
    side: Side, family: Family, detectors: Sequence[Detector], unread: Mapping[str, str] | None = None
) -> Chosen | str:
    """What a side means: of several detectors the best on validation by the family's clips, label and metric.

    unread: {detector that is not among `detectors`: why}. A string says why there is none.
    """
    there = {one.name: one for one in detectors}
    if not (found := [there[name] for name in side.of if name in there]):
        reasons = [f"{name}: {unread[name]}" for name in side.of if name in (unread or {})]
        because = f" ({'; '.join(reasons[:3])})" if reasons else ""
        return f"no detector {' or '.join(side.of[:3])}{' or …' if len(side.of) > 3 else ''}{because}"
    if not (found := [one for one in found if one.has(side.column)]):
        return f"no column {side.column} in the tables of {', '.join(side.of)}"
    if len(found) == 1:
        return Chosen(found[0], side.column, side.called)
    values = {one.name: _on_validation(one, side.column, family) for one in found}
    if not (values := {name: value for name, value in values.items() if not np.isnan(value)}):
        return f"no validation to choose the best of {len(found)} on"
    best = max(values, key=values.__getitem__)
    return Chosen(there[best], side.column, side.called, len(values))


def _on_validation(detector: Detector, column: str, family: Family) -> float:
    """The family's metric on validation, its mean over trainings, turned so that more is better; nan if unknown."""
    clips = clips_of([detector], "val")
    labels = family.labels(clips)
    metric, more = METRICS[family.metric]
    found = []
    for values in detector.scores(clips, "val", column):
        known = ~np.isnan(values) & (labels >= 0)
        two = len(set(labels[known].tolist())) == 2
        found.append(metric(labels[known], values[known]) if two else float("nan"))
    return (1 if more else -1) * float(np.mean(found))
