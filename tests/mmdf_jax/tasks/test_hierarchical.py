"""The hierarchical task: losses that vanish for who knows all, columns that agree with each other, and refusals."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.batch import zeros
from data_pipelines.clip import Clip
from experiments.evaluators import windows_to_clips
from experiments.score_table import curve_cell
from mmdf_jax import segments
from mmdf_jax.tasks import hierarchical
from mmdf_jax.tasks.hierarchical import CUES, Task

VOCABULARY = ("real", "swap", ("dubbing", "dubbing_other"))
DATA = {
    "window": 1.6,
    "streams": {"image": {"frames": 2, "size": 16}, "audio": {}},
    "targets": {
        "frame_labels": {"feather": 0.0},
        "method": {"vocabulary": VOCABULARY},
        "spans": {"max": 3},
        "face_mask": {"size": 8},
    },
}
SPAN = (0.38, 1.13)


def given():
    """A real window, a swap in SPAN, a dubbing throughout, and a fake of an unknown kind; the model's first two know
    all."""
    batch = zeros(DATA, 4)
    batch["label"][:], batch["method"][:] = [0, 1, 1, 1], [0, 1, 2, -1]
    batch["video_label"][:], batch["audio_label"][:] = [0, 1, 0, -1], [0, 0, 0, -1]
    times = (np.arange(40) + 0.5) / 25
    inside = (times >= SPAN[0]) & (times < SPAN[1])
    batch["frame_labels_video"][:] = [np.zeros(40), inside, np.zeros(40), np.full(40, -1)]
    batch["frame_labels_audio"][:] = [np.zeros(40), np.zeros(40), np.zeros(40), np.full(40, -1)]
    batch["frame_labels_sync"][:] = [np.zeros(40), np.full(40, -1), np.ones(40), np.full(40, -1)]
    batch["spans"][:] = -1
    batch["spans"][1, 0], batch["spans"][2, 0] = SPAN, (0, 1.6)
    batch["face_mask"][:] = -1
    batch["face_mask"][1] = 0
    batch["face_mask"][1, 0, 2:6, 2:5] = 1
    sure = 12.0
    frames = sure * (2 * np.stack([batch[f"frame_labels_{name}"] > 0 for name in CUES], -1) - 1.0)
    distances = np.full((4, 40, 2), 0.1)
    distances[1, inside] = np.stack([times - SPAN[0], SPAN[1] - times], -1)[inside]
    distances[2] = np.stack([times, 1.6 - times], -1)
    maps = np.where(batch["face_mask"] > 0, sure, -sure)
    types = sure * (np.arange(3) == np.maximum(batch["method"], 0)[:, None])
    outputs = {
        "logits": sure * np.array([-1.0, 1, 1, 1]),
        "type_logits": np.where(np.arange(3) == 0, -1e9, types),
        "flat_logits": types,
        "cue_logits": sure * np.array([[-1.0, -1, -1], [1, -1, -1], [-1, -1, 1], [1, 1, -1]]),
        "frame_logits": (frames,),
        "distances": (distances,),
        "frame_valid": np.ones((4, 40), bool),
        "map_logits": maps,
        "grad_cam": np.ones((4, 2, 8, 8)),
        "present": {"image": np.ones(4, bool), "audio": np.ones(4, bool)},
        "stream_logits": {},
    }
    outputs = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32 if x.dtype == float else x.dtype), outputs)
    return outputs, batch


def test_who_knows_all_has_no_loss():
    loss, metrics = Task(VOCABULARY).loss(*given())
    assert float(loss) < 0.02 and metrics["accuracy"] == 1
    assert {"loss_fake", "loss_type", "loss_frames", "loss_distances", "loss_map"} <= set(metrics)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("logits", "fake"),
        ("type_logits", "type"),
        ("frame_logits", "frame"),
        ("distances", "distance"),
        ("map_logits", "map"),
    ],
)
def test_each_loss_is_an_option_and_sees_what_is_wrong(name, weight):
    outputs, batch = given()
    wrong = outputs[name]
    wrong = (
        (wrong[0][:, ::-1] + 0.5,) if isinstance(wrong, tuple) else (-wrong if wrong.ndim == 1 else wrong[..., ::-1])
    )
    if name == "type_logits":
        wrong = jnp.asarray(outputs[name])[:, jnp.array([0, 2, 1])]
    known, off = Task(VOCABULARY), Task(VOCABULARY, **{f"{weight}_weight": 0.0})
    assert float(known.loss({**outputs, name: wrong}, batch)[0]) > float(known.loss(outputs, batch)[0]) + 0.05
    assert float(off.loss({**outputs, name: wrong}, batch)[0]) == pytest.approx(float(off.loss(outputs, batch)[0]))


def test_what_is_unknown_and_what_is_padding_trains_nothing():
    outputs, batch = given()
    before, _ = Task(VOCABULARY, beside_weight=0.0).loss(outputs, batch)
    changed = {**outputs, "type_logits": outputs["type_logits"].at[3].set(5.0)}
    changed["frame_logits"] = (outputs["frame_logits"][0].at[3].set(7.0),)
    changed["map_logits"] = outputs["map_logits"].at[3].set(9.0)
    assert float(Task(VOCABULARY, beside_weight=0.0).loss(changed, batch)[0]) == pytest.approx(float(before))
    batch["mask"][3] = False
    changed["logits"] = outputs["logits"].at[3].set(-50.0)
    assert float(Task(VOCABULARY, beside_weight=0.0).loss(changed, batch)[0]) < 0.02


def test_a_level_answers_for_spans_of_its_lengths():
    outputs, batch = given()
    frames, distances = outputs["frame_logits"][0], outputs["distances"][0]
    short = jnp.where(jnp.arange(4)[:, None, None] == 2, -12.0, frames)  # the first level leaves the long one out
    long = jnp.where(jnp.arange(4)[:, None, None] == 2, frames, -12.0)[:, ::2]
    middles = (distances[:, ::2] + distances[:, 1::2]) / 2
    outputs |= {"frame_logits": (short, long), "distances": (distances, middles)}
    right, _ = Task(VOCABULARY, ranges=(1.0,)).loss(outputs, batch)
    wrong, _ = Task(VOCABULARY, ranges=(0.5,)).loss(outputs, batch)
    assert float(right) < 0.02 < float(wrong)
    with pytest.raises(ValueError, match=r"config.task.ranges=\(\): expected 1, for 2 levels"):
        Task(VOCABULARY).loss(outputs, batch)


def columns(task, outputs, batch, row):
    """A clip's columns, of one window at its start."""
    values = {name: np.array(x) for name, x in task.outputs(outputs, batch).items()}
    one = {
        name: windows_to_clips.reduce(
            task.reduction(name), x[[row]], np.zeros(1, int), 1, starts=np.zeros(1), seconds=1.6
        )[0]
        for name, x in values.items()
    }
    return task.finish(one)


def test_a_clips_columns_agree_with_each_other():
    task, (outputs, batch) = Task(VOCABULARY), given()
    found = [columns(task, outputs, batch, row) for row in range(4)]
    for one in found:
        for prefix in ("type", "flat"):
            assert sum(one[f"{prefix}_{name}"] for name in task.types) == pytest.approx(1)
        assert one["type_real"] == pytest.approx(1 - one["score"])
    assert found[1]["type_swap"] > 0.99 and found[2]["type_dubbing"] > 0.99 and found[0]["type_real"] > 0.99
    assert json.loads(found[0]["segments"]) == []
    ((begin, end, score),) = json.loads(found[1]["segments"])
    assert segments.interval_iou([[begin, end]], [SPAN])[0, 0] >= 0.99 and score > 0.9
    assert np.allclose(json.loads(found[2]["segments"])[0][:2], (0, 1.6), atol=0.01)
    assert len(found[1]["frame_video"]) == 40 and found[1]["frame_video"][20] > 0.9


def test_maps_are_measured_where_the_truth_is_known():
    outputs, batch = given()
    found = {name: np.array(x) for name, x in Task(VOCABULARY).outputs(outputs, batch).items()}
    np.testing.assert_array_equal(np.isnan(found["map_pointing"]), [True, False, True, True])
    assert found["map_pointing"][1] == 1 and found["map_inside"][1].sum() == 12 and found["map_outside"][1].sum() == 52
    assert found["map_inside"][1][-1] == 12 and found["map_outside"][1][0] == 52
    assert found["map_inside"][[0, 2, 3]].sum() == 0
    np.testing.assert_allclose(found["map_empty"], [0, 0, 0, np.nan], atol=1e-6)  # reals, and the swap's other frame
    assert found["cam_pointing"][1] == 0  # a flat map points at the first cell


def test_a_row_without_streams_is_unknown():
    outputs, batch = given()
    outputs["present"] = {"image": jnp.array([True, False, True, True])}
    assert all(np.isnan(np.array(x)[1]).all() for x in Task(VOCABULARY).outputs(outputs, batch).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"face_mask": np.zeros((4, 2, 16, 16))}, "config.data.targets.face_mask.size=16: expected 8"),
        ({"spans": None}, "config.data.targets: hierarchical needs 'spans', found frame_labels_video"),
    ],
)
def test_targets_that_do_not_fit_are_refused(change, message):
    outputs, batch = given()
    batch = {name: value for name, value in {**batch, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        Task(VOCABULARY).loss(outputs, batch)


def test_options_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match=r"config.task.vocabulary=.*: expected `real` and then types of fakes"):
        Task(("swap", "real"))
    with pytest.raises(ValueError, match=r"config.task.decoder: .*unexpected keyword argument 'sigm'"):
        Task(VOCABULARY, decoder={"sigm": 1})


@dataclasses.dataclass
class Row:
    label: int
    method: str
    score: float
    extra: dict
    video_label: int = 0
    audio_label: int = 0


def test_validation_measures_all_stages():
    task = Task(VOCABULARY)

    def row(method, score, swap, dubbing, found, spans="[]"):
        extra = {"type_swap": swap, "type_dubbing": dubbing, "segments": json.dumps(found), "spans": spans, "loss": 0.5}
        return Row(int(method != "real"), method, score, {**extra, "frame_video": curve_cell(np.zeros(50))})

    rows = [
        row("real", 0.1, 0.05, 0.05, []),
        row("swap", 0.9, 0.8, 0.1, [[0.5, 1.0, 0.9]], "[[0.5, 1.0]]"),
        row("dubbing_other", 0.8, 0.1, 0.7, [[0.0, 1.4, 0.8]]),
        row("unheard_of", 0.7, 0.4, 0.3, []),
    ]
    found = task.validate(rows)
    assert found["auc"] == found["macro_f1"] == 1 and found["loss"] == 0.5
    assert found["ap_50"] == pytest.approx(2 / 3) and found["ap_75"] == pytest.approx(1 / 3)  # of three spans
    assert found["overall"] == pytest.approx((1 + 1 + 2 / 3 + 1 / 3) / 4)
    assert set(found) == set(task.directions)


def test_true_spans_are_merged_and_sorted():
    row = Row(1, "swap", 0.5, {"spans": "[[1.0, 1.5], [0.2, 0.6], [0.5, 0.8]]"})
    assert hierarchical.true_spans(row) == [[0.2, 0.8], [1.0, 1.5]]
    assert hierarchical.true_spans(Row(0, "real", 0.5, {"spans": "[]"})) == []
    clip = Clip("a", "a.mp4", 1, video_segments=((1.0, 1.5),), audio_segments=((0.2, 0.6), (1.0, 1.5)))
    assert Task(VOCABULARY).columns(clip) == {"partial": 1.0, "spans": "[[0.2, 0.6], [1.0, 1.5]]"}
