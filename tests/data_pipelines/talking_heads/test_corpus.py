"""Corpus: a balanced plan with disjoint splits; files that depend on nothing but the settings; whole or not at all."""

import collections
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
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
    assert len(items) == 24 * 14 + (8 + 24) * 16 == 848
    assert [item.number for item in items] == list(range(len(items)))
    assert len({item.name for item in items}) == len(items)
    shown = collections.defaultdict(set)
    for split in ("train", "val", "test"):
        members = [item for item in items if item.split == split]
        counts = collections.Counter(item.method for item in members)
        assert counts["real"] == len(members) / 2
        dubbed = [counts[method] for method in ("dubbing", "dubbing_other_voice")]
        fakes = [counts[method] for method in manipulations.METHODS if not method.startswith("dubbing")]
        assert sum(fakes) + sum(dubbed) == len(members) / 2
        assert max(fakes) - min(fakes) <= 1 and max(dubbed) - min(dubbed) <= 1
        partial = [item for item in members if item.spans]
        assert 0.5 <= len(partial) / (len(members) / 2) < 0.6
        lengths = [end - start for item in partial for start, end in item.spans]
        assert sum(length < 0.8 for length in lengths) > 0.3 * len(lengths)
        assert sum(len(item.spans) > 1 for item in partial) >= 6
        if split == "test":
            assert sum(dubbed) >= 40 and len(partial) >= 100
        shown[split] = {item.person for item in members} | {item.donor for item in members if item.donor >= 0}
    assert not (shown["train"] & shown["val"] or shown["train"] & shown["test"] or shown["val"] & shown["test"])


def test_every_fake_stands_beside_its_original():
    for real, fake in zip(*[iter(corpus.plan(TINY))] * 2, strict=True):
        assert real.method == "real" != fake.method
        assert (real.person, real.take, real.duration) == (fake.person, fake.take, fake.duration)
        assert fake.donor != fake.person
        assert (fake.donor >= 0) == ("face_swap" in fake.method or fake.method == "dubbing_other_voice")
    for item in corpus.plan(corpus.Settings()):
        assert 2.2 <= item.duration <= 3.0
        before = 0.05
        for start, end in item.spans:
            assert 0.199 <= end - start <= 1.601 and start > before and end < item.duration - 0.05
            before = end + 0.24


def test_the_other_voice_is_of_like_pitch():
    settings = corpus.Settings()
    pairs = [(i.person, i.donor) for i in corpus.plan(settings) if i.method == "dubbing_other_voice"]
    apart = [abs(np.log2(f0[0] / f0[1])) for f0 in ([corpus.person(settings, i).voice.f0 for i in p] for p in pairs)]
    assert np.median(apart) < 1 / 12  # a semitone; the rest is what pitching alike takes away


@pytest.mark.parametrize("sizes", [{"train_clips": 3}, {"eval_clips": 0}, {"val": 1}])
def test_impossible_sizes(sizes):
    with pytest.raises(ValueError, match=next(iter(sizes))):
        corpus.Settings(**sizes)


def test_any_setting_and_the_version_name_another_corpus(monkeypatch):
    names = {corpus.Settings().digest, corpus.Settings(seed=1).digest, corpus.Settings(test=25).digest}
    monkeypatch.setattr(corpus, "VERSION", -1)
    assert len(names | {corpus.Settings().digest}) == 4


def test_every_clip_has_its_file_and_its_landmarks(whole):
    items = corpus.plan(TINY)
    assert {path.relative_to(whole) for path in whole.rglob("*.npz")} == {pathlib.Path(f"{i.name}.npz") for i in items}
    masked = [i for i in items if i.method not in ("real", "voice_clone") and not i.method.startswith("dubbing")]
    films = {whole / f"{item.name}.mp4" for item in items} | {corpus.mask_path(whole, item) for item in masked}
    assert set(whole.rglob("*.mp4")) == films


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
