"""Targets beyond the labels, what is valid of a window, and training windows where faces are."""

import cv2
import numpy as np
import pytest
from in_memory import CONFIG, FLIP, RECORDS, FakeRecords, clips, take

from data_pipelines import batch as batch_lib
from data_pipelines.clip import Clip
from data_pipelines.loading.loader import LoaderError

FAKE = {"label": 1, "video_label": 1, "audio_label": 0}
DUBBED = {"label": 1, "video_label": 0, "audio_label": 0}


def batch_of(targets, frames=75, **fields):
    """Windows of 1 s at 0, 1 and 2 s of one clip."""
    config = CONFIG | {"targets": targets}
    (batch,) = FakeRecords([Clip("c", "", **fields)], frames=frames).eval_batches(config, windows=3)
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
        k: (v.shape, v.dtype) for k, v in batch_lib.zeros(config, 8).items()
    }
    return batch


def curves(feather=0.0, **fields):
    batch = batch_of({"frame_labels": {"feather": feather}}, **fields)
    for name in ("video", "audio", "sync"):
        assert (batch[f"frame_labels_{name}"][3:] == -1).all()  # rows that fill up
    return [batch[f"frame_labels_{name}"][:3].ravel() for name in ("video", "audio", "sync")]


def test_frame_labels_follow_the_spans():
    video, audio, sync = curves(**FAKE, video_segments=((0.4, 1.2),))
    np.testing.assert_array_equal(np.flatnonzero(video == 1), np.arange(10, 30))
    assert set(video) == {0, 1} and (audio == 0).all() and (sync == -1).all()
    video, audio, sync = curves(**FAKE)
    assert (video == 1).all() and (audio == 0).all()
    assert all((curve == 0).all() for curve in curves(label=0, video_label=0, audio_label=0))
    assert all((curve == -1).all() for curve in curves(label=-1))


def test_edges_are_feathered():
    video, _, _ = curves(feather=0.2, **FAKE, video_segments=((0.4, 1.2),))
    np.testing.assert_allclose(video[7:13], [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)
    assert video[20] == 1 and video[40] == 0


def test_dubbing_is_a_label_of_its_own():
    video, audio, sync = curves(**DUBBED, audio_segments=((1.0, 2.0),))
    assert (video == 0).all() and (audio == 0).all()
    np.testing.assert_array_equal(np.flatnonzero(sync == 1), np.arange(25, 50))
    assert (curves(**DUBBED)[2] == 1).all()


def test_frame_labels_are_unknown_beyond_the_clip():
    (video, _, sync) = curves(frames=10, **DUBBED)
    for row in range(3):
        np.testing.assert_array_equal(video.reshape(3, 25)[row] == -1, np.arange(25) >= 10)
        np.testing.assert_array_equal(sync.reshape(3, 25)[row], np.where(np.arange(25) < 10, 1, -1))


def test_method_is_that_of_the_window():
    targets = {"method": {"vocabulary": ("real", "swap")}}
    found = batch_of(targets, **FAKE, method="swap", video_segments=((0.2, 0.8),))["method"]
    np.testing.assert_array_equal(found, [1, 0, 0] + 5 * [-1])
    assert (batch_of(targets, **FAKE, method="other")["method"] == -1).all()


def test_spans_are_those_of_the_window():
    spans = ((0.5, 1.2), (2.5, 4.0))
    found = batch_of({"spans": {"max": 2}}, **FAKE, video_segments=spans, audio_segments=((0.1, 0.2),))["spans"]
    np.testing.assert_allclose(found[:3], [[(0.5, 1), (-1, -1)], [(0, 0.2), (-1, -1)], [(0.5, 1), (-1, -1)]], atol=1e-6)
    both = {"label": 1, "video_label": 1, "audio_label": 1}
    found = batch_of(
        {"spans": {"max": 1}}, **both, video_segments=((0.1, 0.5),), audio_segments=((0.4, 0.7), (0.8, 0.9))
    )
    np.testing.assert_allclose(found["spans"][0], [(0.1, 0.7)], atol=1e-6)
    np.testing.assert_allclose(batch_of({"spans": {"max": 1}}, **FAKE)["spans"][:3], [[(0, 1)]] * 3)


@pytest.mark.parametrize("streams", [("image", "video"), ("video",)])
def test_face_masks_are_those_of_the_frames_and_are_mirrored_with_them(streams):
    records = FakeRecords(clips(1, swap=1), frames=60)
    masks = [np.full((16, 16), n, np.uint8) for n in range(60)]
    for mask in masks:
        mask[:, 0] = 255
    records.masks[1] = [cv2.imencode(".png", mask)[1].tobytes() for mask in masks]
    config = CONFIG | {"streams": {name: CONFIG["streams"][name] for name in streams}, "augment": (FLIP,)}
    mirrored = set()
    for batch in take(records.train_batches(config | {"targets": {"face_mask": {"size": 16}}}, seed=0), 3):
        for row in range(8):
            mask, picture = batch["face_mask"][row], batch[streams[0]][row]
            if batch["clip_index"][row] == 0:
                assert (mask == -1).all()
                continue
            np.testing.assert_allclose(mask[:, 6, 6] * 255, picture[:, 6, 6, 0], atol=1e-3)  # red: the frame's number
            left = bool((picture[:, 6, 0, 2] > 128).all())  # blue: 7 but at the edge
            mirrored.add(not left)
            assert (mask[:, :, 0 if left else -1] == 1).all() and (mask[:, :, -1 if left else 0] < 1).all()
    assert mirrored == {False, True}


def test_valid_tells_padding_and_pictures_without_a_face():
    records = FakeRecords(clips(2), frames=[10, 50])
    records.found[1][30:] = 0
    (batch,) = records.eval_batches(CONFIG, windows=2)
    np.testing.assert_array_equal(batch["mouth_valid"][0], np.arange(25) < 10)
    np.testing.assert_array_equal(batch["audio_valid"][0], np.arange(25) < 10)
    np.testing.assert_array_equal(batch["image_valid"][0], [True, True, False, False])
    assert batch["mouth_valid"][2].all() and batch["audio_valid"][3].all()
    np.testing.assert_array_equal(batch["mouth_valid"][3], np.arange(25, 50) < 30)
    assert not batch["video_valid"][4:].any()  # rows that fill up


def test_training_windows_are_where_faces_are():
    records = FakeRecords(clips(1), frames=100)
    records.found[0][20:70] = 0
    config = CONFIG | {"balance": "none", "augment": (), "window": 0.4}
    batches = take(records.train_batches(config, seed=0), 12)
    starts = {round(float(start) * 25) for batch in batches for start in batch["window_start"]}
    assert starts <= {*range(16), *range(65, 91)} and starts & {*range(65, 91)}
    seen = np.concatenate([batch["mouth_valid"].mean(1) for batch in batches])
    assert seen.min() >= 0.5
    sound = take(records.train_batches(config | {"streams": {"audio": {}}}, seed=0), 12)
    assert {round(float(start) * 25) for batch in sound for start in batch["window_start"]} & {*range(25, 60)}
    records.found[0][:] = 0
    with pytest.raises(LoaderError, match=r"no window of 0.4 s shows the face in half of its frames"):
        take(records.train_batches(config, seed=0), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": {"depth": {}}}, "data.targets: unknown target 'depth'; known: frame_labels, method"),
        ({"targets": {"spans": {"most": 2}}}, "data.targets.spans: expected the option 'max', found ['most']"),
        ({"targets": {"spans": {"max": 0}}}, "data.targets.spans.max: expected 1 or more, found 0"),
        ({"targets": {"frame_labels": {"feather": -1}}}, "data.targets.frame_labels.feather: expected 0 s or more"),
        ({"targets": {"method": {"vocabulary": ("a", "a")}}}, "vocabulary: expected different names"),
        (
            {"targets": {"face_mask": {"size": 8}}, "streams": {"audio": {}}},
            "data.targets.face_mask: needs the image or the video stream, found audio",
        ),
        (
            {"targets": {"spans": {"max": 1}}, "augment": ({"name": "data_pipelines.loading.transforms.Speed"},)},
            "data.augment: Speed changes time, which data.targets.spans cannot follow",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError) as error:
        RECORDS.train_batches(CONFIG | change, seed=0)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_several_methods_may_be_one_type():
    targets = {"method": {"vocabulary": ("real", ["swap", "other_swap"], "voice")}}
    assert [batch_of(targets, **FAKE, method=name)["method"][0] for name in ("swap", "other_swap", "voice", "x")] == [
        *(1, 1, 2, -1)
    ]
    with pytest.raises(ValueError, match="vocabulary: expected different names"):
        batch_lib.zeros(CONFIG | {"targets": {"method": {"vocabulary": ("real", ["swap", "real"])}}}, 1)


TIMES = {"frame_labels": {"feather": 0.0}, "spans": {"max": 3}}


@pytest.mark.parametrize(
    ("spans", "line"),
    [
        (
            ((0.5, 1.0), (2.9, 9.0)),
            "1 clips have fake spans beyond the clip's end, where they are cut; the first is c:",
        ),
        (((8.0, 9.0),), "beyond the clip's end"),
        (((2.0, 2.5), (0.5, 1.0)), "1 clips have fake spans out of order; the first is c: ((2.0, 2.5), (0.5, 1.0))"),
        (((0.5, 1.5), (1.0, 2.5)), "out of order"),
    ],
)
def test_odd_spans_are_told_in_a_line_and_taken_as_their_union(caplog, spans, line):
    batch = batch_of(TIMES, **FAKE, video_segments=spans)
    assert [record.message for record in caplog.records if line in record.message]
    assert len(caplog.records) == 1
    times = (np.arange(75) + 0.5) / 25
    union = np.any([(times >= a) & (times <= b) for a, b in spans], axis=0)
    np.testing.assert_array_equal(batch["frame_labels_video"][:3].ravel() == 1, union)
    found = batch["spans"][:3]
    assert ((found == -1).all(-1) | ((found[..., 0] >= 0) & (found[..., 1] > found[..., 0]))).all()
    assert (found[..., 1] <= 1 + 1e-6).all() and (np.diff(found[..., 0], axis=1)[found[:, 1:, 0] >= 0] > 0).all()


def test_a_vocabulary_that_lacks_methods_is_told_in_a_line(caplog):
    config = CONFIG | {"targets": {"method": {"vocabulary": ("real", "swap")}}}
    take(RECORDS.train_batches(config, seed=0), 1)
    assert [record.message for record in caplog.records] == [
        "data.targets.method.vocabulary lacks voice: the type of 4 fakes is unknown"
    ]
    with pytest.raises(
        ValueError, match=r"vocabulary=real, x: expected methods of the training fakes, .* 'swap', 'voice'"
    ):
        RECORDS.train_batches(CONFIG | {"targets": {"method": {"vocabulary": ("real", "x")}}}, seed=0)
