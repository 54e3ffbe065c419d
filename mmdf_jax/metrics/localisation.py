"""Where in time: average precision and recall of segments, and the AUC of frames; numpy in, numbers out.

`proposals` holds one list of (start, end, score) per clip, `truths` one list of (start, end), in seconds; every list
may be empty. The strict metrics (default) are the textbook's: proposals of all clips by falling score, each takes the
free true span of its clip with the highest IoU, if that is at least the threshold. No order of clips or of listing
matters: proposals of one score enter the curve together, and within a clip the earlier goes first.

`official` reproduces the numbers that two published programs print, for tables to compare with:
* both take an IoU above the threshold, match span by span with the first proposal in the order of listing, cut to the
  first N in that order, and leave out the area of the curve before its first point: a perfect detector of n spans
  gets 1 - 1/n;
* "lavdf" (ControlNet/LAV-DF, metrics.py) fails on clips with fewer than N proposals;
* "avdeepfake1m" (the package avdeepfake1m) takes what there is; a clip without a proposal counts in no recall, so that
  withholding proposals helps. (Its wheels up to 0.0.4 fail on such a clip; this is what their source says.)
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax import segments
from mmdf_jax.metrics import classification
from mmdf_jax.segments import FPS, interval_iou

Official = Literal["lavdf", "avdeepfake1m"]
Clips = Sequence[ArrayLike]  # per clip a list of segments or of spans

COUNTS = (100, 50, 30, 20, 10, 5)
IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))  # .5, .55, …, .95
ROUNDING = 1e-9  # spans of decimal seconds whose IoU is a threshold reach it


@dataclasses.dataclass(frozen=True)
class Matches:
    """Proposals of all clips by falling score, [p] each: their clip, score, and whether they found a span.

    truths: [n] the number of true spans of each clip.
    """

    clip: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    truths: np.ndarray


def match(proposals: Clips, truths: Clips, iou: float) -> Matches:
    """Strict matching at one IoU threshold; done once, any resampling of clips is `average_precision_of(…, weights)`.

    Raises:
      ValueError: the lists differ in length, or hold what is no segment, or a true span without length.
    """
    proposals, truths = checked(proposals, truths)
    clip, score, hit = [], [], []
    for i, (found, true) in enumerate(zip(proposals, truths, strict=True)):
        found = segments.ranked(found)
        clip.append(np.full(len(found), i))
        score.append(found[:, 2])
        hit.append(_take_best(interval_iou(found, true), iou))
    return _sorted(clip, score, hit, truths)


def average_precision_of(matches: Matches, weights: ArrayLike | None = None) -> float:
    """The area under the precision-recall curve's envelope, in [0, 1]; nan without true spans.

    weights: [n] how often each clip counts, as in a bootstrap; once by default.
    """
    precision, recall = precision_recall(matches, weights)
    return float(np.diff(recall) @ precision[1:]) if not np.isnan(recall[0]) else float("nan")


def precision_recall(matches: Matches, weights: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(precision, recall), [k + 1] each: at recall 0, then at the k distinct scores, highest first.

    The precision is the envelope: the best that is reached at this recall or a higher one. Without true spans the
    recall is nan.
    """
    weights = np.ones(len(matches.truths)) if weights is None else np.asarray(weights, np.float64)
    counted, total = weights[matches.clip], weights @ matches.truths
    last = np.append(matches.score[1:] != matches.score[:-1], True)[: len(matches.score)]
    true, all_of_them = (np.append(0.0, np.cumsum(x)[last]) for x in (counted * matches.hit, counted))
    precision = np.divide(true, all_of_them, out=np.zeros_like(true), where=all_of_them > 0)
    recall = true / total if total else np.full_like(true, np.nan)
    return np.maximum.accumulate(precision[::-1])[::-1], recall


def average_precision(proposals: Clips, truths: Clips, iou: float = 0.5, *, official: Official | None = None) -> float:
    """AP at one IoU threshold, in [0, 1]; nan without true spans. Raises ValueError as `match` and for `official`."""
    if official is None:
        return average_precision_of(match(proposals, truths, iou))
    proposals, truths = _official(proposals, truths, official)
    if official == "lavdf" and (missing := [i for i, found in enumerate(proposals) if not len(found)]):
        raise ValueError(
            f"the official program of LAV-DF needs a proposal of every clip, found none of clip {missing[0]}: give it "
            "one of the lowest score far beyond the clip's end"
        )
    hits = [
        _take_first(interval_iou(found, true), np.float32(iou)) for found, true in zip(proposals, truths, strict=True)
    ]
    matches = _sorted(
        [np.full(len(found), i) for i, found in enumerate(proposals)],
        [found[:, 2] for found in proposals],
        hits,
        truths,
    )
    if not matches.truths.sum():
        return float("nan")
    true = np.cumsum(matches.hit)  # from here on without the area before the first point
    precision = np.maximum.accumulate((true / np.arange(1, len(true) + 1))[::-1])[::-1]
    return float(np.diff(true / matches.truths.sum()) @ precision[1:])


@dataclasses.dataclass(frozen=True)
class Found:
    """True spans of all clips, [m] each: their clip, start and end (`spans` [m 2]), and how well they were found.

    best: [m k] the highest IoU among the clip's first counts[k] proposals by score, 0 without any.
    """

    clip: np.ndarray
    spans: np.ndarray
    best: np.ndarray
    counts: tuple[int, ...]


def find(proposals: Clips, truths: Clips, counts: Sequence[int] = COUNTS) -> Found:
    """How well each true span was found by any of the first N proposals. Raises ValueError as `match`."""
    proposals, truths = checked(proposals, truths)
    return _find([segments.ranked(found) for found in proposals], truths, counts)


def average_recall_of(found: Found, ious: Sequence[float] = IOUS, weights: ArrayLike | None = None) -> dict[int, float]:
    """{count: share of true spans with an IoU of at least the threshold, averaged over thresholds}; nan without spans.

    weights: [n] how often each clip counts; once by default.
    """
    counted = np.ones(len(found.clip)) if weights is None else np.asarray(weights, np.float64)[found.clip]
    if not counted.sum():
        return dict.fromkeys(found.counts, float("nan"))
    reached = (found.best[:, :, None] >= np.asarray(ious) - ROUNDING).mean(-1)
    return dict(zip(found.counts, (counted @ reached / counted.sum()).tolist(), strict=True))


def average_recall(
    proposals: Clips,
    truths: Clips,
    counts: Sequence[int] = COUNTS,
    ious: Sequence[float] = IOUS,
    *,
    official: Official | None = None,
) -> dict[int, float]:
    """{N: AR@N}: recall with the N best proposals of each clip, averaged over IoU thresholds; nan without true spans.

    Raises:
      ValueError: as `match`; with official="lavdf", a clip with spans has fewer than N proposals.
    """
    if official is None:
        return average_recall_of(find(proposals, truths, counts), ious)
    proposals, truths = _official(proposals, truths, official)
    for i, (mine, true) in enumerate(zip(proposals, truths, strict=True)):
        if official == "lavdf" and len(true) and len(mine) < max(counts):
            raise ValueError(
                f"AR@{max(counts)} of the official program of LAV-DF needs {max(counts)} proposals a clip, found "
                f"{len(mine)} in clip {i}: fill up with proposals of the lowest score far beyond the clip's end"
            )
    if official == "avdeepfake1m":
        truths = [true if len(mine) else true[:0] for mine, true in zip(proposals, truths, strict=True)]
    found = _find(proposals, truths, counts)
    if not len(found.clip):
        return dict.fromkeys(counts, float("nan") if official == "lavdf" else 0.0)
    share = (found.best[:, :, None] > np.asarray(ious, np.float32)).mean((0, 2))
    return dict(zip(counts, share.tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Steps:
    """Steps of n clips, fake and real apart, and how they rank.

    fake, real: [f] and [r] the clip of each, by falling score. above, reached: [r] how many fake steps have a higher
    score than each real one, and how many at least its score. within: [n] the AUC over the steps of each clip, nan
    where it lacks a class.
    """

    fake: np.ndarray
    real: np.ndarray
    above: np.ndarray
    reached: np.ndarray
    within: np.ndarray


def steps(scores: Clips, truths: Clips, *, fps: float = FPS) -> Steps:
    """The steps of clips' frame scores [t], judged by their middles; unknown scores (nan) are left out.

    Raises:
      ValueError: the lists differ in length, or a true span is none.
    """
    if len(scores) != len(truths):
        raise ValueError(f"expected scores and truths of the same clips, found {len(scores)} and {len(truths)}")
    _, truths = checked([()] * len(truths), truths)
    clip, fake, score, within = [], [], [], np.full(len(truths), np.nan)
    for i, (curve, true) in enumerate(zip(scores, truths, strict=True)):
        curve = np.asarray(curve, np.float64).reshape(-1)
        known = ~np.isnan(curve)
        labels, curve = segments.frame_labels(true, len(curve), fps=fps)[known], curve[known]
        within[i] = classification.auc(labels, curve)
        clip.append(np.full(len(curve), i))
        fake.append(labels)
        score.append(curve)
    clip, score = np.concatenate([np.zeros(0, int), *clip]), np.concatenate([np.zeros(0), *score])
    order = np.argsort(-score, kind="stable")
    fake = np.concatenate([np.zeros(0, bool), *fake])[order]
    clip, score = clip[order], -score[order]  # rising now
    above, reached = (np.searchsorted(score[fake], score[~fake], side) for side in ("left", "right"))
    return Steps(clip[fake], clip[~fake], above, reached, within)


def pooled_frame_auc(of: Steps, weights: ArrayLike | None = None) -> float:
    """AUC over the steps of all clips together, so that clips' levels count too; nan without both classes.

    weights: [n] how often each clip counts; once by default.
    """
    weights = np.ones(len(of.within)) if weights is None else np.asarray(weights, np.float64)
    fakes, reals = np.append(0.0, np.cumsum(weights[of.fake])), weights[of.real]
    pairs = fakes[-1] * reals.sum()
    return float((fakes[of.above] + fakes[of.reached]) @ reals / (2 * pairs)) if pairs else float("nan")


def clip_frame_aucs(of: Steps) -> np.ndarray:
    """[n] the AUC over the steps within each clip; nan where a clip lacks a class."""
    return of.within


def mean_frame_auc(of: Steps, weights: ArrayLike | None = None) -> float:
    """The mean over clips with fake and real steps of the AUC within each; nan without such a clip.

    weights: as in `pooled_frame_auc`.
    """
    known = ~np.isnan(of.within)
    share = known.astype(np.float64) if weights is None else np.asarray(weights, np.float64) * known
    return float(share[known] @ of.within[known] / share.sum()) if share.sum() else float("nan")


def checked(proposals: Clips, truths: Clips) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The lists as arrays [n 3] and [n 2] per clip, or ValueError saying which clip holds what is none."""
    if len(proposals) != len(truths):
        raise ValueError(f"expected proposals and truths of the same clips, found {len(proposals)} and {len(truths)}")
    proposals = [segments.checked(found, 3, f"proposals of clip {i}") for i, found in enumerate(proposals)]
    truths = [segments.checked(true, 2, f"true spans of clip {i}") for i, true in enumerate(truths)]
    for i, true in enumerate(truths):
        if (empty := true[:, 0] == true[:, 1]).any():
            raise ValueError(
                f"true spans of clip {i}: {tuple(true[empty][0].tolist())} has no length, nothing finds it"
            )
    return proposals, truths


def _take_best(iou: np.ndarray, threshold: float) -> np.ndarray:
    """[p] bool: whether each proposal, in order, finds a span not yet taken, with the highest IoU [p m] it has."""
    hit = np.zeros(len(iou), bool)
    iou = np.where(iou >= threshold - ROUNDING, iou, -1.0)
    for row in np.flatnonzero(iou.max(1, initial=-1.0) >= 0):
        best = int(iou[row].argmax())
        if iou[row, best] >= 0:
            hit[row] = True
            iou[:, best] = -1.0
    return hit


def _take_first(iou: np.ndarray, threshold: float) -> np.ndarray:
    """[p] bool: whether each proposal is the first, in order, that a span above the threshold could still take."""
    hit = np.zeros(len(iou), bool)
    for column in iou.T:
        free = np.flatnonzero((column > threshold) & ~hit)
        hit[free[:1]] = True
    return hit


def _sorted(
    clip: Sequence[np.ndarray], score: Sequence[np.ndarray], hit: Sequence[np.ndarray], truths: Sequence[np.ndarray]
) -> Matches:
    clip = np.concatenate([np.zeros(0, int), *clip])
    score, hit = np.concatenate([np.zeros(0), *score]), np.concatenate([np.zeros(0, bool), *hit])
    order = np.argsort(-score, kind="stable")
    return Matches(clip[order], score[order], hit[order], np.array([len(true) for true in truths], int))


def _find(proposals: Sequence[np.ndarray], truths: Sequence[np.ndarray], counts: Sequence[int]) -> Found:
    best = []
    for found, true in zip(proposals, truths, strict=True):
        iou = interval_iou(found, true)
        best.append(np.stack([iou[:count].max(0, initial=0.0) for count in counts], axis=1))
    clip = np.repeat(np.arange(len(truths)), [len(true) for true in truths])
    width = len(counts)
    return Found(
        clip,
        np.concatenate([np.zeros((0, 2)), *truths]),
        np.concatenate([np.zeros((0, width)), *best]),
        tuple(int(count) for count in counts),
    )


def _official(proposals: Clips, truths: Clips, official: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The clips as the published programs hold them: in the order of listing, in float32."""
    if official not in ("lavdf", "avdeepfake1m"):
        raise ValueError(f"official must be 'lavdf' or 'avdeepfake1m', found {official!r}")
    proposals, truths = checked(proposals, truths)
    return [x.astype(np.float32) for x in proposals], [x.astype(np.float32) for x in truths]
