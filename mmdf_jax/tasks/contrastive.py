"""Detection, and the alignment of two streams: matching in time, matching over the batch, and what must not match."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from mmdf_jax import losses
from mmdf_jax.metrics import classification
from mmdf_jax.models.contrastive import cosine_statistics, retrieval_at_1
from mmdf_jax.tasks.detection import Task as Detection
from mmdf_jax.typing import Array, Batch, Outputs, Reduction, Row


@dataclasses.dataclass(frozen=True)
class Task:
    """The loss of `detection` and three more, over outputs as of `models.contrastive`.

    detection: a detection task, whose loss, scores and columns these are too.
    time_weight: of `losses.time_matching`, over all steps that are known to be in sync: of real clips, of fakes outside
      their spans, and of fakes whose `method` the batch knows (`data.targets.method.vocabulary` lists the methods that
      keep sound and picture together).
    pooled_weight: of `losses.pooled_matching`, over real windows.
    mismatch_weight, margin: of `losses.mismatch_hinge`, over steps known to be out of sync (dubbing).

    The batch needs the target `frame_labels`, of which `frame_labels_sync` says what is in sync.
    """

    detection: Detection
    time_weight: float = 0.5
    pooled_weight: float = 0.1
    mismatch_weight: float = 0.5
    margin: float = 0.2

    compares_rows: ClassVar[bool] = True

    @property
    def directions(self) -> dict[str, str]:
        """Of the detection task, and `consistency_auc`."""
        return {**self.detection.directions, "consistency_auc": "max"}

    @property
    def evaluator(self) -> dict[str, Any]:
        """The report on the detector, and on the consistency of its streams beside it."""
        return {"name": "experiments.evaluators.contrastive", "classification": self.detection.evaluator}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The scalar loss, and the metrics worth logging.

        Raises:
          ValueError: the batch says nothing of sync, or in other steps than the model compares.
        """
        alignment = outputs["alignment"]
        x, y = alignment["steps"].values()
        in_sync, mismatched = (some & batch["mask"][:, None] for some in _known(alignment, batch))
        real = (batch["label"] == 0) & batch["mask"] & alignment["valid"].any(1)
        whole = jnp.ones(len(real), bool)
        parts = {
            "time": losses.time_matching(x, y, in_sync, whole, alignment["scale"]),
            "pooled": losses.pooled_matching(*alignment["pooled"].values(), real, alignment["scale"]),
            "mismatch": losses.mismatch_hinge(alignment["cosines"], mismatched, self.margin),
        }
        total, metrics = self.detection.loss(outputs, batch)
        for name, value in parts.items():
            total = total + getattr(self, f"{name}_weight") * value
        cosines = {
            "cosine_in_sync": losses.masked_mean(alignment["cosines"].ravel(), in_sync.ravel()),
            "cosine_mismatched": losses.masked_mean(alignment["cosines"].ravel(), mismatched.ravel()),
        }
        named = {f"loss_{name}": value for name, value in parts.items()}
        return total, {**metrics, **named, **cosines, "scale": alignment["scale"]}

    def outputs(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """The detection task's, and of the two streams, NaN where the window lacks one of them:

        `consistency`, `consistency_p10` [b]: mean and 0.1 quantile of the cosines of equal times, in [-1, 1];
        `retrieval_at_1` [b]: the share of steps that find their own time in the other stream;
        `consistency_pooled` [b]: the cosine of the windows' vectors, which `embedding_<stream>` [b k] are.
        """
        alignment = outputs["alignment"]
        known = alignment["valid"].any(1)
        mean, low, _ = cosine_statistics(alignment["cosines"], alignment["valid"]).T
        pooled = alignment["pooled"]
        x, y = pooled.values()
        values = {"consistency": mean, "consistency_p10": low, "consistency_pooled": jnp.sum(x * y, -1)}
        return {
            **self.detection.outputs(outputs, batch),
            **{name: jnp.where(known, value, jnp.nan) for name, value in values.items()},
            "retrieval_at_1": retrieval_at_1(*alignment["steps"].values(), alignment["valid"]),
            **{f"embedding_{stream}": jnp.where(known[:, None], of, jnp.nan) for stream, of in pooled.items()},
        }

    def reduction(self, name: str) -> Reduction:
        """Embeddings are averaged over a clip's windows number by number, all else as it is."""
        return "curve" if name.startswith("embedding_") else "mean"

    def columns(self, clip: Any) -> dict[str, float | str]:
        """The detection task's."""
        return self.detection.columns(clip)

    def validate(self, rows: Sequence[Row]) -> dict[str, float]:
        """The detection task's, and `consistency_auc`: of low consistency, clips whose streams, each real by itself, do
        not belong together (dubbing) against real clips; NaN where there are none."""
        judged = [row for row in rows if row.label == 0 or row.video_label == row.audio_label == 0]
        labels = np.array([row.label for row in judged], int)
        scores = np.array([-float(row.extra["consistency"]) for row in judged])
        known = np.isfinite(scores)
        return {
            **self.detection.validate(rows),
            "consistency_auc": classification.auc(labels[known], scores[known]),
        }


def _known(alignment: Mapping[str, Any], batch: Batch) -> tuple[Array, Array]:
    """Steps [b t] that are known to be in sync, and steps known not to be."""
    valid = alignment["valid"]
    if "frame_labels_sync" not in batch:
        raise ValueError("tasks.contrastive: expected the target frame_labels; set config.data.targets.frame_labels")
    sync = batch["frame_labels_sync"]
    if sync.shape != valid.shape:
        raise ValueError(
            f"tasks.contrastive: the model compares {valid.shape[1]} steps a window, but frame labels come in "
            f"{sync.shape[1]}; the first stream of config.model.pair needs 25 tokens a second"
        )
    keeps_sync = batch["method"] >= 0 if "method" in batch else jnp.zeros(len(valid), bool)
    return valid & ((sync == 0) | ((sync == -1) & keeps_sync[:, None])), valid & (sync == 1)
