"""Late fusion: the scores of several detectors to one, in numpy, fitted on validation and applied to anything.

A clip is fake if any of its streams is. So "fake" is an *or* of what the detectors answer for, and a majority of them
cannot find a clip of which one stream is fake; `noisy_or` can.

A score is P(fake) in [0, 1]; nan where that detector abstained from the clip. It then has no vote and no weight there:
means are over the detectors that remain, and a product leaves its factor out. A clip that no detector has scored has no
fused score.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.calibrators import Scaling, constant, logit, sigmoid
from mmdf_jax.metrics.classification import threshold_for
from mmdf_jax.stats.groups import folds

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of squared weights, beside the mean cross-entropy in nats
MAX_PARAMETERS = 5  # of the meta-classifier: a validation split is a few people
EPSILON = 1e-6
VOTES = ("majority", "any_of")  # their scores are verdicts, 0 or 1
WITH_COMPARISONS = "_sync"  # ends the name of a fusion that also takes the detectors which compare streams


@dataclasses.dataclass(frozen=True)
class Data:
    """What n clips are and what m detectors say of them.

    names: of the detectors. scores [n m] in [0, 1], nan where missing. own [n m]: the label that each detector answers
    for, 0 or 1, or -1 where the clip says nothing about it. labels [n]: the clip's, 0 or 1. groups [n]: identities,
    which cross-fitting holds out whole. compares: of each detector, whether it compares streams (lip-sync) and is thus
    no detector of a single one.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    own: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    compares: tuple[bool, ...]

    def take(self, rows: np.ndarray) -> "Data":
        """These rows, as indices or as a mask."""
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[rows] for name in ("scores", "own", "labels", "groups")},
        )

    def only(self, columns: Sequence[int]) -> "Data":
        """These detectors."""
        return dataclasses.replace(
            self,
            scores=self.scores[:, columns],
            own=self.own[:, columns],
            names=tuple(self.names[i] for i in columns),
            compares=tuple(self.compares[i] for i in columns),
        )


@dataclasses.dataclass(frozen=True)
class Fusion:
    """A fitted fusion: `apply` turns scores [n m] into [n]; `weights` are what it fitted, by name."""

    apply: Callable[[np.ndarray], np.ndarray]
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)


# Rules without parameters: [n m] -> [n]


def mean(scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean of the scores that are there, weighted by `weights [m]`."""
    weights = np.ones(scores.shape[1]) if weights is None else weights
    present = ~np.isnan(scores) * weights
    with np.errstate(invalid="ignore"):
        return (np.nan_to_num(scores) * present).sum(1) / present.sum(1)


def maximum(scores: np.ndarray) -> np.ndarray:
    """The highest of the scores that are there."""
    return _where_any(scores, np.nan_to_num(scores).max(1))


def noisy_or(scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """1 - Π(1 - wᵢ pᵢ): P(any is fake) of independent causes, the i-th of which shows with probability wᵢ (Pearl 1988).

    weights [m] in [0, 1]; 1 if none are given.
    """
    weights = np.ones(scores.shape[1]) if weights is None else weights
    return _where_any(scores, 1 - np.prod(1 - weights * np.nan_to_num(scores), axis=1))


def _where_any(scores: np.ndarray, fused: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(scores).all(1), np.nan, fused)


# Fitting


def available(data: Data) -> tuple[str, ...]:
    """The fusions that these detectors allow.

    Most take the detectors of single streams. Those that end in `_sync` also take the detectors that compare streams.
    A meta-classifier with more than MAX_PARAMETERS is left out.
    """
    single = len(data.names) - sum(data.compares)
    names = ["majority", "any_of", "soft", "weighted", "maximum", "noisy_or"] if single else []
    if 0 < single < MAX_PARAMETERS:
        names.append("logistic")
    if any(data.compares) and single:
        names.append("noisy_or_sync")
        if len(data.names) < MAX_PARAMETERS:
            names.append("logistic_sync")
    return tuple(names)


def fit(name: str, data: Data, penalty: float | None = None) -> Fusion:
    """Fits the fusion `name` of `available(data)`; the result takes scores [n m] of all of `data`'s detectors.

    penalty: the L2 penalty of its weights. None: that of PENALTIES with the least cross-entropy on people who were
      left out of the fit, one after the other.

    Raises:
      ValueError: an unknown name, or clips of one class only.
    """
    fit_one, columns, chosen = _chosen(name, data)
    fitted = fit_one(chosen, calibrations(chosen), _penalty(fit_one, chosen) if penalty is None else penalty)
    return dataclasses.replace(fitted, apply=lambda scores: fitted.apply(scores[:, columns]))


def chosen_penalty(name: str, data: Data) -> float:
    """The penalty that `fit` chooses for the fusion `name`."""
    fit_one, _, chosen = _chosen(name, data)
    return _penalty(fit_one, chosen)


def _chosen(name: str, data: Data) -> tuple["_Fit", list[int], Data]:
    """How a fusion is fitted, the detectors that it takes, and the clips that any of them has scored."""
    if name not in (known := available(data)):
        raise ValueError(f"fusion {name!r} is not one of {', '.join(known)}")
    if len(set(data.labels.tolist())) < 2:
        raise ValueError(f"a fusion is fitted to real and fake clips, found {len(data.labels)} of one class")
    columns = [i for i, other in enumerate(data.compares) if name.endswith(WITH_COMPARISONS) or not other]
    chosen = data.only(columns)
    return _FITS[name.removesuffix(WITH_COMPARISONS)], columns, chosen.take(~np.isnan(chosen.scores).all(1))


def cross_fitted(name: str, data: Data) -> np.ndarray:
    """The fused score of each clip [n] by a fusion whose calibration, weights and penalty never saw that identity.

    Raises:
      ValueError: fewer than two identities, or as `fit`.
    """
    fused = np.full(len(data.labels), np.nan)
    for held_out in folds(data.groups):
        fused[held_out] = fit(name, data.take(~held_out)).apply(data.scores[held_out])
    return fused


def _penalty(fit_one: "_Fit", data: Data) -> float:
    if fit_one not in (_weighted, _noisy_or, _logistic):
        return 0.0  # nothing to penalise
    if len(np.unique(data.groups)) < 2:
        return PENALTIES[-1]
    losses = np.zeros(len(PENALTIES))
    for held_out in folds(data.groups):
        inside = data.take(~held_out)
        scalings = calibrations(inside)
        for i, penalty in enumerate(PENALTIES):
            fused = fit_one(inside, scalings, penalty).apply(data.scores[held_out])
            losses[i] += _cross_entropy(data.labels[held_out], fused).sum()
    return PENALTIES[int(np.argmin(losses))]


def calibrations(data: Data) -> list[Scaling]:
    """Temperature and offset of each detector, for the label that it answers for.

    A detector that ranks no fake above the reals, or has met one class only, then says the share of fakes and no more.
    """
    scalings = []
    for scores, own in zip(data.scores.T, data.own.T, strict=True):
        known = ~np.isnan(scores) & (own >= 0)
        both = len(set(own[known].tolist())) == 2
        scalings.append(calibrators.fit("platt", own[known], scores[known]) if both else constant(own[known]))
    return scalings


def _calibrated(scalings: Sequence[Scaling], scores: np.ndarray) -> np.ndarray:
    calibrated = np.full(scores.shape, np.nan)
    for i, scaling in enumerate(scalings):
        known = ~np.isnan(scores[:, i])
        calibrated[known, i] = scaling(scores[known, i])
    return calibrated


def _majority(data: Data, scalings: Sequence[Scaling], penalty: float) -> Fusion:
    """More than half of the detectors that scored the clip call it fake, each at its own threshold."""
    return _vote(data, lambda share: share > 0.5)


def _any_of(data: Data, scalings: Sequence[Scaling], penalty: float) -> Fusion:
    """At least one detector calls the clip fake, each at its own threshold."""
    return _vote(data, lambda share: share > 0)


def _vote(data: Data, decide: Callable[[np.ndarray], np.ndarray]) -> Fusion:
    thresholds = np.full(len(data.names), np.inf)  # a detector that knows one class only never calls a clip fake
    for i, (scores, own) in enumerate(zip(data.scores.T, data.own.T, strict=True)):
        known = ~np.isnan(scores) & (own >= 0)
        thresholds[i] = np.nan_to_num(threshold_for(own[known], scores[known]), nan=np.inf)

    def apply(scores: np.ndarray) -> np.ndarray:
        votes = np.where(np.isnan(scores), np.nan, scores >= thresholds)
        return _where_any(scores, decide(np.nan_to_num(mean(votes))).astype(float))

    return Fusion(apply, dict(zip(data.names, thresholds.tolist(), strict=True)))


def _soft(data: Data, scalings: Sequence[Scaling], penalty: float) -> Fusion:
    """The mean of the calibrated scores."""
    return Fusion(lambda scores: mean(_calibrated(scalings, scores)))


def _maximum(data: Data, scalings: Sequence[Scaling], penalty: float) -> Fusion:
    """The highest calibrated score."""
    return Fusion(lambda scores: maximum(_calibrated(scalings, scores)))


def _weighted(data: Data, scalings: Sequence[Scaling], penalty: float) -> Fusion:
    """The mean of the calibrated scores with weights on the simplex; the penalty draws them to equal ones."""
    m = len(data.names)
    scores = _calibrated(scalings, data.scores)
    present, scores = ~np.isnan(scores), np.nan_to_num(scores)

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        weights = _softmax(free)
        total = present @ weights
        fused = (scores @ weights) / total
        value, slope = _loss(data.labels, fused)
        gradient = (slope / total) @ (present * (scores - fused[:, None])) + 2 * penalty * (weights - 1 / m)
        return value + penalty * ((weights - 1 / m) ** 2).sum(), weights * (gradient - weights @ gradient)

    weights = _softmax(_minimum(loss, np.zeros(m), -4.0, 4.0))
    return Fusion(lambda scores: mean(_calibrated(scalings, scores), weights), _named(data.names, weights))


def _noisy_or(data: Data, scalings: Sequence[Scaling], penalty: float) -> Fusion:
    """`noisy_or` of the calibrated scores with weights in [0, 1]; the penalty draws them to 1."""
    scores = np.nan_to_num(_calibrated(scalings, data.scores))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        factors = np.maximum(1 - weights * scores, EPSILON)
        none = factors.prod(1)
        value, slope = _loss(data.labels, 1 - none)
        gradient = (slope * none) @ (scores / factors) + 2 * penalty * (weights - 1)
        return value + penalty * ((weights - 1) ** 2).sum(), gradient

    weights = _minimum(loss, np.ones(len(data.names)), 0.0, 1.0)
    return Fusion(lambda scores: noisy_or(_calibrated(scalings, scores), weights), _named(data.names, weights))


def _logistic(data: Data, scalings: Sequence[Scaling], penalty: float) -> Fusion:
    """A logistic regression on the calibrated logits, 0 for a missing one, and on whether one is missing.

    The flag has a parameter only where validation has clips with a missing score, and one of MAX_PARAMETERS is left.
    """
    m = len(data.names)
    flag = np.isnan(data.scores).any() and m + 2 <= MAX_PARAMETERS

    def design(scores: np.ndarray) -> np.ndarray:
        columns = [np.nan_to_num(logit(_calibrated(scalings, scores))), np.ones((len(scores), 1))]
        return np.concatenate([*columns, np.isnan(scores).any(1, keepdims=True)] if flag else columns, axis=1)

    x = design(data.scores)
    penalised = np.arange(x.shape[1]) != m  # the offset is free

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ weights
        value = np.mean(np.logaddexp(0.0, z) - data.labels * z) + penalty * (penalised * weights**2).sum()
        return value, x.T @ (sigmoid(z) - data.labels) / len(z) + 2 * penalty * penalised * weights

    weights = _minimum(loss, np.zeros(x.shape[1]))
    names = [*data.names, "offset", *(["missing"] if flag else [])]
    return Fusion(lambda scores: _where_any(scores, sigmoid(design(scores) @ weights)), _named(names, weights))


_Fit = Callable[[Data, Sequence[Scaling], float], Fusion]
_FITS: dict[str, _Fit] = {
    "majority": _majority,
    "any_of": _any_of,
    "soft": _soft,
    "weighted": _weighted,
    "maximum": _maximum,
    "noisy_or": _noisy_or,
    "logistic": _logistic,
}


def _named(names: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    return dict(zip(names, weights.tolist(), strict=True))


def _softmax(free: np.ndarray) -> np.ndarray:
    powers = np.exp(free - free.max())
    return powers / powers.sum()


def _cross_entropy(labels: np.ndarray, fused: np.ndarray) -> np.ndarray:
    """Nats of each clip [n]; 0 for one without a score."""
    safe = np.clip(np.nan_to_num(fused, nan=0.5), EPSILON, 1 - EPSILON)
    return np.where(np.isnan(fused), 0.0, -np.where(labels == 1, np.log(safe), np.log1p(-safe)))


def _loss(labels: np.ndarray, fused: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean cross-entropy, and its slope in each fused score [n]."""
    safe = np.clip(fused, EPSILON, 1 - EPSILON)
    return float(_cross_entropy(labels, safe).mean()), (safe - labels) / (safe * (1 - safe)) / len(labels)


def _minimum(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    low: float = -np.inf,
    high: float = np.inf,
) -> np.ndarray:
    """Newton's method within bounds; `loss` returns its gradient too, whose differences are the Hessian."""
    weights, tiny = start, 1e-5
    value, gradient = loss(weights)
    for _ in range(100):
        # A weight at its bound, which the gradient holds there, stays.
        free = ~((weights <= low) & (gradient > 0) | (weights >= high) & (gradient < 0))
        if np.abs(gradient[free]).max(initial=0) < 1e-7:
            break
        hessian = np.stack([(loss(weights + tiny * axis)[1] - gradient) / tiny for axis in np.eye(len(weights))[free]])
        curvature, axes = np.linalg.eigh((hessian[:, free] + hessian[:, free].T) / 2)
        step = np.zeros(len(weights))
        step[free] = axes @ (axes.T @ gradient[free] / np.maximum(np.abs(curvature), 1e-4))
        scale = 1.0
        while (there := loss(moved := np.clip(weights - scale * step, low, high)))[0] >= value and scale > 1e-6:
            scale /= 2
        if there[0] >= value:
            break
        weights, (value, gradient) = moved, there
    return weights
