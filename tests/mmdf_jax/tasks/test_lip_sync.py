"""The lip-sync task: losses by hand, what is left out, and what its outputs say of steps that are known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.batch import zeros
from data_pipelines.clip import Clip
from mmdf_jax.metrics import sync
from mmdf_jax.tasks import lip_sync

T = 40


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def given(late=0, b=2, t=T, d=64):
    """Outputs of a model that knows all, of sound that is `late` frames; and a batch that speaks."""
    rng = np.random.default_rng(0)
    lips = unit(rng.normal(size=(b, t, d)))
    sound = np.roll(lips, late, axis=1)
    batch = zeros({"streams": {"mouth": {"fps": 25.0, "size": 8}, "audio": {}}, "window": t / 25}, b)
    batch["mouth"] = rng.integers(0, 255, batch["mouth"].shape, np.uint8)
    batch["audio"] = rng.integers(-9000, 9000, batch["audio"].shape, np.int16)
    steps = {"mouth": jnp.array(lips, jnp.float32), "audio": jnp.array(sound, jnp.float32)}
    outputs = {"steps": steps, "valid": jnp.ones((b, t), bool), "scale": jnp.float32(10.0), "baselines": {}}
    return outputs, batch


def test_outputs_give_the_offset_and_the_accuracy():
    for late in (0, 1, 4):
        outputs, batch = given(late)
        found = lip_sync.Task().outputs(outputs, batch)
        curve = sync.mean_curve(np.array(found["sync_sum"][0]), np.array(found["sync_count"][0]))
        assert sync.read_curve(curve).offset == late
        assert np.array(found["accuracy_1"]) == pytest.approx(1.0 if late <= 1 else 0.0, abs=0.01)
        assert found["similarity"].shape == (2, T)
    assert float(lip_sync.Task().outputs(*given(0))["score"][0]) == pytest.approx(0, abs=1e-5)


def test_silence_and_still_mouths_are_unknown():
    outputs, batch = given(b=3)
    batch["audio"][0] //= 1000
    batch["mouth"][1] = batch["mouth"][1, :1]
    found = lip_sync.Task().outputs(outputs, batch)
    for values in found.values():
        known = ~np.isnan(np.array(values)).reshape(3, -1)
        assert known.any(1).tolist() == [False, False, True]


def test_clips_known_to_be_out_of_step_do_not_train():
    batch = {
        "label": np.array([0, 1, 1, 1, 0]),
        "video_label": np.array([0, 0, 1, 0, -1]),
        "audio_label": np.array([0, 0, 0, 1, -1]),
    }
    assert np.array(lip_sync.in_step(batch)).tolist() == [True, False, True, True, True]
    outputs, batch = given()
    batch["label"][:] = [0, 1]
    broken = {**outputs, "steps": {**outputs["steps"], "audio": outputs["steps"]["audio"].at[1].multiply(-1)}}
    for criterion in ("matching", "margin", "cosine"):
        task = lip_sync.Task(criterion=criterion)
        assert float(task.loss(outputs, batch)[0]) == pytest.approx(float(task.loss(broken, batch)[0]), rel=1e-6)


def losses_of(lips, sound, criterion, **options):
    outputs, batch = given(b=len(lips), t=lips.shape[1])
    outputs["steps"] = {"mouth": jnp.array(lips, jnp.float32), "audio": jnp.array(sound, jnp.float32)}
    return float(lip_sync.Task(criterion=criterion, **options).loss(outputs, batch)[0])


def test_losses_by_hand():
    lips = np.array([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]])
    sound = lips.copy()
    sound[1] = sound[1, ::-1]  # the second clip's steps are changed over
    # Cosines: first clip 1 on the diagonal, 0 off it; second 0 on it, 1 off it. Distances 0 and the root of 2.
    matching = np.mean([np.log(1 + np.exp(-10)), np.log(1 + np.exp(10))])
    assert losses_of(lips, sound, "matching") == pytest.approx(matching, rel=1e-5)
    positive, negative = (0 + 2) / 2 / 2, (0 + 1) / 2 / 2
    assert losses_of(lips, sound, "margin", margin=1.0) == pytest.approx((positive + negative) / 2, rel=1e-3)
    near, far = -np.log(0.999), -np.log(0.5)
    apart, close = -np.log(0.5), -np.log(0.001)
    expected = ((near + far) / 2 + (apart + close) / 2) / 2
    assert losses_of(lips, sound, "cosine") == pytest.approx(expected, rel=1e-3)
    # Over clips: at each step, the first clip's candidates have cosines 1 and 0 (with the changed one), …
    logits = 10 * np.einsum("atd,btd->tab", lips, sound)
    own = np.einsum("taa->ta", logits)
    forward, backward = np.log(np.exp(logits).sum(2)) - own, np.log(np.exp(logits).sum(1)) - own
    assert losses_of(lips, sound, "clips") == pytest.approx((forward + backward).mean() / 2, rel=1e-5)


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="criterion=triplet: expected one of matching, clips, margin, cosine"):
        lip_sync.Task(criterion="triplet")


@dataclasses.dataclass
class Row:
    label: int
    extra: dict


def test_validation_is_of_reals_that_speak():
    rows = [Row(0, {"accuracy_1": 0.5, "loss": 1.0}), Row(0, {"accuracy_1": np.nan}), Row(1, {"accuracy_1": 0.0})]
    assert lip_sync.Task().validate(rows) == {"accuracy_1": 0.5, "loss": 1.0}


def test_columns_say_spans_and_partner():
    facts = {"identity": "p", "video_label": 0, "audio_label": 0}
    clip = Clip("a", "a.mp4", 1, donors=("q",), audio_segments=((0.5, 1.25),), **facts)
    assert lip_sync.Task().columns(clip) == {"partial": 1.0, "spans": "[[0.5, 1.25]]", "partner": "other"}
    partners = [
        lip_sync.Task().columns(clip)["partner"]
        for clip in (
            Clip("b", "b.mp4", 1, **facts),
            Clip("c", "c.mp4", 1, donors=("q",), **(facts | {"video_label": 1})),
            Clip("d", "d.mp4", 0),
        )
    ]
    assert partners == ["same", "", ""]
