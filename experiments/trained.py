"""A trained run, ready to score: its best checkpoint in its own model, and the figures that need the model."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from data_pipelines.records import Records
from experiments import checkpoints, distributed, modeling
from experiments.evaluators import scoring


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's best model."""

    config: Mapping[str, Any]
    mesh: jax.sharding.Mesh
    model: nn.Module
    predict: Callable[..., dict[str, jax.Array]]
    variables: Any
    step: int

    def score(self, records: Records, title: str) -> scoring.Scores:
        """Scores every clip of `records`; `title` stands before the progress bar."""
        return scoring.score(
            self.predict,
            self.variables,
            records,
            self.config,
            self.mesh,
            title=title,
            progress=distributed.is_primary(),
        )


def load(workdir: pathlib.Path, config: Mapping[str, Any], allow: Sequence[str] = ()) -> Trained:
    """The best checkpoint of the run in `workdir`.

    Raises:
      FileNotFoundError: nothing was trained there.  ValueError: a damaged checkpoint, or one of another model.
    """
    mesh = distributed.make_mesh()
    model, task = modeling.make_model(config, allow), modeling.make_task(config, allow)
    abstract = jax.eval_shape(functools.partial(modeling.init, model, config), jax.random.key(0))
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=distributed.replicated(mesh)),
        {"params": abstract["params"], "batch_stats": abstract["batch_stats"]},
    )
    saved = checkpoints.Checkpoints(workdir / "checkpoints")
    variables, info = saved.load("best", placed)
    saved.close()
    return Trained(config, mesh, model, scoring.make_predict(model, task, mesh), variables, info["best_step"])
