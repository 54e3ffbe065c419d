"""ASVspoof 2021: keys of 8 and 13 columns, four parts on disk, keys of two tracks in one place."""

import pytest

from data_pipelines.datasets import asvspoof2021

KEYS = [
    "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress",
    "LA_0024 DF_E_2000012 low_mp3 vcc2020 Task1-team20 spoof notrim eval",
    "LA_0025 DF_E_2000013 high_ogg asvspoof - bonafide notrim eval",
    "LA_0025 DF_E_2000014 high_ogg asvspoof - bonafide notrim hidden",
    "LA_0025 DF_E_2000015 high_ogg asvspoof - bonafide notrim eval",
]
MORE = {8: "", 13: " traditional_vocoder - - - -"}


def make(tree, columns=8, keys="keys/DF/CM"):
    for i in range(4):
        tree.add(f"ASVspoof2021_DF_eval_part0{i}/ASVspoof2021_DF_eval/flac/DF_E_200001{i + 1}.flac")
    tree.add(f"{keys}/trial_metadata.txt", text="".join(f"{row}{MORE[columns]}\n" for row in KEYS))


@pytest.mark.parametrize("keys", ["keys/DF/CM", "keys/CM", "DF-keys-full/keys/DF/CM"])
@pytest.mark.parametrize("columns", MORE)
def test_deepfake_track(tree, fields, columns, keys):
    make(tree, columns, keys)
    clips = tree.read(asvspoof2021)
    flac = "ASVspoof2021_DF_eval/flac"
    names = ("split", "label", "video_label", "audio_label", "method", "compression", "identity")
    assert {name: fields(clip, *names) for name, clip in clips.items()} == {
        f"ASVspoof2021_DF_eval_part01/{flac}/DF_E_2000012.flac": (
            *("test", 1, -1, 1, "Task1-team20"),
            *("low_mp3", "LA_0024"),
        ),
        f"ASVspoof2021_DF_eval_part02/{flac}/DF_E_2000013.flac": (
            *("test", 0, -1, 0, "real"),
            *("high_ogg", "LA_0025"),
        ),
    }
    assert "1 of the 5 files in trial_metadata.txt are not on disk: DF_E_2000015" in tree.told
    assert "asvspoof2021: test: found 2, expected 3, missing 1" in tree.told
    assert "rows of eval: found 3, expected 533928, missing 533925" in tree.told
    assert "only the subset eval is taken" in tree.told
    assert len(tree.read(asvspoof2021, subset="all")) == 4
    assert [clip.method for clip in tree.read(asvspoof2021, subset="progress").values()] == ["A14"]


def test_logical_access_track(tree, fields):
    make(tree, 8, "keys/CM")  # keys of the other track
    tree.fails(asvspoof2021, "looked for ASVspoof2021_LA_eval", track="LA")
    tree.add("ASVspoof2021_LA_eval/flac/LA_E_9332881.flac")
    tree.fails(asvspoof2021, r"no keys of track LA: looked for trial_metadata\.txt in keys/LA/CM, keys/CM", track="LA")
    tree.add("keys/LA/CM/trial_metadata.txt", text="LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n")
    (clip,) = tree.read(asvspoof2021, track="LA").values()
    assert fields(clip, "label", "method", "compression", "identity") == (1, "A07", "alaw", "LA_0009")
    assert len(tree.read(asvspoof2021)) == 2


def test_mistakes(tree):
    tree.add("flac/a.flac")
    tree.fails(asvspoof2021, r"looked for ASVspoof2021_DF_eval\* .*found flac/")
    tree.fails(asvspoof2021, "track is 'PA', expected one of DF, LA", track="PA")
    tree.fails(asvspoof2021, "subset is 'dev', expected one of eval, progress, hidden, all", subset="dev")
    make(tree)
    tree.add("keys/DF/CM/trial_metadata.txt", text=KEYS[0] + "\nLA_0023 DF_E_2000011 spoof\n")
    tree.fails(asvspoof2021, r"line 2: expected 8 columns or more, found 3")
