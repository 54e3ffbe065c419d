"""Corpus: a balanced plan with disjoint splits; files that depend on nothing but the settings; whole or not at all."""

import collections
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from data_pipelines.talking_heads import corpus, manipulations

ROOT = pathlib.Path(__file__).parents[3]
TINY = corpus.Settings(seed=1, train=2, val=2, test=2, train_clips=2, eval_clips=2)


def _digests(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return corpus.ensure(TINY, tmp_path_factory.mktemp("whole"), workers=2)


def test_plan_is_balanced_and_its_splits_share_nobody():
    items = corpus.plan(corpus.Settings())
    assert len(items) == 24 * 14 + (8 + 16) * 10
    assert [item.number for item in items] == list(range(len(items)))
    assert len({item.name for item in items}) == len(items)
    shown = collections.defaultdict(set)
    for split in ("train", "val", "test"):
        members = [item for item in items if item.split == split]
        counts = collections.Counter(item.method for item in members)
        assert counts["real"] == len(members) / 2
        fakes = [counts[method] for method in manipulations.METHODS if method != "dubbing"]
        assert sum(fakes) + counts["dubbing"] == len(members) / 2 and max(fakes) - min(fakes) <= 1
        assert abs(counts["dubbing"] - fakes[0] / 2) <= 1
        partial = sum(item.span is not None for item in members)
        assert 0.2 < partial / (len(members) / 2) < 0.3
        shown[split] = {item.person for item in members} | {item.donor for item in members if item.donor >= 0}
    assert not (shown["train"] & shown["val"] or shown["train"] & shown["test"] or shown["val"] & shown["test"])


def test_every_fake_stands_beside_its_original():
    for real, fake in zip(*[iter(corpus.plan(TINY))] * 2, strict=True):
        assert real.method == "real" != fake.method
        assert (real.person, real.take, real.duration) == (fake.person, fake.take, fake.duration)
        assert (fake.donor >= 0) == ("face_swap" in fake.method) and fake.donor != fake.person
    for item in corpus.plan(corpus.Settings()):
        assert 2.2 <= item.duration <= 3.0
        if item.span:
            start, end = item.span
            assert 0.8 <= end - start <= 1.6 and start > 0.05 and end < item.duration - 0.05


@pytest.mark.parametrize("sizes", [{"train_clips": 3}, {"eval_clips": 0}, {"val": 1}])
def test_impossible_sizes(sizes):
    with pytest.raises(ValueError, match=next(iter(sizes))):
        corpus.Settings(**sizes)


def test_any_setting_and_the_version_name_another_corpus(monkeypatch):
    names = {corpus.Settings().digest, corpus.Settings(seed=1).digest, corpus.Settings(test=17).digest}
    monkeypatch.setattr(corpus, "VERSION", -1)
    assert len(names | {corpus.Settings().digest}) == 4


def test_every_clip_has_its_file_and_its_landmarks(whole):
    assert len(list(whole.rglob("*.mp4"))) == len(corpus.plan(TINY)) == len(list(whole.rglob("*.npz")))


def test_a_made_corpus_is_left_alone(whole, monkeypatch):
    monkeypatch.setattr(corpus, "_make", None)
    assert corpus.ensure(TINY, whole.parent) == whole


def test_a_worker_that_fails_leaves_no_corpus(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(corpus, "plan", lambda settings: [corpus.Item(999, "train", 0, 0)] * 1000)
    with pytest.raises(RuntimeError, match="a worker died at clip train/person000"):
        corpus.ensure(TINY, tmp_path, workers=1)
    assert not list(tmp_path.glob("talking_heads-*[0-9a-f]"))
    assert "IndexError" in capfd.readouterr().err


def _children(parent):
    return [int(pid) for pid in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_killed_waited_for_and_taken_up_again(whole, tmp_path):
    """SIGKILL in the middle: no worker stays, no corpus is seen; two processes then finish the very same one.

    Here with one worker each, against the two that made `whole`: their number changes no byte.
    """
    code = (
        "import pathlib, sys; from data_pipelines.talking_heads import corpus;"
        f"print(corpus.ensure(corpus.{TINY!r}, pathlib.Path(sys.argv[1]), workers=1))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **options) as first:
        deadline = time.time() + 60
        while not list(tmp_path.rglob("*.mp4")):
            assert time.time() < deadline
            time.sleep(0.02)
        workers = _children(first.pid)
        os.kill(first.pid, signal.SIGKILL)
    assert not (tmp_path / whole.name).exists() and workers
    while any(_alive(pid) for pid in workers):
        assert time.time() < deadline + 30, "an orphan"
        time.sleep(0.02)
    with subprocess.Popen(command, **options) as second, subprocess.Popen(command, **options) as third:
        answers = [process.communicate(timeout=120) for process in (second, third)]
    assert [out.strip() for out, _ in answers] == [str(tmp_path / whole.name)] * 2
    assert sum("waiting for another process" in err for _, err in answers) <= 1
    assert _digests(tmp_path / whole.name) == _digests(whole)
