"""Scores every clip of a split with a model: windows -> what the task makes of a clip's -> rows of the score table."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from data_pipelines.clip import Clip
from data_pipelines.source import Source
from experiments import distributed, embeddings, model_from_config, progress
from experiments.evaluators import windows_to_clips
from experiments.score_table import OK, ScoreRow, curve_cell
from experiments.termination import Termination
from mmdf_jax.typing import Task

ABSTAINED = "abstained"  # status of a clip none of whose streams could be read


@dataclasses.dataclass(frozen=True)
class Scores:
    """rows: one per clip, in the records' order. ms_per_window: the model's time, loading left out. windows: a clip's,
    in the mean. embeddings: {clip: the mean vector [d] of its windows} of some clips, see experiments/embeddings.py."""

    rows: list[ScoreRow]
    ms_per_window: float
    windows: float = 1.0
    embeddings: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def make_predict(model: nn.Module, task: Task, mesh: jax.sharding.Mesh) -> Callable[..., dict[str, jax.Array]]:
    """A compiled (variables, batch) -> the task's outputs {name: [b …]}, which lie whole on every process.

    With them, where the model has it, `embedding [b d]`: see experiments/embeddings.py.
    """

    def predict(variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        outputs = model_from_config.apply(model, variables, batch)
        kept = {name: batch[name] for name in ("clip_index", "window_start", "mask")}
        if (embedding := embeddings.of_model(outputs)) is not None:
            kept["embedding"] = embedding
        return {**kept, **task.outputs(outputs, batch)}

    return jax.jit(predict, out_shardings=distributed.replicated(mesh))


def score(
    predict: Callable[..., dict[str, jax.Array]],
    variables: Any,
    records: Source,
    config: Mapping[str, Any],
    mesh: jax.sharding.Mesh,
    task: Task,
    termination: Termination,
    *,
    title: str,
    shown: bool = True,
) -> Scores:
    """Scores `records`: `config.evaluate.windows` windows a clip, or as many as `config.evaluate.stride` asks for,
    reduced as the task says.

    A clip none of whose streams could be read stays in the table, with status `abstained` and no score. A signal ends
    the run between two batches.
    """
    windows = config["evaluate"]["windows"]
    stride = config["evaluate"].get("stride", 0.0)
    data = {**config["data"], "batch_size": config["evaluate"]["batch_size"], "stride": stride}
    split = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    batches = records.eval_batches(data, windows=windows, **split)
    collected: list[dict[str, np.ndarray]] = []
    some, vectors = embeddings.chosen(len(records)), []
    seconds, rows = 0.0, 0
    bar = progress.bar(records.eval_steps(data, windows=windows), title, shown=shown)
    with termination.postponed(), contextlib.closing(batches), bar:
        for i, batch in enumerate(batches):
            if termination.requested():
                termination.end()
            global_batch = distributed.put_batch(batch, mesh)
            start = time.perf_counter()
            outputs = jax.device_get(predict(variables, global_batch))
            if i:  # the first call compiles
                seconds += time.perf_counter() - start
                rows += len(outputs["mask"])
            if (embedding := outputs.pop("embedding", None)) is not None:  # too much to keep of every window
                rows_kept = outputs["mask"] & np.isin(outputs["clip_index"], some)
                vectors.append((outputs["clip_index"][rows_kept], embedding[rows_kept].astype(np.float32)))
            collected.append(outputs)
            bar.update()
    merged = {name: np.concatenate([outputs[name] for outputs in collected]) for name in collected[0]}
    keep = merged.pop("mask")
    index, starts = (merged.pop(name)[keep] for name in ("clip_index", "window_start"))
    of_clips = {
        name: windows_to_clips.reduce(
            task.reduction(name), values[keep], index, len(records), starts=starts, seconds=data["window"]
        )
        for name, values in merged.items()
    }
    ms = 1000 * seconds / rows if rows else float("nan")
    table = _rows(records, of_clips, task)
    return Scores(table, ms, len(index) / max(len(records), 1), _embeddings(vectors, some, table))


def _embeddings(
    vectors: Sequence[tuple[np.ndarray, np.ndarray]], some: np.ndarray, rows: Sequence[ScoreRow]
) -> dict[str, np.ndarray]:
    """{clip: the mean of its windows' vectors} from (clip of each window [n], vectors [n d]) of the batches."""
    if not vectors:
        return {}
    index, values = (np.concatenate(each) for each in zip(*vectors, strict=True))
    means = windows_to_clips.mean(values, np.searchsorted(some, index), len(some))
    return {
        rows[i].clip_id: mean for i, mean in zip(some, means, strict=True) if rows[i].ok and np.isfinite(mean).all()
    }


def validate(task: Task, rows: Sequence[ScoreRow]) -> dict[str, float]:
    """The task's validation metrics.

    Raises:
      ValueError: no clip of the split could be scored.
    """
    scored = [row for row in rows if row.ok]
    if not scored:
        raise ValueError("the validation split has no clip that could be scored; see prepare_report.csv")
    return task.validate(scored)


def without_score(clips: Sequence[tuple[Clip, str]], task: Task) -> list[ScoreRow]:
    """Rows for clips, each with its status, that could not be prepared, so that they count as abstained from."""
    return [_row(clip, status, {}, task) for clip, status in clips]


def _rows(records: Source, of_clips: Mapping[str, Sequence[Any]], task: Task) -> list[ScoreRow]:
    rows = []
    for i, entry in enumerate(records.index):
        values = {name: column[i] for name, column in of_clips.items()}
        known = any(not np.isnan(value).all() for value in values.values())
        if hasattr(task, "finish"):
            values = task.finish(values) if known else {}
        rows.append(_row(entry.clip, OK if known else ABSTAINED, values, task))
    return rows


def _row(clip: Clip, status: str, values: Mapping[str, Any], task: Task) -> ScoreRow:
    cells = {name: _cell(value) for name, value in values.items()}
    return ScoreRow(
        clip_id=clip.clip_id,
        label=clip.label,
        score=cells.pop("score", math.nan),
        dataset=clip.dataset,
        split=clip.split,
        identity=clip.identity,
        method=clip.method,
        video_label=clip.video_label,
        audio_label=clip.audio_label,
        status=status,
        extra={**task.columns(clip), **cells},
    )


def _cell(value: Any) -> float | str:
    """A number as it is, text too, a curve or segments as JSON."""
    if isinstance(value, str):
        return value
    return float(value) if np.ndim(value) == 0 else curve_cell(value)
