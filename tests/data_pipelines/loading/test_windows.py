"""What a window shows: the same moment in all streams, short and silent clips, labels."""

import cv2
import numpy as np
import pytest
from in_memory import CONFIG, RECORDS, FakeRecords, clips, take

from data_pipelines import batch as batch_lib
from data_pipelines.clip import Clip


def test_streams_show_the_same_moment():
    batch = take(RECORDS.train_batches(CONFIG | {"augment": ()}, seed=0), 1)[0]
    for row in range(8):
        first = round(float(batch["window_start"][row]) * 25)
        red = batch["video"][row, :, 6, 6, 0]
        np.testing.assert_array_equal(red, first + 2 * np.arange(12) + 1)  # 12.5 fps: (i + .5) / 12.5 s
        np.testing.assert_array_equal(batch["mouth"][row, :, 6, 6, 0], first + np.arange(25))
        np.testing.assert_array_equal(batch["image"][row, :, 6, 6, 0], first + np.array([3, 9, 15, 21]))
        assert (batch["image"][row, :, 6, 6, 1] == batch["clip_index"][row]).all()  # RGB: green
        assert (batch["image"][row, :, 6, 6, 2] == 7).all()
        np.testing.assert_array_equal(batch["audio"][row], first * 40 + np.arange(16_000) // 16)


def test_training_windows_cover_the_clip():
    records = FakeRecords(clips(1), frames=60)
    batches = take(records.train_batches(CONFIG | {"balance": "none"}, seed=0), 30)
    starts = {round(float(s) * 25) for b in batches for s in b["window_start"]}
    assert starts == set(range(36))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_evaluation_takes_each_clip_windows_times_from_start_to_end(count):
    records = FakeRecords(clips(3, swap=4), frames=[50, 25, 10, 0, 200, 26, 75])
    batches = list(records.eval_batches(CONFIG, windows=count))
    assert len(batches) == records.eval_steps(CONFIG, windows=count) == -(-7 * count // 8)
    index = np.concatenate([b["clip_index"] for b in batches])
    starts = np.concatenate([b["window_start"] for b in batches])
    np.testing.assert_array_equal(index[: 7 * count], np.repeat(np.arange(7), count))
    assert (index[7 * count :] == -1).all()
    padding = np.arange(len(index)) >= 7 * count
    np.testing.assert_array_equal(np.concatenate([b["mask"] for b in batches]), ~padding)
    np.testing.assert_array_equal(np.concatenate([b["video_mask"] for b in batches]), ~padding & (index != 3))
    of_longest = starts[index == 4]
    want = np.linspace(0, 7, count) if count > 1 else [3.5]
    np.testing.assert_allclose(of_longest, want, atol=0.021)


def test_sampled_images_span_the_window():
    """Not its first frames (defect D2 of a well known benchmark)."""
    records = FakeRecords(clips(1), frames=100)
    config = CONFIG | {"window": 4.0, "streams": {"image": {"frames": 8, "size": 16}}}
    (batch,) = records.eval_batches(config, windows=1)
    np.testing.assert_array_equal(batch["image"][0, :, 6, 6, 0], np.floor((np.arange(8) + 0.5) * 100 / 8))


def test_clip_shorter_than_the_window_repeats_its_last_frame_and_ends_in_silence():
    (batch,) = FakeRecords(clips(1), frames=10).eval_batches(CONFIG, windows=1)
    assert batch["window_start"][0] == 0
    np.testing.assert_array_equal(batch["mouth"][0, :, 6, 6, 0], np.minimum(np.arange(25), 9))
    assert (batch["audio"][0, 6400:] == 0).all() and batch["audio"][0, 6399] == 399


def test_frames_are_resized_to_the_stream():
    (batch,) = FakeRecords(clips(1), size=50).eval_batches(CONFIG, windows=1)
    assert batch["image"].shape == (8, 4, 16, 16, 3) and batch["image"][0, 0, 8, 8, 2] == 7


@pytest.mark.parametrize("size", [16, 50], ids=["as stored", "resized"])
def test_a_frame_that_image_and_video_show_is_decoded_once(size, monkeypatch):
    streams = {"image": {"frames": 4, "size": 16}, "video": {"fps": 12.5, "size": 8}}
    records = FakeRecords(clips(1), size=size)

    def batch_of(*names):
        config = CONFIG | {"balance": "none", "augment": (), "streams": {name: streams[name] for name in names}}
        return take(records.train_batches(config | {"threads": 0}, seed=0), 1)[0]

    alone = batch_of("image") | batch_of("video")
    decoded, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(args) or decode(*args))
    together = batch_of("image", "video")
    assert len(decoded) == 8 * 12  # the video's; all four images are among them
    for stream in streams:
        np.testing.assert_array_equal(together[stream], alone[stream])


def test_absent_streams_are_zero_and_masked():
    silent = FakeRecords(clips(1, swap=1), audio=False)
    (batch,) = silent.eval_batches(CONFIG, windows=1)
    assert batch["mask"][:2].all() and batch["video_mask"][:2].all() and not batch["audio_mask"].any()
    assert not batch["audio"].any()
    faceless = FakeRecords(clips(1, swap=1), frames=0)
    (batch,) = faceless.eval_batches(CONFIG, windows=1)
    assert batch["mask"][:2].all() and batch["audio_mask"][:2].all()
    for stream in ("image", "video", "mouth"):
        assert not batch[f"{stream}_mask"].any() and not batch[stream].any()


def test_clip_without_any_asked_stream_is_not_trained_on_and_abstains_in_evaluation():
    records = FakeRecords(clips(2, swap=2), frames=[50, 0, 50, 50])
    config = CONFIG | {"streams": {"image": {"frames": 2, "size": 16}}}
    trained = take(records.train_batches(config, seed=0), 5)
    assert {int(i) for b in trained for i in b["clip_index"]} == {0, 2, 3}
    (batch,) = records.eval_batches(config, windows=1)
    np.testing.assert_array_equal(batch["mask"][:4], [True, False, True, True])
    np.testing.assert_array_equal(batch["clip_index"][:4], [0, 1, 2, 3])


class Silent(FakeRecords):
    """Records whose sound is all but silent (amplitude 10) before 0.5 s."""

    def __getitem__(self, i):
        record = super().__getitem__(i)
        record["audio"] = np.where(np.arange(len(record["audio"])) < 8000, 10, 3000).astype(np.int16)
        return record


def test_leading_silence_is_cut_from_sound_and_pictures_together():
    config = CONFIG | {"trim_silence": -60.0, "balance": "none", "augment": ()}
    records = Silent(clips(2), frames=60)
    taken = [*take(records.train_batches(config, seed=0), 20), *records.eval_batches(config, windows=3)]
    starts = set()
    for batch in taken:
        for row in np.flatnonzero(batch["mask"]):
            first = round(float(batch["window_start"][row]) * 25)
            starts.add(first)
            assert (batch["audio"][row] == 3000).mean() > 0.95
            np.testing.assert_array_equal(batch["mouth"][row, :, 6, 6, 0], first + np.arange(25))
    assert starts == set(range(12, 36))  # 0.5 s is in frame 12; 2.4 s less the window is frame 35
    untrimmed = take(records.train_batches(config | {"trim_silence": 0.0}, seed=0), 20)
    assert min(b["window_start"].min() for b in untrimmed) == 0
    softer = take(records.train_batches(config | {"trim_silence": -80.0}, seed=0), 20)
    assert min(b["window_start"].min() for b in softer) == 0


def test_trimming_leaves_silent_and_short_clips_something():
    config = CONFIG | {"trim_silence": -10.0}
    (batch,) = Silent(clips(1), frames=50).eval_batches(config, windows=2)  # never as loud
    np.testing.assert_array_equal(batch["window_start"][:2], [0, 1])
    (batch,) = Silent(clips(1), frames=20).eval_batches(config | {"trim_silence": -60.0}, windows=1)
    assert batch["window_start"][0] == np.float32(0.48) and (batch["audio"][0, :4000] == 3000).mean() > 0.9
    faceless = FakeRecords(clips(1), frames=25, audio=False)
    (batch,) = faceless.eval_batches(config, windows=1)
    assert batch["window_start"][0] == 0 and batch["video_mask"][0]


def labels(**fields):
    records = FakeRecords([Clip("c", "", **fields)], frames=75)
    (batch,) = records.eval_batches(CONFIG, windows=3)  # windows at 0, 1, 2 s
    return [[int(batch[n][i]) for n in batch_lib.LABELS] for i in range(3)]


def test_window_labels_follow_the_fake_spans():
    assert labels(label=0, video_label=0, audio_label=0) == [[0, 0, 0]] * 3
    assert labels(label=1, video_label=1, audio_label=-1) == [[1, 1, -1]] * 3
    assert labels(label=-1) == [[-1, -1, -1]] * 3
    partial = {"label": 1, "video_label": 1, "audio_label": 0}
    assert labels(**partial, video_segments=((0.5, 1.1),)) == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert labels(**partial, video_segments=((0.5, 1.2), (2.9, 3.5))) == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    both = {"label": 1, "video_label": 1, "audio_label": 1}
    assert labels(**both, audio_segments=((2.0, 2.4),)) == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    disagreeing = {"label": 1, "video_label": 0, "audio_label": 0}  # dubbing: each stream real
    assert labels(**disagreeing) == [[1, 0, 0]] * 3
    assert labels(**disagreeing, audio_segments=((0.0, 1.0),)) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
