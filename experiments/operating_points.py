"""Where a calibrated score decides, and how often it errs there: thresholds, abstention, bounds of likelihood ratios.

All limits are taken from held-out probabilities of validation, because a calibrator is too sure of clips whose labels
it has seen. What the thresholds do is measured on test.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.score_table import ScoreRow
from mmdf_jax.metrics import calibrators, classification, likelihood
from mmdf_jax.stats import conformal
from mmdf_jax.stats.bootstrap import interval

ERRORS = (0.1, 0.2)  # of each class, that the conformal thresholds allow: the first that validation has people for
BALANCED, CONFORMAL = "equal errors", "conformal"  # the operating points


@dataclasses.dataclass(frozen=True)
class Limits:
    """What validation allows to say of a probability P(fake).

    prior: the share of fakes. llr_bounds: the lowest and the highest likelihood ratio that the people support, natural
    logarithms. thresholds: `balanced`, with equal error rates; and `conformal`, {"error", "low", "high"}: real up to
    `low`, fake from `high` on, and no verdict between them.
    """

    prior: float
    llr_bounds: tuple[float, float]
    thresholds: Mapping[str, Any]


def limits(
    labels: np.ndarray, probability: np.ndarray, groups: Sequence[Hashable], error: float | None = None
) -> Limits:
    """The limits that held-out probabilities [n] of validation support.

    Each is of a calibrator that was fitted without that person. The conformal promise holds for one calibrator and new
    people. For these several calibrators (cross-conformal prediction, Vovk 2015) it holds in close approximation.

    labels [n]: 1 fake, 0 real. groups [n]: identities. error: the rate of each class that the conformal thresholds
    allow for a clip of a new person; None takes the first of ERRORS that the number of people allows.
    """
    prior = float(np.mean(labels))
    if error is None:
        people = min(
            len({group for group, label in zip(groups, labels, strict=True) if label == kind}) for kind in (0, 1)
        )
        error = next((rate for rate in ERRORS if people + 1e-9 >= 1 / rate - 1), ERRORS[-1])
    low, high = conformal.thresholds(labels, probability, error, groups)
    return Limits(
        prior=prior,
        llr_bounds=likelihood.bounds(labels, likelihood.log_lr(probability, prior), groups),
        thresholds={
            "balanced": classification.threshold_for(labels, probability),
            "conformal": {"error": error, "low": low, "high": high},
        },
    )


def calibrate(
    labels: np.ndarray, scores: np.ndarray, groups: Sequence[Hashable], error: float | None = None
) -> tuple[calibrators.Chosen, Limits]:
    """The calibration of scores [n] in [0, 1], and the limits of its held-out probabilities.

    The scores are of validation, by a detector that was not trained on these people. error: as in `limits`.

    Raises:
      ValueError: one class only, or fewer than two identities of a class.
    """
    chosen = calibrators.chosen(labels, scores, groups)
    return chosen, limits(labels, chosen.held_out, groups, error)


def decide(probability: np.ndarray, low: float, high: float) -> np.ndarray:
    """1 (fake) from `high` on, 0 (real) up to `low`, -1 (neither) between them and for nan: [n]."""
    return np.where(probability >= high, 1, np.where(probability <= low, 0, -1))


def measured(
    thresholds: Mapping[str, Any],
    rows: Sequence[ScoreRow],
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    samples: int,
) -> tuple[dict[str, Any], ...]:
    """What the thresholds do on test: error rates and abstentions with 95 % intervals over identities.

    rows, labels [n], probability [n]: of test. Clips without a probability are left out. A false alarm is a real that
    is called fake, a miss is a fake that is called real. samples: bootstrap resamples.
    """
    known = ~np.isnan(probability)
    rows = [row for row, has in zip(rows, known, strict=True) if has]
    labels, probability, groups = labels[known], probability[known], [row.group for row in rows]
    pair, balanced = thresholds["conformal"], thresholds["balanced"]
    where = {"dataset": datasets(rows), "split": "test"}
    found = []
    for what, low, high in ((BALANCED, balanced, balanced), (CONFORMAL, pair["low"], pair["high"])):
        called = decide(probability, low, high)
        rates = {
            "false_alarms": _rate(labels == 0, called == 1, groups, samples),
            "misses": _rate(labels == 1, called == 0, groups, samples),
            "abstained": _rate(np.ones(len(labels), bool), called == -1, groups, samples),
        }
        counts = {"clips": len(labels), "identities": len(set(groups))}
        found.append({"what": what, "threshold": {"low": low, "high": high}, **rates, **counts, "data": where})
    return tuple(found)


def _rate(among: np.ndarray, happened: np.ndarray, groups: Sequence[Hashable], samples: int) -> list[float]:
    """The share [value, low, high] of the clips `among` which it happened to."""
    own = [group for group, taken in zip(groups, among, strict=True) if taken]
    share = lambda labels, scores: float(scores.mean()) if len(scores) else math.nan  # noqa: E731
    found = interval(share, np.zeros(len(own), int), happened[among].astype(float), own, samples=samples)
    return [found.value, found.low, found.high]


def datasets(rows: Sequence[ScoreRow]) -> str:
    """The names of the rows' datasets, as `a + b`."""
    return " + ".join(sorted({row.dataset for row in rows if row.dataset}))
