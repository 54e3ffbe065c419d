"""Batch k is a function of (config, seed, k) alone, whatever the workers, threads and processes."""

import time

import numpy as np
import pytest
from in_memory import CONFIG, RECORDS, FakeRecords, assert_equal, clips, take

from data_pipelines import batch as batch_lib


@pytest.mark.parametrize(("workers", "start"), [(2, 5), (3, 0)])
def test_same_batches_with_any_worker_count_and_after_a_restart(straight, workers, start):
    batches = RECORDS.train_batches(CONFIG | {"workers": workers}, seed=3, start_step=start)
    assert_equal(take(batches, 8 - start), straight[start:])


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_same_batches_with_any_thread_count(straight, threads):
    batches = RECORDS.train_batches(CONFIG | {"threads": threads, "prefetch": 3}, seed=3, start_step=2)
    assert_equal(take(batches, 6), straight[2:])


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_processes_together_make_the_same_global_batches(straight, processes):
    parts = [
        take(RECORDS.train_batches(CONFIG, seed=3, process_index=p, process_count=processes), 8)
        for p in range(processes)
    ]
    joined = [{name: np.concatenate([b[name] for b in step]) for name in step[0]} for step in zip(*parts, strict=True)]
    assert_equal(joined, straight)


def test_another_seed_gives_other_batches(straight):
    other = take(RECORDS.train_batches(CONFIG, seed=4), 1)[0]
    assert (other["window_start"] != straight[0]["window_start"]).any()


def test_far_steps_are_as_quick_as_near_ones():
    began = time.monotonic()
    take(RECORDS.train_batches(CONFIG, seed=3, start_step=10**9), 1)
    assert time.monotonic() - began < 5


def test_batches_have_the_shapes_and_types_of_the_contract(straight):
    assert {k: (v.shape, v.dtype) for k, v in straight[0].items()} == {
        k: (v.shape, v.dtype) for k, v in batch_lib.zeros(CONFIG, 8).items()
    }
    evaluated = take(RECORDS.eval_batches(CONFIG, windows=2), 1)[0]
    assert {k: (v.shape, v.dtype) for k, v in evaluated.items()} == {
        k: (v.shape, v.dtype) for k, v in straight[0].items()
    }


def test_evaluation_gives_every_process_as_many_batches():
    whole = list(RECORDS.eval_batches(CONFIG, windows=3))
    parts = [
        list(RECORDS.eval_batches(CONFIG | {"workers": p}, windows=3, process_index=p, process_count=2))
        for p in range(2)
    ]
    joined = [{name: np.concatenate([b[name] for b in step]) for name in step[0]} for step in zip(*parts, strict=True)]
    assert_equal(joined, whole)


def test_windows_by_stride_cover_every_clip():
    records = FakeRecords(clips(4), frames=[20, 25, 60, 500])
    config = CONFIG | {"stride": 0.48, "targets": {"frame_labels": {"feather": 0.0}}}
    batches = list(records.eval_batches(config, windows=7))
    assert len(batches) == records.eval_steps(config, windows=7)
    kept = {name: np.concatenate([batch[name] for batch in batches]) for name in ("clip_index", "window_start", "mask")}
    assert (np.concatenate([batch["clip_index"] for batch in batches])[~kept["mask"]] == -1).all()
    starts = [kept["window_start"][kept["mask"] & (kept["clip_index"] == i)] for i in range(4)]
    assert [len(each) for each in starts] == [1, 1, 4, 41]
    for each, frames in zip(starts, (20, 25, 60, 500), strict=True):
        assert each[0] == 0 and each[-1] == pytest.approx(max(0, frames / 25 - 1), abs=1e-5)
        assert (np.diff(each) <= 0.48 + 1e-5).all() and (np.diff(each) > 0).all()
    for stride in (-1, 0.01, 1.5):
        with pytest.raises(ValueError, match=r"evaluate.stride: expected 0 .* to data.window=1.0 s, found"):
            records.eval_batches(CONFIG | {"stride": stride}, windows=1)


def test_evaluation_may_degrade_what_it_reads_always_alike():
    noise = {"name": "data_pipelines.loading.transforms.AudioNoise", "p": 1.0, "snr": (-10.0, -10.0)}
    plain, *noisy = (list(RECORDS.eval_batches(CONFIG | {"degrade": d}, windows=2)) for d in ((), (noise,), (noise,)))
    assert_equal(noisy[0], noisy[1])
    for one, other in zip(plain, noisy[0], strict=True):
        assert {name for name in one if not np.array_equal(one[name], other[name])} == {"audio"}


def test_nothing_is_left_of_what_was_in_memory(monkeypatch):
    """Batches are not cleared before: streams that are absent, too short or unreadable must write zeros."""
    config = CONFIG | {"threads": 0, "max_bad": 1.0, "balance": "none"}
    sources = [
        FakeRecords(clips(4, swap=3), frames=[50, 10, 50, 60, 30, 50, 50], unreadable={2}, undecodable={5}),
        FakeRecords(clips(3), frames=0),
        FakeRecords(clips(3), audio=False),
    ]
    made = []
    for rest in (0, 1):
        monkeypatch.setattr(np, "empty", lambda shape, dtype, rest=rest: np.full(shape, rest, dtype))
        made.append([b for s in sources for b in take(s.train_batches(config, seed=0), 2)])
        made[-1] += [b for s in sources for b in s.eval_batches(config, windows=2)]
    monkeypatch.undo()
    assert_equal(*made)
