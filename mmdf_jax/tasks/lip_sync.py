"""Whether lips and sound belong together, learned from clips that are believed to be in step, without labels."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmdf_jax import losses
from mmdf_jax.layers import shifts
from mmdf_jax.layers.spectrogram import to_float
from mmdf_jax.typing import Array, Batch, Outputs, Reduction, Row

REACH = 15  # frames of 40 ms that the sound is shifted either way
RUNS = (1, 5, 10, 15, 25)  # single windows (of 0.2 s) that are averaged before the offset is read
TOLERANCE = 1  # frames by which a right offset may miss


@dataclasses.dataclass(frozen=True)
class Task:
    """Lip-sync over `mmdf_jax.models.lip_sync`.

    Trains on clips whose streams are not known to disagree: all but those that are fake though neither stream is
    (dubbing). With data.balance=real there are no fakes among them at all. No label enters the loss otherwise.

    criterion: "matching" within the clip (Chung, Chung and Kang 2019), "clips": each step finds its own among the same
      steps of the batch's other clips, "margin" (SyncNet, Chung and Zisserman 2016) or "cosine" (Wav2Lip's expert,
      Prajwal et al. 2020).
    margin: of the Euclidean distance of unit vectors, for "margin".
    voice: RMS of full scale under which a window has no voice (VocaLiST, Kadandale et al. 2022); motion: mean grey
      levels by which the mouth changes from frame to frame, under which it is still. Such windows are left out.
    """

    criterion: str = "matching"
    margin: float = 1.0
    voice: float = 0.01
    motion: float = 0.4

    evaluator: ClassVar = {"name": "experiments.evaluators.sync"}
    compares_streams: ClassVar = True  # its score is P(the streams disagree)
    directions: ClassVar = {"accuracy_1": "max", "loss": "min"}

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ValueError(f"config.task.criterion={self.criterion}: expected one of {', '.join(CRITERIA)}")

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The criterion in nats over the clips in step; logs their cosine at shift 0 and the scale."""
        lips, sound, valid = outputs["steps"]["mouth"], outputs["steps"]["audio"], outputs["valid"]
        rows = batch["mask"] & in_step(batch)
        total = CRITERIA[self.criterion](lips, sound, valid, rows, outputs["scale"], self.margin)
        matched = jnp.sum(lips * sound, -1)
        counted = (valid & rows[:, None]).ravel()
        return total, {"cosine": losses.masked_mean(matched.ravel(), counted), "scale": outputs["scale"]}

    def outputs(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Of each window, NaN where it has no voice or the mouth is still:

        `sync_sum`, `sync_count`, `distance_sum` [b 31] over shifts of the sound from -15 to 15 frames (positive: it is
        late); `similarity [b t]`: cosine at shift 0; `score [b]`: half of 1 - its mean; `accuracy_<n> [b]`: share of
        runs of n windows whose best shift is 0 to within a frame; `loss [b]`: the window's own matching loss; and for
        each baseline `<baseline>_sync_sum`, `<baseline>_sync_count` and `<baseline>_accuracy_<n>`.
        """
        valid = outputs["valid"]
        found: dict[str, Array] = {}
        pairs = {"": (outputs["steps"]["mouth"], outputs["steps"]["audio"])}
        pairs |= {f"{name}_": pair for name, pair in outputs["baselines"].items()}
        for prefix, (lips, sound) in pairs.items():
            values, possible = shifts.band(lips, sound, valid, REACH)
            found[f"{prefix}sync_sum"] = values.sum(1)
            found[f"{prefix}sync_count"] = possible.sum(1).astype(jnp.float32)
            for run in RUNS:
                if run <= values.shape[1]:
                    found[f"{prefix}accuracy_{run}"] = _accuracy(*shifts.averaged(values, possible, run))
            if not prefix:
                distance = jnp.sqrt(jnp.maximum(2 - 2 * values, 0))  # of unit vectors
                found["distance_sum"] = jnp.where(possible, distance, 0).sum(1)
                at_zero = jnp.where(possible[:, :, REACH], values[:, :, REACH], jnp.nan)
                found["similarity"] = at_zero
                found["score"] = jnp.clip((1 - jnp.nanmean(at_zero, 1)) / 2, 0, 1)
        found["loss"] = jax.vmap(self._own_loss, (0, 0, 0, None))(*pairs[""], valid, outputs["scale"])
        heard = valid.any(1) & speaks(batch, valid, self.voice, self.motion)
        return {name: jnp.where(heard.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan) for name, x in found.items()}

    def _own_loss(self, lips: Array, sound: Array, valid: Array, scale: Array) -> Array:
        return losses.time_matching(lips[None], sound[None], valid[None], jnp.ones(1, bool), scale)

    def reduction(self, name: str) -> Reduction:
        """Sums and counts over shifts are averaged as curves, `similarity` is a timeline, the others are means."""
        if name.endswith(("sync_sum", "sync_count", "distance_sum")):
            return "curve"
        return "stitched" if name == "similarity" else "mean"

    def columns(self, clip: Any) -> dict[str, float | str]:
        """`partial`: 1 where only spans are fake; `spans`: these, as JSON; `partner`: whose voice a dubbing has,
        the `same` person's or an `other`'s."""
        spans = (*clip.video_segments, *clip.audio_segments)
        dubbed = clip.label == 1 and clip.video_label == clip.audio_label == 0
        partner = "other" if set(clip.donors) - {clip.identity} else "same"
        return {
            "partial": float(bool(spans)),
            "spans": json.dumps(spans),
            "partner": partner if dubbed else "",
        }

    def validate(self, rows: Sequence[Row]) -> dict[str, float]:
        """`accuracy_1`: right single windows of 0.2 s, and `loss` in nats, over the reals with voice and motion."""
        reals = [row for row in rows if row.label == 0]
        return {name: _mean([row.extra.get(name, math.nan) for row in reals]) for name in self.directions}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def in_step(batch: Batch) -> Array:
    """Clips [b] whose streams are not known to disagree: not those that are fake though neither stream is."""
    return ~((batch["label"] == 1) & (batch["video_label"] == 0) & (batch["audio_label"] == 0))


def speaks(batch: Batch, valid: Array, voice: float, motion: float) -> Array:
    """Whether a window has voice and a moving mouth, over its valid steps: [b] bool."""
    t = valid.shape[1]
    sound = to_float(batch["audio"]).astype(jnp.float32)
    power = (sound[:, : sound.shape[1] // t * t] ** 2).reshape(len(valid), t, -1).mean(-1)
    rms = jnp.sqrt(jnp.where(valid, power, 0).sum(1) / jnp.maximum(valid.sum(1), 1))
    mouth = batch["mouth"].astype(jnp.float32)
    change = jnp.abs(mouth[:, 1:] - mouth[:, :-1]).mean((2, 3, 4))
    pairs = valid[:, 1:] & valid[:, :-1]
    moved = jnp.where(pairs, change, 0).sum(1) / jnp.maximum(pairs.sum(1), 1)
    return (rms >= voice) & (moved >= motion)


def _accuracy(curves: Array, usable: Array) -> Array:
    """Share of the usable curves [b n k] whose peak is in the middle to within TOLERANCE; NaN without any: [b]."""
    right = jnp.abs(curves.argmax(-1) - curves.shape[-1] // 2) <= TOLERANCE
    count = usable.sum(1)
    return jnp.where(count > 0, (right & usable).sum(1) / jnp.maximum(count, 1), jnp.nan)


def _matching(lips: Array, sound: Array, valid: Array, rows: Array, scale: Array, margin: float) -> Array:
    del margin
    return losses.time_matching(lips, sound, valid, rows, scale)


def _clips(lips: Array, sound: Array, valid: Array, rows: Array, scale: Array, margin: float) -> Array:
    """`time_matching` with the axes changed over: the candidates of a step are the batch's clips at that step."""
    del margin
    over = [x.swapaxes(0, 1) for x in (lips, sound, valid & rows[:, None])]
    return losses.time_matching(*over, jnp.ones(lips.shape[1], bool), scale)


def _margin(lips: Array, sound: Array, valid: Array, rows: Array, scale: Array, margin: float) -> Array:
    """Half of d^2 where in step, half of max(margin - d, 0)^2 at all other shifts, each kind's mean."""
    del scale
    distance = jnp.sqrt(jnp.maximum(2 - 2 * jnp.einsum("btd,bsd->bts", lips, sound), 1e-9))
    return _both_kinds(distance**2 / 2, jnp.maximum(margin - distance, 0) ** 2 / 2, valid, rows)


def _cosine(lips: Array, sound: Array, valid: Array, rows: Array, scale: Array, margin: float) -> Array:
    """-log c where in step, -log(1 - c) at all other shifts, each kind's mean; c is the cosine, cut to (0, 1)."""
    del scale, margin
    # Cut smoothly: a cosine below 0 must still have a gradient (Wav2Lip's last ReLU keeps its own above).
    c = jnp.clip(jnp.einsum("btd,bsd->bts", lips, sound) * 0.499 + 0.5, 1e-4, 1 - 1e-4)
    return _both_kinds(-jnp.log(c), -jnp.log1p(-c), valid, rows)


def _both_kinds(positive: Array, negative: Array, valid: Array, rows: Array) -> Array:
    """Mean of positive [b t t] on the diagonal and of negative off it, where both steps count, halved."""
    counted = (valid[:, :, None] & valid[:, None]) & rows[:, None, None]
    diagonal = jnp.eye(valid.shape[1], dtype=bool)[None]
    of = [(counted & diagonal, positive), (counted & ~diagonal, negative)]
    return sum(losses.masked_mean(values.ravel(), mask.ravel()) for mask, values in of) / 2


CRITERIA: dict[str, Callable[..., Array]] = {
    "matching": _matching,
    "clips": _clips,
    "margin": _margin,
    "cosine": _cosine,
}
