"""Batches: a function of (config, seed, k) alone; windows, labels and masks; unreadable records; worker processes."""

import dataclasses
import functools
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import cloudpickle
import cv2
import numpy as np
import pytest

from data_pipelines import batch as batch_lib
from data_pipelines import loader, records
from data_pipelines.clip import Clip

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test
ROOT = pathlib.Path(__file__).parents[2]
FLIP = {"name": "data_pipelines.transforms.HorizontalFlip", "p": 0.5}
CONFIG = {
    "window": 1.0,
    "streams": {
        "image": {"frames": 4, "size": 16},
        "video": {"fps": 12.5, "size": 12},
        "mouth": {"fps": 25, "size": 16},
        "audio": {},
    },
    "batch_size": 8,
    "augment": (FLIP, {"name": "data_pipelines.transforms.Noise"}),
}


@dataclasses.dataclass(frozen=True)
class Row:
    clip: Clip
    frames: int
    audio_samples: int
    status: str = "ok"
    duration: float = 0.0


class FakeRecords:
    """Records in memory. Frame i of clip c has red i, green c; sample j of the sound is j // 16 (so in ms)."""

    def __init__(self, clips, frames=50, audio=True, size=16, unreadable=(), undecodable=()):
        lengths = frames if isinstance(frames, (list, tuple)) else [frames] * len(clips)
        samples = [(n or 50) * 640 if audio else 0 for n in lengths]
        self.index = [Row(c, n, s) for c, n, s in zip(clips, lengths, samples, strict=True)]
        self.size, self.unreadable, self.undecodable = size, unreadable, undecodable
        self.reads = []

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        self.reads.append(i)
        if i in self.unreadable:
            raise ValueError("hash of the chunk\ndoes not match")
        row = self.index[i]
        frames = [png(self.size, f, i) for f in range(row.frames)]
        return {
            "frames": [b"no image"] * len(frames) if i in self.undecodable else frames,
            "mouth": [png(self.size, f, i, grey=True) for f in range(row.frames)],
            "audio": (np.arange(row.audio_samples) // 16).astype(np.int16),
            "audio_present": int(row.audio_samples > 0),
            "video_present": int(row.frames > 0),
        }


@functools.cache
def png(size, frame, clip, grey=False):
    image = np.full((size, size, 3), (7, clip, frame), np.uint8)  # BGR
    image[:, 0] = 255  # so that a mirror image differs
    return cv2.imencode(".png", image[..., 2] if grey else image)[1].tobytes()


def clips(reals, **fakes):
    made = [Clip(f"real{i}", "", 0, video_label=0, audio_label=0, method="real") for i in range(reals)]
    for method, n in fakes.items():
        made += [Clip(f"{method}{i}", "", 1, video_label=1, audio_label=0, method=method) for i in range(n)]
    return made


RECORDS = FakeRecords(clips(5, swap=3, voice=4))


def take(batches, n):
    with batches:
        return [next(batches) for _ in range(n)]


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope="module")
def straight():
    return take(loader.train_batches(RECORDS, CONFIG, seed=3), 8)


# Batch k is a function of (config, seed, k)


@pytest.mark.parametrize(("workers", "start"), [(2, 5), (3, 0)])
def test_same_batches_with_any_worker_count_and_after_a_restart(straight, workers, start):
    batches = loader.train_batches(RECORDS, CONFIG | {"workers": workers}, seed=3, start_step=start)
    assert_equal(take(batches, 8 - start), straight[start:])


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_same_batches_with_any_thread_count(straight, threads):
    batches = loader.train_batches(RECORDS, CONFIG | {"threads": threads, "prefetch": 3}, seed=3, start_step=2)
    assert_equal(take(batches, 6), straight[2:])


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_processes_together_make_the_same_global_batches(straight, processes):
    parts = [
        take(loader.train_batches(RECORDS, CONFIG, seed=3, process_index=p, process_count=processes), 8)
        for p in range(processes)
    ]
    joined = [{name: np.concatenate([b[name] for b in step]) for name in step[0]} for step in zip(*parts, strict=True)]
    assert_equal(joined, straight)


def test_another_seed_gives_other_batches(straight):
    other = take(loader.train_batches(RECORDS, CONFIG, seed=4), 1)[0]
    assert (other["window_start"] != straight[0]["window_start"]).any()


def test_far_steps_are_as_quick_as_near_ones():
    began = time.monotonic()
    take(loader.train_batches(RECORDS, CONFIG, seed=3, start_step=10**9), 1)
    assert time.monotonic() - began < 5


def test_batches_have_the_shapes_and_types_of_the_contract(straight):
    assert {k: (v.shape, v.dtype) for k, v in straight[0].items()} == {
        k: (v.shape, v.dtype) for k, v in batch_lib.zeros(CONFIG, 8).items()
    }
    evaluated = take(loader.eval_batches(RECORDS, CONFIG, windows=2), 1)[0]
    assert {k: (v.shape, v.dtype) for k, v in evaluated.items()} == {
        k: (v.shape, v.dtype) for k, v in straight[0].items()
    }


# Windows


def test_streams_show_the_same_moment():
    batch = take(loader.train_batches(RECORDS, CONFIG | {"augment": ()}, seed=0), 1)[0]
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
    batches = take(loader.train_batches(records, CONFIG | {"balance": "none"}, seed=0), 30)
    starts = {round(float(s) * 25) for b in batches for s in b["window_start"]}
    assert starts == set(range(36))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_evaluation_takes_each_clip_windows_times_from_start_to_end(count):
    records = FakeRecords(clips(3, swap=4), frames=[50, 25, 10, 0, 200, 26, 75])
    batches = list(loader.eval_batches(records, CONFIG, windows=count))
    assert len(batches) == loader.eval_steps(records, CONFIG, windows=count) == -(-7 * count // 8)
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
    (batch,) = loader.eval_batches(records, config, windows=1)
    np.testing.assert_array_equal(batch["image"][0, :, 6, 6, 0], np.floor((np.arange(8) + 0.5) * 100 / 8))


def test_clip_shorter_than_the_window_repeats_its_last_frame_and_ends_in_silence():
    (batch,) = loader.eval_batches(FakeRecords(clips(1), frames=10), CONFIG, windows=1)
    assert batch["window_start"][0] == 0
    np.testing.assert_array_equal(batch["mouth"][0, :, 6, 6, 0], np.minimum(np.arange(25), 9))
    assert (batch["audio"][0, 6400:] == 0).all() and batch["audio"][0, 6399] == 399


def test_frames_are_resized_to_the_stream():
    (batch,) = loader.eval_batches(FakeRecords(clips(1), size=50), CONFIG, windows=1)
    assert batch["image"].shape == (8, 4, 16, 16, 3) and batch["image"][0, 0, 8, 8, 2] == 7


def test_absent_streams_are_zero_and_masked():
    silent = FakeRecords(clips(1, swap=1), audio=False)
    (batch,) = loader.eval_batches(silent, CONFIG, windows=1)
    assert batch["mask"][:2].all() and batch["video_mask"][:2].all() and not batch["audio_mask"].any()
    assert not batch["audio"].any()
    faceless = FakeRecords(clips(1, swap=1), frames=0)
    (batch,) = loader.eval_batches(faceless, CONFIG, windows=1)
    assert batch["mask"][:2].all() and batch["audio_mask"][:2].all()
    for stream in ("image", "video", "mouth"):
        assert not batch[f"{stream}_mask"].any() and not batch[stream].any()


def test_clip_without_any_asked_stream_is_not_trained_on_and_abstains_in_evaluation():
    records = FakeRecords(clips(2, swap=2), frames=[50, 0, 50, 50])
    config = CONFIG | {"streams": {"image": {"frames": 2, "size": 16}}}
    trained = take(loader.train_batches(records, config, seed=0), 5)
    assert {int(i) for b in trained for i in b["clip_index"]} == {0, 2, 3}
    (batch,) = loader.eval_batches(records, config, windows=1)
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
    taken = [*take(loader.train_batches(records, config, seed=0), 20), *loader.eval_batches(records, config, windows=3)]
    starts = set()
    for batch in taken:
        for row in np.flatnonzero(batch["mask"]):
            first = round(float(batch["window_start"][row]) * 25)
            starts.add(first)
            assert (batch["audio"][row] == 3000).mean() > 0.95
            np.testing.assert_array_equal(batch["mouth"][row, :, 6, 6, 0], first + np.arange(25))
    assert starts == set(range(12, 36))  # 0.5 s is in frame 12; 2.4 s less the window is frame 35
    untrimmed = take(loader.train_batches(records, config | {"trim_silence": 0.0}, seed=0), 20)
    assert min(b["window_start"].min() for b in untrimmed) == 0
    softer = take(loader.train_batches(records, config | {"trim_silence": -80.0}, seed=0), 20)
    assert min(b["window_start"].min() for b in softer) == 0


def test_trimming_leaves_silent_and_short_clips_something():
    config = CONFIG | {"trim_silence": -10.0}
    (batch,) = loader.eval_batches(Silent(clips(1), frames=50), config, windows=2)  # never as loud
    np.testing.assert_array_equal(batch["window_start"][:2], [0, 1])
    (batch,) = loader.eval_batches(Silent(clips(1), frames=20), config | {"trim_silence": -60.0}, windows=1)
    assert batch["window_start"][0] == np.float32(0.48) and (batch["audio"][0, :4000] == 3000).mean() > 0.9
    faceless = FakeRecords(clips(1), frames=25, audio=False)
    (batch,) = loader.eval_batches(faceless, config, windows=1)
    assert batch["window_start"][0] == 0 and batch["video_mask"][0]


def labels(**fields):
    records = FakeRecords([Clip("c", "", **fields)], frames=75)
    (batch,) = loader.eval_batches(records, CONFIG, windows=3)  # windows at 0, 1, 2 s
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


# Records that cannot be read


def test_training_skips_unreadable_records_deterministically_and_tells(caplog):
    records = FakeRecords(clips(5, swap=5), unreadable={1}, undecodable={7})
    with caplog.at_level(logging.WARNING):
        batches = take(loader.train_batches(records, CONFIG, seed=0), 6)
    told = sorted(r.getMessage() for r in caplog.records)
    assert told[0] == "real1: skipped: hash of the chunk does not match"
    assert re.fullmatch(r"swap2: skipped: image \d+ of the image stream cannot be decoded", told[1])
    assert len(told) == 2
    index = np.concatenate([b["clip_index"] for b in batches])
    assert not {1, 7} & set(index.tolist())
    labels = np.concatenate([b["label"] for b in batches])
    np.testing.assert_array_equal(labels, np.arange(48) % 2)  # replaced by one of the same class
    assert_equal(take(loader.train_batches(records, CONFIG, seed=0, start_step=3), 3), batches[3:])


def test_training_stops_when_too_many_records_are_unreadable():
    records = FakeRecords(clips(20, swap=20), unreadable=set(range(0, 40, 4)))
    batches = loader.train_batches(records, CONFIG, seed=0)
    with pytest.raises(
        loader.LoaderError, match=r"4 of the \d+ clips read so far are unreadable, .*max_bad=0\.01"
    ) as e:
        take(batches, 20)
    assert "\n" not in str(e.value)
    take(loader.train_batches(records, CONFIG | {"max_bad": 0.5}, seed=0), 20)


def test_training_stops_when_nothing_is_readable():
    records = FakeRecords(clips(3, swap=3), unreadable=range(6))
    with pytest.raises(loader.LoaderError, match="100 unreadable records in a row"):
        take(loader.train_batches(records, CONFIG, seed=0), 1)


def test_evaluation_abstains_on_unreadable_records_and_keeps_the_rest(caplog):
    good = FakeRecords(clips(3, swap=3))
    bad = FakeRecords(clips(3, swap=3), unreadable={1}, undecodable={4})
    want = list(loader.eval_batches(good, CONFIG, windows=2))
    with caplog.at_level(logging.WARNING):
        got = list(loader.eval_batches(bad, CONFIG, windows=2))
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
        list(loader.eval_batches(Gone(clips(1)), CONFIG, windows=1))


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
        ({"balance": "classes"}, "data.balance: expected one of none, label, method, found 'classes'"),
        ({"augment": [{"name": "os.system"}]}, "unknown transform 'os.system'; known: "),
        ({"augment": [{"name": "data_pipelines.transforms.np"}]}, "unknown transform"),
        ({"augment": [{"name": "data_pipelines.transforms.Transform"}]}, "unknown transform"),
        (
            {"augment": [{"name": "data_pipelines.transforms.HorizontalFlip", "prob": 1}]},
            "has no field 'prob'; it has p",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as error:
        loader.train_batches(RECORDS, CONFIG | change, seed=0)
    assert "\n" not in str(error.value)


def test_batch_that_does_not_divide_among_processes_is_refused():
    with pytest.raises(ValueError, match=r"expected a multiple of the 3 processes, found 8"):
        loader.train_batches(RECORDS, CONFIG, seed=0, process_count=3)
    with pytest.raises(ValueError, match="expected a multiple of the 3 processes"):
        loader.eval_batches(RECORDS, CONFIG, windows=1, process_count=3)


def test_evaluation_gives_every_process_as_many_batches():
    whole = list(loader.eval_batches(RECORDS, CONFIG, windows=3))
    parts = [
        list(loader.eval_batches(RECORDS, CONFIG | {"workers": p}, windows=3, process_index=p, process_count=2))
        for p in range(2)
    ]
    joined = [{name: np.concatenate([b[name] for b in step]) for name in step[0]} for step in zip(*parts, strict=True)]
    assert_equal(joined, whole)


# Worker processes and memory


def test_batches_of_a_worker_are_the_same_and_stay_valid_while_jax_holds_them(straight):
    import jax

    with loader.train_batches(RECORDS, CONFIG | {"workers": 1}, seed=3) as batches:
        held = [jax.device_put(next(batches)) for _ in range(8)]
    del batches
    for a, b in zip(straight, held, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


WINDOW = 0.44  # s: the sound of a batch has a size that no other process's shared memory is likely to have
SCRIPT = """
    import sys, time
    sys.path[:0] = [{root!r}, {here!r}]
    from test_loader import CONFIG, RECORDS
    from data_pipelines import loader

    if __name__ == "__main__":
        batches = loader.train_batches(RECORDS, CONFIG | {{"workers": {workers}, "window": {window}}}, seed=0)
        for k, batch in enumerate(batches):
            print(k, flush=True)
            time.sleep(0.2)
"""


@pytest.fixture
def training(tmp_path, request):
    """A process that trains for ever with `request.param` workers, after its first batches."""
    script = tmp_path / "training.py"
    here = str(pathlib.Path(__file__).parent)
    text = SCRIPT.format(root=str(ROOT), here=here, window=WINDOW, workers=request.param)
    script.write_text(textwrap.dedent(text))
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while process.stdout.readline().strip() != "4":
            assert process.poll() is None, process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def descendants(pid):
    """Process ids of all living descendants."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] != "Z":
                children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        todo += (mine := children.get(todo.pop(), []))
        found += mine
    return found


def command(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def shared_memory():
    """The shared memory that holds a batch's sound."""
    size = CONFIG["batch_size"] * round(WINDOW * 16_000) * 2
    return {f for f in pathlib.Path("/dev/shm").iterdir() if f.is_file() and f.stat().st_size == size}


@pytest.fixture
def earlier():
    """What others hold or have left: a worker killed before Python's tracker knows of its segment leaves it."""
    return shared_memory()


needs_proc = pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


@needs_proc
@pytest.mark.parametrize("training", [1], indirect=True)
def test_killed_worker_ends_the_run_with_one_line(training):
    worker = next(p for p in descendants(training.pid) if "spawn_main" in command(p))
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    _, err = training.communicate(timeout=20)
    assert training.returncode == 1 and time.monotonic() - began < 10
    assert "LoaderError: a loader worker process died with exit code -9: killed" in err


@needs_proc
@pytest.mark.parametrize("training", [2], indirect=True)
def test_killed_parent_leaves_no_worker_and_no_shared_memory(earlier, training):
    children = descendants(training.pid)
    assert sum("spawn_main" in command(p) for p in children) == 2
    segments = shared_memory() - earlier
    assert segments
    training.kill()
    began = time.monotonic()
    while any(pathlib.Path(f"/proc/{p}").exists() for p in children) and time.monotonic() - began < 10:
        time.sleep(0.1)
    assert not [p for p in children if pathlib.Path(f"/proc/{p}").exists()]
    assert not [s for s in segments if s.exists()]


# From media files


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, write_media):
    """Real records: a flash and a click at 2.0 s, in clips of 4 s; the second without sound."""
    folder = tmp_path_factory.mktemp("media")
    made = []
    for name, label, options in (("real", 0, {}), ("fake", 1, {"rate": 0})):
        path = folder / f"{name}.mp4"
        write_media(path, times=np.arange(100) / 25, flash=2.0, click=2.0, seconds=4.0, **options)
        made.append(Clip(name, str(path), label, split="test", method=name))
    crops = records.Crops(face="whole", face_size=32, mouth=False)
    return records.prepare(made, folder / "records", crops=crops, workers=1)


def test_flash_and_click_stay_together_from_file_to_batch(prepared):
    config = CONFIG | {"streams": {"video": {"fps": 25, "size": 32}, "audio": {}}, "balance": "none"}
    source = records.Records(prepared, "test")
    moments = []
    for batch in take(loader.train_batches(source, config | {"augment": ()}, seed=0), 15):
        for row in np.flatnonzero(batch["audio_mask"] & (np.abs(batch["window_start"] - 1.5) < 0.4)):
            flash = np.argmax(batch["video"][row, :, 16, 16, 0] > 128) / 25
            click = np.argmax(np.abs(batch["audio"][row].astype(int)) > 5000) / 16_000
            moments.append((flash, click, 2.0 - batch["window_start"][row]))
    flash, click, want = np.array(moments).T
    assert len(moments) > 3
    np.testing.assert_allclose(flash, want, atol=1e-6)
    np.testing.assert_allclose(click, want, atol=0.01)


def test_real_records_with_workers(prepared):
    source = records.Records(prepared, "test")
    config = CONFIG | {"streams": {"image": {"frames": 2, "size": 16}, "audio": {}}}
    straight = take(loader.train_batches(source, config, seed=1), 3)
    assert_equal(take(loader.train_batches(source, config | {"workers": 1}, seed=1), 3), straight)
    (batch,) = loader.eval_batches(source, config, windows=2)
    np.testing.assert_array_equal(batch["audio_mask"][:4], [True, True, False, False])
    np.testing.assert_array_equal(batch["label"][:4], [0, 0, 1, 1])


def test_damaged_record_files_are_told_by_clip(prepared, tmp_path, caplog):
    folder = tmp_path / "records"
    shutil.copytree(prepared, folder)
    (file,) = folder.glob("clips/*/*.array_record*")
    data = bytearray(file.read_bytes())
    data[1200] ^= 1  # in the first half second of the first clip's sound
    file.write_bytes(data)
    config = CONFIG | {"streams": {"image": {"frames": 2, "size": 16}, "audio": {}}}
    with caplog.at_level(logging.WARNING):
        (batch,) = loader.eval_batches(records.Records(folder, "test"), config, windows=2)
    np.testing.assert_array_equal(batch["audio_mask"][:4], [False, True, False, False])  # the second clip has no sound
    assert not batch["audio"][0].any()
    assert batch["image_mask"][:4].all()
    assert [r.getMessage().split(":")[:2] for r in caplog.records] == [["real", " not scored"]]
