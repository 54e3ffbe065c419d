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
