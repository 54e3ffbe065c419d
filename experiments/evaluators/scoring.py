"""Scores every clip of a split with a model: windows -> per-clip means -> rows of the score table."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from tqdm import tqdm

from data_pipelines.clip import Clip
from data_pipelines.loading import loader
from data_pipelines.prepare.records import Records
from experiments import distributed, model_from_config
from experiments.features import Features
from experiments.score_table import OK, ScoreRow

ABSTAINED = "abstained"  # status of a clip none of whose streams could be read


@dataclasses.dataclass(frozen=True)
class Scores:
    """rows: one per clip, in the records' order. ms_per_window: the model's time, loading left out."""

    rows: list[ScoreRow]
    ms_per_window: float


def make_predict(model: nn.Module, task: Any, mesh: jax.sharding.Mesh) -> Callable[..., dict[str, jax.Array]]:
    """A compiled (variables, batch) -> {name: [b]} whose outputs lie whole on every process."""

    def predict(variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        scores = task.scores(model_from_config.apply(model, variables, batch), batch)
        return {"clip_index": batch["clip_index"], "mask": batch["mask"], **scores}

    return jax.jit(predict, out_shardings=distributed.replicated(mesh))


def score(
    predict: Callable[..., dict[str, jax.Array]],
    variables: Any,
    records: Records,
    config: Mapping[str, Any],
    mesh: jax.sharding.Mesh,
    *,
    title: str,
    progress: bool = True,
) -> Scores:
    """Scores `records`: `config.evaluate.windows` windows a clip, averaged.

    A clip none of whose streams could be read stays in the table, with status `abstained` and no score.
    """
    data = {**config["data"], "batch_size": config["evaluate"]["batch_size"]}
    windows = config["evaluate"]["windows"]
    split = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    if isinstance(records, Features):
        batches = records.eval_batches(data["batch_size"], **split)
    else:
        batches = loader.eval_batches(records, data, windows=windows, **split)
    total = loader.eval_steps(records, data, windows=windows)
    collected: list[dict[str, np.ndarray]] = []
    seconds, rows = 0.0, 0
    for i, batch in enumerate(tqdm(batches, title, total, disable=not progress, leave=False, mininterval=1)):
        global_batch = distributed.put_batch(batch, mesh)
        start = time.perf_counter()
        outputs = jax.device_get(predict(variables, global_batch))
        if i:  # the first call compiles
            seconds += time.perf_counter() - start
            rows += len(outputs["mask"])
        collected.append(outputs)
    merged = {name: np.concatenate([outputs[name] for outputs in collected]) for name in collected[0]}
    keep = merged.pop("mask")
    index = merged.pop("clip_index")[keep]
    per_clip = {name: _mean_per_clip(values[keep], index, len(records)) for name, values in merged.items()}
    return Scores(_rows(records, per_clip), 1000 * seconds / rows if rows else float("nan"))


def _mean_per_clip(values: np.ndarray, index: np.ndarray, clips: int) -> np.ndarray:
    """Mean over each clip's windows that are not NaN; NaN where there is none."""
    values = values.astype(np.float64)
    known = ~np.isnan(values)
    counts = np.bincount(index[known], minlength=clips)
    sums = np.bincount(index[known], weights=values[known], minlength=clips)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def without_score(clips: Sequence[tuple[Clip, str]]) -> list[ScoreRow]:
    """Rows for clips, each with its status, that could not be prepared, so that they count as abstained from."""
    return [_row(clip, float("nan"), status, {}) for clip, status in clips]


def _rows(records: Records, per_clip: dict[str, np.ndarray]) -> list[ScoreRow]:
    rows = []
    for i, entry in enumerate(records.index):
        extra = {name: float(values[i]) for name, values in per_clip.items()}
        score = extra.pop("score")
        rows.append(_row(entry.clip, score, ABSTAINED if np.isnan(score) else OK, extra))
    return rows


def _row(clip: Clip, score: float, status: str, extra: Mapping[str, float]) -> ScoreRow:
    return ScoreRow(
        clip_id=clip.clip_id,
        label=clip.label,
        score=score,
        dataset=clip.dataset,
        split=clip.split,
        identity=clip.identity,
        method=clip.method,
        video_label=clip.video_label,
        audio_label=clip.audio_label,
        status=status,
        extra={"partial": float(bool(clip.video_segments or clip.audio_segments)), **extra},
    )
