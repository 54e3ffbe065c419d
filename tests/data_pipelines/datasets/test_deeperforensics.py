"""DeeperForensics-1.0: reals are FaceForensics++ videos, never the source videos; variants share file names."""

from data_pipelines.datasets import deeperforensics

C23 = "original_sequences/youtube/c23/videos"


def make(tree):
    for variant in ("end_to_end", "end_to_end_level_3", "end_to_end_mix_2_distortions", "reenact_postprocess"):
        tree.add(*(f"DF/manipulated_videos/{variant}/{name}.mp4" for name in ("000_M004", "001_W101")))
    tree.add(
        "DF/source_videos/M004/light_up/M004_light_up_happy_camera_front.mp4", "DF/manipulated_videos/x/000_M004.mp4"
    )
    for part, names in (("train", ["000_M004"]), ("val", ["001_W101"]), ("test", ["002_M005"])):
        tree.add(f"DF/lists/splits/{part}.txt", text="".join(f"{name}.mp4\n" for name in names))


def test_reals_are_the_targets(tree, fields):
    make(tree)
    tree.add(*(f"FF/{C23}/{name}.mp4" for name in ("000", "001")), "FF/original_sequences/youtube/raw/videos/000.mp4")
    clips = tree.read(deeperforensics, "DF", faceforensics=str(tree.root / "FF"))
    assert len(clips) == 10
    assert not any("source_videos" in name for name in clips)
    fake = clips["manipulated_videos/end_to_end_level_3/000_M004.mp4"]
    assert fields(fake, "label", "video_label", "audio_label", "split") == (1, 1, -1, "train")
    assert fields(fake, "method", "compression", "identity", "donors") == ("end_to_end", "level_3", "000", ("M004",))
    real = clips[f"{C23}/000.mp4"]
    assert fields(real, "label", "dataset", "split", "clip_id") == (0, "deeperforensics", "train", fake.original)
    assert real.path == str(tree.root / f"FF/{C23}/000.mp4")
    assert clips[f"{C23}/001.mp4"].split == "val"
    assert fields(clips["manipulated_videos/reenact_postprocess/001_W101.mp4"], "method", "compression", "split") == (
        *("reenact_postprocess", ""),
        "val",
    )
    assert "end_to_end_mix_2_distortions: found 2, expected 1000, missing 998" in tree.told
    assert "1 of the 3 files in lists/splits are not on disk: 002_M005" in tree.told
    assert "1 files on disk are of no known variant and give no clips: manipulated_videos/x/000_M004.mp4" in tree.told


def test_without_reals(tree):
    make(tree)
    assert all(clip.label for clip in tree.read(deeperforensics).values())
    assert "no reals: give the option faceforensics=DIR; source_videos are not the reals" in tree.told


def test_mistakes(tree):
    tree.add("source_videos/a.mp4")
    tree.fails(deeperforensics, "looked for manipulated_videos .*found source_videos/")
    tree.add("manipulated_videos/end_to_end/000_M004.mp4")
    tree.fails(deeperforensics, r"lists/splits/train\.txt: there is no such list; found manipulated_videos/, source")
