"""The figures that need the model, not score tables alone: attention, similarity, flow, and single clips' verdicts."""

import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from data_pipelines import batch as batch_lib
from data_pipelines.clip import Clip
from data_pipelines.prepare.records import Selection
from data_pipelines.source import Source
from experiments import model_from_config
from experiments.best_model import BestModel
from experiments.evaluators.classification import threshold_of
from experiments.figures import attention, attention_spans, flow_fields, similarity, space_time, verdict
from experiments.score_table import ScoreRow, curve
from mmdf_jax.tasks.hierarchical import true_spans, type_index

EXAMPLES = 6  # clips in the figure of attention, and verdicts
HEARD = 60.0  # s of a clip's sound that a verdict shows


def draw(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], val: Sequence[ScoreRow], name: str
) -> dict[str, Figure]:
    """{name of the PNG file: figure}, of those for which the model has the output; `name`, the run's, for their titles.

    `attention` gives the figures `attention`, over the first real clips and one of each manipulation method, and
    `attention_spans`, over all partial fakes; `similarity` one of a real clip, one whose streams disagree, and one in
    part of which they do; `flow` gives `flow_fields` and `space_time`, of a real clip and of each method whose picture
    is fake (mmdf_jax.typing.Model). Runs on this process's first device alone.
    """
    usable = [row for row, score in enumerate(scores) if score.ok]
    drawn = {}
    if forward := _forward(run, "attention"):
        if rows := _one_of_each_method(scores, usable):
            drawn["attention"] = _attention(run, records, scores, rows, forward, name)
        if windows := span_attention(run, records, scores, forward):
            drawn["attention_spans"] = attention_spans.draw(
                windows, title=f"{name}: attention in the fake spans of partial fakes"
            )
    if (forward := _forward(run, "similarity")) and (rows := _in_step_and_out(scores, usable)):
        drawn["similarity"] = _similarity(run, records, scores, rows, forward, name)
    if (forward := _forward(run, "flow")) and (rows := _fake_pictures(scores, usable)):
        drawn |= _motion(run, records, scores, rows, forward, name)
    return drawn | verdicts(run, records, scores, val)


def verdicts(run: BestModel, records: Source, scores: Sequence[ScoreRow], val: Sequence[ScoreRow]) -> dict[str, Figure]:
    """`verdict_1`, …: the first partial fake of each method, the first fake of those without one, and real clips.

    Empty unless the model localises (`segments` among its columns). val: the rows that fix the threshold.
    """
    usable = [row for row, score in enumerate(scores) if score.ok and "segments" in score.extra]
    if not usable:
        return {}
    partial = [row for row in usable if scores[row].extra.get("partial") == 1]
    first_of = {scores[row].method: row for row in reversed([*partial, *usable]) if scores[row].label == 1}
    first_of |= {scores[row].method: row for row in reversed(partial)}
    fakes = [first_of[method] for method in sorted(first_of)][: EXAMPLES - 1]
    rows = [*fakes, *[row for row in usable if scores[row].label == 0][: EXAMPLES - len(fakes)]]
    maps, threshold = _forward(run, "map_logits"), threshold_of(val)
    figures = {}
    for number, row in enumerate(rows, 1):
        figures[f"verdict_{number}"] = verdict.draw(_verdict(run, records, scores[row], row, maps, threshold))
    return figures


def _verdict(
    run: BestModel, records: Source, score: ScoreRow, row: int, maps: Callable | None, threshold: float
) -> verdict.Verdict:
    clip, types = records.index[row].clip, run.task.types
    true = type_index(run.task.vocabulary, score.method, score.label)
    audio = records[row]["audio"][: round(HEARD * batch_lib.SAMPLE_RATE)]
    return verdict.Verdict(
        title=f"{score.method or 'clip'} · {score.clip_id}",
        score=score.score,
        threshold=threshold,
        types={name: float(score.extra[f"type_{name}"]) for name in types},
        timelines={name: curve(score, f"frame_{name}") for name in ("video", "audio", "sync")},
        segments=json.loads(score.extra["segments"]),
        label=score.label,
        truth=types[true] if true > 0 else "",
        spans=fake_spans(clip) or true_spans(score),
        frames=_mapped_frames(run, records, row, maps) if maps else (),
        audio=audio if len(audio) else None,
    )


def _mapped_frames(run: BestModel, records: Source, row: int, maps: Callable) -> list[verdict.Frame]:
    """The sparse frames of the clip's first windows, as many as a batch has, with the model's map, by time."""
    evaluate = run.config["evaluate"]
    data = {**run.config["data"], "batch_size": evaluate["batch_size"], "workers": 0}
    data["stride"] = evaluate.get("stride", 0.0)
    with contextlib.closing(Selection(records, [row]).eval_batches(data, windows=evaluate["windows"])) as batches:
        batch = next(batches)
    found = 1 / (1 + np.exp(-maps(batch).astype(np.float64)))
    n, frames = batch["image"].shape[1], {}
    for i in np.flatnonzero(batch["mask"] & batch["image_mask"]):
        for j in range(n):
            time = round(float(batch["window_start"][i]) + (j + 0.5) * data["window"] / n, 3)
            mask = batch["face_mask"][i, j] if "face_mask" in batch and (batch["face_mask"][i, j] >= 0).all() else None
            frames[time] = verdict.Frame(time, batch["image"][i, j], found[i, j], mask)
    return [frames[time] for time in sorted(frames)]


def _forward(run: BestModel, output: str) -> Callable[[Mapping[str, Any]], Any] | None:
    """The compiled model as a function of a batch to one of its outputs; None if it has no such."""
    apply = functools.partial(model_from_config.apply, run.model, capture=(output,))
    if output not in jax.eval_shape(apply, run.variables, batch_lib.zeros(run.config["data"], 2)):
        return None
    compiled = jax.jit(lambda variables, batch: apply(variables, batch)[output])
    variables = jax.device_get(run.variables)
    return lambda batch: jax.device_get(compiled(variables, batch))


def _middle_windows(run: BestModel, records: Source, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """A batch of the middle window of each of these rows."""
    data = {**run.config["data"], "batch_size": len(rows), "workers": 0}
    with contextlib.closing(Selection(records, rows).eval_batches(data, windows=1)) as batches:
        return next(batches)


def _one_of_each_method(scores: Sequence[ScoreRow], usable: Sequence[int]) -> list[int]:
    """The first real clips, and the first of each manipulation method."""
    first_of = {scores[row].method: row for row in reversed(usable) if scores[row].label == 1}
    fakes = [first_of[method] for method in sorted(first_of)][: EXAMPLES - 1]
    return [*[row for row in usable if scores[row].label == 0][: max(1, EXAMPLES - len(fakes))], *fakes]


def _attention(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], rows: Sequence[int], forward: Callable, name: str
) -> Figure:
    batch = _middle_windows(run, records, rows)
    weights = forward(batch)
    maps = [
        attention.of_batch(
            batch,
            weights,
            i,
            title=f"{scores[row].method} · {scores[row].clip_id}",
            window=run.config["data"]["window"],
            scores={"score": scores[row].score} if scores[row].scored else {},
            spans=fake_spans(records.index[row].clip),
        )
        for i, row in enumerate(rows)
    ]
    return attention.draw(maps, title=f"{name}: where the fused decision looks")


def fake_spans(clip: Clip) -> list[tuple[float, float]]:
    """The spans in which a clip is fake, seconds from its beginning; none where it is so throughout, or real."""
    return sorted({*clip.video_segments, *clip.audio_segments})


def span_attention(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], forward: Callable
) -> list[attention_spans.SpanAttention]:
    """How much attention lies in the true spans of the partial fakes, over the windows that evaluation takes.

    forward: a batch to the reading query's attention {stream: [b t …]}. Empty if no clip that was scored is fake in
    spans alone.
    """
    spans = [fake_spans(entry.clip) for entry in records.index]
    rows = [row for row, score in enumerate(scores) if score.ok and spans[row]]
    if not rows:
        return []
    data = {**run.config["data"], "batch_size": run.config["evaluate"]["batch_size"], "workers": 0}
    chosen, found = Selection(records, rows), []
    with contextlib.closing(chosen.eval_batches(data, windows=run.config["evaluate"]["windows"])) as batches:
        for batch in batches:
            weights = forward(batch)
            for i in np.flatnonzero(batch["mask"]):
                row, start = rows[batch["clip_index"][i]], float(batch["window_start"][i])
                for stream, ratio in attention_spans.ratios(
                    {stream: of[i] for stream, of in weights.items()}, start, data["window"], spans[row]
                ).items():
                    found.append(attention_spans.SpanAttention(scores[row].clip_id, scores[row].method, stream, ratio))
    return found


def _in_step_and_out(scores: Sequence[ScoreRow], usable: Sequence[int]) -> list[int]:
    """The first real clip, the first whose streams disagree throughout, and the first in part of which they do."""
    dubbed = [
        row for row in usable if scores[row].label == 1 and scores[row].video_label == scores[row].audio_label == 0
    ]
    partial = [row for row in dubbed if scores[row].extra.get("partial") == 1]
    whole = [row for row in dubbed if row not in partial]
    return [some[0] for some in ([row for row in usable if scores[row].label == 0], whole, partial) if some]


def _similarity(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], rows: Sequence[int], forward: Callable, name: str
) -> Figure:
    batch = _middle_windows(run, records, rows)
    matrices = forward(batch)
    clips = [
        similarity.Similarity(
            title=f"{'partial ' if scores[row].extra.get('partial') == 1 else ''}{scores[row].method} · "
            f"{scores[row].identity}",
            matrix=matrices[i],
            seconds=run.config["data"]["window"],
            start=float(batch["window_start"][i]),
            label=scores[row].label,
            spans=fake_spans(records.index[row].clip),
        )
        for i, row in enumerate(rows)
    ]
    streams = tuple(run.config["model"].get("pair", ("mouth", "audio")))
    return similarity.draw(clips, streams=streams, title=f"{name}: which times of the two streams match")


def _fake_pictures(scores: Sequence[ScoreRow], usable: Sequence[int]) -> list[int]:
    """The first real clip, and the first of each method whose picture is fake throughout, or else in spans."""
    fakes = [row for row in usable if scores[row].video_label == 1]
    fakes.sort(key=lambda row: scores[row].extra.get("partial") == 1)
    first_of = {scores[row].method: row for row in reversed(fakes)}
    real = [row for row in usable if scores[row].label == 0]
    return [*real[:1], *(first_of[method] for method in sorted(first_of))][:EXAMPLES]


def _motion(
    run: BestModel, records: Source, scores: Sequence[ScoreRow], rows: Sequence[int], forward: Callable, name: str
) -> dict[str, Figure]:
    batch = _middle_windows(run, records, rows)
    flows = forward(batch)
    middle = flows.shape[1] // 2
    fields, slices = [], []
    for i, row in enumerate(rows):
        frames, label = batch["video"][i], max(scores[row].video_label, 0)
        fields.append(flow_fields.Shown(scores[row].method, frames[middle], flows[i, middle], label))
        clip = f"{scores[row].method} · {scores[row].identity}"
        spans = [tuple(span) for span in records.index[row].clip.video_segments]
        slices.append(space_time.Shown(clip, frames, float(batch["window_start"][i]), spans, label))
    return {
        "flow_fields": flow_fields.draw(fields, title=f"{name}: optical flow between two frames"),
        "space_time": space_time.draw(slices, title=f"{name}: rows of the picture over time"),
    }
