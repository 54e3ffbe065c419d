"""Detection, and the judgement of every step of the video: which of them are fake."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmdf_jax import losses
from mmdf_jax.metrics import localisation
from mmdf_jax.tasks.detection import Task as Detection
from mmdf_jax.typing import Array, Batch, Outputs, Reduction, Row

_BASELINE_WEIGHT = 0.01
FPS = 25  # of the frame labels and of the steps that are judged


@dataclasses.dataclass(frozen=True)
class Task:
    """The loss of `detection`, and of the steps, over outputs as of `models.temporal_consistency`.

    detection: a detection task, whose loss, score and columns these are too.
    frame_weight: of the steps' cross-entropy against the target `frame_labels`, real and fake steps weighed alike.
    branch_weight: of the mean of the branches' own losses, which keep each of them a detector of its own.
    """

    detection: Detection
    frame_weight: float = 0.5
    branch_weight: float = 0.5

    @property
    def directions(self) -> dict[str, str]:
        """Of the detection task, and `frame_auc`."""
        return {**self.detection.directions, "frame_auc": "max"}

    @property
    def evaluator(self) -> dict[str, Any]:
        """The report on the detector, on its branches and rivals, and on the steps."""
        return {"name": "experiments.evaluators.temporal", "classification": self.detection.evaluator}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The scalar loss, and the metrics worth logging. Without the target `frame_labels`, windows alone count.

        Raises:
          ValueError: the model judges other steps than are labelled.
        """
        total, metrics = self.detection.loss(outputs, batch)
        if self.frame_weight and "frame_labels_video" in batch:
            labels = batch["frame_labels_video"]
            if labels.shape != outputs["frame_logits"].shape:
                raise ValueError(
                    f"tasks.temporal: frame labels have {labels.shape[1]} steps, the model judges "
                    f"{outputs['frame_logits'].shape[1]}; set config.data.streams.video.fps={FPS}"
                )
            counted = outputs["frame_valid"] & batch["mask"][:, None] & (labels >= 0)
            frames = losses.soft_cross_entropy(outputs["frame_logits"], labels, counted)
            total, metrics = total + self.frame_weight * frames, {**metrics, "loss_frames": frames}

        def window_losses(of: Mapping[str, Array]) -> dict[str, Array]:
            shared = {"stream_logits": {}, "present": outputs["present"]}
            return {name: self.detection.loss({**shared, "logits": logits}, batch)[0] for name, logits in of.items()}

        own = window_losses(outputs["branch_logits"])
        if own:
            total = total + self.branch_weight * sum(own.values()) / len(own)
        # Baselines share no parameter with the detector, and weigh so little that they take no part of the gradient's
        # norm, which is clipped. Adam moves them all the same: it does not mind how large a loss is.
        rivals = window_losses(outputs["baseline_logits"])
        named = {f"loss_{name}": value for name, value in own.items()}
        named |= {f"loss_baseline_{name}": value for name, value in rivals.items()}
        return total + _BASELINE_WEIGHT * sum(rivals.values()), {**metrics, **named}

    def outputs(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """The detection task's, and, NaN where there is no video, of P(fake):

        `frame_scores [b t]`: of each step; `branch_<name>`, `baseline_<name>` [b]: what each branch, and each baseline,
        says alone.
        """
        present = outputs["present"]["video"]
        found = {f"branch_{name}": logits for name, logits in outputs["branch_logits"].items()}
        found |= {f"baseline_{name}": logits for name, logits in outputs["baseline_logits"].items()}
        found = {name: jnp.where(present, jax.nn.sigmoid(logits), jnp.nan) for name, logits in found.items()}
        frames = jax.nn.sigmoid(outputs["frame_logits"].astype(jnp.float32))
        found["frame_scores"] = jnp.where(outputs["frame_valid"], frames, jnp.nan)
        return {**self.detection.outputs(outputs, batch), **found}

    def reduction(self, name: str) -> Reduction:
        """Scores of windows are averaged, those of steps are laid along the clip's time."""
        return "stitched" if name == "frame_scores" else self.detection.reduction(name)

    def columns(self, clip: Any) -> dict[str, float | str]:
        """The detection task's, and `video_spans`: when the picture is fake, s, as JSON; [] throughout, or never."""
        return {**self.detection.columns(clip), "video_spans": json.dumps(clip.video_segments)}

    def validate(self, rows: Sequence[Row]) -> dict[str, float]:
        """The detection task's, and `frame_auc`: of the steps within clips whose picture is fake in spans, their mean;
        NaN where there is none."""
        found = [frame_auc(row) for row in rows]
        known = [value for value in found if not math.isnan(value)]
        return {**self.detection.validate(rows), "frame_auc": float(np.mean(known)) if known else math.nan}


def frame_auc(row: Row) -> float:
    """How well a clip's `frame_scores` tell its fake steps from the others, by steps' middles: NaN without both."""
    spans, scores = timeline(row)
    return float(localisation.steps([scores], [spans]).within[0])


def timeline(row: Row) -> tuple[list[tuple[float, float]], np.ndarray]:
    """A row's spans, s, and its scores of each step [t], NaN where unknown."""
    spans = [tuple(map(float, span)) for span in json.loads(str(row.extra.get("video_spans") or "[]"))]
    scores = np.array(json.loads(str(row.extra.get("frame_scores") or "[]")), float)
    return spans, scores
