"""From scores to evidence: likelihood ratios of a file's stretches, their interval, and the words of the scale."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments import operating_points, score_table
from experiments.score_table import ScoreRow
from experiments.system_file import System
from mmdf_jax.metrics import calibrators, likelihood
from mmdf_jax.metrics.calibrators import Calibrator, Scaling
from mmdf_jax.stats.groups import folds
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

    folder: of the system, or of the run that it is made of, with the validation scores of its calibration.
    """

    def __init__(self, system: System, folder: pathlib.Path) -> None:
        self.system = system
        try:
            self._others, people = _resampled(system, folder)
            self.interval_of = (
                f"{LEVEL:.0%} bootstrap over the {people} people of the calibration: its last fit and its bounds are "
                "made anew, members and weights are kept"
            )
        except (ValueError, OSError) as error:
            self._others, self.interval_of = [], f"no interval: {error}"

    def llr(self, scores: np.ndarray) -> np.ndarray:
        """log(LR) [n] of the members' scores [n m]; nan where no member has any."""
        return self.system.llr(scores)

    def of_stretches(self, scores: np.ndarray) -> Evidence | None:
        """The evidence that a file is fake in one of its stretches, of which nobody knows which.

        scores [n m]. Each stretch is one clip to the calibration. The ratio is the mean of the stretches' ratios: the
        hypothesis `fake` puts an equal share on each. For one stretch it is that one's. Its interval is that of the
        same mean, each time by the calibration of other people. None where nothing is known.
        """
        if np.isnan(self.llr(scores)).all():
            return None
        llr, bounds = mean_llr(self.llr(scores)), self.system.llr_bounds
        if not self._others:
            return Evidence(llr, math.nan, math.nan, bounds, self.interval_of)
        whole = [mean_llr(other.llr(scores)) for other in self._others]
        low, high = np.clip(np.quantile(whole, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]), *bounds)
        return Evidence(llr, min(float(low), llr), max(float(high), llr), bounds, self.interval_of)

    def probability(self, scores: np.ndarray) -> float:
        """P(fake) of a file at the calibration set's own share of fakes, without bounds; for the thresholds."""
        llr = mean_llr(likelihood.log_lr(self.system.probability(scores), self.system.prior))
        return float(likelihood.probability(llr, self.system.prior))


def mean_llr(llr: np.ndarray) -> float:
    """log(mean(exp(llr))) of those [n] that are known."""
    known = llr[~np.isnan(llr)]
    return float(np.logaddexp.reduce(known) - math.log(len(known))) if len(known) else math.nan


def _resampled(system: System, folder: pathlib.Path) -> tuple[list[System], int]:
    """The system with the calibrations that other people in validation would have given it; and how many there are.

    The last calibration is drawn anew: of a system, that of its fused score; of a run, that of its own. It is fitted
    again to the scores that it was fitted to, which are held out of all that was fitted before it. Identities are drawn
    with replacement.

    Raises:
      ValueError, OSError: these scores are not there, or are others, or of too few people; the reason.
    """
    (member, *_), path = system.members, folder / "scores" / "val.csv"
    of_run = member.run == "."
    if not path.is_file():
        raise ValueError("the validation scores of the calibration are not beside the system")
    rows = score_table.read(path)
    scores = np.array([_column(row, member.column if of_run else "uncalibrated") for row in rows])
    labels = np.array([own_label(row, member.label, member.compares) if of_run else row.label for row in rows])
    known = ~np.isnan(scores) & (labels >= 0)
    scores, labels, calibrator = scores[known], labels[known], member.calibration if of_run else system.calibration
    people = np.unique([repr(row.group) for row, has in zip(rows, known, strict=True) if has], return_inverse=True)[1]
    if not len(scores) or not _alike(_refitted(calibrator, labels, scores), calibrator):
        raise ValueError(f"{path} does not hold the scores that the system was calibrated on")
    of_person = [np.flatnonzero(people == person) for person in range(people.max() + 1)]
    rng, found = np.random.default_rng(SEED), []
    for _ in range(SAMPLES):
        drawn = [of_person[i] for i in rng.integers(len(of_person), size=len(of_person))]
        copies = np.repeat(np.arange(len(drawn)), list(map(len, drawn)))  # somebody drawn twice counts as two
        rows_drawn = np.concatenate(drawn)
        with contextlib.suppress(ValueError):  # one class only, or one person, perhaps without a fold
            found.append(_again(system, calibrator, labels[rows_drawn], scores[rows_drawn], people[rows_drawn], copies))
    if len(found) < SAMPLES / 2:
        raise ValueError(f"too few people in the calibration set, {len(of_person)}")
    return found, len(of_person)


def _again(
    system: System,
    calibrator: Calibrator,
    labels: np.ndarray,
    scores: np.ndarray,
    people: np.ndarray,
    copies: np.ndarray,
) -> System:
    """The system as these clips calibrate it.

    people [n]: identities, which cross-fitting holds out; copies [n]: what counts as one of them.

    Raises:
      ValueError: one class only, or fewer than two identities.
    """
    fitted, held_out, prior = _refitted(calibrator, labels, scores), np.zeros(len(scores)), float(labels.mean())
    for fold in folds(people):
        held_out[fold] = _refitted(calibrator, labels[~fold], scores[~fold])(scores[fold])
    bounds = likelihood.bounds(labels, likelihood.log_lr(held_out, prior), copies.tolist())
    if system.members[0].run == ".":
        members = (dataclasses.replace(system.members[0], calibration=fitted),)
        return dataclasses.replace(system, prior=prior, llr_bounds=bounds, members=members)
    return dataclasses.replace(system, prior=prior, llr_bounds=bounds, calibration=fitted)


def _refitted(calibrator: Calibrator, labels: np.ndarray, scores: np.ndarray) -> Calibrator:
    """A calibrator of the same kind, fitted to these clips."""
    method = "platt" if isinstance(calibrator, Scaling) and calibrator.bias else "temperature"
    return calibrators.fit(method if isinstance(calibrator, Scaling) else "isotonic", labels, scores)


def _alike(a: Calibrator, b: Calibrator) -> bool:
    """Whether two calibrators are the same, but for the last digits of a fit."""
    scores = np.linspace(0.01, 0.99, 25)
    return np.allclose(a(scores), b(scores), atol=1e-6)


def _column(row: ScoreRow, name: str) -> float:
    value = getattr(row, name) if name in ("score", "label") else row.extra.get(name, math.nan)
    return float(value) if isinstance(value, int | float) else math.nan


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
