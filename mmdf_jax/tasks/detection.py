"""Real or fake: cross-entropy on the joint logit, and on each stream's own logit against that stream's own label."""

import dataclasses

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


@dataclasses.dataclass(frozen=True)
class Task:
    """Binary detection with auxiliary per-stream heads.

    stream_weight: weight of the mean per-stream loss beside the joint loss.
    smoothing: label smoothing of every target.
    """

    stream_weight: float = 0.5
    smoothing: float = 0.0

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The scalar loss, and the metrics worth logging. Outputs as `models.multimodal`; labels of the window."""
        joint = losses.binary_cross_entropy(outputs["logits"], batch["label"], batch["mask"], smoothing=self.smoothing)
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
        correct = (outputs["logits"] > 0) == (batch["label"] == 1)
        metrics = {
            "loss_joint": joint,
            "accuracy": losses.masked_mean(correct.astype(jnp.float32), batch["mask"]),
            **{f"loss_{stream}": value for stream, value in streams.items()},
        }
        total = joint
        if streams:
            total = total + self.stream_weight * sum(streams.values()) / len(streams)
        return total, metrics

    def scores(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Probabilities of fake [b]: `score`, and `score_<stream>`, NaN where the clip lacks that stream."""
        del batch
        scores = {"score": jax.nn.sigmoid(outputs["logits"].astype(jnp.float32))}
        for stream, logits in outputs["stream_logits"].items():
            probability = jax.nn.sigmoid(logits.astype(jnp.float32))
            scores[f"score_{stream}"] = jnp.where(outputs["present"][stream], probability, jnp.nan)
        return scores
