"""Calibrators: maps from a detector's scores to probabilities, fitted on validation; temperature, Platt, isotonic."""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.calibration import checked_probabilities, log_loss
from mmdf_jax.stats.groups import folds

EPSILON = 1e-7  # the logit sees scores at least this far from 0 and 1
METHODS = ("temperature", "platt", "isotonic")  # from the fewest parameters to the most
# Of fewer clips isotonic regression makes a few steps, and the ties within them cost more AUC than they mend
# (Niculescu-Mizil & Caruana 2005, Predicting good probabilities with supervised learning).
ISOTONIC_FROM = 1_000


@dataclasses.dataclass(frozen=True)
class Scaling:
    """p -> sigmoid(logit(p) / temperature + bias). Increasing, so that no ranking metric changes.

    An infinite temperature gives every score the same probability.
    """

    temperature: float = 1.0
    bias: float = 0.0

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Calibrated probabilities of any shape from scores in [0, 1]; nan stays nan."""
        return sigmoid(logit(np.asarray(scores, np.float64)) / self.temperature + self.bias)


@dataclasses.dataclass(frozen=True)
class Isotonic:
    """The line through the points (x, y), level outside of them. x increases, y does not fall.

    Scores between which y is level are tied afterwards, so that a ranking metric can change.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Calibrated probabilities of any shape from scores in [0, 1]; nan stays nan."""
        return np.interp(np.asarray(scores, np.float64), self.x, self.y)


Calibrator = Scaling | Isotonic


def logit(scores: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), of p at least EPSILON from 0 and 1."""
    scores = np.clip(scores, EPSILON, 1 - EPSILON)
    return np.log(scores) - np.log1p(-scores)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow; nan stays."""
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0.0, -z))


def fit(method: str, labels: ArrayLike, scores: ArrayLike) -> Calibrator:
    """The calibrator of `method` for labels [n] and scores [n] in [0, 1] of validation.

    temperature: one slope of the logit (Guo et al. 2017). platt: slope and offset (Platt 1999). isotonic: any
    non-decreasing map (Zadrozny & Elkan 2002). Where scores rank fakes below reals, no increasing map helps. The
    calibrator then gives every score the share of fakes (`constant`).

    Raises:
      ValueError: an unknown method, clips of one class only, scores that are no probabilities.
    """
    if method not in METHODS:
        raise ValueError(f"calibration {method!r} is not one of {', '.join(METHODS)}")
    fake, scores = _both_classes(labels, scores)
    if method == "isotonic":
        return _fit_isotonic(fake, scores)
    try:
        return fit_scaling(fake, scores, bias=method == "platt")
    except ValueError:  # inputs are fine, so that the scores rank fakes below reals
        return constant(fake)


def constant(labels: ArrayLike) -> Scaling:
    """The calibrator of scores that say nothing: the share of fakes among labels [n], with one more of each class."""
    labels = np.asarray(labels)
    return Scaling(math.inf, float(logit((labels.sum() + 1) / (len(labels) + 2))))


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The calibrator that validation chose, and how it does on people whom it did not see.

    calibrator: fitted to all clips. losses: the log-loss in nats of each of METHODS, cross-fitted over identities.
    held_out [n]: the clips' probabilities by `method`, each from a fit without that identity. Thresholds, error rates
    and bounds are to be taken from these: the calibrator itself has seen the labels of the clips.
    """

    method: str
    calibrator: Calibrator
    losses: Mapping[str, float]
    held_out: np.ndarray


def chosen(labels: ArrayLike, scores: ArrayLike, groups: Sequence[Hashable]) -> Chosen:
    """The calibration with the least log-loss on identities that its fit did not see.

    labels [n], scores [n] in [0, 1], groups [n]: of validation. Of equal methods it is the first of METHODS. Isotonic
    regression is chosen from ISOTONIC_FROM clips on.

    Raises:
      ValueError: fewer than two identities in all or of a class, or as `fit`.
    """
    fake, scores = _both_classes(labels, scores)
    if len(groups) != len(scores):
        raise ValueError(f"groups must name one identity per score, found {len(groups)} for {len(scores)} scores")
    held_out = {method: np.zeros(len(scores)) for method in METHODS}
    for fold in folds(groups):
        if len(set(fake[~fold].tolist())) < 2:
            raise ValueError("choosing a calibration needs real and fake clips of two identities or more each")
        for method in METHODS:
            held_out[method][fold] = fit(method, fake[~fold], scores[~fold])(scores[fold])
    losses = {method: log_loss(fake, held_out[method]) for method in METHODS}
    allowed = [method for method in METHODS if method != "isotonic" or len(scores) >= ISOTONIC_FROM]
    # Rounding error must not decide between equal methods.
    best = min(allowed, key=lambda method: round(losses[method], 9))
    return Chosen(best, fit(best, fake, scores), losses, held_out[best])


def as_data(calibrator: Calibrator) -> dict[str, Any]:
    """The calibrator as JSON data; an infinite temperature is null."""
    if isinstance(calibrator, Isotonic):
        return {"kind": "isotonic", "x": list(calibrator.x), "y": list(calibrator.y)}
    temperature = calibrator.temperature if math.isfinite(calibrator.temperature) else None
    return {"kind": "scaling", "temperature": temperature, "bias": calibrator.bias}


def from_data(data: Any) -> Calibrator:  # it is what a file holds
    """The calibrator that `as_data` described.

    Raises:
      ValueError: `data` is anything else, such as a temperature that is not positive or points that fall.
    """
    fields = {"scaling": {"kind", "temperature", "bias"}, "isotonic": {"kind", "x", "y"}}
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in fields:
        raise ValueError(f"calibration: expected kind 'scaling' or 'isotonic', found {kind!r}")
    if set(data) != fields[kind]:
        raise ValueError(f"calibration: expected {', '.join(sorted(fields[kind]))}, found {', '.join(sorted(data))}")
    if kind == "scaling":
        temperature = math.inf if data["temperature"] is None else data["temperature"]
        if not _is_number(temperature) or not temperature > 0:
            raise ValueError(f"calibration.temperature: expected a number above 0 or null, found {temperature!r}")
        if not _is_number(data["bias"]) or not math.isfinite(data["bias"]):
            raise ValueError(f"calibration.bias: expected a number, found {data['bias']!r}")
        return Scaling(float(temperature), float(data["bias"]))
    x, y = data["x"], data["y"]
    for name, values in (("x", x), ("y", y)):
        if not isinstance(values, list) or not values or not all(_is_number(v) and 0 <= v <= 1 for v in values):
            raise ValueError(f"calibration.{name}: expected a list of numbers in [0, 1]")
    if len(x) != len(y) or (np.diff(x) <= 0).any() or (np.diff(y) < 0).any():
        raise ValueError("calibration: expected as many y as x, x that increase and y that do not fall")
    return Isotonic(tuple(map(float, x)), tuple(map(float, y)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    fake, scores = checked_probabilities(labels, scores)
    n1, n0 = int(fake.sum()), int((~fake).sum())
    if not n1 or not n0:
        raise ValueError(f"calibration needs real and fake clips, found {n0} real and {n1} fake")
    return fake, scores


def fit_scaling(labels: ArrayLike, scores: ArrayLike, *, bias: bool = True) -> Scaling:
    """The temperature (Guo et al. 2017), and with `bias` the offset (Platt 1999), of least cross-entropy.

    Fit it on validation. Targets are Platt's, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), so that perfectly separated
    classes give a finite temperature. With one class only, or scores that rank fakes below reals (no positive
    temperature helps), there is nothing to fit: ValueError.
    """
    fake, scores = _both_classes(labels, scores)
    n1, n0 = int(fake.sum()), int((~fake).sum())
    target = np.where(fake, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    design = np.stack([logit(scores), np.full(len(scores), float(bias))], axis=1)

    def loss(weights: np.ndarray) -> float:
        z = design @ weights
        return float(np.mean(np.logaddexp(0.0, z) - target * z))

    # Newton with step halving; the problem is convex with two unknowns.
    weights = np.array([1.0, 0.0])
    for _ in range(100):
        p = sigmoid(design @ weights)
        gradient = design.T @ (p - target) / len(target)
        if np.abs(gradient).max() < 1e-12:
            break
        hessian = (design * (p * (1 - p))[:, None]).T @ design / len(target) + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        scale, here = 1.0, loss(weights)
        while loss(weights - scale * step) > here + 1e-13 and scale > 1e-10:  # less is rounding error
            scale /= 2
        weights = weights - scale * step
    if weights[0] <= 0:
        raise ValueError("calibration failed: on these clips fakes do not score higher than reals")
    return Scaling(temperature=float(1 / weights[0]), bias=float(weights[1]))


def isotonic_regression(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of x [n], and the non-decreasing function of them that is closest to y [n] in squares.

    Pools adjacent violators (Ayer et al. 1955). Tied x have one value.
    """
    distinct, where = np.unique(np.asarray(x, np.float64), return_inverse=True)
    counts = np.bincount(where)
    blocks: list[tuple[float, int, int]] = []  # sum of y, their number, number of distinct x
    for total, count in zip(np.bincount(where, y).tolist(), counts.tolist(), strict=True):
        block = (total, count, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    return distinct, np.repeat([total / n for total, n, _ in blocks], [width for _, _, width in blocks])


def _fit_isotonic(fake: np.ndarray, scores: np.ndarray) -> Isotonic:
    """Isotonic regression with one misleading clip added at each end, so that no score is certain.

    Without the fake at the lowest score and the real at the highest, the ends would be 0 and 1, however few clips
    speak for it, and one mistake on other data would cost an infinite log-loss.
    """
    x, y = isotonic_regression(
        np.concatenate([[scores.min()], scores, [scores.max()]]), np.concatenate([[1.0], fake, [0.0]])
    )
    # A level stretch needs its two ends only.
    level = y[1:] == y[:-1]
    ends = ~(np.append(False, level) & np.append(level, False))
    return Isotonic(tuple(x[ends].tolist()), tuple(y[ends].tolist()))
