"""Which kind: metrics of several classes, and of classes in a hierarchy; numpy in, numbers out.

Classes are 0 … k - 1. What depends on decisions alone is a function of the confusion matrix, which any resampling of
clips gives in one step (`confusion(…, weights=…)`). What the data leave undefined is nan.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.classification import auc

Average = Literal["macro", "weighted", "micro"]


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int, weights: ArrayLike | None = None) -> np.ndarray:
    """The matrix [k k]: how many clips of each true class (rows) were called each class (columns).

    Args:
      truth, predicted: [n] integers below `classes`.
      weights: [n] how often each clip counts; once by default.

    Raises:
      ValueError: the lists differ in length, or hold another class.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise ValueError(f"truth and predicted must be two lists alike, found {truth.shape} and {predicted.shape}")
    cell = _classes(truth, classes, "truth") * classes + _classes(predicted, classes, "predicted")
    return np.bincount(cell, weights, classes**2).reshape(classes, classes).astype(np.float64)


def accuracy(matrix: np.ndarray) -> float:
    """The share of clips called what they are; nan without clips."""
    return _ratio(np.trace(matrix), matrix.sum())


def precision(matrix: np.ndarray, average: Average = "macro", *, every: bool = False) -> float:
    """Precision averaged over classes, see `f1`."""
    return _averaged(matrix, _shares(np.diag(matrix), matrix.sum(0)), average, every)


def recall(matrix: np.ndarray, average: Average = "macro", *, every: bool = False) -> float:
    """Recall averaged over classes, see `f1`."""
    return _averaged(matrix, _shares(np.diag(matrix), matrix.sum(1)), average, every)


def f1(matrix: np.ndarray, average: Average = "macro", *, every: bool = False) -> float:
    """F1 averaged over classes: plainly (`macro`), by how many clips each has (`weighted`), or as one (`micro`).

    every: classes that are neither true nor called anywhere count as 0; else they are left out. A class that is never
      found counts as 0 in any case. `micro` is the accuracy.
    """
    return _averaged(matrix, class_f1(matrix), average, every)


def class_f1(matrix: np.ndarray) -> np.ndarray:
    """[k] the F1 of each class; 0 for a class that is neither true nor called anywhere."""
    return _shares(2 * np.diag(matrix), matrix.sum(0) + matrix.sum(1))


def balanced_accuracy(matrix: np.ndarray, *, adjusted: bool = False) -> float:
    """The mean recall of the classes that have clips; nan without clips.

    adjusted: scaled so that guessing is 0 and perfect is 1.
    """
    support = matrix.sum(1)
    present = support > 0
    if not present.any():
        return float("nan")
    mean = float(np.mean(np.diag(matrix)[present] / support[present]))
    chance = 1 / present.sum()
    return _ratio(mean - chance, 1 - chance) if adjusted else mean


def mcc(matrix: np.ndarray) -> float:
    """Matthews' correlation for k classes (Gorodkin 2004), in [-1, 1]; 0 where truth or calls are of one class."""
    true, called, count = matrix.sum(1), matrix.sum(0), matrix.sum()
    spread = (count**2 - true @ true) * (count**2 - called @ called)
    if not count:
        return float("nan")
    return float((np.trace(matrix) * count - true @ called) / np.sqrt(spread)) if spread > 0 else 0.0


def one_vs_rest_aucs(truth: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """[k] AUC of each class's score against all other clips, of scores [n k]; nan for a class with no clip or all."""
    truth, scores = _scored(truth, scores)
    return np.array([auc(truth == label, scores[:, label]) for label in range(scores.shape[1])])


def one_vs_rest_auc(truth: ArrayLike, scores: ArrayLike, average: Literal["macro", "weighted"] = "macro") -> float:
    """The mean of `one_vs_rest_aucs` where they are defined, plain or by how many clips each class has."""
    aucs = one_vs_rest_aucs(truth, scores)
    share = np.bincount(np.asarray(truth), minlength=len(aucs)) if average == "weighted" else np.ones(len(aucs))
    known = ~np.isnan(aucs)
    return _ratio(aucs[known] @ share[known], share[known].sum())


def one_vs_one_auc(truth: ArrayLike, scores: ArrayLike) -> float:
    """The mean over pairs of classes of how well either's score parts the two (Hand & Till 2001), scores [n k]."""
    truth, scores = _scored(truth, scores)
    present = np.unique(truth)
    found = []
    for i, first in enumerate(present):
        for second in present[i + 1 :]:
            rows = (truth == first) | (truth == second)
            one, other = (auc(truth[rows] == label, scores[rows, label]) for label in (first, second))
            found.append((one + other) / 2)
    return float(np.mean(found)) if found else float("nan")


def top_k(
    truth: ArrayLike, scores: ArrayLike, k: int, ties: Literal["pessimistic", "optimistic"] = "pessimistic"
) -> float:
    """The share of clips whose class is among the k highest of scores [n k]; nan without clips.

    ties: whether classes with the same score stand before the true one (default) or behind it.
    """
    truth, scores = _scored(truth, scores)
    own = scores[np.arange(len(truth)), truth][:, None]
    before = (scores >= own).sum(1) - 1 if ties == "pessimistic" else (scores > own).sum(1)
    return float(np.mean(before < k)) if len(truth) else float("nan")


@dataclasses.dataclass(frozen=True)
class Hierarchical:
    """Precision, recall and F1 over a class and all its ancestors, pooled over clips, and as means over clips."""

    precision: float
    recall: float
    f1: float
    mean_precision: float
    mean_recall: float
    mean_f1: float


def hierarchical(
    truth: Sequence[str],
    predicted: Sequence[str],
    parents: Mapping[str, str | None],
    weights: ArrayLike | None = None,
) -> Hierarchical:
    """Precision and recall that credit the part of the way that is right (Kiritchenko et al. 2006).

    Each class stands for itself and its ancestors; the root that all would share has no place among them. To answer
    too generally costs recall, too specifically precision.

    Args:
      truth, predicted: [n] names of nodes.
      parents: {node: its parent, or None}; names are unique over the hierarchy.
      weights: [n] how often each clip counts; once by default.

    Raises:
      ValueError: the lists differ in length, a name is no node, or the parents go in a circle.
    """
    if len(truth) != len(predicted):
        raise ValueError(f"truth and predicted must be two lists alike, found {len(truth)} and {len(predicted)} names")
    paths = {name: _ancestors(name, parents) for name in {*truth, *predicted}}
    sets = [(paths[true], paths[called]) for true, called in zip(truth, predicted, strict=True)]
    sizes = np.array([(len(t & p), len(p), len(t)) for t, p in sets], np.float64).reshape(-1, 3)
    weights = np.ones(len(sizes)) if weights is None else np.asarray(weights, np.float64)
    shared, called, true = weights @ sizes
    each = _shares(sizes[:, :1], sizes[:, 1:]), _shares(2 * sizes[:, :1], sizes[:, 1:].sum(1, keepdims=True))
    means = [_ratio(weights @ column, weights.sum()) for column in np.concatenate(each, axis=1).T]
    return Hierarchical(_ratio(shared, called), _ratio(shared, true), _ratio(2 * shared, called + true), *means)


def _ancestors(name: str, parents: Mapping[str, str | None]) -> frozenset[str]:
    path: list[str] = []
    node: str | None = name
    while node is not None:
        if node not in parents:
            raise ValueError(f"{name!r}: {node!r} is no node of the hierarchy; known: {', '.join(sorted(parents))}")
        if node in path:
            raise ValueError(f"the hierarchy goes in a circle: {' > '.join([*path, node])}")
        path.append(node)
        node = parents[node]
    return frozenset(path)


def _scored(truth: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, scores = np.asarray(truth), np.asarray(scores, np.float64)
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise ValueError(f"expected truth [n] and scores [n k], found shapes {truth.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, found {scores[~np.isfinite(scores)][0]}")
    return _classes(truth, scores.shape[1], "truth"), scores


def _classes(labels: np.ndarray, classes: int, name: str) -> np.ndarray:
    """labels [n] as integers, or ValueError."""
    wrong = ~np.isin(labels, np.arange(classes))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} must hold classes 0 to {classes - 1}, found {labels[row]} at position {row}")
    return labels.astype(np.int64)


def _averaged(matrix: np.ndarray, values: np.ndarray, average: Average, every: bool) -> float:
    if average == "micro":
        return accuracy(matrix)
    seen = (matrix.sum(0) + matrix.sum(1) > 0) | every
    share = matrix.sum(1) if average == "weighted" else seen.astype(np.float64)
    return _ratio(values @ share, share.sum())


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
