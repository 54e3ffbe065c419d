"""AVLips: numbered videos with their sound apart."""

from data_pipelines.datasets import avlips


def test_videos_and_sounds(tree, fields):
    tree.add("AVLips/0_real/0.mp4", "AVLips/1_fake/0.mp4", "AVLips/1_fake/1.mp4")
    tree.add("AVLips/wav/0_real/0.wav", "AVLips/wav/1_fake/0.wav", "AVLips/wav/1_fake/5.wav")
    clips = tree.read(avlips)
    columns = ("label", "video_label", "audio_label", "method", "split")
    assert {name: fields(clip, *columns) for name, clip in clips.items()} == {
        "0_real/0.mp4": (0, 0, 0, "real", ""),
        "1_fake/0.mp4": (1, 1, -1, "", ""),
        "1_fake/1.mp4": (1, 1, -1, "", ""),
    }
    assert clips["1_fake/0.mp4"].audio_path == str(tree.root / "AVLips/wav/1_fake/0.wav")
    assert clips["1_fake/1.mp4"].audio_path == ""
    assert "sounds: found 2, expected 3, missing 1" in tree.told
    assert "1_fake: found 2" in tree.told


def test_unknown_layout(tree):
    tree.add("real/0.mp4")
    tree.fails(avlips, "looked for 0_real or 1_fake .*found real/")
