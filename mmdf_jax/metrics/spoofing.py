"""Voice anti-spoofing as the ASVspoof challenges score it: their EER, tandem cost (t-DCF) and detection cost (DCF).

A countermeasure flags fake speech before a speaker verification system (ASV) that a fake could fool. Here, as in
the whole project, a high score means fake; ASVspoof's own scores are high for bona fide speech: give their negatives.
The interpolated EER is `mmdf_jax.metrics.classification.eer`, Cllr is `mmdf_jax.metrics.likelihood.cllr`.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.classification import checked, confusion, roc_curve
from mmdf_jax.metrics.likelihood import decision_cost, least_decision_cost

ASVSPOOF5 = {"prior": 0.05, "miss": 10.0, "false_alarm": 1.0}  # of a fake; what it costs to miss one, and to cry wolf


class OfficialEer(NamedTuple):
    rate: float
    threshold: float


def official_eer(labels: ArrayLike, scores: ArrayLike) -> OfficialEer:
    """The equal error rate as ASVspoof's programs compute it, to compare with published numbers; nan without a class.

    Nothing is interpolated: it is the mean of both rates where they are closest as clips are called fake one by one
    from the highest score down, a real before a fake of the same score. With ties it therefore visits
    points that no threshold reaches, and can lie above or below `classification.eer`. The threshold is
    the score of the last clip called fake.
    """
    fake, scores = checked(labels, scores)
    if fake.all() or not fake.any():
        return OfficialEer(float("nan"), float("nan"))
    order = np.lexsort((fake, -scores))
    alarms = np.append(0, np.cumsum(~fake[order])) / (~fake).sum()
    missed = 1 - np.append(0, np.cumsum(fake[order])) / fake.sum()
    closest = int(np.argmin(np.abs(alarms - missed)))
    thresholds = np.append(scores.max() + 0.001, scores[order])
    return OfficialEer(float((alarms[closest] + missed[closest]) / 2), float(thresholds[closest]))


class AsvRates(NamedTuple):
    """What the speaker verification does: rejects its target, accepts another speaker, accepts a fake of the target."""

    miss: float
    false_alarm: float
    spoof_false_alarm: float


def asv_rates(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike) -> AsvRates:
    """The rates of a verification system whose scores (high = the target) are given for its three kinds of trials.

    It accepts from the threshold of its `official_eer` on, as ASVspoof has it: that threshold itself is accepted here,
    although the EER counted it as rejected.
    """
    target, nontarget, spoof = (np.asarray(scores, np.float64) for scores in (target, nontarget, spoof))
    if not (len(target) and len(nontarget) and len(spoof) and np.isfinite(spoof).all()):
        raise ValueError(
            "expected finite scores of target, nontarget and spoof trials, "
            f"found {len(target)}, {len(nontarget)} and {int(np.isfinite(spoof).sum())}"
        )
    labels = np.repeat([0, 1], [len(target), len(nontarget)])
    threshold = -official_eer(labels, -np.concatenate([target, nontarget])).threshold
    return AsvRates(
        miss=float((target < threshold).mean()),
        false_alarm=float((nontarget >= threshold).mean()),
        spoof_false_alarm=float((spoof >= threshold).mean()),
    )


@dataclasses.dataclass(frozen=True)
class Trials:
    """How often each kind of trial comes, and what its mistake costs: the defaults are those of ASVspoof 2019 and 2021.

    target, nontarget, spoof: prior probabilities. Costs are of rejecting the target, by either system, of accepting
    another speaker, and of accepting a fake.
    """

    target: float = 0.9405
    nontarget: float = 0.0095
    spoof: float = 0.05
    miss_cost: float = 1.0
    false_alarm_cost: float = 10.0
    spoof_false_alarm_cost: float = 10.0


def min_tdcf(
    labels: ArrayLike,
    scores: ArrayLike,
    asv: AsvRates,
    year: Literal[2019, 2021] = 2021,
    trials: Trials = Trials(),
) -> float:
    """`tdcf` at the threshold that is best on these very clips: it judges the order of the scores alone.

    nan where one class is missing.
    """
    fpr, tpr, _ = roc_curve(labels, scores)
    return _tandem(fpr, 1 - tpr, asv, year, trials)


def tdcf(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    asv: AsvRates,
    year: Literal[2019, 2021] = 2021,
    trials: Trials = Trials(),
) -> float:
    """The cost of a countermeasure and a verification system in tandem (Kinnunen et al. 2020), 0 being the best.

    2021 counts the verification's own mistakes too, and divides by the cost of the better countermeasure of two that
    decide blindly: 1 is useless, and what a perfect one reaches is above 0. 2019 leaves these mistakes out. Numbers of
    the two years do not compare.

    Args:
      labels: [n] 1 fake, 0 real. scores: [n] of the countermeasure, high = fake.
      threshold: at or above which a clip is called fake.
      asv: the rates of the verification system at its threshold.

    Raises:
      ValueError: the year is unknown, or the verification system is so bad that no countermeasure could help it.
    """
    counts = confusion(labels, scores, threshold)
    return _tandem(1 - counts.specificity, 1 - counts.recall, asv, year, trials)


def _tandem(alarms: ArrayLike, missed: ArrayLike, asv: AsvRates, year: int, trials: Trials) -> float:
    """The least cost over the countermeasure's rates of false alarms and of missed fakes [k]."""
    if year not in (2019, 2021):
        raise ValueError(f"year must be 2019 or 2021, found {year!r}")
    own = trials.target * trials.miss_cost * asv.miss + trials.nontarget * trials.false_alarm_cost * asv.false_alarm
    of_alarms = trials.target * trials.miss_cost - own
    of_missed = trials.spoof * trials.spoof_false_alarm_cost * asv.spoof_false_alarm
    if min(of_alarms, of_missed) <= 0:
        raise ValueError(
            f"t-DCF needs a verification system that is worth running and that fakes can fool, found {asv}"
        )
    always = own if year == 2021 else 0.0
    cost = of_alarms * np.asarray(alarms) + of_missed * np.asarray(missed)
    return float((always + cost.min()) / (always + min(of_alarms, of_missed)))


def min_dcf(labels: ArrayLike, scores: ArrayLike) -> float:
    """ASVspoof 5's minimum detection cost: `likelihood.least_decision_cost` with a prior of 5 % fakes at cost 10."""
    return least_decision_cost(labels, scores, **ASVSPOOF5)


def act_dcf(labels: ArrayLike, llr: ArrayLike) -> float:
    """ASVspoof 5's actual detection cost: `likelihood.decision_cost` of llr (high = fake), at the same prices."""
    return decision_cost(labels, llr, **ASVSPOOF5)
