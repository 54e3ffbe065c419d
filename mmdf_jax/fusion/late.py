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
ENSEMBLES = ("log_pool", "weighted", "noisy_or", "stacking")  # of any number of detectors: what a system is made of
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


def log_pool(scores: np.ndarray) -> np.ndarray:
    """The probability whose logit is the mean logit of the scores that are there (logarithmic opinion pool)."""
    return sigmoid(mean(logit(scores)))


def stacked(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The probability whose logit is Σ wᵢ logit(pᵢ) + w₀; weights [m + 1], the last one w₀.

    For a missing score stands the mean logit of the others. With all weights 1 / m this is `log_pool`.
    """
    logits = logit(scores)
    return sigmoid(np.where(np.isnan(logits), mean(logits)[:, None], logits) @ weights[:-1] + weights[-1])


def logistic(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """As `stacked`, but 0 stands for a missing logit; a last weight of m + 2 is added where any score is missing."""
    return _where_any(scores, sigmoid(_design(scores, flag=len(weights) == scores.shape[1] + 2) @ weights))


def _design(scores: np.ndarray, flag: bool) -> np.ndarray:
    columns = [np.nan_to_num(logit(scores)), np.ones((len(scores), 1))]
    return np.concatenate([*columns, np.isnan(scores).any(1, keepdims=True)] if flag else columns, axis=1)


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
    """Fits the fusion `name` of `available(data)` or ENSEMBLES; it takes scores [n m] of all of `data`'s detectors.

    penalty: the L2 penalty of its weights. None: that of PENALTIES with the least cross-entropy on people who were
      left out of the fit, one after the other.

    Raises:
      ValueError: an unknown name, or clips of one class only.
    """
    base, columns, chosen = _chosen(name, data)
    if base in VOTES:
        thresholds = _thresholds(chosen)
        return Fusion(lambda scores: _voted(base, scores[:, columns], thresholds), _named(chosen.names, thresholds))
    scalings = calibrations(chosen)
    penalty = _penalty(base, chosen) if penalty is None else penalty
    weights = fit_weights(base, calibrated(chosen, scalings), penalty)
    return Fusion(
        lambda scores: combine(base, apply_calibrations(scalings, scores[:, columns]), weights),
        _named([*chosen.names, "offset", "missing"], weights),
    )


def combine(name: str, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The fused scores [n] of calibrated scores [n m], by a fusion that is no vote; weights: as fitted, in order."""
    return RULES[name](scores, weights)


def fit_weights(name: str, data: Data, penalty: float) -> np.ndarray:
    """What a fusion that is no vote fits to calibrated scores, [m] or a few more; empty for one without parameters."""
    return WEIGHTS[name](data, penalty) if name in WEIGHTS else np.zeros(0)


def chosen_penalty(name: str, data: Data) -> float:
    """The penalty that `fit` chooses for the fusion `name`."""
    base, _, chosen = _chosen(name, data)
    return _penalty(base, chosen)


def _chosen(name: str, data: Data) -> tuple[str, list[int], Data]:
    """The rule of a fusion, the detectors that it takes, and the clips that any of them has scored."""
    if name not in (known := tuple(dict.fromkeys((*available(data), *ENSEMBLES)))):
        raise ValueError(f"fusion {name!r} is not one of {', '.join(known)}")
    if len(set(data.labels.tolist())) < 2:
        raise ValueError(f"a fusion is fitted to real and fake clips, found {len(data.labels)} of one class")
    columns = [i for i, other in enumerate(data.compares) if name.endswith(WITH_COMPARISONS) or not other]
    if not columns:
        raise ValueError(f"fusion {name!r} needs a detector of a single stream, found none")
    chosen = data.only(columns)
    return name.removesuffix(WITH_COMPARISONS), columns, chosen.take(~np.isnan(chosen.scores).all(1))


def cross_fitted(name: str, data: Data, penalty: float | None = None) -> np.ndarray:
    """The fused score of each clip [n] by a fusion whose calibration, weights and penalty never saw that identity.

    penalty: as in `fit`; one that is given is the same for all.

    Raises:
      ValueError: fewer than two identities, or as `fit`.
    """
    fused = np.full(len(data.labels), np.nan)
    for held_out in folds(data.groups):
        fused[held_out] = fit(name, data.take(~held_out), penalty).apply(data.scores[held_out])
    return fused


def _penalty(name: str, data: Data) -> float:
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
    """Temperature and offset of each detector, for the label that it answers for.

    A detector that ranks no fake above the reals, or has met one class only, then says the share of fakes and no more.
    """
    scalings = []
    for scores, own in zip(data.scores.T, data.own.T, strict=True):
        known = ~np.isnan(scores) & (own >= 0)
        both = len(set(own[known].tolist())) == 2
        scalings.append(calibrators.fit("platt", own[known], scores[known]) if both else constant(own[known]))
    return scalings


def apply_calibrations(scalings: Sequence[Scaling], scores: np.ndarray) -> np.ndarray:
    """Calibrated scores [n m]; nan stays."""
    return np.stack([scaling(column) for scaling, column in zip(scalings, scores.T, strict=True)], axis=1)


def calibrated(data: Data, scalings: Sequence[Scaling]) -> Data:
    """The same clips with calibrated scores."""
    return dataclasses.replace(data, scores=apply_calibrations(scalings, data.scores))


# Votes: each detector at its own threshold


def _thresholds(data: Data) -> np.ndarray:
    """[m], of scores that are not calibrated; inf where a detector knows one class only: it never calls a clip fake."""
    thresholds = np.full(len(data.names), np.inf)
    for i, (scores, own) in enumerate(zip(data.scores.T, data.own.T, strict=True)):
        known = ~np.isnan(scores) & (own >= 0)
        thresholds[i] = np.nan_to_num(threshold_for(own[known], scores[known]), nan=np.inf)
    return thresholds


def _voted(name: str, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """majority: more than half of the detectors that scored the clip call it fake. any_of: at least one does."""
    share = np.nan_to_num(mean(np.where(np.isnan(scores), np.nan, scores >= thresholds)))
    return _where_any(scores, (share > (0.5 if name == "majority" else 0)).astype(float))


# Weights, of calibrated scores


def _weighted(data: Data, penalty: float) -> np.ndarray:
    """Weights on the simplex; the penalty draws them to equal ones."""
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
        slope, bend = _loss(data.labels, fused)[1], _bend(data.labels, fused)
        each = present * (scores - fused[:, None]) / total[:, None]  # d fused / d weights
        mixed = (each * (slope / total)[:, None]).T @ present
        of_weights = (each * bend[:, None]).T @ each - mixed - mixed.T + 2 * penalty * np.eye(m)
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
        slope, bend = _loss(data.labels, 1 - none)[1], _bend(data.labels, 1 - none)
        each = scores / factors
        pairs = (each * (bend * none**2 - slope * none)[:, None]).T @ each
        return pairs + np.diag((slope * none) @ each**2 + 2 * penalty)

    return _minimum(loss, hessian, np.ones(len(data.names)), 0.0, 1.0)


def _logistic(data: Data, penalty: float) -> np.ndarray:
    """Weights of the logits, an offset that is free, and the weight of a missing score; the penalty draws them to 0.

    The last has a parameter only where validation has clips with a missing score, and one of MAX_PARAMETERS is left.
    """
    m = len(data.names)
    x = _design(data.scores, flag=bool(np.isnan(data.scores).any()) and m + 2 <= MAX_PARAMETERS)
    return _regression(x, data.labels, penalty, np.zeros(x.shape[1]), free=m)


def _stacking(data: Data, penalty: float) -> np.ndarray:
    """Weights of the logits, and an offset that is free; the penalty draws them to equal ones, 1 / m.

    So many detectors need no more clips than few: with little to learn from, the result is their `log_pool`.
    """
    m = len(data.names)
    logits = logit(data.scores)
    x = np.column_stack([np.where(np.isnan(logits), mean(logits)[:, None], logits), np.ones(len(logits))])
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


# Of calibrated scores and weights, and how weights are fitted where there are any.
RULES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "soft": lambda scores, _: mean(scores),
    "log_pool": lambda scores, _: log_pool(scores),
    "maximum": lambda scores, _: maximum(scores),
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


def _named(names: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    """The weights by name; there may be more names, of weights that this fusion has not."""
    return dict(zip(names, weights.tolist(), strict=False))


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


def _bend(labels: np.ndarray, fused: np.ndarray) -> np.ndarray:
    """The second derivative of `_loss` in each fused score [n]."""
    safe = np.clip(fused, EPSILON, 1 - EPSILON)
    return 1 / np.where(labels == 1, safe, 1 - safe) ** 2 / len(labels)


def _minimum(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    hessian: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    low: float = -np.inf,
    high: float = np.inf,
) -> np.ndarray:
    """Newton's method within bounds; `loss` returns its gradient too."""
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
