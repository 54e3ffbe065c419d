"""Choosing among detectors: best single one, greedy forward selection, best set under a budget; and what it overfits.

Every choice minimises the same loss: what is left of the cross-entropy of the fused score, cross-fitted over
identities, after its best scaling (two numbers, for every set alike: a system calibrates its fused score anyway, and
no set should win by being nearer to calibrated by luck). All detectors of `data` are candidates, also those that
compare streams. A clip that none of a set has scored is given the share of fakes.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mmdf_jax.fusion import late
from mmdf_jax.fusion.late import Data
from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.calibration import log_loss
from mmdf_jax.stats.groups import folds

MEANS = ("soft", "log_pool")  # a detector taken twice counts double here
CHOSEN_BY = {"weighted": "soft"}  # sets for a weighted mean are compared by their plain one, which needs no fit
FOLDS = 4  # of identities, while sets are compared
PENALTY = 0.1  # of weights while sets are compared; that of the set chosen is cross-fitted
SUBSETS = 4096  # as many sets are compared one by one; of more, a greedy search sees some
FITTED_SUBSETS = 64  # the same where weights are fitted to each set, which takes far longer
LEAST_GAIN = 1e-4  # nats a clip that are worth another detector
ROUNDING = 1e-9  # nats: sets that differ by less are equal

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
    return _forward(_Loss(data, ensemble), np.zeros(len(data.names)), 0.0, most, again=ensemble in MEANS)


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
    if not costs.min() <= budget:
        name = data.names[int(costs.argmin())]
        raise ValueError(f"no detector fits the budget of {budget:g}: the cheapest, {name}, costs {costs.min():g}")
    loss, fits = _Loss(data, ensemble), np.flatnonzero(costs <= budget)
    if 2 ** len(fits) > (FITTED_SUBSETS if loss.ensemble in late.WEIGHTS else SUBSETS):
        return _forward(loss, costs, budget, most=m, again=False)
    sets = itertools.chain.from_iterable(itertools.combinations(fits.tolist(), k) for k in range(1, len(fits) + 1))
    return loss.least(each for each in sets if costs[list(each)].sum() <= budget)[0]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A selection and what it is worth; the difference between naive and nested is what the choice overfits.

    chosen: the indices that all clips together choose. naive [n]: calibrated fused scores of that set, whose
    calibrations and weights never saw the identity that they score; but the choice did. nested [n]: the choice did
    not either. without: the choice of each fold, which says how stable it is.

    On pure noise the AUC of cross-fitted scores lies below one half, not at it: what was fitted without a fold leans
    away from it (Parker, Günter & Bedo 2007). The log-loss then exceeds that of the share of fakes a little.
    """

    chosen: tuple[int, ...]
    naive: np.ndarray
    nested: np.ndarray
    without: tuple[tuple[int, ...], ...]


def nested(select: Select, data: Data, ensemble: str) -> Choice:
    """Nested cross-validation over identities of `select`, one of this file's functions or any (data, ensemble) -> set.

    Raises:
      ValueError: fewer than three identities: one is held out, and the choice needs two.
    """
    if (people := len(np.unique(data.groups))) < 3:
        raise ValueError(f"nested selection needs clips of three identities or more on validation, found {people}")
    chosen = select(data, ensemble)
    held_out = folds(data.groups)
    without = tuple(select(data.take(~fold), ensemble) for fold in held_out)
    naive, strict = np.zeros(len(data.labels)), np.zeros(len(data.labels))
    for fold, its in zip(held_out, without, strict=True):
        naive[fold] = fit(data.take(~fold), ensemble, chosen)(data.scores[fold])
        same = its == chosen
        strict[fold] = naive[fold] if same else fit(data.take(~fold), ensemble, its)(data.scores[fold])
    return Choice(chosen, naive, strict, without)


def fit(data: Data, ensemble: str, chosen: Sequence[int]) -> Callable[[np.ndarray], np.ndarray]:
    """The ensemble of the detectors `chosen`, calibrated: scores [n m] of all detectors to probabilities [n]."""
    part = _candidates(data).only(chosen)
    penalty = late.chosen_penalty(ensemble, part)
    fusion = late.fit(ensemble, part, penalty)
    calibrator = _scaling(data.labels, late.cross_fitted(ensemble, part, penalty))
    return lambda scores: _calibrated(calibrator, fusion.apply(scores[:, list(chosen)]), data.labels)


def _candidates(data: Data) -> Data:
    """All detectors may enter any ensemble."""
    return dataclasses.replace(data, compares=(False,) * len(data.names))


def _scaling(labels: np.ndarray, fused: np.ndarray) -> calibrators.Calibrator:
    known = ~np.isnan(fused)
    if len(set(labels[known].tolist())) < 2:
        return calibrators.constant(labels)
    return calibrators.fit("platt", labels[known], fused[known])


def _calibrated(calibrator: calibrators.Calibrator, fused: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(fused), calibrators.constant(labels)(0.5), calibrator(fused))


class _Loss:
    """The loss of a set of detectors; what no set changes (folds, calibrations) is done once."""

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
            fused = late.combine(self.ensemble, table, np.zeros(0))
        return log_loss(labels, _calibrated(_scaling(labels, fused), fused, labels))

    def least(self, sets: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], float]:
        """The set with the least loss, the first of equal ones, and its loss; () and inf of no sets."""
        best, lowest = (), np.inf
        for columns in sets:
            if (loss := self(columns)) < lowest - ROUNDING:
                best, lowest = columns, loss
        return best, lowest


def _forward(loss: _Loss, costs: np.ndarray, budget: float, most: int, *, again: bool) -> tuple[int, ...]:
    """Adds the best detector while the loss falls and the sum of costs stays within the budget."""
    chosen: tuple[int, ...] = ()
    lowest = np.inf
    while len(chosen) < most:
        left = budget - costs[list(chosen)].sum()
        sets = [(*chosen, i) for i in range(len(costs)) if costs[i] <= left and (again or i not in chosen)]
        larger, loss_of_larger = loss.least(sets)
        if loss_of_larger >= lowest - LEAST_GAIN:
            break
        chosen, lowest = larger, loss_of_larger
    return chosen
