"""From scores to evidence: likelihood ratios of a file's stretches, their interval, and the words of the scale."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments import operating_points, score_table
from experiments.score_table import ScoreRow
from experiments.system_file import Member, System
from mmdf_jax.metrics import calibrators, likelihood
from mmdf_jax.metrics.calibrators import Calibrator, Scaling
from mmdf_jax.tasks.detection import own_label, stream_label

SAMPLES = 200  # resamples of the calibration's people
LEVEL = 0.95
SEED = 0
STREAM_PREFIXES = ("score_", "cue_")  # columns of a multimodal run that answer for one stream


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A likelihood ratio P(evidence | fake) / P(evidence | real), natural logarithms.

    low, high: its interval, nan where `interval_of` says that there is none. bounds: what the size of the calibration
    set supports; the ratio is never beyond them. capped: it lies on one of them.
    """

    llr: float
    low: float
    high: float
    bounds: tuple[float, float]
    interval_of: str

    @property
    def capped(self) -> bool:
        return math.isclose(self.llr, self.bounds[0]) or math.isclose(self.llr, self.bounds[1])

    @property
    def lr(self) -> float:
        return math.exp(self.llr)

    @property
    def words(self) -> tuple[str, str]:
        """The verbal scale's words, and what they favour: fake, real or neither."""
        return likelihood.band(self.lr)


class Scale:
    """A system's scale of evidence, with the scales that other samples of its calibration's people would have given.

    folder: where the system's members are found by their `run`.
    """

    def __init__(self, system: System, folder: pathlib.Path) -> None:
        self.system = system
        self._others, self.interval_of = _resampled(system, folder)

    def llr(self, scores: np.ndarray) -> np.ndarray:
        """log(LR) [n] of the members' scores [n m]; nan where no member has any."""
        return self.system.llr(scores)

    def of_stretches(self, scores: np.ndarray) -> Evidence | None:
        """The evidence that a file is fake in one of its stretches, of which nobody knows which.

        scores [n m]. Each stretch is one clip to the calibration. The ratio is the mean of the stretches' ratios: the
        hypothesis `fake` puts an equal share on each. For one stretch it is that one's. None where nothing is known.
        """
        if np.isnan(self.llr(scores)).all():
            return None
        llr, bounds = mean_llr(self.llr(scores)), self.system.llr_bounds
        if not self._others:
            return Evidence(llr, math.nan, math.nan, bounds, self.interval_of)
        whole = [mean_llr(other.llr(scores)) for other in self._others]
        low, high = np.quantile(whole, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Evidence(llr, min(float(low), llr), max(float(high), llr), bounds, self.interval_of)

    def probability(self, scores: np.ndarray) -> float:
        """P(fake) of a file at the calibration set's own share of fakes, without bounds; for the thresholds."""
        llr = mean_llr(likelihood.log_lr(self.system.probability(scores), self.system.prior))
        return float(likelihood.probability(llr, self.system.prior))


def mean_llr(llr: np.ndarray) -> float:
    """log(mean(exp(llr))) of those [n] that are known."""
    known = llr[~np.isnan(llr)]
    return float(np.logaddexp.reduce(known) - math.log(len(known))) if len(known) else math.nan


def _resampled(system: System, folder: pathlib.Path) -> tuple[list[System], str]:
    """The system as other people in its calibration set would have made it, weights kept; and what that is, in words.

    Identities are drawn with replacement, and every calibration that was fitted is fitted again.
    """
    tables = []
    for member in system.members:
        path = folder / member.run / "scores" / "val.csv"
        if not member.run or not path.is_file():
            return [], f"no interval: the validation scores of {member.name} are not beside the system"
        tables.append({row.clip_id: row for row in score_table.read(path)})
    rows = [[table.get(clip) for table in tables] for clip in dict.fromkeys(clip for table in tables for clip in table)]
    rows = [row for row in rows if any(one is not None and not math.isnan(_column(one, "label")) for one in row)]
    scores, labels = (np.full((len(rows), len(tables)), np.nan) for _ in range(2))
    for i, row in enumerate(rows):
        for j, (one, member) in enumerate(zip(row, system.members, strict=True)):
            if one is not None:
                scores[i, j], labels[i, j] = _column(one, member.column), _label(one, member)
    first = [next(one for one in row if one is not None) for row in rows]
    joint = np.array([one.label for one in first])
    people = np.unique([repr(one.group) for one in first], return_inverse=True)[1]
    of_person = [np.flatnonzero(people == person) for person in range(people.max(initial=-1) + 1)]
    rng, found = np.random.default_rng(SEED), []
    for _ in range(SAMPLES):
        drawn = np.concatenate([of_person[i] for i in rng.integers(len(of_person), size=len(of_person))])
        try:
            found.append(_again(system, scores[drawn], labels[drawn], joint[drawn]))
        except ValueError:  # one class only
            continue
    if len(found) < SAMPLES / 2:
        return [], "no interval: too few people in the calibration set"
    return found, f"{LEVEL:.0%} bootstrap over the {len(of_person)} people of the calibration, weights kept"


def _again(system: System, scores: np.ndarray, labels: np.ndarray, joint: np.ndarray) -> System:
    members = []
    for j, member in enumerate(system.members):
        known = ~np.isnan(scores[:, j]) & (labels[:, j] >= 0)
        fitted = _refitted(member.calibration, labels[known, j], scores[known, j])
        members.append(dataclasses.replace(member, calibration=fitted))
    other = dataclasses.replace(system, members=tuple(members), prior=float(joint.mean()))
    fused = other.fused(scores)
    known = ~np.isnan(fused)
    return dataclasses.replace(other, calibration=_refitted(system.calibration, joint[known], fused[known]))


def _refitted(calibrator: Calibrator, labels: np.ndarray, scores: np.ndarray) -> Calibrator:
    if calibrator == Scaling():  # the identity: nothing was fitted
        return calibrator
    method = "platt" if isinstance(calibrator, Scaling) and calibrator.bias else "temperature"
    return calibrators.fit(method if isinstance(calibrator, Scaling) else "isotonic", labels, scores)


def _column(row: ScoreRow, name: str) -> float:
    value = getattr(row, name) if name in ("score", "label") else row.extra.get(name, math.nan)
    return float(value) if isinstance(value, int | float) else math.nan


def _label(row: ScoreRow, member: Member) -> int:
    return own_label(row, member.label, member.compares)


@dataclasses.dataclass(frozen=True)
class StreamScale:
    """How a column of a run, which answers for one stream, is read as evidence."""

    stream: str
    column: str
    calibrator: Calibrator
    prior: float
    bounds: tuple[float, float]

    def evidence(self, scores: Sequence[float]) -> Evidence | None:
        """Of the stretches' scores [n], nan where unknown."""
        known = np.array([score for score in scores if not math.isnan(score)])
        if not len(known):
            return None
        llr = np.clip(likelihood.log_lr(self.calibrator(known), self.prior), *self.bounds)
        return Evidence(mean_llr(llr), math.nan, math.nan, self.bounds, "no interval")


def stream_scales(run: pathlib.Path, columns: Sequence[str], streams: Sequence[str]) -> list[StreamScale]:
    """The scales of a run's columns that answer for one stream alone, as its validation scores calibrate them.

    streams: that the run reads; of one that reads a single stream, it is `score`. A column whose validation has one
    class only, or too few people, is left out.
    """
    path = run / "scores" / "val.csv"
    wanted = {name: name.partition("_")[2] for name in columns if name.startswith(STREAM_PREFIXES)}
    if len(streams) == 1 and "score" in columns:
        wanted = {"score": streams[0]}
    if not wanted or not path.is_file():
        return []
    rows, found = [row for row in score_table.read(path) if row.ok], []
    for column, stream in wanted.items():
        judged = [(stream_label(stream, vars(row)), _column(row, column), row.group) for row in rows]
        judged = [one for one in judged if one[0] in (0, 1) and not math.isnan(one[1])]
        labels, scores, groups = zip(*judged, strict=True) if judged else ((), (), ())
        try:
            fit, limits = operating_points.calibrate(np.array(labels), np.array(scores), groups)
        except ValueError:
            continue
        found.append(StreamScale(stream, column, fit.calibrator, limits.prior, limits.llr_bounds))
    return found
