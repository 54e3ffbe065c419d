"""Binary detection metrics in numpy: labels (1 fake, 0 real) and scores (high = fake) in, numbers out.

Every metric takes `labels [n]` and `scores [n]`. Scores need only order the clips, except at a threshold, where a clip
is called fake if `score >= threshold`. What the data leave undefined (a rate over no clips) is nan, never a guess.
All raise ValueError where lengths differ, a label is not 0 or 1, or a score is not finite.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Rule = Literal["eer", "balanced_accuracy"]


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """labels and scores as a bool [n] and a float64 [n] array, or ValueError saying what is wrong with them."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(
            f"labels and scores must be two lists of one length, found shapes {labels.shape} and {scores.shape}"
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"scores must be finite, found {scores[row]} at position {row}")
    fake = labels == 1
    if not (fake | (labels == 0)).all():
        row = int(np.flatnonzero(~(fake | (labels == 0)))[0])
        raise ValueError(f"labels must be 0 (real) or 1 (fake), found {labels[row]} at position {row}")
    return fake, scores


def _cumulative(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives [m] when everything from each of the m distinct scores up is called fake.

    The distinct scores come third, highest first. Tied clips enter together, which is what gives ties half credit.
    """
    fake, scores = checked(labels, scores)
    # A stable sort takes one pass over sorted input, which the bootstrap gives.
    order = np.argsort(-scores, kind="stable")
    fake, scores = fake[order], scores[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, int)
    tp = np.cumsum(fake)[last]
    return tp.astype(np.float64), (last + 1 - tp).astype(np.float64), scores[last]


class Roc(NamedTuple):
    """The ROC curve from (0, 0) to (1, 1), one point per distinct score; thresholds fall, the first is inf."""

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Roc:
    """All operating points; fpr is all nan without real clips, tpr without fake ones."""
    tp, fp, thresholds = _cumulative(labels, scores)
    tp, fp = np.append(0.0, tp), np.append(0.0, fp)
    nan = np.full_like(tp, np.nan)
    return Roc(fp / fp[-1] if fp[-1] else nan, tp / tp[-1] if tp[-1] else nan, np.append(np.inf, thresholds))


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """P(a fake scores higher than a real) + P(tie) / 2: the area under the ROC curve, in [0, 1].

    It depends on the order of the scores alone, so any increasing map of them leaves it as it is.
    """
    tp, fp, _ = _cumulative(labels, scores)
    if not len(tp) or not tp[-1] or not fp[-1]:
        return float("nan")
    width = np.diff(fp, prepend=0.0)
    height = tp - np.diff(tp, prepend=0.0) / 2
    return float(width @ height / (tp[-1] * fp[-1]))


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """The equal error rate: where the false positive rate equals the false negative rate, in [0, 1].

    Definition: the crossing of the piecewise linear ROC curve (its points joined by straight lines, not its convex
    hull) with the line tpr = 1 - fpr, interpolated.
    """
    fpr, tpr, _ = roc_curve(labels, scores)
    gap = (1 - tpr) - fpr  # falls from 1 to -1
    if np.isnan(gap).any() or len(gap) < 2:
        return float("nan")
    after = int(np.argmax(gap <= 0))
    step = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(fpr[after - 1] + step * (fpr[after] - fpr[after - 1]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """The sum over distinct scores of precision times the gain in recall (no interpolation), in [0, 1]."""
    tp, fp, _ = _cumulative(labels, scores)
    if not len(tp) or not tp[-1]:
        return float("nan")
    return float(np.diff(tp, prepend=0.0) @ (tp / (tp + fp)) / tp[-1])


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Clips counted by truth and verdict at one threshold, and the rates that follow; fake is the positive class."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def accuracy(self) -> float:
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; nan without a fake among the clips."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn) if self.tp + self.fn else float("nan")

    @property
    def balanced_accuracy(self) -> float:
        return (self.recall + self.specificity) / 2


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def confusion(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Confusion:
    """Counts when `score >= threshold` is called fake. ValueError for a nan threshold, which decides nothing."""
    fake, scores = checked(labels, scores)
    if np.isnan(threshold):
        raise ValueError("threshold must be a number, found nan: fit it on data with real and fake clips")
    called = scores >= threshold
    return Confusion(
        tp=int((fake & called).sum()),
        fp=int((~fake & called).sum()),
        tn=int((~fake & ~called).sum()),
        fn=int((fake & ~called).sum()),
    )


def threshold_for(labels: ArrayLike, scores: ArrayLike, rule: Rule = "eer") -> float:
    """The threshold to use on other data, fitted on these (the validation split); nan if one class is missing.

    `eer` (default) makes the false positive and false negative rates as equal as they get; `balanced_accuracy`
    makes their sum smallest. The default is the crossing of two monotone curves, which n clips fix to about n^-1/2;
    the other is the highest point of a jagged curve, which they fix only to n^-1/3 (Kim & Pollard 1990, Cube root
    asymptotics), so on the few hundred clips of a usual validation split it follows the noise. Neither moves
    with the share of fakes. It lies half-way between two neighbouring scores, so no validation clip sits on it.
    """
    if rule not in ("eer", "balanced_accuracy"):
        raise ValueError(f"rule must be 'eer' or 'balanced_accuracy', found {rule!r}")
    fpr, tpr, thresholds = (values[1:] for values in roc_curve(labels, scores))
    if not len(fpr) or np.isnan(fpr).any() or np.isnan(tpr).any():
        return float("nan")
    imbalance, error = np.abs(1 - tpr - fpr), 1 - tpr + fpr
    # Rounding makes 1 - 0.9 and 0.1 tie. The second criterion decides between ties.
    first, second = (imbalance, error) if rule == "eer" else (error, imbalance)
    best = np.lexsort((np.round(second, 12), np.round(first, 12)))[0]
    here = thresholds[best]
    below = thresholds[best + 1] if best + 1 < len(thresholds) else here
    middle = below + (here - below) / 2
    return float(middle if middle > below else here)
