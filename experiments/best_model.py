"""A trained run, ready to score: its best checkpoint in its own model, and the figures that need the model."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from data_pipelines.source import Source
from experiments import checkpoints, distributed, exported_model, model_from_config
from experiments.evaluators import scoring
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
    """The best checkpoint of the run in `workdir`, or the exported model there.

    Raises:
      FileNotFoundError: nothing was trained there.  ValueError: damaged weights, or those of another model.
    """
    mesh = distributed.make_mesh()
    model, task = model_from_config.make_model(config, allow), model_from_config.make_task(config, allow)
    abstract = jax.eval_shape(functools.partial(model_from_config.init, model, config), jax.random.key(0))
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=distributed.replicated(mesh)),
        {"params": abstract["params"], "batch_stats": abstract["batch_stats"]},
    )
    if exported_model.is_exported(workdir):
        variables, info = exported_model.load(workdir, placed)
    else:
        with contextlib.closing(checkpoints.Checkpoints(workdir / "checkpoints")) as saved:
            variables, info = saved.load("best", placed)
    return BestModel(config, mesh, model, task, scoring.make_predict(model, task, mesh), variables, info["best_step"])
