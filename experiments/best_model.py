"""A trained run, ready to score: its best checkpoint in its own model, and the figures that need the model."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from data_pipelines.clip import Clip
from data_pipelines.prepare.records import Selection
from data_pipelines.source import Source
from experiments import checkpoints, distributed, model_from_config
from experiments.evaluators import scoring
from experiments.figures import attention as attention_figure
from experiments.figures import attention_spans as spans_figure
from experiments.figures.attention import AttentionMaps
from experiments.figures.attention_spans import SpanAttention
from experiments.score_table import ScoreRow
from experiments.termination import Termination
from mmdf_jax.typing import Batch, Task


@dataclasses.dataclass(frozen=True)
class BestModel:
    """A run's best checkpoint, its model and its task."""

    config: Mapping[str, Any]
    mesh: jax.sharding.Mesh
    model: nn.Module
    task: Task
    predict: Callable[..., dict[str, jax.Array]]
    variables: Any
    step: int

    def score(self, records: Source, title: str, termination: Termination) -> scoring.Scores:
        """Scores every clip of `records`; `title` stands before the progress bar."""
        return scoring.score(
            self.predict,
            self.variables,
            records,
            self.config,
            self.mesh,
            self.task,
            termination,
            title=title,
            shown=distributed.is_primary(),
        )


def load(workdir: pathlib.Path, config: Mapping[str, Any], allow: Sequence[str] = ()) -> BestModel:
    """The best checkpoint of the run in `workdir`.

    Raises:
      FileNotFoundError: nothing was trained there.  ValueError: a damaged checkpoint, or one of another model.
    """
    mesh = distributed.make_mesh()
    model, task = model_from_config.make_model(config, allow), model_from_config.make_task(config, allow)
    abstract = jax.eval_shape(functools.partial(model_from_config.init, model, config), jax.random.key(0))
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=distributed.replicated(mesh)),
        {"params": abstract["params"], "batch_stats": abstract["batch_stats"]},
    )
    with contextlib.closing(checkpoints.Checkpoints(workdir / "checkpoints")) as saved:
        variables, info = saved.load("best", placed)
    return BestModel(config, mesh, model, task, scoring.make_predict(model, task, mesh), variables, info["best_step"])


def fake_spans(clip: Clip) -> list[tuple[float, float]]:
    """The spans in which a clip is fake, seconds from its beginning; none where it is so throughout, or real."""
    return sorted({*clip.video_segments, *clip.audio_segments})


def attention_maps(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], examples: int = 6
) -> list[AttentionMaps]:
    """Attention over the middle window of a few clips: the first real ones, and one of each manipulation method.

    Empty if the model's outputs have no `attention`. Runs on this process's first device alone.
    """
    usable = [row for row, score in enumerate(scores) if score.ok]
    first_of = {scores[row].method: row for row in reversed(usable) if scores[row].label == 1}
    fakes = [first_of[method] for method in sorted(first_of)][: examples - 1]
    real = [row for row in usable if scores[row].label == 0][: max(1, examples - len(fakes))]
    chosen = Selection(records, [*real, *fakes])
    with chosen.eval_batches({**run.config["data"], "batch_size": len(chosen), "workers": 0}, windows=1) as batches:
        batch = next(batches)
    attention = _attention(run)(jax.device_get(run.variables), batch)
    if attention is None:
        return []
    attention = jax.device_get(attention)
    return [
        attention_figure.of_batch(
            batch,
            attention,
            i,
            title=f"{scores[row].method} · {scores[row].clip_id}",
            window=run.config["data"]["window"],
            scores={"score": scores[row].score} if scores[row].scored else {},
            spans=fake_spans(records.index[row].clip),
        )
        for i, row in enumerate(chosen.rows)
    ]


def span_attention(run: BestModel, records: Source, scores: Sequence[ScoreRow]) -> list[SpanAttention]:
    """How much attention lies in the true spans of the partial fakes, over the windows that evaluation takes.

    Empty if the model's outputs have no `attention`, or no clip that was scored is fake in spans alone. Runs on this
    process's first device alone.
    """
    spans = [fake_spans(entry.clip) for entry in records.index]
    rows = [row for row, score in enumerate(scores) if score.ok and spans[row]]
    if not rows:
        return []
    chosen, attend = Selection(records, rows), _attention(run)
    data = {**run.config["data"], "batch_size": run.config["evaluate"]["batch_size"], "workers": 0}
    variables, found = jax.device_get(run.variables), []
    with contextlib.closing(chosen.eval_batches(data, windows=run.config["evaluate"]["windows"])) as batches:
        for batch in batches:
            attention = attend(variables, batch)
            if attention is None:
                return []
            attention = jax.device_get(attention)
            for i in np.flatnonzero(batch["mask"]):
                row, start = rows[batch["clip_index"][i]], float(batch["window_start"][i])
                for stream, ratio in spans_figure.ratios(
                    {name: a[i] for name, a in attention.items()}, start, data["window"], spans[row]
                ).items():
                    found.append(SpanAttention(scores[row].clip_id, scores[row].method, stream, ratio))
    return found


def _attention(run: BestModel) -> Callable[[Any, Batch], dict[str, jax.Array] | None]:
    """A compiled (variables, batch) -> the reading query's attention {stream: [b t …]}; None of a model without."""

    def attend(variables: Any, batch: Batch) -> dict[str, jax.Array] | None:
        return model_from_config.apply(run.model, variables, batch, capture=("attention",)).get("attention")

    return jax.jit(attend)
