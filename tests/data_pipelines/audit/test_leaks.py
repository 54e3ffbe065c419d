"""The leak audit finds what was planted across splits, and nothing where nothing is shared."""

import dataclasses

import cv2
import numpy as np
import pytest

from data_pipelines import clip as clip_lib
from data_pipelines.audit import leaks as audit
from data_pipelines.clip import Clip
from data_pipelines.datasets import talking_heads
from data_pipelines.loading import windows
from data_pipelines.prepare import media, records


def named(clip_id, split, **fields):
    return Clip(
        clip_id, f"/d/{clip_id}.mp4", fields.pop("label", 0), dataset=fields.pop("dataset", "d"), split=split, **fields
    )


def found(clips, prints=None):
    return [(leak.check, leak.what, {clip.clip_id for clip in leak.clips}) for leak in audit.leaks(clips, prints or {})]


def test_a_shared_identity_donor_and_source_are_found():
    clean = [named("a", "train", identity="x"), named("b", "test", identity="y"), named("c", "val", identity="z")]
    assert found(clean) == []
    assert found([*clean, named("d", "test", identity="x")]) == [("identity", "x", {"a", "d"})]
    assert found([*clean, named("d", "test", donors=("x",))]) == [("donor", "x", {"a", "d"})]
    lent_twice = [named("d", "test", donors=("w",)), named("e", "val", donors=("w", "v"))]
    assert found(clean + lent_twice) == [("donor", "w", {"d", "e"})]
    assert found([*clean, named("d", "test", original="a")]) == [("source video", "a", {"a", "d"})]
    unlisted = [named("d", "test", original="gone"), named("e", "val", original="gone")]
    assert found(clean + unlisted) == [("source video", "gone", {"d", "e"})]


def test_an_original_that_a_manifest_gives_as_a_path_is_found(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,split,original\na.mp4,0,train,\nd.mp4,1,test,a.mp4\n")
    assert found(clip_lib.read_manifest(tmp_path / "m.csv", "mine")) == [
        ("source video", "mine/a.mp4", {"mine/a.mp4", "mine/d.mp4"})
    ]


def test_people_of_two_datasets_are_two_people():
    assert found([named("a", "train", identity="001"), named("b", "test", identity="001", dataset="other")]) == []


def test_within_a_split_anything_may_be_shared():
    clips = [named("a", "train", identity="x"), named("b", "train", identity="x", donors=("x",), original="a")]
    same = audit.Fingerprint(("0",), *(np.eye(4, n, dtype=np.float32) for n in (63, 47)))
    assert found(clips, {"a": same, "b": same}) == []


def test_a_clip_without_a_split_cannot_be_audited():
    with pytest.raises(ValueError, match="1 clips have no split, the first is b"):
        audit.leaks([named("a", "train"), named("b", "")], {})


def test_a_leak_says_where():
    (leak,) = audit.leaks([named("a", "train", identity="x"), named("b", "test", identity="x")], {})
    assert str(leak) == "identity 'x' stands in train (a) and test (b)"


# Files


@pytest.fixture(scope="module")
def files(tmp_path_factory, write_media):
    """Three takes of moving shapes and of sound, one of them twice: once more as encoded and cut by somebody else."""
    folder = tmp_path_factory.mktemp("files")

    def pictures(seed, count=60, size=96):
        rng = np.random.default_rng(seed)
        spots = rng.uniform(0, 1, (6, 2)), rng.uniform(-0.12, 0.12, (6, 2)), rng.integers(0, 255, (6, 3))
        for i in range(count):
            image = np.full((size, size, 3), 90, np.uint8)
            for (x, y), (u, v), colour in zip(*spots, strict=True):
                centre = int((x + u * i / 25) % 1 * size), int((y + v * i / 25) % 1 * size)
                cv2.circle(image, centre, size // 6, tuple(map(int, colour)), -1)
            yield image

    def sound(seed, rate=16000, seconds=2.4):
        rng = np.random.default_rng(seed)
        level = np.interp(np.arange(rate * seconds) / rate, np.arange(0, seconds, 0.2), rng.uniform(0, 0.3, 12))
        return level * rng.normal(size=len(level))

    times = np.arange(60) / 25
    made = {}
    for i, split in enumerate(("train", "val", "test")):
        path = write_media(folder / f"{split}.mp4", times=times, images=list(pictures(i)), sound=sound(i), rate=16000)
        made[split] = Clip(split, str(path), 0, split=split)
    again = [cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA) for p in pictures(0)][10:]
    path = write_media(
        folder / "copy.mkv",
        times=times[:50],
        images=again,
        sound=sound(0)[6900:] * 0.5,
        rate=16000,
        video_codec="mpeg4",
        audio_codec="libopus",
    )
    made["copy"] = Clip("copy", str(path), 0, split="test")
    return made


@pytest.fixture(scope="module")
def prints(files):
    return audit.of_files(list(files.values()), workers=2)


def test_different_takes_share_nothing(files, prints):
    clips = [files[name] for name in ("train", "val", "test")]
    assert found(clips, prints) == []
    seen = audit.compared(clips, prints)
    assert seen == dict.fromkeys(("identity", "donor", "source video"), 0) | dict.fromkeys(
        ("same file", "same pictures", "same sound"), 3
    )


def test_a_copy_encoded_anew_is_found_by_pictures_and_by_sound(files, prints):
    assert media.read(files["copy"].path).status == "ok"
    want = {"train", "copy"}
    assert found(list(files.values()), prints) == [("same pictures", "", want), ("same sound", "", want)]


def test_the_same_bytes_under_another_name_are_found(files, prints):
    twin = dataclasses.replace(files["val"], clip_id="twin", split="train")
    kinds = {check for check, _, _ in found([files["val"], twin], prints | {"twin": prints["val"]})}
    assert kinds == {"same file", "same pictures", "same sound"}


def test_black_and_silent_clips_are_not_alike(tmp_path, write_media):
    clips = []
    for split in ("train", "test"):
        black = [np.zeros((64, 64, 3), np.uint8)] * 50
        path = write_media(tmp_path / f"{split}.mp4", times=np.arange(50) / 25, images=black, sound=np.zeros(32000))
        clips.append(Clip(split, str(path), 0, split=split))
    prints = {clip.clip_id: dataclasses.replace(audit.of_file(clip), sha256=()) for clip in clips}
    assert found(clips, prints) == []


def test_files_that_cannot_be_read_are_not_compared(tmp_path):
    (tmp_path / "a.mp4").write_text("hello")
    clips = [Clip("a", str(tmp_path / "a.mp4"), 0, split="train"), Clip("b", "/nowhere.mp4", 0, split="val")]
    prints = audit.of_files(clips, workers=1)
    seen = audit.compared(clips, prints)
    assert (seen["same file"], seen["same pictures"], seen["same sound"]) == (1, 0, 0)


def test_damaged_records_are_told_and_left(monkeypatch, caplog):
    class Broken:
        index = (records.IndexRow(Clip("a", "/a", 0, split="train"), "ok", 1, 0.04, 0),)

        def __init__(self, folder, split):
            pass

        def __len__(self):
            return 1

        def __getitem__(self, i):
            raise windows.BadRecord("the file is cut")

    monkeypatch.setattr(records, "Records", Broken)
    monkeypatch.setattr(records, "read_index", lambda folder: [("train", Broken.index[0])])
    assert audit.of_records("") == {}
    assert [message.getMessage() for message in caplog.records] == ["a: not compared: the file is cut"]


def test_the_talking_heads_plan_shares_nobody(monkeypatch):
    monkeypatch.setattr(talking_heads.corpus, "ensure", lambda settings, root, workers: root)
    clips = talking_heads.read()
    assert found(clips) == []
    seen = audit.compared(clips, {})
    assert seen["identity"] == len(clips) and seen["donor"] > 50 and seen["source video"] == len(clips) // 2
    fake = next(clip for clip in clips if clip.donors and clip.split == "train")
    person = next(clip for clip in clips if clip.split == "test").identity
    planted = [dataclasses.replace(fake, clip_id="planted", donors=(person,)), *clips]
    assert ("donor", person) in [leak[:2] for leak in found(planted)]
