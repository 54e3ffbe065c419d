"""Choosing among detectors: the best single one, a greedy selection, the best set under a budget; and what it overfits.

A choice minimises the log-loss of the fused score, cross-fitted over identities, after a refit of its calibration
(Platt's scaling, two numbers). Every set gets that refit, as a system calibrates its fused score anyway. A detector
that says the same of every clip, or that only pulls an overconfident score towards one half, thus gains nothing.

Noise can still gain a little, and a mean may count the same noise many times. So a choice among sets takes detectors
that are clearly better than chance (`better_than_chance`), if there are any. On a validation split of the embedded
dataset a picture encoder of AUC .56 took 7 of 14 places of a log_pool without this rule, and none with it.

All detectors of `data` are candidates, also those that compare streams. While sets are compared, a clip that none of a
set has scored counts with the share of fakes, so that silence gains nothing; the scores themselves stay nan.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mmdf_jax.fusion import late
from mmdf_jax.fusion.late import Data
from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.calibration import log_loss
from mmdf_jax.metrics.classification import auc
from mmdf_jax.stats.groups import folds

MEANS = ("soft", "log_pool")  # a detector taken twice counts double here
CHOSEN_BY = {"weighted": "soft"}  # sets for a weighted mean are compared by their plain mean, which needs no fit
FOLDS = 4  # of identities, while sets are compared
PENALTY = 0.1  # of weights while sets are compared; that of the chosen set is cross-fitted
SUBSETS = 4096  # up to so many sets are compared one by one; among more, a greedy search picks
FITTED_SUBSETS = 64  # the same where weights are fitted to each set, which takes far longer
LEAST_GAIN = 1e-4  # nats a clip: what another detector must gain
BEYOND_CHANCE = 2.0  # standard errors by which an AUC must exceed one half
LEAST_PEOPLE = 3  # of each class: one is held out, one is held out of the rest, and one is left to fit to
ROUNDING = 1e-9  # nats, or a share of the budget: what differs by less is equal

Select = Callable[[Data, str], tuple[int, ...]]


def best_single(data: Data, ensemble: str = "soft") -> tuple[int, ...]:
    """The index of the detector with the least loss, as a set of one."""
    return _Loss(data, ensemble).least((i,) for i in range(len(data.names)))[0]


def greedy(data: Data, ensemble: str, most: int = 20) -> tuple[int, ...]:
    """Forward selection (Caruana et al. 2004): from the best single detector, add the one that lowers the loss most.

    It stops where no detector lowers the loss by LEAST_GAIN, or at `most`. A mean (MEANS) may take a detector again,
    which then counts double; other ensembles take each once.

    Returns:
      The detectors' indices in the order in which they were added.
    """
    candidates = better_than_chance(data, range(len(data.names)))
    return _forward(_Loss(data, ensemble), candidates, lambda _: True, most, again=ensemble in MEANS)


def under_budget(data: Data, ensemble: str, costs: Sequence[float], budget: float) -> tuple[int, ...]:
    """The set with the least loss among those whose costs (milliseconds, parameters, …) sum to `budget` at most.

    All sets are compared where they are SUBSETS or fewer (FITTED_SUBSETS if the ensemble fits weights); else a greedy
    search adds detectors as long as they fit. Of equal sets the smaller one, then the one that comes first.

    Raises:
      ValueError: costs that are not one number of 0 or more per detector, or a budget that not even the cheapest fits.
    """
    costs, m = np.asarray(costs, np.float64), len(data.names)
    if costs.shape != (m,) or not (costs >= 0).all():
        raise ValueError(f"costs must be one number of 0 or more for each of {m} detectors, found {costs.tolist()}")

    def fits(detectors: Sequence[int]) -> bool:
        return bool(costs[list(detectors)].sum() <= budget * (1 + ROUNDING))  # 0.1 + 0.2 fits 0.3

    affordable = [i for i in range(m) if fits([i])]
    if not affordable:
        name = data.names[int(costs.argmin())]
        raise ValueError(f"no detector fits the budget of {budget:g}: the cheapest, {name}, costs {costs.min():g}")
    loss, candidates = _Loss(data, ensemble), better_than_chance(data, affordable)
    if 2 ** len(candidates) > (FITTED_SUBSETS if loss.ensemble in late.WEIGHTS else SUBSETS):
        return _forward(loss, candidates, fits, most=m, again=False)
    sizes = range(1, len(candidates) + 1)
    sets = itertools.chain.from_iterable(itertools.combinations(candidates, size) for size in sizes)
    return loss.least(filter(fits, sets))[0]


def better_than_chance(data: Data, among: Sequence[int]) -> list[int]:
    """Those detectors whose AUC exceeds one half by BEYOND_CHANCE standard errors over identities; all if none does.

    The AUC is of a detector's scores by the label that it answers for. Its standard error is the jackknife's, which
    leaves the sets of identities of `folds` out in turn (Shao & Wu 1989). Where that cannot be computed, because one
    set of identities holds all clips of a class, the detector is not among them.
    """
    return [i for i in among if _exceeds_chance(data, i)] or list(among)


def _exceeds_chance(data: Data, i: int) -> bool:
    known = ~np.isnan(data.scores[:, i]) & (data.own[:, i] >= 0)
    labels, scores, groups = data.own[known, i], data.scores[known, i], data.groups[known]
    if len(np.unique(groups)) < 2:
        return False
    without = np.array([auc(labels[~fold], scores[~fold]) for fold in folds(groups)])
    error = np.sqrt((len(without) - 1) * np.var(without))
    return bool(auc(labels, scores) - 0.5 > BEYOND_CHANCE * error)  # false for nan


@dataclasses.dataclass(frozen=True)
class Fitted:
    """An ensemble of some of m detectors, with the calibration of its fused score.

    Both take scores [n m] of all detectors and give [n], nan where none of the chosen detectors has a score: `fused`
    before the calibration, `probability` after it. weights: of the ensemble, by name; empty where it fits none.
    """

    chosen: tuple[int, ...]
    fusion: late.Fusion
    calibrator: calibrators.Calibrator

    def fused(self, scores: np.ndarray) -> np.ndarray:
        return self.fusion.apply(scores[:, list(self.chosen)])

    def probability(self, scores: np.ndarray) -> np.ndarray:
        return self.calibrator(self.fused(scores))


@dataclasses.dataclass(frozen=True)
class Choice:
    """A selection and what it is worth. What the naive scores gain over the nested ones, the choice has overfitted.

    fitted: the set that all clips together choose, fitted to all clips. naive [n]: calibrated fused scores of that
    set; calibration and weights did not see the identity that they score, but the choice did. nested [n]: the choice
    did not see it either. nested_fused [n]: the nested scores before calibration. without: the choice of each fold,
    which says how stable the choice is. All scores of a clip are nan where no chosen detector has scored it.

    On pure noise the AUC of cross-fitted scores lies below one half, not at it: what was fitted without a fold leans
    away from it (Parker, Günter & Bedo 2007). The log-loss then exceeds that of the share of fakes a little.
    """

    fitted: Fitted
    naive: np.ndarray
    nested: np.ndarray
    nested_fused: np.ndarray
    without: tuple[tuple[int, ...], ...]

    @property
    def chosen(self) -> tuple[int, ...]:
        """The detectors' indices."""
        return self.fitted.chosen


def nested(select: Select, data: Data, ensemble: str) -> Choice:
    """Nested cross-validation over identities of `select`, one of this file's functions or any (data, ensemble) -> set.

    Raises:
      ValueError: as `refuse_too_few_people`.
    """
    refuse_too_few_people(data)
    chosen = select(data, ensemble)
    held_out = folds(data.groups)
    without = tuple(select(data.take(~fold), ensemble) for fold in held_out)
    naive, strict, fused = (np.full(len(data.labels), np.nan) for _ in range(3))
    for fold, its in zip(held_out, without, strict=True):
        inside, scores = data.take(~fold), data.scores[fold]
        of_all = fit(inside, ensemble, chosen)
        of_fold = of_all if its == chosen else fit(inside, ensemble, its)
        naive[fold], strict[fold] = of_all.probability(scores), of_fold.probability(scores)
        fused[fold] = of_fold.fused(scores)
    return Choice(fit(data, ensemble, chosen), naive, strict, fused, without)


def refuse_too_few_people(data: Data) -> None:
    """Raises ValueError where a class has fewer than LEAST_PEOPLE identities, too few for nested cross-validation."""
    for label, kind in ((0, "real"), (1, "fake")):
        if (people := len(np.unique(data.groups[data.labels == label]))) < LEAST_PEOPLE:
            raise ValueError(
                f"nested cross-validation needs real and fake clips of {LEAST_PEOPLE} identities or more each on "
                f"validation, found {kind} clips of {people}"
            )


def fit(data: Data, ensemble: str, chosen: Sequence[int]) -> Fitted:
    """Fits the ensemble of the detectors `chosen`, and the calibration of its cross-fitted score."""
    part = _candidates(data).only(chosen)
    penalty = late.chosen_penalty(ensemble, part)
    calibrator = _scaling(data.labels, late.cross_fitted(ensemble, part, penalty))
    return Fitted(tuple(chosen), late.fit(ensemble, part, penalty), calibrator)


def loss_of_all(labels: np.ndarray, scores: np.ndarray) -> float:
    """The log-loss in nats of P(fake) [n]; a clip without a score counts with the share of fakes among labels [n]."""
    return log_loss(labels, np.where(np.isnan(scores), calibrators.constant(labels)(0.5), scores))


def _candidates(data: Data) -> Data:
    """The same data, in which every detector may enter every ensemble."""
    return dataclasses.replace(data, compares=(False,) * len(data.names))


def _scaling(labels: np.ndarray, fused: np.ndarray) -> calibrators.Calibrator:
    """Platt's scaling of the fused scores [n] that are known."""
    known = ~np.isnan(fused)
    if len(set(labels[known].tolist())) < 2:
        return calibrators.constant(labels)
    return calibrators.fit("platt", labels[known], fused[known])


class _Loss:
    """The loss of a set of detectors. What is the same for every set (folds, calibrations) is computed once."""

    def __init__(self, data: Data, ensemble: str) -> None:
        self.data, self.ensemble = _candidates(data), CHOSEN_BY.get(ensemble, ensemble)
        if ensemble not in late.RULES:
            raise ValueError(f"ensemble {ensemble!r} is not one of {', '.join(late.RULES)}")
        if len(set(data.labels.tolist())) < 2:
            raise ValueError(f"a choice needs real and fake clips, found {len(data.labels)} of one class")
        self.folds, self.table = [], np.zeros(data.scores.shape)
        for held_out in folds(data.groups, FOLDS):
            inside = self.data.take(~held_out)
            scalings = late.calibrations(inside)
            self.table[held_out] = late.apply_calibrations(scalings, data.scores[held_out])
            self.folds.append((held_out, late.calibrated(inside, scalings)))

    def __call__(self, columns: Sequence[int]) -> float:
        labels, table = self.data.labels, self.table[:, columns]
        if self.ensemble in late.WEIGHTS:
            fused = np.full(len(labels), np.nan)
            for held_out, inside in self.folds:
                part = inside.only(columns)
                part = part.take(~np.isnan(part.scores).all(1))
                if len(set(part.labels.tolist())) == 2:  # else there is nothing to fit weights to
                    weights = late.fit_weights(self.ensemble, part, PENALTY)
                    fused[held_out] = late.combine(self.ensemble, table[held_out], weights)
        else:
            fused = late.combine(self.ensemble, table)
        return loss_of_all(labels, _scaling(labels, fused)(fused))

    def least(self, sets: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], float]:
        """The set with the least loss, the first of equal ones, and its loss; () and inf of no sets."""
        best, lowest = (), np.inf
        for columns in sets:
            if (loss := self(columns)) < lowest - ROUNDING:
                best, lowest = columns, loss
        return best, lowest


def _forward(
    loss: _Loss, candidates: Sequence[int], fits: Callable[[Sequence[int]], bool], most: int, *, again: bool
) -> tuple[int, ...]:
    """Adds the best of the candidates while the loss falls and the larger set fits."""
    chosen: tuple[int, ...] = ()
    lowest = np.inf
    while len(chosen) < most:
        larger = [(*chosen, i) for i in candidates if again or i not in chosen]
        best, loss_of_best = loss.least(filter(fits, larger))
        if loss_of_best >= lowest - LEAST_GAIN:
            break
        chosen, lowest = best, loss_of_best
    return chosen
