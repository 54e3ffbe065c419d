"""Fake or not, of which type, and where: one loss for each stage, and what a clip's windows say of it together."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmdf_jax import losses, spans
from mmdf_jax.metrics import classification, localisation
from mmdf_jax.metrics import types as type_metrics
from mmdf_jax.models.hierarchical import CUES
from mmdf_jax.tasks.detection import alignment_losses, any_present, stream_losses
from mmdf_jax.typing import Array, Batch, Outputs, Reduction, Row

STEP = 0.04  # s
EDGE = 1.0  # steps: a segment that ends so near its window's edge may go on beyond it
BINS = 64  # of the histograms of maps
REACH = 8.0  # log-odds of the first and the last bin of a map of probabilities
MAPS = ("map", "cam")  # the trained map, and Grad-CAM beside it
SIDES = ("inside", "outside")  # of what was manipulated
FAKE = 0.5  # share of a map's cell that must be manipulated for the cell to count as such


@dataclasses.dataclass(frozen=True)
class Task:
    """Hierarchical detection over `mmdf_jax.models.hierarchical`; needs the targets frame_labels, method and spans, and
    face_mask where there are images.

    vocabulary: the types, as the model's and the target's. The weights of the losses, each 0 for off:
    fake_weight: stage 1, cross-entropy of the window's label. smoothing: of that label and the streams'.
    type_weight: stage 2, cross-entropy of the type over the fakes whose type is known.
    frame_weight: focal loss (alpha, gamma) of each step's CUES; distance_weight: 1 - DIoU of the ends, over the steps
      in fake spans; both divided by the number of those steps in the batch.
    map_weight: cross-entropy and Dice of the manipulated region, where masks are known; empty_weight: of frames that
      are known to be real, whose map is empty, relative to those.
    stream_weight, alignment_weight, pooled_weight: as in tasks/detection.py.
    beside_weight: of the rows beside the design, the flat softmax and the three cues; see the model's `detached`.
    ranges: lengths of spans, s, from which on a level of the model's pyramid sees them; one fewer than levels.
    decoder: fields of spans.Decoder.
    unknown: the answer is an unknown type where no type has so large a share of p(fake).
    """

    vocabulary: Sequence[str | Sequence[str]]
    fake_weight: float = 1.0
    type_weight: float = 0.5
    frame_weight: float = 1.0
    distance_weight: float = 0.5
    map_weight: float = 0.5
    empty_weight: float = 0.25
    stream_weight: float = 0.0
    alignment_weight: float = 0.0
    pooled_weight: float = 0.0
    beside_weight: float = 0.5
    smoothing: float = 0.0
    alpha: float = 0.5
    gamma: float = 2.0
    ranges: Sequence[float] = ()
    decoder: Mapping[str, float] = dataclasses.field(default_factory=dict)
    unknown: float = 0.4

    directions: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("auc", "macro_f1", "ap_50", "ap_75", "overall"), "max"),
        "loss": "min",
    }

    def __post_init__(self) -> None:
        if len(self.vocabulary) < 2 or self.vocabulary[0] != "real":
            raise ValueError(f"config.task.vocabulary={self.vocabulary}: expected `real` and then types of fakes")
        try:
            spans.Decoder(**self.decoder)
        except TypeError as error:
            raise ValueError(f"config.task.decoder: {error}") from None

    @property
    def types(self) -> list[str]:
        """The names of the vocabulary's entries."""
        return [entry if isinstance(entry, str) else entry[0] for entry in self.vocabulary]

    @property
    def evaluator(self) -> dict[str, Any]:
        """The report on types and places."""
        vocabulary = [[entry] if isinstance(entry, str) else list(entry) for entry in self.vocabulary]
        return {"name": "experiments.evaluators.hierarchical", "vocabulary": vocabulary, "unknown": self.unknown}

    # ------------------------------------------------------------------------------------------------ losses

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The weighted sum, and each part as `loss_<part>`, in nats but for the distances and Dice.

        Raises:
          ValueError: the batch lacks a target, or has it at another size than the model's.
        """
        self._check(outputs, batch)
        rows = batch["mask"] & any_present(outputs)
        known = rows & (batch["method"] > 0) & (batch["label"] == 1)
        parts = {
            "fake": losses.binary_cross_entropy(outputs["logits"], batch["label"], rows, smoothing=self.smoothing),
            "type": losses.masked_mean(_cross_entropy(outputs["type_logits"], batch["method"]), known),
            "flat": losses.masked_mean(
                _cross_entropy(outputs["flat_logits"], batch["method"]), rows & (batch["method"] >= 0)
            ),
            "cues": self._cues(outputs, batch, rows),
            **self._times(outputs, batch, rows),
        }
        weights = {
            "fake": self.fake_weight,
            "type": self.type_weight,
            "flat": self.beside_weight,
            "cues": self.beside_weight,
            "frames": self.frame_weight,
            "distances": self.distance_weight,
        }
        if "map_logits" in outputs:
            parts["map"], weights["map"] = self._map(outputs, batch), self.map_weight
        if self.stream_weight:
            per_stream = stream_losses(outputs, batch, self.smoothing).values()
            parts["streams"], weights["streams"] = sum(per_stream) / len(per_stream), self.stream_weight
        if "alignment" in outputs and (self.alignment_weight or self.pooled_weight):
            parts["time_matching"], parts["pooled_matching"] = alignment_losses(outputs, batch)
            weights |= {"time_matching": self.alignment_weight, "pooled_matching": self.pooled_weight}
        correct = ((outputs["logits"] > 0) == (batch["label"] == 1)).astype(jnp.float32)
        metrics = {f"loss_{name}": value for name, value in parts.items()}
        metrics["accuracy"] = losses.masked_mean(correct, rows)
        return sum(weights[name] * value for name, value in parts.items() if weights[name]), metrics

    def _check(self, outputs: Outputs, batch: Batch) -> None:
        wanted = ["method", "spans", *(f"frame_labels_{name}" for name in CUES)]
        wanted += ["face_mask"] if "map_logits" in outputs else []
        if missing := [name for name in wanted if name not in batch]:
            raise ValueError(f"config.data.targets: hierarchical needs {missing[0]!r}, found {_targets(batch)}")
        if len(self.ranges) + 1 != len(outputs["distances"]):
            levels = len(outputs["distances"])
            raise ValueError(f"config.task.ranges={self.ranges}: expected {levels - 1}, for {levels} levels")
        if "map_logits" in outputs and outputs["map_logits"].shape != batch["face_mask"].shape:
            size, found = outputs["map_logits"].shape[-1], batch["face_mask"].shape[-1]
            raise ValueError(f"config.data.targets.face_mask.size={found}: expected {size}, as the model's map has")

    def _cues(self, outputs: Outputs, batch: Batch, rows: Array) -> Array:
        total = 0.0
        for i, name in enumerate(CUES):
            labels = _ever(batch[f"frame_labels_{name}"])
            total += losses.binary_cross_entropy(outputs["cue_logits"][:, i], labels, rows, balanced=True)
        return total / len(CUES)

    def _times(self, outputs: Outputs, batch: Batch, rows: Array) -> dict[str, Array]:
        """`frames` and `distances` over all levels."""
        curves = jnp.stack([batch[f"frame_labels_{name}"] for name in CUES], -1)  # [b t 3]
        steps = curves.shape[1]
        begin, end = batch["spans"][..., 0], batch["spans"][..., 1]
        edges = (0.0, *self.ranges, math.inf)
        frames, distances, count = 0.0, 0.0, 0.0
        for level, (logits, predicted) in enumerate(zip(outputs["frame_logits"], outputs["distances"], strict=True)):
            stride = steps // logits.shape[1]
            times = spans.middles(logits.shape[1], STEP * stride)
            # A level answers for spans of its own lengths; to it the others are no fakes.
            own = (end - begin >= edges[level]) & (end - begin < edges[level + 1])
            inside, target = spans.encode(jnp.where(own[..., None], batch["spans"], -1), times)
            labels = curves.reshape(len(curves), -1, stride, len(CUES)).mean(2)
            known = (curves.reshape(len(curves), -1, stride, len(CUES)) >= 0).all(2) & rows[:, None, None]
            if len(edges) > 2:
                labels = jnp.where(inside[..., None], labels, 0)
            frames += losses.focal(logits, labels, known, alpha=self.alpha, gamma=self.gamma)
            positive = inside & rows[:, None]
            distances += jnp.sum(jnp.where(positive, losses.interval_distance(predicted, target), 0))
            count += positive.sum()
        count = jnp.maximum(count, 1)
        return {"frames": frames / count, "distances": distances / count}

    def _map(self, outputs: Outputs, batch: Batch) -> Array:
        """Frames with a known mask, and the empty maps of real ones at `empty_weight`."""
        logits, masks = outputs["map_logits"], batch["face_mask"]
        known, empty = masked_frames(batch)
        targets = jnp.where(known[..., None, None], masks, 0)
        cells = optax.sigmoid_binary_cross_entropy(logits, targets).mean((-2, -1))
        apart = losses.dice(jax.nn.sigmoid(logits), targets)
        fake = known & (targets.max((-2, -1)) > 0)
        weights = jnp.where(fake, 1.0, self.empty_weight) * (known | empty)
        counted = jnp.maximum(weights.sum(), 1.0)
        return (jnp.sum(weights * cells) + jnp.sum(jnp.where(fake, apart, 0))) / counted

    # --------------------------------------------------------------------------------------- windows to clips

    def outputs(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Of each window, NaN where it is unknown; see `finish` for what they become.

        `score [b]`, `flat [b]`: p(fake); `type_<type>`, `flat_<type>`: its parts p(type); `cue_<cue>`; per level
        `frame<level>_<cue>`, `start<level>`, `end<level>` [b T]; `loss [b]`; of each of MAPS `<map>_inside`,
        `<map>_outside` [b 64]: histograms over cells of manipulated frames; `<map>_pointing [b]`: the share of those
        whose highest cell lies inside; `<map>_empty [b]`: the mean over other frames of their highest cell.
        """
        fake = jax.nn.sigmoid(outputs["logits"].astype(jnp.float32))
        given = jax.nn.softmax(outputs["type_logits"].astype(jnp.float32), -1)
        flat = jax.nn.softmax(outputs["flat_logits"].astype(jnp.float32), -1)
        cues = jax.nn.sigmoid(outputs["cue_logits"].astype(jnp.float32))
        found: dict[str, Array] = {"score": fake, "flat": 1 - flat[:, 0]}
        for i, name in enumerate(self.types[1:], 1):
            found |= {f"type_{name}": fake * given[:, i], f"flat_{name}": flat[:, i]}
        found |= {f"cue_{name}": cues[:, i] for i, name in enumerate(CUES)}
        steps = outputs["frame_valid"].shape[1]
        valid = outputs["frame_valid"]
        middles = jnp.asarray(spans.middles(steps, STEP))
        for level, (logits, distances) in enumerate(zip(outputs["frame_logits"], outputs["distances"], strict=True)):
            stride = steps // logits.shape[1]
            moved = middles - jnp.repeat(spans.middles(steps // stride, STEP * stride), stride)
            scores = jnp.where(valid[..., None], jnp.repeat(jax.nn.sigmoid(logits), stride, 1), jnp.nan)
            distances = jnp.repeat(distances, stride, 1)
            starts, ends = distances[..., 0] + moved, distances[..., 1] - moved
            found |= {f"frame{level}_{name}": scores[..., i] for i, name in enumerate(CUES)}
            # What leaves the window is known to another window, or to the step where it leaves; see spans.Decoder.
            begun, ended = middles - starts >= EDGE * STEP, middles + ends <= (steps - EDGE) * STEP
            found[f"start{level}"] = jnp.where(valid & begun, starts, jnp.nan)
            found[f"end{level}"] = jnp.where(valid & ended, ends, jnp.nan)
        labels = batch["label"].astype(jnp.float32)
        loss = optax.sigmoid_binary_cross_entropy(outputs["logits"].astype(jnp.float32), labels)
        found["loss"] = jnp.where(batch["label"] >= 0, loss, jnp.nan)
        if "map_logits" in outputs and "face_mask" in batch:
            found |= self._measured(outputs, batch)
        some = any_present(outputs)
        return {name: jnp.where(some.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan) for name, x in found.items()}

    def _measured(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        maps = {"map": (outputs["map_logits"] + REACH) / (2 * REACH)}
        if "grad_cam" in outputs:
            cam = outputs["grad_cam"]
            maps["cam"] = cam / jnp.maximum(cam.max((-2, -1), keepdims=True), 1e-9)  # of each frame, as it is shown
        found = {}
        for name, values in maps.items():
            measured = measure_maps(values, batch)
            found |= {f"{name}_{key}": value for key, value in measured.items()}
        return found

    def reduction(self, name: str) -> Reduction:
        """A clip is as fake as its most suspicious window; timelines are stitched; all else is a mean."""
        if name in ("score", "flat") or name.startswith("cue_"):
            return "max"
        if name.startswith(("frame", "start", "end")):
            return "stitched"
        return "curve" if name.endswith(SIDES) else "mean"

    def finish(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A clip's columns.

        `score`, p(fake); `type_<type>`, with `type_real` = 1 - score: p(type) = p(fake) p(type | fake), which sum to 1;
        `flat_<type>`, likewise of the flat softmax; `cue_<cue>`; `segments`: JSON [[start, end, score], …] in s of the
        clip, by falling score; `frame_<cue>`: timelines at 25 a second; and the measures of the maps.
        """
        out = {"score": float(values["score"])}
        for prefix, whole in (("type", values["score"]), ("flat", values["flat"])):
            parts = np.array([values[f"{prefix}_{name}"] for name in self.types[1:]])
            shares = parts / parts.sum() if parts.sum() > 0 else np.full(len(parts), 1 / len(parts))
            out[f"{prefix}_real"] = float(1 - whole)
            out |= {
                f"{prefix}_{name}": float(whole * share) for name, share in zip(self.types[1:], shares, strict=True)
            }
        out |= {f"cue_{name}": float(values[f"cue_{name}"]) for name in CUES}
        levels = range(sum(name.startswith("start") for name in values))
        curves = []
        for level in levels:
            broken = np.fmax.reduce([values[f"frame{level}_{name}"] for name in CUES])
            curves.append((broken, values[f"start{level}"], values[f"end{level}"]))
        found = spans.Decoder(**self.decoder)(curves, STEP)
        out["segments"] = json.dumps(np.round(found, 4).tolist())
        for name in CUES:
            out[f"frame_{name}"] = np.fmax.reduce([values[f"frame{level}_{name}"] for level in levels])
        out |= {name: value for name, value in values.items() if name.startswith(MAPS) or name == "loss"}
        return out

    def columns(self, clip: Any) -> dict[str, float | str]:
        """`partial`: 1 where only spans of the clip are fake; `spans`: these, as JSON."""
        fake = sorted({*clip.video_segments, *clip.audio_segments})
        return {"partial": float(bool(fake)), "spans": json.dumps(fake)}

    def validate(self, rows: Sequence[Row]) -> dict[str, float]:
        """`loss` (nats, of stage 1), `auc`, `macro_f1` over the types with the best threshold of `score`, `ap_50` and
        `ap_75` of the segments, and `overall`, the mean of all but the loss that are known."""
        labels, scores = np.array([row.label for row in rows]), np.array([row.score for row in rows])
        proposals = [json.loads(row.extra["segments"]) for row in rows]
        truths = [true_spans(row) for row in rows]
        found = {
            "auc": classification.auc(labels, scores),
            "macro_f1": self._macro_f1(rows, classification.threshold_for(labels, scores)),
            "ap_50": localisation.average_precision(proposals, truths, 0.5),
            "ap_75": localisation.average_precision(proposals, truths, 0.75),
        }
        known = [value for value in found.values() if not math.isnan(value)]
        losses_known = [row.extra["loss"] for row in rows if not math.isnan(row.extra["loss"])]
        return {
            **found,
            "overall": float(np.mean(known)) if known else math.nan,
            "loss": float(np.mean(losses_known)) if losses_known else math.nan,
        }

    def _macro_f1(self, rows: Sequence[Row], threshold: float) -> float:
        truths = [type_index(self.vocabulary, row.method, row.label) for row in rows]
        answers = [self._answer(row, threshold) for row, truth in zip(rows, truths, strict=True) if truth >= 0]
        truths = [truth for truth in truths if truth >= 0]
        return macro_f1(type_metrics.confusion(truths, answers, len(self.vocabulary)))

    def _answer(self, row: Row, threshold: float) -> int:
        if not row.score >= threshold:
            return 0
        return 1 + int(np.argmax([row.extra[f"type_{name}"] for name in self.types[1:]]))


def macro_f1(matrix: np.ndarray) -> float:
    """Of a confusion matrix, over the types that have clips; nan if none has."""
    present = matrix.sum(1) > 0
    return float(type_metrics.class_f1(matrix)[present].mean()) if present.any() else math.nan


def type_index(vocabulary: Sequence[str | Sequence[str]], method: str, label: int) -> int:
    """The entry of the vocabulary that a clip's method belongs to; -1 where none does."""
    method = "real" if label == 0 else method
    for i, entry in enumerate(vocabulary):
        if method == entry or (not isinstance(entry, str) and method in entry):
            return i
    return -1


def true_spans(row: Row) -> list[list[float]]:
    """When a row's clip is fake, s: its spans, merged, or all of its timeline where it is so throughout."""
    if row.label != 1:
        return []
    given = sorted(json.loads(row.extra.get("spans") or "[]"))
    if not given:
        timeline = row.extra.get("frame_video", "[]")
        steps = len(json.loads(timeline) if isinstance(timeline, str) else timeline)
        return [[0.0, steps * STEP]] if steps else []
    merged = [list(given[0])]
    for begin, end in given[1:]:
        if begin <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([begin, end])
    return merged


def masked_frames(batch: Batch) -> tuple[Array, Array]:
    """Which frames [b n] have a known mask, and which are known to be real without one: of clips, or windows, whose
    picture is real. Frames that show no face count in neither."""
    masks, rows = batch["face_mask"], batch["mask"] & batch["image_mask"]
    seen = batch["image_valid"] & rows[:, None]
    known = (masks >= 0).all((-2, -1)) & seen
    return known, ~known & seen & (batch["video_label"] == 0)[:, None]


def measure_maps(values: Array, batch: Batch) -> dict[str, Array]:
    """Measures of maps [b n h w] with values from 0 to 1 against `face_mask`; see Task.outputs."""
    known, empty = masked_frames(batch)
    inside = batch["face_mask"] >= FAKE
    fake = known & inside.any((-2, -1))
    clean = empty | (known & (batch["face_mask"] <= 0).all((-2, -1)))
    bins = jnp.clip((values * BINS).astype(jnp.int32), 0, BINS - 1)
    one_hot = (bins[..., None] == jnp.arange(BINS)) & fake[..., None, None, None]
    flat = values.reshape(*values.shape[:2], -1)
    at_highest = jnp.take_along_axis(inside.reshape(flat.shape), flat.argmax(-1)[..., None], -1)[..., 0]
    return {
        "inside": (one_hot & inside[..., None]).sum((1, 2, 3)).astype(jnp.float32),
        "outside": (one_hot & ~inside[..., None]).sum((1, 2, 3)).astype(jnp.float32),
        "pointing": _mean_where(at_highest, fake),
        "empty": _mean_where(jnp.clip(flat.max(-1), 0, 1), clean),
    }


def _mean_where(values: Array, mask: Array) -> Array:
    """The mean of values [b n] over mask [b n], NaN without any: [b]."""
    count = mask.sum(1)
    return jnp.where(count > 0, jnp.where(mask, values, 0).sum(1) / jnp.maximum(count, 1), jnp.nan)


def _ever(curve: Array) -> Array:
    """The label [b] of a window by its frame labels [b t]: 1 if any is fake, -1 if none is known."""
    return jnp.where((curve < 0).all(1), -1, (curve >= FAKE).any(1).astype(jnp.int32))


def _cross_entropy(logits: Array, index: Array) -> Array:
    """[b] nats; any where the index is -1."""
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits.astype(jnp.float32)), jnp.maximum(index, 0)[:, None], 1)
    return -picked[:, 0]


def _targets(batch: Batch) -> str:
    known = [name for name in batch if name in ("method", "spans", "face_mask") or name.startswith("frame_labels")]
    return ", ".join(known) or "none"
