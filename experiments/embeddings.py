"""What a detector's decision is made from: a vector for some test clips, kept beside the score tables for figures."""

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.files import atomic

FILE = "embeddings_test.npz"  # in scores/ of a run
CLIPS = 500  # for which vectors are kept; more points than that make no clearer picture


def of_model(outputs: Mapping[str, Any]) -> Any | None:
    """The vector [b d] of a model's outputs that its decision is made from: the fused one, or that of its one stream.

    None where there is no such vector: several streams are compared, and none is made of them all.
    """
    found = outputs.get("embeddings", {})
    return found.get("fused", next(iter(found.values())) if len(found) == 1 else None)


def chosen(clips: int) -> np.ndarray:
    """Which of a table's clips vectors are kept of: all, or CLIPS that are evenly spread; indices in order."""
    return np.unique(np.linspace(0, clips - 1, min(clips, CLIPS)).round().astype(int))


def write(path: pathlib.Path, vectors: Mapping[str, np.ndarray]) -> None:
    """Writes {clip: vector [d]} as `clip_id [n]` (UTF-8) and `vectors [n d]` (float16), the same as the same bytes."""
    largest = np.finfo(np.float16).max
    names = np.array([clip.encode("utf-8", "surrogateescape") for clip in vectors])
    with atomic(path) as temporary:
        np.savez(
            temporary,
            clip_id=names,
            vectors=np.clip(np.stack(list(vectors.values())), -largest, largest).astype(np.float16),
        )


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """{clip: vector [d], float32}.

    Raises:
      FileNotFoundError: there is no such file.  ValueError: it is no file of `write`.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            names, vectors = arrays["clip_id"], arrays["vectors"].astype(np.float32)
        clips = [bytes(name).decode("utf-8", "surrogateescape") for name in names]
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected clip_id and vectors of a run, found something else ({error})") from None
    if vectors.ndim != 2 or len(clips) != len(vectors) or not np.isfinite(vectors).all():
        raise ValueError(
            f"{path}: expected a finite vector for each clip, found {vectors.shape} for {len(clips)} clips"
        )
    return dict(zip(clips, vectors, strict=True))
