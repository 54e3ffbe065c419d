"""KoDF: the method is a digit in the name."""

from data_pipelines.datasets import kodf


def test_names_tell_label_method_and_people(tree, fields):
    tree.add("original_videos/101/101_001.mp4")
    for code, method in (("1", "dfl"), ("2", "dffs"), ("3", "fsgan"), ("4", "fo"), ("5", "ad")):
        tree.add(f"synthesized_videos/{method}/20200821/101/101_202_{code}_0001.mp4")
    tree.add("original_videos/101/readme.mp4", "original_videos/103/101_002.mp4")
    clips = tree.read(kodf)
    real = clips.pop("original_videos/101/101_001.mp4")
    assert fields(real, "label", "video_label", "audio_label", "method", "identity") == (0, 0, 0, "real", "101")
    assert sorted(clip.method for clip in clips.values()) == ["audio_driven", "dffs", "dfl", "fo", "fsgan"]
    for clip in clips.values():
        assert fields(clip, "label", "video_label", "audio_label", "split") == (1, 1, -1, "")
        assert fields(clip, "identity", "donors") == ("101", ("202",))
    assert "real: found 1, expected 62166, missing 62165" in tree.told
    assert "fake: found 5, expected 175776, missing 175771" in tree.told
    assert "2 files on disk have names of another form, or lie in another folder than their person's, and" in tree.told


def test_unknown_layout(tree):
    tree.add("a/movie.mp4")
    tree.fails(kodf, r"not the layout of kodf: looked for .*\*_\*\.mp4 .*found a/")
