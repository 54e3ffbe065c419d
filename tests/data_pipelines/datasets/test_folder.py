"""The folder reader: manifests and bare folders."""

import pytest

from data_pipelines.datasets import folder


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_real_and_fake_folders(tmp_path):
    touch(
        tmp_path,
        "real/a.mp4",
        "fake/swap/a.mp4",
        "fake/clone/deep/a.wav",
        "fake/a.MOV",
        "fake/notes.txt",
        "real/.b.mp4",
    )
    clips = folder.read(root=str(tmp_path))
    assert [(clip.clip_id, clip.label, clip.method) for clip in clips] == [
        ("folder/real/a.mp4", 0, "real"),
        ("folder/fake/a.MOV", 1, ""),
        ("folder/fake/clone/deep/a.wav", 1, "clone"),
        ("folder/fake/swap/a.mp4", 1, "swap"),
    ]
    assert all(clip.dataset == "folder" and clip.path.startswith(str(tmp_path)) for clip in clips)


def test_a_manifest_goes_before_folders(tmp_path):
    touch(tmp_path, "real/a.mp4", "fake/b.mp4")
    (tmp_path / "manifest.csv").write_text("path,label\nreal/a.mp4,0\n")
    assert [clip.clip_id for clip in folder.read(root=str(tmp_path))] == ["folder/real/a.mp4"]
    (tmp_path / "other.csv").write_text("path,label\nfake/b.mp4,1\n")
    clips = folder.read(root=str(tmp_path), manifest=str(tmp_path / "other.csv"))
    assert [clip.clip_id for clip in clips] == ["folder/fake/b.mp4"]


def test_folders_of_frames_may_be_of_another_rate(tmp_path):
    touch(tmp_path, "real/a/1.png", "real/a/2.png", "fake/b.mp4")
    assert [clip.fps for clip in folder.read(root=str(tmp_path))] == [25, 25]
    assert [clip.fps for clip in folder.read(root=str(tmp_path), fps=30)] == [30, 30]
    for fps in (0, -1, "many", float("nan"), 1e9):
        with pytest.raises(ValueError, match=r"^fps is .*, expected pictures a second, from 0\.1 to 1000$"):
            folder.read(root=str(tmp_path), fps=fps)
    (tmp_path / "manifest.csv").write_text("path,label,fps\nreal/a,0,29.97\nfake/b.mp4,1,\n")
    assert [clip.fps for clip in folder.read(root=str(tmp_path))] == [29.97, 25]
    with pytest.raises(ValueError, match="in a column fps"):
        folder.read(root=str(tmp_path), fps=30)


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="manifest"):
        folder.read()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        folder.read(root=str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"expected a manifest\.csv, or the folders real and fake"):
        folder.read(root=str(tmp_path))
    touch(tmp_path, "real/readme.txt")
    with pytest.raises(ValueError, match="no media files"):
        folder.read(root=str(tmp_path))


def test_links_are_followed_and_sequences_are_clips(tmp_path, caplog):
    touch(tmp_path, "store/a.wav", "store/deep/b.opus")
    touch(tmp_path, "data/fake/swap/one/0001.png", "data/fake/swap/one/0002.png", "data/fake/two/f_9.jpg")
    touch(tmp_path, "data/fake/two/f_10.jpg", "data/fake/portraits/ann.png", "data/fake/portraits/bob.png")
    touch(tmp_path, "data/real/1.png", "data/real/2.png", "data/real/notes.txt")
    (tmp_path / "data/real/person").symlink_to(tmp_path / "store")
    (tmp_path / "store/deep/back").symlink_to(tmp_path / "store")
    clips = folder.read(root=str(tmp_path / "data"))
    assert [(clip.clip_id, clip.method) for clip in clips] == [
        ("folder/real/person/a.wav", "real"),
        ("folder/real/person/deep/b.opus", "real"),
        ("folder/fake/swap/one", "swap"),
        ("folder/fake/two", ""),
    ]
    assert caplog.messages == [f"{tmp_path / 'data'}: 5 files in real and fake are not read: 4 .png, 1 .txt"]
