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
from matplotlib.figure import Figure

from data_pipelines import batch as batch_lib
from data_pipelines.prepare.records import Selection
from data_pipelines.source import Source
from experiments import checkpoints, distributed, model_from_config
from experiments.evaluators import scoring
from experiments.figures import attention as attention_figure
from experiments.figures import similarity as similarity_figure
from experiments.figures.attention import AttentionMaps
from experiments.figures.similarity import Similarity
from experiments.score_table import ScoreRow
from experiments.termination import Termination
from mmdf_jax.typing import Task


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


def figures(run: BestModel, records: Source, scores: Sequence[ScoreRow], name: str) -> dict[str, Figure]:
    """{name of the PNG file: figure} of the figures that need the model; `name`, the run's, stands in their titles.

    `attention` over the first real clips and one of each manipulation method, where the model has `attention`;
    `similarity` of a real clip, one whose streams disagree and one of which a part does, where it has `similarity`
    (mmdf_jax.typing.Model). Runs on this process's first device alone.
    """
    usable = [row for row, score in enumerate(scores) if score.ok]
    drawn = {}
    if maps := _attention_maps(run, records, scores, usable):
        drawn["attention"] = attention_figure.draw(maps, title=f"{name}: where the fused decision looks")
    if matrices := _similarities(run, records, scores, usable):
        drawn["similarity"] = similarity_figure.draw(
            matrices, streams=run.config["model"]["pair"], title=f"{name}: which times of the two streams match"
        )
    return drawn


def _middle_windows(
    run: BestModel, records: Source, rows: Sequence[int], output: str
) -> tuple[dict[str, np.ndarray], Any] | None:
    """The middle window of each of these rows as a batch, and the model's `output` on it; None if it has no such."""
    chosen = Selection(records, rows)
    data = {**run.config["data"], "batch_size": max(len(rows), 1), "workers": 0}
    apply = functools.partial(model_from_config.apply, run.model, capture=(output,))
    if not rows or output not in jax.eval_shape(apply, run.variables, batch_lib.zeros(data, len(rows))):
        return None
    with chosen.eval_batches(data, windows=1) as batches:
        batch = next(batches)
    return batch, jax.device_get(jax.jit(apply)(jax.device_get(run.variables), batch)[output])


def _attention_maps(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], usable: Sequence[int], examples: int = 6
) -> list[AttentionMaps]:
    first_of = {scores[row].method: row for row in reversed(usable) if scores[row].label == 1}
    fakes = [first_of[method] for method in sorted(first_of)][: examples - 1]
    real = [row for row in usable if scores[row].label == 0][: max(1, examples - len(fakes))]
    found = _middle_windows(run, records, [*real, *fakes], "attention")
    if found is None:
        return []
    batch, attention = found
    return [
        attention_figure.of_batch(
            batch,
            attention,
            i,
            title=f"{scores[row].method} · {scores[row].clip_id}",
            window=run.config["data"]["window"],
            scores={"score": scores[row].score} if scores[row].scored else {},
        )
        for i, row in enumerate([*real, *fakes])
    ]


def _similarities(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], usable: Sequence[int]
) -> list[Similarity]:
    dubbed = [
        row for row in usable if scores[row].label == 1 and scores[row].video_label == scores[row].audio_label == 0
    ]
    partial = [row for row in dubbed if scores[row].extra.get("partial") == 1]
    whole = [row for row in dubbed if row not in partial]
    rows = [some[0] for some in ([row for row in usable if scores[row].label == 0], whole, partial) if some]
    found = _middle_windows(run, records, rows, "similarity")
    if found is None:
        return []
    batch, matrices = found
    clips = [records.index[row].clip for row in rows]
    return [
        Similarity(
            title=f"{'partial ' if row in partial else ''}{scores[row].method} · {scores[row].identity}",
            matrix=matrices[i],
            seconds=run.config["data"]["window"],
            start=float(batch["window_start"][i]),
            label=scores[row].label,
            spans=(*clips[i].video_segments, *clips[i].audio_segments),
        )
        for i, row in enumerate(rows)
    ]
