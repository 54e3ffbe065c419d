"""FaceForensics++: pairs, official splits, compressions, methods that share file names, DeepFakeDetection."""

import collections

from data_pipelines.datasets import faceforensics

ORIGINALS = "original_sequences/youtube"
FAKES = "manipulated_sequences"


def test_official_splits():
    pairs = faceforensics.pairs()
    assert {split: len(rows) for split, rows in pairs.items()} == {"train": 360, "val": 70, "test": 70}
    names = [name for rows in pairs.values() for pair in rows for name in pair]
    assert sorted(names) == [f"{i:03d}" for i in range(1000)]
    assert pairs["train"][:2] == [("071", "054"), ("087", "081")]


def test_the_whole_of_it_has_nothing_missing(tree):
    for rows in faceforensics.pairs().values():
        for a, b in rows:
            tree.add(*(f"{ORIGINALS}/c23/videos/{name}.mp4" for name in (a, b)))
            tree.add(*(f"{FAKES}/Deepfakes/c23/videos/{name}.mp4" for name in (f"{a}_{b}", f"{b}_{a}")))
    clips = tree.read(faceforensics, methods=["Deepfakes"]).values()
    counts = collections.Counter((clip.split, clip.label) for clip in clips)
    assert counts == {(s, k): n for s, n in (("train", 720), ("val", 140), ("test", 140)) for k in (0, 1)}
    assert "real: found 1000, expected 1000, missing 0" in tree.told
    assert "not on disk" not in tree.told


def test_methods_with_one_stem_are_two_clips(tree, fields):
    for method in ("Deepfakes", "NeuralTextures", "FaceShifter"):
        tree.add(f"{FAKES}/{method}/c23/videos/953_974.mp4")
    mask = f"{FAKES}/NeuralTextures/masks/videos/953_974.mp4"
    tree.add(mask)
    tree.add(f"{ORIGINALS}/c23/videos/953.mp4", f"{ORIGINALS}/c23/videos/071.mp4", f"{ORIGINALS}/c40/videos/953.mp4")
    tree.add(f"{ORIGINALS}/c23/videos/readme.mp4")
    clips = tree.read(faceforensics)
    assert len(clips) == 5
    fake = clips[f"{FAKES}/NeuralTextures/c23/videos/953_974.mp4"]
    assert fields(fake, "label", "video_label", "audio_label", "method") == (1, 1, -1, "NeuralTextures")
    assert fields(fake, "identity", "donors", "split", "compression") == ("953", ("974",), "test", "c23")
    assert fake.mask_path.endswith(f"/{mask}")
    assert clips[f"{FAKES}/FaceShifter/c23/videos/953_974.mp4"].mask_path == ""
    real = clips[f"{ORIGINALS}/c23/videos/953.mp4"]
    assert fields(real, "label", "video_label", "audio_label", "method") == (0, 0, -1, "real")
    assert fields(real, "identity", "donors", "split") == ("953", (), "test")
    assert fake.original == real.clip_id
    assert clips[f"{ORIGINALS}/c23/videos/071.mp4"].split == "train"
    assert "Deepfakes: found 1, expected 1000, missing 999" in tree.told
    assert "5995 of the 6000 files in the official splits are not on disk: Deepfakes/000_003," in tree.told
    assert "1 files on disk have names of another form and give no clips" in tree.told


def test_raw_is_also_called_c0(tree):
    tree.add(f"{ORIGINALS}/raw/videos/000.mp4", f"{FAKES}/Face2Face/c0/videos/000_003.mp4")
    clips = tree.read(faceforensics, compression="c0")
    assert [clip.compression for clip in clips.values()] == ["raw", "raw"]
    assert tree.read(faceforensics, compression="raw").keys() == clips.keys()
    tree.fails(faceforensics, r"no videos in .*c40/videos; compressions found: c0, raw", compression="c40")


def test_deep_fake_detection_has_no_official_split(tree, fields):
    tree.add("original_sequences/actors/c40/videos/02__walking_outside_cafe_disgusted.mp4")
    tree.add(f"{FAKES}/DeepFakeDetection/c40/videos/02_18__walking_outside_cafe_disgusted__6L8N2FQJ.mp4")
    tree.add(f"{ORIGINALS}/c40/videos/000.mp4")
    clips = tree.read(faceforensics, compression="c40", methods=["DeepFakeDetection"])
    real, fake = sorted(clips.values(), key=lambda clip: clip.label)
    assert len(clips) == 2
    assert fields(fake, "method", "identity", "donors") == ("DeepFakeDetection", "actor02", ("actor18",))
    assert fields(fake, "split", "original", "audio_label") == ("", real.clip_id, -1)
    assert fields(real, "identity", "split", "method") == ("actor02", "", "real")
    assert "DeepFakeDetection: found 1, expected 3068, missing 3067" in tree.told
    assert "real actors: found 1, expected 363, missing 362" in tree.told
    assert len(tree.read(faceforensics, compression="c40")) == 1
    assert "DeepFakeDetection is there but not asked for" in tree.told


def test_mistakes(tree):
    tree.fails(faceforensics, r"no such folder", root="none")
    tree.add("videos/000.mp4")
    tree.fails(faceforensics, r"looked for original_sequences or manipulated_sequences .*found videos/")
    tree.fails(faceforensics, "compression is 'c24', expected one of raw, c0, c23, c40", compression="c24")
    tree.fails(faceforensics, "methods is 'Deepfake', expected one of Deepfakes, ", methods=["Deepfake"])
