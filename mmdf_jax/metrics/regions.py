"""Where in the picture: maps of scores against masks of what was manipulated; numpy in, numbers out.

A mask [h w] is 1 where manipulated, a map [h w] high where the detector thinks so; a pixel is called manipulated if
`score >= threshold`. Numbers are of one picture, or over the pixels of all (`pooled`), or means over the manipulated
pictures (`mean`); say which: large regions rule the first, small ones the second.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics import classification

Pictures = Sequence[ArrayLike]  # [h w] each; sizes may differ between pictures


@dataclasses.dataclass(frozen=True)
class Regions:
    """Scores of a map. nan: f1 and iou where neither mask nor map has a pixel; auc and the last four (all that go over
    thresholds) without manipulated pixels, auc also without others.

    best_f1, best_iou: at the threshold of this very map that suits best (`best_threshold`, of F1), an upper bound that
    no detector can choose; a threshold fitted elsewhere goes into `f1` and `iou`.
    """

    f1: float
    iou: float
    accuracy: float
    auc: float
    average_precision: float
    best_f1: float
    best_iou: float
    best_threshold: float


def of_pixels(mask: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> Regions:
    """The numbers of one picture, or of any pixels [… ] that belong together.

    Raises:
      ValueError: mask and map differ in shape, the mask holds something else than 0 and 1, a score is not finite.
    """
    fake, score = _checked(mask, score)
    found = classification.confusion(fake, score, threshold)
    best_f1, best_iou, best_threshold = _best(fake, score)
    return Regions(
        f1=_ratio(2 * found.tp, 2 * found.tp + found.fp + found.fn),
        iou=_ratio(found.tp, found.tp + found.fp + found.fn),
        accuracy=found.accuracy,
        auc=classification.auc(fake, score),
        average_precision=classification.average_precision(fake, score),
        best_f1=best_f1,
        best_iou=best_iou,
        best_threshold=best_threshold,
    )


def pooled(masks: Pictures, maps: Pictures, threshold: float = 0.5) -> Regions:
    """The numbers over the pixels of all pictures together, authentic ones too. Raises ValueError as `of_pixels`."""
    pairs = [_checked(mask, score) for mask, score in _paired(masks, maps)]
    fake = np.concatenate([np.zeros(0, bool), *(fake for fake, _ in pairs)])
    return of_pixels(fake, np.concatenate([np.zeros(0), *(score for _, score in pairs)]), threshold)


def mean(masks: Pictures, maps: Pictures, threshold: float = 0.5) -> Regions:
    """Means over the pictures with manipulated pixels, nan without one. Raises ValueError as `of_pixels`."""
    found = [
        dataclasses.astuple(of_pixels(mask, score, threshold))
        for mask, score in _paired(masks, maps)
        if np.any(np.asarray(mask) != 0)
    ]
    if not found:
        return Regions(*[float("nan")] * len(dataclasses.fields(Regions)))
    values = np.array(found)
    known = ~np.isnan(values)  # the AUC of a picture that is manipulated throughout is not
    sums, counts = np.where(known, values, 0).sum(0), known.sum(0)
    return Regions(*(_ratio(total, count) for total, count in zip(sums, counts, strict=True)))


def common_threshold(masks: Pictures, maps: Pictures) -> tuple[float, float]:
    """(threshold, mean F1): the lowest score that as a threshold gives the manipulated pictures the highest mean F1.

    Fit it on validation, and judge test pictures at it. nan without manipulated pixels. Raises ValueError as
    `of_pixels`.
    """
    pairs = [_checked(mask, score) for mask, score in _paired(masks, maps)]
    pairs = [(fake, score) for fake, score in pairs if fake.any()]
    if not pairs:
        return float("nan"), float("nan")
    candidates = np.unique(np.concatenate([score for _, score in pairs]))
    total = np.zeros(len(candidates))
    for fake, score in pairs:
        true = (_at_least(score[fake], candidates)).astype(np.float64)
        total += 2 * true / (_at_least(score, candidates) + fake.sum())
    best = int(np.argmax(np.round(total, 12)))  # rounding makes equal means tie
    return float(candidates[best]), float(total[best] / len(pairs))


def pointing_game(
    mask: ArrayLike, score: ArrayLike, *, within: float = 0.0, ties: Literal["share", "first"] = "share"
) -> float:
    """Whether the map's highest pixel lies in the mask (Zhang et al. 2016), 0 or 1; nan without manipulated pixels.

    Args:
      mask, score: [h w].
      within: how far from the mask, in pixels, still counts.
      ties: of several highest pixels the share that lies there (default), so that a constant map gains nothing by its
        first pixel; or the first in row order.

    Raises:
      ValueError: as `of_pixels`.
    """
    shape = np.shape(mask)
    fake, score = (x.reshape(shape) for x in _checked(mask, score))
    if not fake.any():
        return float("nan")
    highest = np.argwhere(score == score.max())
    highest = highest[:1] if ties == "first" else highest
    distance = np.linalg.norm(highest[:, None] - np.argwhere(fake)[None], axis=-1).min(1)
    return float(np.mean(distance <= within))


def _best(fake: np.ndarray, score: np.ndarray) -> tuple[float, float, float]:
    """The highest F1 and IoU over thresholds, and the lowest threshold that gives that F1."""
    if not fake.any():
        return float("nan"), float("nan"), float("nan")
    candidates = np.unique(score)
    true, called = _at_least(score[fake], candidates), _at_least(score, candidates)
    f1 = 2 * true / (called + fake.sum())
    best = int(np.argmax(np.round(f1, 12)))
    return float(f1[best]), float(np.max(true / (called + fake.sum() - true))), float(candidates[best])


def _at_least(score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """[k] how many scores reach each threshold."""
    return len(score) - np.searchsorted(np.sort(score), thresholds, side="left")


def _paired(masks: Pictures, maps: Pictures) -> list[tuple[ArrayLike, ArrayLike]]:
    if len(masks) != len(maps):
        raise ValueError(f"expected a map of each mask, found {len(masks)} masks and {len(maps)} maps")
    return list(zip(masks, maps, strict=True))


def _checked(mask: ArrayLike, score: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mask and map as a bool and a float [pixels], or ValueError."""
    mask, score = np.asarray(mask), np.asarray(score, np.float64)
    if mask.shape != score.shape:
        raise ValueError(f"mask and map must be of one size, found {mask.shape} and {score.shape}: resize one of them")
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(f"the mask must hold 0 and 1, found {mask[~np.isin(mask, (0, 1))][0]}")
    if not np.isfinite(score).all():
        raise ValueError(f"the map must be finite, found {score[~np.isfinite(score)][0]}")
    return mask.reshape(-1) == 1, score.reshape(-1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
