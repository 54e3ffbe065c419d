"""Selective prediction: how often a detector errs on the clips that it answers, if it abstains where it is not sure.

errors [n] are 0 or 1, or any loss of 0 or more; confidence [n] is high where the detector is sure. Both finite.
"""

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.calibrators import logit


def of_verdicts(labels: ArrayLike, scores: ArrayLike, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(errors [n] 0 or 1, confidence [n]) of calling fake what scores `threshold` or more, P(fake) in [0, 1].

    The confidence is the distance to the threshold in logits.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    wrong = (scores >= threshold) != (labels == 1)
    return wrong.astype(float), np.abs(logit(scores) - logit(np.array(threshold)))


def risk_coverage(errors: ArrayLike, confidence: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(coverage [k], risk [k]): the share of clips answered, rising to 1, and their mean error.

    There is one point for each of the k distinct confidences: clips of equal confidence are answered together.
    """
    errors, confidence = _checked(errors, confidence)
    answered = np.cumsum(np.unique(-confidence, return_counts=True)[1])
    totals = np.cumsum(errors)[answered - 1]
    return answered / max(len(errors), 1), totals / answered


def aurc(errors: ArrayLike, confidence: ArrayLike) -> float:
    """The area under the risk–coverage curve: the mean over k = 1 … n of the error of the k most confident clips.

    That is the definition of Geifman, Uziel & El-Yaniv (2019). The order of clips of equal confidence is arbitrary, so
    the result is the mean over all their orders. Lower is better; nan without clips.
    """
    errors, confidence = _checked(errors, confidence)
    k = np.arange(1, len(errors) + 1)
    return float(np.mean(_total(errors, confidence, k) / k)) if len(k) else float("nan")


def risk_at(errors: ArrayLike, confidence: ArrayLike, coverage: float) -> float:
    """The mean error of the most confident clips that make up `coverage` in (0, 1], at least one; nan without clips.

    Among clips of equal confidence at the border, it is the mean over the choices.
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must lie above 0 and up to 1, found {coverage}")
    errors, confidence = _checked(errors, confidence)
    if not len(errors):
        return float("nan")
    k = np.ceil(round(coverage * len(errors), 9))
    return float(_total(errors, confidence, k) / k)


def _checked(errors: ArrayLike, confidence: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [n], the most confident first."""
    errors, confidence = np.asarray(errors, np.float64), np.asarray(confidence, np.float64)
    if errors.ndim != 1 or errors.shape != confidence.shape:
        raise ValueError(
            f"errors and confidence must be two lists of one length, found shapes {errors.shape} and {confidence.shape}"
        )
    if not (np.isfinite(errors) & (errors >= 0)).all():
        raise ValueError("errors must be finite and 0 or more")
    if not np.isfinite(confidence).all():
        raise ValueError("confidence must be finite")
    order = np.argsort(-confidence, kind="stable")
    return errors[order], confidence[order]


def _total(errors: np.ndarray, confidence: np.ndarray, k: ArrayLike) -> np.ndarray:
    """The expected sum of the first k errors, over the orders of clips of equal confidence."""
    answered = np.append(0, np.cumsum(np.unique(-confidence, return_counts=True)[1]))
    return np.interp(k, answered, np.append(0.0, np.cumsum(errors))[answered])
