"""Calibration of scores read as P(fake): its error, and its repair by scaling fitted on validation."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.classification import checked

EPSILON = 1e-7  # the logit sees scores at least this far from 0 and 1


def _probabilities(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    fake, scores = checked(labels, scores)
    if len(scores) and (scores.min() < 0 or scores.max() > 1):
        raise ValueError(f"scores must be probabilities in [0, 1], found {scores.min():g} to {scores.max():g}")
    return fake, scores


def _error(fake: np.ndarray, scores: np.ndarray, bin_of: np.ndarray, bins: int) -> float:
    if not len(scores):
        return float("nan")
    gaps = np.bincount(bin_of, fake, bins) - np.bincount(bin_of, scores, bins)
    return float(np.abs(gaps).sum() / len(scores))


def ece(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over `bins` equal-width bins (Guo et al. 2017), in [0, 1]; nan without clips."""
    fake, scores = _probabilities(labels, scores)
    return _error(fake, scores, np.minimum((scores * bins).astype(int), bins - 1), bins)


def ece_equal_mass(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of (nearly) equal numbers of clips (Nixon et al. 2019).

    Scores of detectors crowd at 0 and 1, where equal widths leave most bins empty. Tied scores share one bin.
    """
    fake, scores = _probabilities(labels, scores)
    order = np.sort(scores)
    edges = order[(np.arange(1, bins) * len(order)) // bins] if len(order) else order
    return _error(fake, scores, np.searchsorted(edges, scores, side="right"), bins)


def brier(labels: ArrayLike, scores: ArrayLike) -> float:
    """The mean squared difference between score and label, in [0, 1]; nan without clips."""
    fake, scores = _probabilities(labels, scores)
    return float(np.mean((scores - fake) ** 2)) if len(scores) else float("nan")


@dataclasses.dataclass(frozen=True)
class Scaling:
    """p -> sigmoid(logit(p) / temperature + bias). Increasing, so that no ranking metric changes."""

    temperature: float = 1.0
    bias: float = 0.0

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Calibrated probabilities of any shape from scores in [0, 1]."""
        return sigmoid(logit(np.asarray(scores, np.float64)) / self.temperature + self.bias)


def logit(scores: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), of p at least EPSILON from 0 and 1."""
    scores = np.clip(scores, EPSILON, 1 - EPSILON)
    return np.log(scores) - np.log1p(-scores)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -z))


def fit_scaling(labels: ArrayLike, scores: ArrayLike, *, bias: bool = True) -> Scaling:
    """The temperature (Guo et al. 2017), and with `bias` the offset (Platt 1999), of least cross-entropy.

    Fit it on validation. Targets are Platt's, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), so that perfectly separated
    classes give a finite temperature. With one class only, or scores that rank fakes below reals (no positive
    temperature helps), there is nothing to fit: ValueError.
    """
    fake, scores = _probabilities(labels, scores)
    n1, n0 = int(fake.sum()), int((~fake).sum())
    if not n1 or not n0:
        raise ValueError(f"calibration needs real and fake clips, found {n0} real and {n1} fake")
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
        hessian = (design * (p * (1 - p))[:, None]).T @ design / len(target) + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while loss(weights - scale * step) > loss(weights) and scale > 1e-10:
            scale /= 2
        weights = weights - scale * step
        if np.abs(gradient).max() < 1e-10:
            break
    if weights[0] <= 0:
        raise ValueError("calibration failed: on these clips fakes do not score higher than reals")
    return Scaling(temperature=float(1 / weights[0]), bias=float(weights[1]))
