"""ASVspoof 2019 LA: protocols of five columns."""

from data_pipelines.datasets import asvspoof2019

PROTOCOLS = "ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm"
KEYS = ("- bonafide", "A01 spoof", "- bonafide")


def make(tree, prefix=""):
    for part, list_, letter in (("train", "train.trn", "T"), ("dev", "dev.trl", "D"), ("eval", "eval.trl", "E")):
        tree.add(*(f"{prefix}ASVspoof2019_LA_{part}/flac/LA_{letter}_{i}.flac" for i in range(2)))
        rows = [
            f"LA_0079 LA_{letter}_{i} - {system}\n"
            for i, system in enumerate(("- bonafide", "A01 spoof", "- bonafide"))
        ]
        tree.add(f"{prefix}{PROTOCOLS}.{list_}.txt", text="".join(rows))
    tree.add(f"{prefix}ASVspoof2019_LA_asv_protocols/ASVspoof2019.LA.asv.dev.gi.trl.txt", text="LA_0069 x\n")
    tree.add(f"{prefix}ASVspoof2019_LA_train/flac/LA_T_9.flac")


def test_labels_systems_and_splits(tree, fields):
    make(tree, "LA/")
    clips = tree.read(asvspoof2019)
    columns = ("split", "label", "video_label", "audio_label", "method", "identity")
    expected = {}
    for part, letter, split in (("train", "T", "train"), ("dev", "D", "val"), ("eval", "E", "test")):
        expected[f"ASVspoof2019_LA_{part}/flac/LA_{letter}_0.flac"] = (split, 0, -1, 0, "real", "LA_0079")
        expected[f"ASVspoof2019_LA_{part}/flac/LA_{letter}_1.flac"] = (split, 1, -1, 1, "A01", "LA_0079")
    assert {name: fields(clip, *columns) for name, clip in clips.items()} == expected
    assert "1 of the 3 files in ASVspoof2019.LA.cm.dev.trl.txt are not on disk: LA_D_2" in tree.told
    assert "1 files on disk are not in ASVspoof2019.LA.cm.train.trn.txt and give no clips: LA_T_9" in tree.told
    assert "asvspoof2019: train: found 2, expected 3, missing 1" in tree.told


def test_mistakes(tree):
    tree.add("flac/LA_T_0.flac")
    tree.fails(asvspoof2019, "looked for ASVspoof2019_LA_cm_protocols .*found flac/")
    make(tree)
    name = f"{PROTOCOLS}.dev.trl.txt"
    tree.add(name, text="")
    tree.fails(asvspoof2019, r"dev\.trl\.txt: there is no such protocol, or it is empty; found ASVspoof2019\.LA\.cm\.")
    tree.add(name, text="LA_0079 LA_D_0 - bonafide\n")
    tree.fails(asvspoof2019, "line 1: expected 5 columns or more, found 4: 'LA_0079 LA_D_0 - bonafide'")
    tree.add(name, text="LA_0079 LA_D_0 - - human\n")
    tree.fails(asvspoof2019, "line 1: the key is 'human', expected bonafide or spoof")
