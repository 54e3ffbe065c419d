"""DeepfakeTIMIT: two qualities, sound apart, reals from VidTIMIT as folders of pictures."""

from data_pipelines.datasets import df_timit


def make(tree):
    for quality in ("higher_quality", "lower_quality"):
        folder = f"DeepfakeTIMIT/{quality}"
        tree.add(
            f"{folder}/fadg0/sa1-video-fram1.avi", f"{folder}/fadg0/sa1.wav", f"{folder}/fram1/si2-video-fadg0.avi"
        )
    tree.add("DeepfakeTIMIT/lower_quality/fadg0/odd.avi")
    tree.add("VidTIMIT/fadg0/video/sa1/001", "VidTIMIT/fadg0/video/head/001", "VidTIMIT/fadg0/audio/sa1.wav")


def test_fakes_and_reals(tree, fields):
    make(tree)
    clips = tree.read(df_timit, vidtimit=str(tree.root / "VidTIMIT"))
    assert len(clips) == 5
    fake = clips["higher_quality/fadg0/sa1-video-fram1.avi"]
    real = clips["VidTIMIT/fadg0/video/sa1"]
    assert fields(fake, "label", "video_label", "audio_label", "method", "split") == (1, 1, 0, "higher_quality", "")
    assert fields(fake, "identity", "donors", "original") == ("fadg0", ("fram1",), real.clip_id)
    assert fake.audio_path == str(tree.root / "DeepfakeTIMIT/higher_quality/fadg0/sa1.wav")
    assert clips["lower_quality/fram1/si2-video-fadg0.avi"].audio_path == ""
    assert fields(real, "label", "video_label", "audio_label", "method", "identity") == (0, 0, 0, "real", "fadg0")
    assert real.path == str(tree.root / "VidTIMIT/fadg0/video/sa1")
    assert real.audio_path == str(tree.root / "VidTIMIT/fadg0/audio/sa1.wav")
    assert "1 of 2 sequences of VidTIMIT are sentences" in tree.told
    assert "lower_quality: found 2, expected 320, missing 318" in tree.told
    assert "names of another form and give no clips: lower_quality/fadg0/odd.avi" in tree.told


def test_without_reals(tree):
    make(tree)
    assert all(clip.label for clip in tree.read(df_timit).values())
    assert "df_timit: no reals: give the option vidtimit=DIR" in tree.told


def test_unknown_layouts(tree):
    tree.add("videos/a.avi")
    tree.fails(df_timit, "looked for higher_quality or lower_quality .*found videos/")
    make(tree)
    tree.fails(df_timit, r"not the layout of VidTIMIT: looked for \*/video/\*", vidtimit=str(tree.root / "videos"))
