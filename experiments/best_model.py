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

from data_pipelines import batch as batch_lib
from data_pipelines.prepare.records import Selection
from data_pipelines.source import Source
from experiments import checkpoints, distributed, model_from_config
from experiments.evaluators import scoring
from experiments.figures import attention as attention_figure
from experiments.figures.attention import AttentionMaps
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


def _forward(run: BestModel, name: str) -> Callable[[Any], Any] | None:
    """The compiled model as a function of a batch to its output `name`; None if it has none."""

    def apply(variables: Any, batch: Any) -> Any:
        return model_from_config.apply(run.model, variables, batch, capture=(name,)).get(name)

    variables = jax.device_get(run.variables)
    if jax.eval_shape(apply, variables, batch_lib.zeros(run.config["data"], 2)) is None:
        return None
    return functools.partial(jax.jit(apply), variables)


def similarity_matrices(run: BestModel, records: Source, scores: Sequence[ScoreRow]) -> list[tuple[str, np.ndarray]]:
    """[(title, cosines [t t] of lips and sound)] over the middle window of a real clip, and of fakes out of step.

    Of these, one that is so throughout and one in spans. Empty if the model's outputs have no `steps`.
    """
    kinds: dict[str, int] = {}
    for row, score in enumerate(scores):
        if score.ok and not (score.label == 1 and 1 in (score.video_label, score.audio_label)):
            kinds.setdefault(f"{score.method}{' in spans' if score.extra.get('partial') else ''}", row)
    forward = _forward(run, "steps")
    if forward is None or not kinds:
        return []
    chosen = Selection(records, list(kinds.values()))
    data = {**run.config["data"], "batch_size": len(chosen), "workers": 0}
    with chosen.eval_batches(data, windows=1) as batches:
        steps = jax.device_get(forward(next(batches)))
    return list(zip(kinds, np.einsum("btd,bsd->bts", steps["mouth"], steps["audio"]), strict=True))


def attention_maps(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], examples: int = 6
) -> list[AttentionMaps]:
    """Attention over the middle window of a few clips: the first real ones, and one of each manipulation method.

    Empty if the model's outputs have no `attention`. Runs on this process's first device alone.
    """
    forward = _forward(run, "attention")
    if forward is None:
        return []
    usable = [row for row, score in enumerate(scores) if score.ok]
    first_of = {scores[row].method: row for row in reversed(usable) if scores[row].label == 1}
    fakes = [first_of[method] for method in sorted(first_of)][: examples - 1]
    real = [row for row in usable if scores[row].label == 0][: max(1, examples - len(fakes))]
    chosen = Selection(records, [*real, *fakes])
    with chosen.eval_batches({**run.config["data"], "batch_size": len(chosen), "workers": 0}, windows=1) as batches:
        batch = next(batches)
    attention = jax.device_get(forward(batch))
    return [
        attention_figure.of_batch(
            batch,
            attention,
            i,
            title=f"{scores[row].method} · {scores[row].clip_id}",
            window=run.config["data"]["window"],
            scores={"score": scores[row].score} if scores[row].scored else {},
        )
        for i, row in enumerate(chosen.rows)
    ]
