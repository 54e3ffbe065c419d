"""Late fusion: the scores of several detectors to one, in numpy, fitted on validation and applied to anything.

A clip is fake if any of its streams is fake: "fake" is an *or* of what the detectors answer for. A majority of the
detectors cannot find a clip with one fake stream; `noisy_or` can.

A score is P(fake) in [0, 1], or nan where that detector abstained from the clip. The detector then has no vote and no
weight in that clip: a mean is over the other detectors, and a product leaves the factor out. The fused score is nan
where no detector has scored the clip.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.calibrators import Scaling, constant, logit, sigmoid
from mmdf_jax.metrics.classification import threshold_for
from mmdf_jax.stats.groups import folds

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # weight of the squared weights, added to the mean cross-entropy in nats
MAX_PARAMETERS = 5  # of `logistic`; more could not be fitted to a validation split of a few people
EPSILON = 1e-6
VOTES = ("majority", "any_of")  # their scores are verdicts, 0 or 1
ENSEMBLES = ("log_pool", "weighted", "noisy_or", "stacking")  # take any number of detectors; a system is one of these
WITH_COMPARISONS = "_sync"  # the end of a fusion's name that says: it also takes the detectors that compare streams
OFFSET, MISSING = "offset", "missing"  # weights that belong to no detector


@dataclasses.dataclass(frozen=True)
class Data:
    """What n clips are and what m detectors say of them.

    names [m]: of the detectors. scores [n m]: in [0, 1], nan where missing. own [n m]: the label that each detector
    answers for, 0 or 1, or -1 where it is unknown. labels [n]: of the clips, 0 or 1. groups [n]: identities;
    cross-fitting holds all clips of an identity out together. compares [m]: whether the detector compares streams, as
    lip-sync does, instead of judging a single one.
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
        """The detectors at these positions; one may stand there several times."""
        return dataclasses.replace(
            self,
            scores=self.scores[:, columns],
            own=self.own[:, columns],
            names=tuple(self.names[i] for i in columns),
            compares=tuple(self.compares[i] for i in columns),
        )


@dataclasses.dataclass(frozen=True)
class Fusion:
    """A fitted fusion. apply: scores [n m] to fused scores [n]. weights: what was fitted, by name."""

    apply: Callable[[np.ndarray], np.ndarray]
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)


# Rules without parameters: [n m] -> [n]


def mean(scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean of the scores that are not nan, weighted by `weights` [m]; equal weights if none are given."""
    weights = np.ones(scores.shape[1]) if weights is None else weights
    present = ~np.isnan(scores) * weights
    with np.errstate(invalid="ignore"):
        return (np.nan_to_num(scores) * present).sum(1) / present.sum(1)


def maximum(scores: np.ndarray) -> np.ndarray:
    """The highest of the scores that are not nan."""
    return _known(scores, np.nan_to_num(scores).max(1))


def noisy_or(scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """1 - Π(1 - wᵢ pᵢ): P(any stream is fake), if fake i makes the clip fake with probability wᵢ (Pearl 1988).

    weights [m] in [0, 1]; 1 if none are given.
    """
    weights = np.ones(scores.shape[1]) if weights is None else weights
    return _known(scores, 1 - np.prod(1 - weights * np.nan_to_num(scores), axis=1))


def log_pool(scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The logarithmic opinion pool: the mean of the logits, as a probability; nan and `weights` as in `mean`."""
    return sigmoid(mean(logit(scores), weights))


def stacked(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sigmoid(Σ wᵢ logit(pᵢ) + w₀); weights [m + 1], w₀ last.

    A missing logit is replaced by the mean of the clip's other logits. With w₀ = 0 and all other weights 1 / m this is
    `log_pool`.
    """
    return sigmoid(_completed_logits(scores) @ weights[:-1] + weights[-1])


def logistic(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sigmoid(Σ wᵢ logit(pᵢ) + w₀), where a missing logit counts as 0; weights [m + 1] or [m + 2].

    A last weight, if there are m + 2, is added to the logit of clips that miss any score.
    """
    return _known(scores, sigmoid(_features(scores, flag=len(weights) == scores.shape[1] + 2) @ weights))


def _completed_logits(scores: np.ndarray) -> np.ndarray:
    """Logits [n m], a missing one replaced by the mean of the clip's others; nan where there are none."""
    logits = logit(scores)
    return np.where(np.isnan(logits), mean(logits)[:, None], logits)


def _features(scores: np.ndarray, flag: bool) -> np.ndarray:
    """What `logistic` weighs: the logits, 1, and with `flag` whether any score is missing; [n m + 1] or [n m + 2]."""
    columns = [np.nan_to_num(logit(scores)), np.ones((len(scores), 1))]
    return np.concatenate([*columns, np.isnan(scores).any(1, keepdims=True)] if flag else columns, axis=1)


def _known(scores: np.ndarray, fused: np.ndarray) -> np.ndarray:
    """`fused` [n], nan where no detector has scored the clip."""
    return np.where(np.isnan(scores).all(1), np.nan, fused)


# Fitting


def available(data: Data) -> tuple[str, ...]:
    """The names of the fusions that these detectors allow.

    Most take the detectors of single streams only. Those whose name ends in `_sync` also take the detectors that
    compare streams. `logistic` is left out where it would have more than MAX_PARAMETERS.
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
    """Fits the fusion `name`, one of `available(data)` or of ENSEMBLES.

    Args:
      name: of the fusion. data: its clips and detectors; the result applies to scores [n m] of all these detectors.
      penalty: the L2 penalty of the weights. None chooses the one of PENALTIES that has the least cross-entropy on
        people who are held out of the fit.

    Raises:
      ValueError: an unknown name, or clips of one class only.
    """
    rule, columns, taken = _taken(name, data)
    if rule in VOTES:
        thresholds = _thresholds(taken)
        return Fusion(
            lambda scores: _voted(rule, scores[:, columns], thresholds),
            dict(zip(taken.names, thresholds.tolist(), strict=True)),
        )
    scalings = calibrations(taken)
    penalty = _penalty(rule, taken) if penalty is None else penalty
    weights = fit_weights(rule, calibrated(taken, scalings), penalty)
    named = {} if weights is None else zip((*taken.names, OFFSET, MISSING), weights.tolist(), strict=False)
    return Fusion(lambda scores: combine(rule, apply_calibrations(scalings, scores[:, columns]), weights), dict(named))


def combine(name: str, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The fused scores [n] of calibrated scores [n m] by one of RULES; weights: as `fit_weights` gives them."""
    return RULES[name](scores, weights)


def fit_weights(name: str, data: Data, penalty: float) -> np.ndarray | None:
    """The weights that one of RULES fits to calibrated scores, in the order of `weight_names`; None if it fits none."""
    return WEIGHTS[name](data, penalty) if name in WEIGHTS else None


def weight_names(ensemble: str, detectors: Sequence[str]) -> tuple[str, ...]:
    """The names of the weights of one of ENSEMBLES, in order: one for each detector, and of a stacking the offset.

    The weights of a `log_pool` are not fitted. They say how often each detector counts.
    """
    return (*detectors, OFFSET) if ensemble == "stacking" else tuple(detectors)


def chosen_penalty(name: str, data: Data) -> float:
    """The penalty that `fit` chooses for the fusion `name`."""
    rule, _, taken = _taken(name, data)
    return _penalty(rule, taken)


def _taken(name: str, data: Data) -> tuple[str, list[int], Data]:
    """A fusion's rule, the positions of the detectors that it takes, and the clips that any of these has scored."""
    if name not in (known := tuple(dict.fromkeys((*available(data), *ENSEMBLES)))):
        raise ValueError(f"fusion {name!r} is not one of {', '.join(known)}")
    if len(set(data.labels.tolist())) < 2:
        raise ValueError(f"a fusion is fitted to real and fake clips, found {len(data.labels)} of one class")
    columns = [i for i, other in enumerate(data.compares) if name.endswith(WITH_COMPARISONS) or not other]
    if not columns:
        raise ValueError(f"fusion {name!r} needs a detector of a single stream, found none")
    taken = data.only(columns)
    return name.removesuffix(WITH_COMPARISONS), columns, taken.take(~np.isnan(taken.scores).all(1))


def cross_fitted(name: str, data: Data, penalty: float | None = None) -> np.ndarray:
    """The fused score of each clip [n], from a fit (calibration, weights, penalty) without the clip's identity.

    penalty: as in `fit`. One that is given is used in every fit.

    Raises:
      ValueError: fewer than two identities, or as `fit`.
    """
    fused = np.full(len(data.labels), np.nan)
    for held_out in folds(data.groups):
        fused[held_out] = fit(name, data.take(~held_out), penalty).apply(data.scores[held_out])
    return fused


def _penalty(name: str, data: Data) -> float:
    """The penalty with the least cross-entropy on identities that are held out of the fit."""
    if name not in WEIGHTS:
        return 0.0  # nothing to penalise
    if len(np.unique(data.groups)) < 2:
        return PENALTIES[-1]
    losses = np.zeros(len(PENALTIES))
    for held_out in folds(data.groups):
        inside, outside = data.take(~held_out), data.take(held_out)
        scalings = calibrations(inside)
        inside, outside = calibrated(inside, scalings), calibrated(outside, scalings)
        for i, penalty in enumerate(PENALTIES):
            fused = combine(name, outside.scores, fit_weights(name, inside, penalty))
            losses[i] += _cross_entropy(outside.labels, fused).sum()
    return PENALTIES[int(np.argmin(losses))]


def calibrations(data: Data) -> list[Scaling]:
    """The calibration of each detector, by Platt's scaling, for the label that it answers for.

    A detector that ranks its fakes below its reals, or has one class only, is calibrated to the share of its fakes,
    whatever its score.
    """
    scalings = []
    for scores, own in zip(data.scores.T, data.own.T, strict=True):
        known = ~np.isnan(scores) & (own >= 0)
        both = len(set(own[known].tolist())) == 2
        scalings.append(calibrators.fit("platt", own[known], scores[known]) if both else constant(own[known]))
    return scalings


def apply_calibrations(scalings: Sequence[Scaling], scores: np.ndarray) -> np.ndarray:
    """Calibrated scores [n m]; nan stays nan."""
    return np.stack([scaling(column) for scaling, column in zip(scalings, scores.T, strict=True)], axis=1)


def calibrated(data: Data, scalings: Sequence[Scaling]) -> Data:
    """The same clips with calibrated scores."""
    return dataclasses.replace(data, scores=apply_calibrations(scalings, data.scores))


# Votes: each detector at its own threshold


def _thresholds(data: Data) -> np.ndarray:
    """The threshold of each detector [m] for its scores as they are; inf (never fake) where it has one class only."""
    thresholds = np.full(len(data.names), np.inf)
    for i, (scores, own) in enumerate(zip(data.scores.T, data.own.T, strict=True)):
        known = ~np.isnan(scores) & (own >= 0)
        thresholds[i] = np.nan_to_num(threshold_for(own[known], scores[known]), nan=np.inf)
    return thresholds


def _voted(name: str, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """majority: more than half of the detectors that scored the clip call it fake. any_of: at least one does."""
    share = np.nan_to_num(mean(np.where(np.isnan(scores), np.nan, scores >= thresholds)))
    return _known(scores, (share > (0.5 if name == "majority" else 0)).astype(float))


# Weights, of calibrated scores


def _weighted(data: Data, penalty: float) -> np.ndarray:
    """Weights of a mean: positive, with sum 1; the penalty draws them to equal ones."""
    m = len(data.names)
    present, scores = ~np.isnan(data.scores), np.nan_to_num(data.scores)

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        weights = _softmax(free)
        total = present @ weights
        fused = (scores @ weights) / total
        value, slope = _loss(data.labels, fused)
        gradient = (slope / total) @ (present * (scores - fused[:, None])) + 2 * penalty * (weights - 1 / m)
        return value + penalty * ((weights - 1 / m) ** 2).sum(), weights * (gradient - weights @ gradient)

    def hessian(free: np.ndarray) -> np.ndarray:
        weights = _softmax(free)
        total = present @ weights
        fused = (scores @ weights) / total
        slope, curvature = _loss(data.labels, fused)[1], _curvature(data.labels, fused)
        each = present * (scores - fused[:, None]) / total[:, None]  # d fused / d weights
        mixed = (each * (slope / total)[:, None]).T @ present
        of_weights = (each * curvature[:, None]).T @ each - mixed - mixed.T + 2 * penalty * np.eye(m)
        gradient = slope @ each + 2 * penalty * (weights - 1 / m)
        of_softmax = np.diag(weights) - np.outer(weights, weights)
        pull = weights * (gradient - weights @ gradient)
        return of_softmax @ of_weights @ of_softmax + np.diag(pull) - np.outer(pull, weights) - np.outer(weights, pull)

    return _softmax(_minimum(loss, hessian, np.zeros(m), -4.0, 4.0))


def _noisy_or(data: Data, penalty: float) -> np.ndarray:
    """Weights in [0, 1]; the penalty draws them to 1."""
    scores = np.nan_to_num(data.scores)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        factors = np.maximum(1 - weights * scores, EPSILON)
        none = factors.prod(1)
        value, slope = _loss(data.labels, 1 - none)
        gradient = (slope * none) @ (scores / factors) + 2 * penalty * (weights - 1)
        return value + penalty * ((weights - 1) ** 2).sum(), gradient

    def hessian(weights: np.ndarray) -> np.ndarray:
        factors = np.maximum(1 - weights * scores, EPSILON)
        none = factors.prod(1)
        slope, curvature = _loss(data.labels, 1 - none)[1], _curvature(data.labels, 1 - none)
        each = scores / factors
        pairs = (each * (curvature * none**2 - slope * none)[:, None]).T @ each
        return pairs + np.diag((slope * none) @ each**2 + 2 * penalty)

    return _minimum(loss, hessian, np.ones(len(data.names)), 0.0, 1.0)


def _logistic(data: Data, penalty: float) -> np.ndarray:
    """Weights of the logits, the offset, and the weight of a missing score; the penalty draws all but the offset to 0.

    The weight of a missing score is fitted only where clips miss a score and MAX_PARAMETERS allows one more.
    """
    m = len(data.names)
    x = _features(data.scores, flag=bool(np.isnan(data.scores).any()) and m + 2 <= MAX_PARAMETERS)
    return _regression(x, data.labels, penalty, np.zeros(x.shape[1]), free=m)


def _stacking(data: Data, penalty: float) -> np.ndarray:
    """Weights of the logits, and the offset; the penalty draws all but the offset to 1 / m.

    With few clips and many detectors a large penalty wins, and the result is near the detectors' `log_pool`.
    """
    m = len(data.names)
    x = np.column_stack([_completed_logits(data.scores), np.ones(len(data.scores))])
    return _regression(x, data.labels, penalty, np.append(np.full(m, 1 / m), 0.0), free=m)


def _regression(x: np.ndarray, labels: np.ndarray, penalty: float, centre: np.ndarray, free: int) -> np.ndarray:
    """Logistic regression on x [n k] whose ridge draws the weights to `centre` [k], all but the one at `free`."""
    penalised = np.arange(x.shape[1]) != free

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z, away = x @ weights, penalised * (weights - centre)
        value = np.mean(np.logaddexp(0.0, z) - labels * z) + penalty * (away**2).sum()
        return value, x.T @ (sigmoid(z) - labels) / len(z) + 2 * penalty * away

    def hessian(weights: np.ndarray) -> np.ndarray:
        p = sigmoid(x @ weights)
        return (x * (p * (1 - p) / len(p))[:, None]).T @ x + 2 * penalty * np.diag(penalised)

    return _minimum(loss, hessian, centre)


# {fusion: (calibrated scores [n m], weights) -> [n]}, and how the weights are fitted where there are any.
RULES: dict[str, Callable[[np.ndarray, np.ndarray | None], np.ndarray]] = {
    "soft": mean,
    "log_pool": log_pool,
    "maximum": lambda scores, weights: maximum(scores),
    "weighted": mean,
    "noisy_or": noisy_or,
    "logistic": logistic,
    "stacking": stacked,
}
WEIGHTS: dict[str, Callable[[Data, float], np.ndarray]] = {
    "weighted": _weighted,
    "noisy_or": _noisy_or,
    "logistic": _logistic,
    "stacking": _stacking,
}


def _softmax(free: np.ndarray) -> np.ndarray:
    powers = np.exp(free - free.max())
    return powers / powers.sum()


def _cross_entropy(labels: np.ndarray, fused: np.ndarray) -> np.ndarray:
    """The cross-entropy of each clip [n] in nats; 0 for a clip without a score."""
    safe = np.clip(np.nan_to_num(fused, nan=0.5), EPSILON, 1 - EPSILON)
    return np.where(np.isnan(fused), 0.0, -np.where(labels == 1, np.log(safe), np.log1p(-safe)))


def _loss(labels: np.ndarray, fused: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean cross-entropy, and its derivative by each fused score [n]."""
    safe = np.clip(fused, EPSILON, 1 - EPSILON)
    return float(_cross_entropy(labels, safe).mean()), (safe - labels) / (safe * (1 - safe)) / len(labels)


def _curvature(labels: np.ndarray, fused: np.ndarray) -> np.ndarray:
    """The second derivative of `_loss` by each fused score [n]."""
    safe = np.clip(fused, EPSILON, 1 - EPSILON)
    return 1 / np.where(labels == 1, safe, 1 - safe) ** 2 / len(labels)


def _minimum(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    hessian: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    low: float = -np.inf,
    high: float = np.inf,
) -> np.ndarray:
    """The weights of least loss within the bounds, by Newton's method; `loss` returns its value and its gradient."""
    weights = start
    value, gradient = loss(weights)
    for _ in range(100):
        # A weight at its bound, which the gradient holds there, stays.
        free = ~((weights <= low) & (gradient > 0) | (weights >= high) & (gradient < 0))
        if np.abs(gradient[free]).max(initial=0) < 1e-7:
            break
        curvature, axes = np.linalg.eigh(hessian(weights)[np.ix_(free, free)])
        step = np.zeros(len(weights))
        step[free] = axes @ (axes.T @ gradient[free] / np.maximum(np.abs(curvature), 1e-8))
        scale = 1.0
        while (there := loss(moved := np.clip(weights - scale * step, low, high)))[0] >= value and scale > 1e-6:
            scale /= 2
        if there[0] >= value:
            break
        weights, (value, gradient) = moved, there
    return weights
