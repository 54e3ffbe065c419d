"""Records that cannot be read, and mistakes in the config."""

import logging
import re

import numpy as np
import pytest
from in_memory import CONFIG, RECORDS, FakeRecords, assert_equal, clips, take

from data_pipelines.loading import loader


def test_training_skips_unreadable_records_deterministically_and_tells(caplog):
    records = FakeRecords(clips(5, swap=5), unreadable={1}, undecodable={7})
    with caplog.at_level(logging.WARNING):
        batches = take(records.train_batches(CONFIG, seed=0), 6)
    told = sorted(r.getMessage() for r in caplog.records)
    assert told[0] == "real1: skipped: hash of the chunk does not match"
    assert re.fullmatch(r"swap2: skipped: image \d+ of the image stream cannot be decoded", told[1])
    assert len(told) == 2
    index = np.concatenate([b["clip_index"] for b in batches])
    assert not {1, 7} & set(index.tolist())
    labels = np.concatenate([b["label"] for b in batches])
    np.testing.assert_array_equal(labels, np.arange(48) % 2)  # replaced by one of the same class
    assert_equal(take(records.train_batches(CONFIG, seed=0, start_step=3), 3), batches[3:])


def test_training_stops_when_too_many_records_are_unreadable():
    records = FakeRecords(clips(20, swap=20), unreadable=set(range(0, 40, 4)))
    batches = records.train_batches(CONFIG, seed=0)
    with pytest.raises(
        loader.LoaderError, match=r"4 of the \d+ clips read so far are unreadable, .*max_bad=0\.01"
    ) as e:
        take(batches, 20)
    assert "\n" not in str(e.value)
    take(records.train_batches(CONFIG | {"max_bad": 0.5}, seed=0), 20)


def test_training_stops_when_nothing_is_readable():
    records = FakeRecords(clips(3, swap=3), unreadable=range(6))
    with pytest.raises(loader.LoaderError, match="100 unreadable records in a row"):
        take(records.train_batches(CONFIG, seed=0), 1)


def test_evaluation_abstains_on_unreadable_records_and_keeps_the_rest(caplog):
    good = FakeRecords(clips(3, swap=3))
    bad = FakeRecords(clips(3, swap=3), unreadable={1}, undecodable={4})
    want = list(good.eval_batches(CONFIG, windows=2))
    with caplog.at_level(logging.WARNING):
        got = list(bad.eval_batches(CONFIG, windows=2))
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["real1", "swap1"]  # each told once
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a["clip_index"], b["clip_index"])
        kept = ~np.isin(b["clip_index"], [1, 4])
        assert_equal([{k: v[kept] for k, v in a.items()}], [{k: v[kept] for k, v in b.items()}])
        assert not b["mask"][b["clip_index"] == 1].any()
        part = b["clip_index"] == 4
        assert b["mask"][part].all() and b["mouth_mask"][part].all() and b["audio_mask"][part].all()
        assert not b["image_mask"][part].any() and not b["image"][part].any() and not b["video_mask"][part].any()


def test_missing_record_files_stop_an_evaluation():
    class Gone(FakeRecords):
        def __getitem__(self, i):
            raise FileNotFoundError("clips.array_record: no such file")

    with pytest.raises(FileNotFoundError, match="no such file"):
        list(Gone(clips(1)).eval_batches(CONFIG, windows=1))


# Mistakes in the config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "data.batch_size: expected at least 1, found 0"),
        ({"streams": {}}, "at least one of image, video, mouth, audio"),
        ({"streams": {"depth": {}}}, "unknown stream 'depth'"),
        ({"streams": {"image": {"size": 8}}}, r"data.streams.image: expected the options \['frames', 'size'\]"),
        ({"window": 0}, "data.window: expected at least"),
        ({"trim_silence": 60.0}, "data.trim_silence: expected decibels of full scale from -120 to 0"),
        (
            {"balance": "classes"},
            "data.balance: expected one of none, label, method, real, video_label, found 'classes'",
        ),
        ({"augment": [{"name": "os.system"}]}, "'os.system' is outside the allowed packages"),
        ({"augment": [{"name": "data_pipelines.loading.transforms.np"}]}, "unknown transform"),
        ({"augment": [{"name": "data_pipelines.loading.transforms.Transform"}]}, "unknown transform"),
        (
            {"augment": [{"name": "data_pipelines.loading.transforms.HorizontalFlip", "prob": 1}]},
            "has no field prob; known: p",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as error:
        RECORDS.train_batches(CONFIG | change, seed=0)
    assert "\n" not in str(error.value)


def test_batch_that_does_not_divide_among_processes_is_refused():
    with pytest.raises(ValueError, match=r"expected a multiple of the 3 processes, found 8"):
        RECORDS.train_batches(CONFIG, seed=0, process_count=3)
    with pytest.raises(ValueError, match="expected a multiple of the 3 processes"):
        RECORDS.eval_batches(CONFIG, windows=1, process_count=3)
