"""The micro experiment whose gradient becomes NaN at step 5, and the task that does it."""

import dataclasses
import sys

sys.path.insert(0, ".")  # the command is started from the repository's root

import jax
import jax.numpy as jnp

from mmdf_jax.tasks import detection
from tests.experiments import micro

POISONED_STEP = 5


@jax.custom_vjp
def poison(x, bad):
    """`x`, whose gradient is NaN where `bad`."""
    return x


poison.defvjp(lambda x, bad: (x, bad), lambda bad, g: (jnp.where(bad, jnp.nan, g), None))


@dataclasses.dataclass(frozen=True)
class Task(detection.Task):
    """Detection; a batch that starts with the window that step 5 starts with has a NaN in its gradient."""

    clip_index: int = -1
    window_start: float = -1.0

    def loss(self, outputs, batch):
        bad = (batch["clip_index"][0] == self.clip_index) & (
            jnp.abs(batch["window_start"][0] - self.window_start) < 1e-6
        )
        return super().loss({**outputs, "logits": poison(outputs["logits"], bad)}, batch)


def get_config(arg=None):
    from data_pipelines.prepare.records import Records
    from experiments import prepare

    config = micro.get_config(arg)
    config.train.accumulate = 1
    data = config.data.to_dict()
    with Records(prepare.ensure(data), "train").train_batches(
        data, seed=config.seed, start_step=POISONED_STEP - 1
    ) as batches:
        batch = next(batches)
    config.task = {
        "name": "tests.experiments.poisoned",
        "clip_index": int(batch["clip_index"][0]),
        "window_start": float(batch["window_start"][0]),
    }
    return config
