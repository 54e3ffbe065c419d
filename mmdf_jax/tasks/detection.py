"""Real or fake: cross-entropy on the joint logit, and on each stream's own logit against that stream's own label."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmdf_jax import losses
from mmdf_jax.layers.unit import unit
from mmdf_jax.metrics import classification
from mmdf_jax.typing import Array, Batch, Outputs, Reduction, Row

# The label that a stream's own head answers for. A picture cannot show that the voice is fake, and a voice cannot tell
# that the picture is.
STREAM_LABELS = {
    "image": "video_label",
    "video": "video_label",
    "mouth": "video_label",
    "audio": "audio_label",
}
TARGETS = ("label", "video_label", "audio_label")


def stream_label(stream: str, labels: Mapping[str, Any]) -> Any:
    """The label that a stream's own head answers for, of labels {name: int or [b]}; -1 unknown.

    For `sync`, the comparison of two streams: 1 where the clip is fake and both streams are real, so that they disagree
    (dubbing), 0 where it is real. Other fakes may be in step or not. An unknown stream answers for the clip's label.
    """
    if stream != "sync":
        return labels[STREAM_LABELS.get(stream, "label")]
    disagree = (labels["label"] == 1) & (labels["video_label"] == 0) & (labels["audio_label"] == 0)
    return 2 * disagree - (labels["label"] != 0)


@dataclasses.dataclass(frozen=True)
class Task:
    """Binary detection with auxiliary per-stream heads.

    target: the label that the joint logit answers for: `label`, or a unimodal detector's own: `video_label` or
      `audio_label` (`label` for clips whose own is unknown).
    stream_weight: weight of the mean per-stream loss beside the joint loss.
    smoothing: label smoothing of every target.
    alignment_weight: of the matching in time of the two streams that the model compares (`losses.time_matching`), on
      windows in which they are known to belong together: real ones.
    pooled_weight: of the matching of whole windows over the batch (`losses.pooled_matching`), on the same.
    """

    target: str = "label"
    stream_weight: float = 0.5
    smoothing: float = 0.0
    alignment_weight: float = 0.0
    pooled_weight: float = 0.0

    directions: ClassVar[Mapping[str, str]] = {"auc": "max", "accuracy": "max", "loss": "min"}

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"config.task.target={self.target!r}: expected one of {', '.join(TARGETS)}")

    @property
    def evaluator(self) -> dict[str, str]:
        """The report on binary classifiers, by the same label."""
        return {"name": "experiments.evaluators.classification", "judged_by": self.target}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The scalar loss, and the metrics worth logging. Outputs as `models.multimodal`; labels of the window."""
        seen = batch["mask"] & any_present(outputs)
        own = batch[self.target]
        labels = jnp.where(own >= 0, own, batch["label"])
        joint = losses.binary_cross_entropy(
            outputs["logits"], labels, seen, smoothing=self.smoothing, balanced=self.target != "label"
        )
        streams = stream_losses(outputs, batch, self.smoothing)
        correct = (outputs["logits"] > 0) == (labels == 1)
        metrics = {
            "loss_joint": joint,
            "accuracy": losses.masked_mean(correct.astype(jnp.float32), seen),
            **{f"loss_{stream}": value for stream, value in streams.items()},
        }
        total = joint
        if streams:
            total = total + self.stream_weight * sum(streams.values()) / len(streams)
        if "alignment" in outputs and (self.alignment_weight or self.pooled_weight):
            time, pooled = alignment_losses(outputs, batch)
            total = total + self.alignment_weight * time + self.pooled_weight * pooled
            metrics |= {"loss_time_matching": time, "loss_pooled_matching": pooled}
        return total, metrics

    def outputs(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Probabilities of fake [b]: `score`, and `score_<stream>`, NaN where the clip lacks the stream (every one)."""
        del batch
        probability = jax.nn.sigmoid(outputs["logits"].astype(jnp.float32))
        scores = {"score": jnp.where(any_present(outputs), probability, jnp.nan)}
        for stream, logits in outputs["stream_logits"].items():
            probability = jax.nn.sigmoid(logits.astype(jnp.float32))
            scores[f"score_{stream}"] = jnp.where(outputs["present"][stream], probability, jnp.nan)
        return scores

    def reduction(self, name: str) -> Reduction:
        """Scores are the mean over a clip's windows."""
        del name
        return "mean"

    def columns(self, clip: Any) -> dict[str, float | str]:
        """`partial`: 1 where only spans of the clip are fake."""
        return {"partial": float(bool(clip.video_segments or clip.audio_segments))}

    def validate(self, rows: Sequence[Row]) -> dict[str, float]:
        """`loss` (nats), `auc` and `accuracy` at 0.5 over the rows with a score, judged by the target."""
        scored = [row for row in rows if not math.isnan(row.score)]
        labels = np.array([judged_label(row, self.target) for row in scored])
        scores = np.array([row.score for row in scored])
        safe = np.clip(scores, 1e-7, 1 - 1e-7)
        return {
            "loss": float(-np.mean(np.where(labels == 1, np.log(safe), np.log1p(-safe)))),
            "auc": classification.auc(labels, scores),
            "accuracy": float(np.mean((scores > 0.5) == (labels == 1))),
        }


def judged_label(row: Row, target: str) -> int:
    """The label that a row is judged by: what its column `target` says, the clip's label where that is unknown."""
    own = getattr(row, target)
    return own if own in (0, 1) else row.label


def own_label(row: Row, target: str, compares: bool) -> int:
    """The label that a detector answers for; -1 where the clip says nothing about the detector.

    A comparison of streams answers for clips whose streams are real and disagree. Other fakes may be in step or not.
    """
    if compares and row.label == 1 and row.video_label >= 0 and row.audio_label >= 0:
        return 1 if row.video_label == row.audio_label == 0 else -1
    return judged_label(row, target)


def any_present(outputs: Outputs) -> Array:
    """Whether a row has any of the model's streams [b]."""
    return functools.reduce(jnp.logical_or, outputs["present"].values())


def stream_losses(outputs: Outputs, batch: Batch, smoothing: float) -> dict[str, Array]:
    """{stream: cross-entropy in nats of its own logit against its own label}."""
    return {
        stream: losses.binary_cross_entropy(
            logits,
            stream_label(stream, batch),
            batch["mask"] & outputs["present"][stream],
            smoothing=smoothing,
            balanced=True,  # batches are balanced in the clip's label, not in a stream's
        )
        for stream, logits in outputs["stream_logits"].items()
    }


def alignment_losses(outputs: Outputs, batch: Batch) -> tuple[Array, Array]:
    """Of the compared streams, the matching in time and that of whole windows, in nats, on windows known to be real."""
    x, y, valid, scale = (outputs["alignment"][name] for name in ("x", "y", "valid", "scale"))
    rows = batch["mask"] & outputs["present"]["sync"] & (stream_label("sync", batch) == 0)
    means = [unit(jnp.where(valid[..., None], features, 0).sum(1)) for features in (x, y)]
    return losses.time_matching(x, y, valid, rows, scale), losses.pooled_matching(*means, rows, scale)
