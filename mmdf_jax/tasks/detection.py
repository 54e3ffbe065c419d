"""Real or fake: cross-entropy on the joint logit, and on each stream's own logit against that stream's own label."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from mmdf_jax import losses
from mmdf_jax.typing import Array, Batch, Outputs

# Which label a stream's own head answers for: the picture streams cannot know that the voice is fake, nor the voice
# that the picture is.
STREAM_LABELS = {
    "image": "video_label",
    "video": "video_label",
    "mouth": "video_label",
    "audio": "audio_label",
}
TARGETS = ("label", "video_label", "audio_label")


@dataclasses.dataclass(frozen=True)
class Task:
    """Binary detection with auxiliary per-stream heads.

    target: the label that the joint logit answers for: `label`, or a unimodal detector's own: `video_label` or
      `audio_label` (`label` for clips whose own is unknown).
    stream_weight: weight of the mean per-stream loss beside the joint loss.
    smoothing: label smoothing of every target.
    """

    target: str = "label"
    stream_weight: float = 0.5
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"config.task.target={self.target!r}: expected one of {', '.join(TARGETS)}")

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The scalar loss, and the metrics worth logging. Outputs as `models.multimodal`; labels of the window."""
        seen = batch["mask"] & _some(outputs)
        own = batch[self.target]
        labels = jnp.where(own >= 0, own, batch["label"])
        joint = losses.binary_cross_entropy(
            outputs["logits"], labels, seen, smoothing=self.smoothing, balanced=self.target != "label"
        )
        streams = {
            stream: losses.binary_cross_entropy(
                logits,
                batch[STREAM_LABELS[stream]],
                batch["mask"] & outputs["present"][stream],
                smoothing=self.smoothing,
                balanced=True,  # batches are balanced in the clip's label, and so not in a stream's
            )
            for stream, logits in outputs["stream_logits"].items()
        }
        correct = (outputs["logits"] > 0) == (labels == 1)
        metrics = {
            "loss_joint": joint,
            "accuracy": losses.masked_mean(correct.astype(jnp.float32), seen),
            **{f"loss_{stream}": value for stream, value in streams.items()},
        }
        total = joint
        if streams:
            total = total + self.stream_weight * sum(streams.values()) / len(streams)
        return total, metrics

    def scores(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Probabilities of fake [b]: `score`, and `score_<stream>`, NaN where the clip lacks the stream (every one)."""
        del batch
        probability = jax.nn.sigmoid(outputs["logits"].astype(jnp.float32))
        scores = {"score": jnp.where(_some(outputs), probability, jnp.nan)}
        for stream, logits in outputs["stream_logits"].items():
            probability = jax.nn.sigmoid(logits.astype(jnp.float32))
            scores[f"score_{stream}"] = jnp.where(outputs["present"][stream], probability, jnp.nan)
        return scores


def _some(outputs: Outputs) -> Array:
    """Whether a row has any of the model's streams [b]."""
    return functools.reduce(jnp.logical_or, outputs["present"].values())
