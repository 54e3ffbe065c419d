"""Networks drawn from the configurations that were run: streams, encoders, comparison, fusion, and what is answered."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from experiments.figures import style

_ORDER = ("image", "video", "mouth", "audio")  # from above: what is compared stands together
_KINDS = {"stream": style.MUTED, "encoder": style.REAL, "joint": style.ACCENT, "answer": style.FAKE}
_GAP, _ROW, _HEIGHT = 0.36, 0.6, 0.46  # inches between columns, from row to row, and of a box


@dataclasses.dataclass(frozen=True)
class Box:
    """A box: its name, what stands below it in small, where it stands, and the boxes that it reads, by their places."""

    kind: str
    name: str
    small: str
    column: int
    row: float
    reads: tuple[int, ...] = ()


def draw(config: Mapping[str, Any], width: float) -> Figure:
    """One network, `width` inches wide."""
    return draw_all({"": config}, width)


def draw_all(configs: Mapping[str, Mapping[str, Any]], width: float) -> Figure:
    """Networks below each other, each under its name."""
    networks = {name: boxes_of(config) for name, config in configs.items()}
    heights = [(0.3 if name else 0.1) + _ROW * _rows(boxes) for name, boxes in networks.items()]
    with style.look():
        figure = style.new_figure(width, sum(heights) + 0.1)
        panels = figure.subplots(len(networks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, boxes) in zip(panels, networks.items(), strict=True):
            if name:
                axes.set_title(name, fontsize=8.5)
            _network(axes, boxes, width)
    return figure


def boxes_of(config: Mapping[str, Any]) -> list[Box]:
    """A network's boxes, from left to right."""
    model, streams = config["model"], config["data"]["streams"]
    names = sorted(streams, key=_ORDER.index)
    branches = list(model["branches"]) if "branches" in model else names  # several readings of one stream, or one each
    shift = (len(branches) - len(names)) / 2
    boxes = [Box("stream", name, _shape(name, streams[name]), 0, i + shift) for i, name in enumerate(names)]
    for i, name in enumerate(branches):
        reads = (names.index(name) if name in names else 0,)
        boxes.append(Box("encoder", *_encoder(name, model["encoders"].get(name)), 1, i, reads))
    encoders = tuple(range(len(names), len(boxes)))
    column, before = 2, encoders
    if pair := _compared(model):
        both = tuple(encoders[branches.index(name)] for name in pair)
        alone = len(branches) == len(pair)
        boxes.append(Box("joint", "comparison", " × ".join(pair), 2, 0.5 if alone else len(branches), both))
        column, before = 3, (len(boxes) - 1,) if alone else (*encoders, len(boxes) - 1)
    if "fusion" in model or "branches" in model:
        boxes.append(Box("joint", *_joined(model), column, (_rows(boxes) - 1) / 2, before))
        column, before = column + 1, (len(boxes) - 1,)
    answers, rows = _answers(model, config["task"]), _rows(boxes)
    for i, answer in enumerate(answers):
        boxes.append(Box("answer", *answer, column, rows * (i + 0.5) / len(answers) - 0.5, before))
    return boxes


def _rows(boxes: Sequence[Box]) -> int:
    return round(max(box.row for box in boxes) + 0.4) + 1


def _compared(model: Mapping[str, Any]) -> Sequence[str]:
    """The two streams whose steps are compared, if any are."""
    if model["name"].endswith("lip_sync"):
        return sorted(model["encoders"], key=_ORDER.index)
    return model.get("compare") or model.get("pair") or ()


def _shape(name: str, stream: Mapping[str, Any]) -> str:
    if name == "audio":
        return "16 kHz, mono"
    if "fps" in stream:
        return f"{stream['fps']:g}/s, {stream['size']} px"
    return f"{stream['frames']} frames, {stream['size']} px"


def _encoder(name: str, encoder: Mapping[str, Any] | None) -> tuple[str, str]:
    if encoder is None:
        return name, "computed, not learnt"
    kind = encoder["name"].rpartition(".")[2]
    variant = str(encoder.get("variant", "")).replace("_", " ")
    titled = {"lip_resnet": "lip ResNet", "spectrogram_cnn": "spectrogram CNN", "efficientnet": "EfficientNet"}
    titled |= {"clip": "CLIP", "wav2vec2": "wav2vec 2.0", "hubert": "HuBERT", "resnet3d": "3D ResNet", "ftcn": "FTCN"}
    shown = titled.get(kind, kind.replace("_", " "))
    return (shown, variant) if name in ("image", "video", "mouth", "audio") else (name, f"{shown}, {variant}")


def _joined(model: Mapping[str, Any]) -> tuple[str, str]:
    if "branches" in model:
        return "joined over time", f"width {model['width']}"
    fusion = model["fusion"]
    kind = fusion["name"].rpartition(".")[2].replace("_", "-")
    depth, heads = fusion.get("depth"), fusion.get("heads")
    layers = f"{depth} layer{'s' * (depth != 1)}, {heads} heads" if depth else f"width {fusion['width']}"
    return kind if kind == "cross-attention" else f"{kind} fusion", layers


def _answers(model: Mapping[str, Any], task: Mapping[str, Any]) -> list[tuple[str, str]]:
    kind = model["name"].rpartition(".")[2]
    if kind == "lip_sync":
        return [("offset, confidence", f"width {model['width']}")]
    if kind == "hierarchical":
        return [
            ("real or fake", "joint logit"),
            ("type", f"{len(model['vocabulary'])} classes"),
            ("when", "scores, ends"),
            ("where", "map of the face"),
        ]
    if kind == "temporal_consistency":
        return [("real or fake", "joint logit"), ("when", "score per frame")]
    answers = [("real or fake", "joint logit")]
    if task.get("stream_weight") or task.get("detection", {}).get("stream_weight"):
        answers.append(("each stream", "by its own label"))
    if kind == "contrastive":
        answers.append(("consistency", "of mouth and voice"))
    return answers


def _network(axes: Axes, boxes: Sequence[Box], width: float) -> None:
    """Draws the boxes; the axes' units are inches."""
    columns, height = max(box.column for box in boxes) + 1, _ROW * _rows(boxes)
    step = (width - 0.2) / columns
    axes.set(xlim=(0, width - 0.2), ylim=(0, height))
    axes.axis("off")
    places = [(_GAP / 2 + box.column * step, height - _ROW * (box.row + 0.5)) for box in boxes]
    for box, (left, y) in zip(boxes, places, strict=True):
        shape = FancyBboxPatch(
            (left, y - _HEIGHT / 2), step - _GAP, _HEIGHT, boxstyle="round,pad=0,rounding_size=0.06", facecolor="white"
        )
        shape.set(edgecolor=_KINDS[box.kind], linewidth=1.2)
        axes.add_patch(shape)
        for text, up, size in ((box.name, 0.09, 7.5), (box.small, -0.11, 6.3)):
            axes.text(left + (step - _GAP) / 2, y + up, text, ha="center", va="center", fontsize=size)
        for i in box.reads:
            start = places[i][0] + step - _GAP, places[i][1]
            arrow = {"arrowstyle": "-|>", "color": style.MUTED, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 1}
            axes.annotate("", (left, y), start, arrowprops=arrow)
