"""Pseudo-fakes: the right rows, labels, spans and lengths; changed where they say so and nowhere else; repeatable."""

import dataclasses
import functools
import pickle

import cv2
import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.fakes import pseudo_fakes as pf
from data_pipelines.fakes import vocoding
from data_pipelines.loading import loader, windows
from data_pipelines.prepare import faces

SIZE, FRAMES = 48, 60
CROPS = {"face": "face", "margin": 0.3}


@dataclasses.dataclass(frozen=True)
class Row:
    clip: Clip
    frames: int = FRAMES
    audio_samples: int = FRAMES * 640
    status: str = "ok"
    duration: float = FRAMES / 25


def picture(seed, size, channels):
    rng = np.random.default_rng(seed)
    rough = rng.integers(40, 216, (12, 12, channels), np.uint8)
    return cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, channels)


@functools.cache
def encoded(clip, frame, channels):
    return cv2.imencode(".png", picture((clip, frame), SIZE, channels))[1].tobytes()


class Real(loader.Loaded):
    """Records of real clips in memory: frame i of clip c is a picture of its own, sound rises and falls."""

    digest = "0"

    def __init__(self, rows, crops=CROPS):
        self.index, self.crops = rows, crops

    def __len__(self):
        return len(self.index)

    def __getitem__(self, c):
        row = self.index[c]

        rng = np.random.default_rng(c)
        time = np.arange(row.audio_samples) / 16000
        voice = sum(np.sin(2 * np.pi * k * (120 + 20 * c) * time) / k for k in range(1, 20)) * np.sin(3 * time) ** 2
        return {
            "frames": [encoded(c, i, 3) for i in range(row.frames)],
            "mouth": [encoded(c, i, 1) for i in range(row.frames)],
            "boxes": np.zeros((row.frames, 4), np.float32),
            "times": np.arange(row.frames, dtype=np.float32) / 25,
            "found": np.ones(row.frames, np.uint8),
            "mask": [],
            "audio": np.rint(4000 * voice + rng.normal(0, 20, len(time))).astype(np.int16),
            "audio_present": int(row.audio_samples > 0),
            "video_present": int(row.frames > 0),
            "crops": self.crops,
            "clip": row.clip,
        }


def real(i, person, **fields):
    clip = Clip(f"d/{i}", f"/{i}.mp4", 0, dataset="d", split="train", identity=person, method="real")
    labelled = dataclasses.replace(clip, video_label=0, audio_label=0)
    return Row(dataclasses.replace(labelled, **fields.pop("clip", {})), **fields)


RECORDS = Real([real(0, "a"), real(1, "a"), real(2, "b")])
KINDS = {
    f"{pf.__name__}.{name}": value
    for name, value in vars(pf).items()
    if isinstance(value, type) and issubclass(value, pf.Kind) and value is not pf.Kind
}
WHOLE = [kind(partial=0.0) for kind in KINDS.values()]


def made_of(records, *kinds, **options):
    """{method without pseudo_: [row numbers]} and the pseudo-fakes."""
    fakes = pf.PseudoFakes(records, kinds, **options)
    rows = {}
    for i in range(len(records), len(fakes)):
        rows.setdefault(fakes.index[i].clip.method.removeprefix("pseudo_"), []).append(i)
    return fakes, rows


def decoded(images, grey=False):
    return np.stack([windows.decode(image, 0, grey=grey, what="") for image in images]).astype(int)


def test_rows_labels_and_names():
    fakes, rows = made_of(RECORDS, *WHOLE)
    assert fakes.index[:3] == RECORDS.index and fakes[1]["frames"] == RECORDS[1]["frames"]
    labels = {}
    for name, numbers in rows.items():
        for i in numbers:
            clip, base = fakes.index[i].clip, fakes.index[i].clip.original
            assert clip.clip_id == f"{base}#{name}" and base.startswith("d/")
            assert (clip.label, clip.split) == (1, "train") and not clip.video_segments and not clip.audio_segments
            assert clip.identity == RECORDS.index[int(base[2:])].clip.identity
            labels[name] = (clip.video_label, clip.audio_label)
    assert labels == {
        "self_blended": (1, 0),
        "vocoded": (0, 1),
        "self_blended_vocoded": (1, 1),
        "recoded": (0, 1),
        "shifted": (0, 0),
        "dubbed": (0, 0),
    }
    assert [len(rows[name]) for name in labels] == [3, 3, 3, 3, 3, 2]  # b has no other clip to take the sound from
    ids = [row.clip.clip_id for row in fakes.index]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", [kind.name for kind in KINDS.values()])
def test_row_i_is_always_the_same_and_draws_differ(name):
    kind = next(kind for kind in KINDS.values() if kind.name == name)
    fakes, rows = made_of(RECORDS, kind(partial=0.5))
    again = pickle.loads(pickle.dumps(fakes))
    for i in rows[name]:
        first, second = fakes[i], again[i]
        np.testing.assert_array_equal(first["audio"], second["audio"])
        assert list(first["frames"])[::20] == list(second["frames"])[::20]
        row = fakes.index[i]
        drawn = [fakes.draw(i, np.random.default_rng(seed)) for seed in (0, 0, 1)]
        for record in (first, *drawn):
            assert (len(record["frames"]), len(record["audio"])) == (row.frames, row.audio_samples)
            assert len(record["mouth"]) == len(record["boxes"]) == row.frames and record["audio"].dtype == np.int16
            assert record["clip"] == row.clip
        same, other = (
            np.array_equal(drawn[0]["audio"], record["audio"])
            and all(drawn[0]["frames"][k] == record["frames"][k] for k in range(0, row.frames, 4))
            for record in drawn[1:]
        )
        assert same
        if name != "dubbed":  # whose draw is a matter of samples, if the clips are equally long
            assert not other


def test_a_self_blended_face_changes_inside_its_hull_alone():
    fakes, rows = made_of(RECORDS, pf.SelfBlended(partial=0.0))
    for i in rows["self_blended"]:
        record, before = fakes[i], RECORDS[i - 3]
        change = np.abs(decoded(record["frames"][k] for k in (0, 30)) - decoded(before["frames"][::30]))
        assert change[:, 8:40, 8:40].max() > 20
        assert change[:, 0].max() <= 1 and change[:, :6, :6].max() <= 1  # above the hair, in the corners
        grey = np.abs(decoded([record["mouth"][5]], True) - decoded([before["mouth"][5]], True))
        assert grey[0, 12:36, 12:36].max() > 10  # the mouth lies in every hull
        np.testing.assert_array_equal(record["audio"], before["audio"])
        mask = decoded([record["mask"][0]], True)[0, ..., 0]
        assert mask.shape == (32, 32) and len(record["mask"]) == FRAMES and mask.max() > 140
        whole = cv2.resize(mask.astype(np.uint8), (SIZE, SIZE))
        assert change.max((0, 3))[whole == 0].max() <= 2  # what the mask leaves out did not change
        assert change.max((0, 3))[whole > 100].mean() > 4


def test_a_blend_is_one_take():
    """What is drawn holds for the clip: two equal frames stay alike but for a small unsteadiness."""
    blend = pf.self_blending.draw(
        np.random.default_rng(0), shift=0.04, scale=0.04, colour=0.2, detail=(2, 3), feather=(0.05, 0.05), ratio=(1, 1)
    )
    image, crop = picture(0, 64, 3), faces.face_map(64, 0.3)
    frames = np.stack([blend(image, crop, i) for i in range(8)]).astype(float)
    assert np.abs(frames - image).mean() > 8 * frames.std(0).mean()
    np.testing.assert_array_equal(blend(image, crop, 3), frames[3])


def test_geometry_agrees_with_the_crops(frontal):
    track = faces.Track(frontal(0, 0, 1)[None] * 40 + 100, np.ones(1, bool))
    for size, crop, made in (
        (64, faces.face_map(64, 0.3), faces.face_transforms(track, 64, 0.3)[0]),
        (96, faces.mouth_map(96), faces.mouth_transforms(track, 96)[0]),
    ):
        for point in ((0.0, 0.0), (-0.5, 0.0), (0.0, 0.85)):
            in_picture = np.array(point) * 40 + 100
            np.testing.assert_allclose(crop @ [*point, 1], made[:, :2] @ in_picture + made[:, 2], atol=0.02 * size)


def test_partial_fakes_change_in_their_span_alone():
    kinds = [kind(partial=1.0) for kind in KINDS.values() if kind is not pf.Shifted]
    fakes, rows = made_of(RECORDS, *kinds)
    for name, numbers in rows.items():
        for i in numbers:
            clip, record = fakes.index[i].clip, fakes[i]
            before = RECORDS[int(clip.original[2:])]
            spans = {clip.video_segments, clip.audio_segments} - {()}
            assert len(spans) == 1
            ((start, end),) = spans.pop()
            assert 0 <= start < end <= fakes.index[i].duration and 0.8 <= round(end - start, 2) <= 1.6
            assert bool(clip.audio_segments) == (name != "self_blended")
            if clip.audio_segments:
                changed = np.flatnonzero(record["audio"] != before["audio"]) / 16000
                assert abs(changed.min() - start) < 0.05 and abs(changed.max() - end) < 0.05
            if clip.video_segments:
                changed = [k / 25 for k in range(FRAMES) if record["frames"][k] != before["frames"][k]]
                assert abs(changed[0] - start) <= 0.04 and abs(changed[-1] + 0.04 - end) <= 0.04
                marked = [k / 25 for k in range(FRAMES) if decoded([record["mask"][k]], True).max() > 0]
                assert marked == changed


def test_shifted_streams_are_those_of_one_clip_apart():
    fakes, rows = made_of(RECORDS, pf.Shifted(partial=0.0, seconds=(0.2, 0.4)), window=1.6)
    seen = set()
    for i in rows["shifted"]:
        before = RECORDS[i - 3]
        for seed in range(6):
            record = fakes.draw(i, np.random.default_rng(seed))
            assert len(record["frames"]) == FRAMES - 10
            picture = before["frames"].index(record["frames"][0])
            sound = [
                k
                for k in range(11)
                if np.array_equal(before["audio"][k * 640 :][: len(record["audio"])], record["audio"])
            ]
            assert list(record["frames"]) == before["frames"][picture : picture + FRAMES - 10] and len(sound) == 1
            seen.add(sound[0] - picture)
    assert min(seen) < 0 < max(seen) and all(5 <= abs(apart) <= 10 for apart in seen)


def test_dubbed_sound_is_another_clips_of_the_same_person_and_as_loud():
    fakes, rows = made_of(RECORDS, pf.Dubbed(partial=0.0))
    for i, own, other in zip(rows["dubbed"], (0, 1), (1, 0), strict=True):
        sound = fakes[i]["audio"].astype(float)
        ours, theirs = (RECORDS[k]["audio"].astype(float) for k in (own, other))
        assert np.corrcoef(sound, theirs)[0, 1] > 0.999 and abs(np.corrcoef(sound, ours)[0, 1]) < 0.5
        assert abs(np.std(sound) / np.std(ours) - 1) < 0.01


def test_vocoding_keeps_the_spectrum_and_loses_the_phase():
    sound = RECORDS[0]["audio"].astype(float)
    made = vocoding.phase_loss(sound, 64, 4, np.random.default_rng(0))
    assert len(made) == len(sound) and abs(np.std(made) / np.std(sound) - 1) < 0.01
    assert abs(np.corrcoef(made, sound)[0, 1]) < 0.3

    def bands(x):
        frames = x[: len(x) // 1600 * 1600].reshape(-1, 1600) * np.hanning(1600)
        return np.log(
            (np.abs(np.fft.rfft(frames)) ** 2).reshape(len(frames), -1)[:, :800].reshape(-1, 40, 20).sum(-1) + 1e4
        )

    assert np.corrcoef(bands(made).ravel(), bands(sound).ravel())[0, 1] > 0.9
    assert not np.isnan(vocoding.phase_loss(np.zeros(16000), 64, 2, np.random.default_rng(0))).any()
    assert len(vocoding.phase_loss(np.ones(100), 64, 2, np.random.default_rng(0))) == 100


def test_other_fakes_have_another_digest():
    asked = ((0.5, 0), (0.5, 0), (0.4, 0), (0.5, 1))
    made = [made_of(RECORDS, pf.Vocoded(partial=share), seed=seed)[0].digest for share, seed in asked]
    assert made[0] == made[1] and len(set(made)) == 3


def test_clips_too_short_for_the_window_are_not_cut():
    short = Real([real(0, "a", frames=42, audio_samples=42 * 640), real(1, "b")])
    _, rows = made_of(short, pf.Shifted(seconds=(0.2, 0.6)), pf.Vocoded(), window=1.6)
    assert len(rows["shifted"]) == 1 and len(rows["vocoded"]) == 2


def test_what_a_clip_lacks_is_not_faked():
    silent = Real([real(0, "a", audio_samples=0), real(1, "b", frames=0)])
    fakes, rows = made_of(silent, *WHOLE)
    assert {name: [fakes.index[i].clip.original for i in numbers] for name, numbers in rows.items()} == {
        "self_blended": ["d/0"],
        "vocoded": ["d/1"],
        "recoded": ["d/1"],
    }
    assert fakes.index[rows["self_blended"][0]].clip.audio_label == -1
    _, rows = made_of(Real(RECORDS.index, {"face": "whole", "margin": 0.3}), *WHOLE)
    assert set(rows) == {"vocoded", "recoded", "shifted", "dubbed"}  # no aligned faces, no hull
    with pytest.raises(ValueError, match="none can be made of any real clip"):
        made_of(Real([real(0, "a", clip={"label": 1})]), *WHOLE)
    with pytest.raises(ValueError, match="vocoded is asked for twice"):
        made_of(RECORDS, pf.Vocoded(), pf.Vocoded(partial=1.0))


# Through a config


NAMES = [{"name": name} for name in KINDS]
DATA = {
    "streams": {"image": {"frames": 1, "size": 32}, "audio": {}},
    "window": 0.8,
    "threads": 0,
    "pseudo_fakes": NAMES,
}


def test_a_config_adds_them_to_training_always_and_to_evaluation_where_there_is_no_fake():
    mixed = Real([*RECORDS.index, real(3, "c", clip={"label": 1, "method": "swap"})])
    assert pf.add(RECORDS, DATA | {"pseudo_fakes": []}, training=True) is RECORDS
    assert pf.add(mixed, DATA, training=False) is mixed
    assert len(pf.add(mixed, DATA, training=True)) == 4 + 17
    assert len(pf.add(RECORDS, DATA, training=False)) == 3 + 17
    faces_only = pf.add(RECORDS, DATA | {"streams": {"video": {"fps": 5, "size": 32}}}, training=True)
    assert {row.clip.method for row in faces_only.index} == {"real", "pseudo_self_blended"}
    sound_only = pf.add(RECORDS, DATA | {"streams": {"audio": {}}}, training=True)
    assert {row.clip.method for row in sound_only.index} == {"real", "pseudo_vocoded", "pseudo_recoded"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "os.system"}, "'os.system' is outside the allowed packages"),
        (
            {"name": "data_pipelines.fakes.pseudo_fakes.Vocoded", "mel": 1},
            "has no field mel; known: partial, span, bands",
        ),
        (
            {"name": "data_pipelines.fakes.pseudo_fakes.Vocoded", "partial": 2},
            "Vocoded.partial: expected 0 to 1, found 2",
        ),
        (
            {"name": "data_pipelines.fakes.pseudo_fakes.Vocoded", "bands": [9, 3]},
            r"expected \(low, high\), found \(9, 3\)",
        ),
    ],
)
def test_bad_specs_are_told(spec, message):
    with pytest.raises(ValueError, match=message):
        pf.add(RECORDS, DATA | {"pseudo_fakes": [spec]}, training=True)


def test_short_spans_and_masks_reach_the_targets():
    fakes, rows = made_of(RECORDS, pf.SelfBlended(partial=1.0, span=(0.2, 0.8)))
    lengths = [end - start for row in fakes.index for start, end in row.clip.video_segments]
    assert len(lengths) == len(rows["self_blended"]) and all(0.19 <= length <= 0.81 for length in lengths)
    targets = {"frame_labels": {"feather": 0.0}, "spans": {"max": 2}, "face_mask": {"size": 8}}
    config = {"window": 2.4, "streams": {"image": {"frames": 60, "size": 16}}, "targets": targets, "batch_size": 16}
    (batch,) = fakes.eval_batches(config, windows=1)
    for i in np.flatnonzero(batch["mask"]):
        segments = fakes.index[batch["clip_index"][i]].clip.video_segments
        shown = (batch["face_mask"][i] > 0.5).any((1, 2))
        if not segments:
            assert (batch["spans"][i] == -1).all() and (batch["frame_labels_video"][i] == 0).all()
            continue
        np.testing.assert_allclose(batch["spans"][i, 0], segments[0], atol=1e-5)
        np.testing.assert_array_equal(shown, batch["frame_labels_video"][i] == 1)
    for span in ((0.0, 0.5), (0.8, 0.2)):
        with pytest.raises(ValueError, match=r"SelfBlended.span: expected"):
            pf.SelfBlended(span=span)


def test_batches_of_pseudo_fakes_are_a_function_of_seed_and_number():
    records = pf.add(RECORDS, DATA, training=True)
    config = DATA | {"batch_size": 12, "balance": "method"}

    def take(start, **options):
        with records.train_batches(config | options, seed=5, start_step=start) as batches:
            return [next(batches) for _ in range(4 - start)]

    straight = take(0)
    for other in (take(2), take(2, threads=4), take(2, workers=1)):
        for a, b in zip(straight[2:], other, strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    labels = np.concatenate([batch["label"] for batch in straight])
    rows = np.concatenate([batch["clip_index"] for batch in straight])
    assert (labels[rows < 3] == 0).all() and (rows < 3).sum() == 24
    whole = [
        i for i in rows if i >= 3 and not records.index[i].clip.audio_segments + records.index[i].clip.video_segments
    ]
    assert (labels[np.isin(rows, whole)] == 1).all()
    visits = [batch["audio"][k] for batch in straight for k in np.flatnonzero(batch["clip_index"] == rows[1])]
    assert len(visits) < 2 or not np.array_equal(visits[0], visits[1])
