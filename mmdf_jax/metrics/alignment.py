"""What a space that two streams share knows: numpy in, numbers out.

x, y: [n d], L2-normalised, row i of both from the same clip. groups [n]: who is in each clip.
"""

from collections.abc import Sequence

import numpy as np


def alignment(x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance of what belongs together, 0 to 4 (Wang and Isola 2020, with exponent 2)."""
    return float(np.mean(np.sum((x - y) ** 2, axis=1))) if len(x) else float("nan")


def uniformity(x: np.ndarray) -> float:
    """log of the mean of exp(-2 distance²) over all pairs of rows, -8 to 0; low is spread out (Wang and Isola 2020)."""
    if len(x) < 2:
        return float("nan")
    squared = np.clip(2 - 2 * (x @ x.T), 0, 4)[np.triu_indices(len(x), 1)]
    return float(np.log(np.mean(np.exp(-2 * squared))))


def retrieval(x: np.ndarray, y: np.ndarray, groups: Sequence[object], *, same: bool) -> tuple[float, float]:
    """How often x finds its own y as the nearest among those of the same group (or among its own and those of all other
    groups), and how often chance would; NaN where no row has another candidate."""
    alike, own = _alike(groups), np.eye(len(x), dtype=bool)
    candidates = (alike if same else ~alike) | own
    usable = candidates.sum(1) > 1
    if not usable.any():
        return float("nan"), float("nan")
    found = np.where(candidates, x @ y.T, -np.inf).argmax(1) == np.arange(len(x))
    return float(found[usable].mean()), float((1 / candidates.sum(1))[usable].mean())


def identity_leakage(x: np.ndarray, y: np.ndarray, groups: Sequence[object]) -> float:
    """How often y of another clip of the same group is nearer to x than y of another group, 0.5 where nothing of the
    group is known; ties count half, NaN where there is nothing to compare."""
    alike, own = _alike(groups), np.eye(len(x), dtype=bool)
    shares = []
    for row, of, self in zip(x @ y.T, alike, own, strict=True):
        mine, others = row[of & ~self], row[~of]
        if len(mine) and len(others):
            difference = mine[:, None] - others
            shares.append(np.mean((difference > 0) + 0.5 * (difference == 0)))
    return float(np.mean(shares)) if shares else float("nan")


def _alike(groups: Sequence[object]) -> np.ndarray:
    """[n n] bool: whether two rows are of one group."""
    _, index = np.unique([repr(group) for group in groups], return_inverse=True)
    return index[:, None] == index
