"""FakeAVCeleb: the misnamed columns in all their forms, renamed folders, doubled rows, donors in file names."""

import pytest

from data_pipelines.datasets import fakeavceleb

NAMED = "source,target1,target2,method,category,type,race,gender"
FORMS = {  # header, what stands before and after each row
    "as distributed": (f"{NAMED},path,", "", ""),
    "last column named": (f"{NAMED},filename,path", "", ""),
    "vid and split": (f"{NAMED},vid,path,split", "", ",train"),
    "saved by pandas": (f",{NAMED},path,Unnamed: 9", "7,", ""),
}
A, B, C, D = (f"{video}Video-{audio}Audio" for video in ("Real", "Fake") for audio in ("Real", "Fake"))
EAST = "Asian_East/men/id00076"
ROWS = [
    ("id00076", "-", "-", "real", "A", A, "00109.mp4"),
    ("id00076", "-", "-", "rtvc", "B", B, "00109_fake.mp4"),
    ("id00076", "id00166", "-", "wav2lip", "C", C, "00109_id00166_wavtolip.mp4"),
    ("id00076", "-", "-", "faceswap", "C", C, "00109_1.mp4"),
    ("id00076", "-", "-", "fsgan", "C", C, "00109_1.mp4"),
    ("id00076", "-", "-", "faceswap", "C", C, "00010_id00018_a-b_id_C.mp4"),
    ("id00076", "-", "-", "faceswap-wav2lip", "D", D, "00118_id00775_a_-b_faceswap_id00062_wavtolip.mp4"),
    ("id00076", "-", "-", "wav2lip", "D", D, "00109_10_id00476_wavtolip.mp4"),
    ("id00076", "-", "-", "wav2lip", "D", D, "gone.mp4"),
]


def table(form="as distributed", rows=ROWS):
    header, before, after = FORMS[form]
    lines = [
        f"{before}{','.join(row[:6])},Asian (East),men,{row[6]},FakeAVCeleb/{row[5]}/{EAST}{after}" for row in rows
    ]
    return "\n".join([header, *lines, ""])


def make(tree, form="as distributed", race="Asian_East", prefix=""):
    tree.add(*{f"{prefix}{row[5]}/{race}/men/id00076/{row[6]}" for row in ROWS if row[6] != "gone.mp4"})
    tree.add(f"{prefix}meta_data.csv", text=table(form))


@pytest.mark.parametrize("race", ["Asian_East", "Asian (East)"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_clips(tree, fields, form, race):
    make(tree, form, race)
    tree.add(f"{D}/{race}/men/id00076/stray.mp4")
    clips = tree.read(fakeavceleb)
    assert {name: fields(clip, "video_label", "audio_label", "method", "donors") for name, clip in clips.items()} == {
        f"{A}/{EAST}/00109.mp4": (0, 0, "real", ()),
        f"{B}/{EAST}/00109_fake.mp4": (0, 1, "rtvc", ()),
        f"{C}/{EAST}/00109_id00166_wavtolip.mp4": (1, 0, "wav2lip", ("id00166",)),
        f"{C}/{EAST}/00109_1.mp4": (1, 0, "faceswap+fsgan", ()),
        f"{C}/{EAST}/00010_id00018_a-b_id_C.mp4": (1, 0, "faceswap", ("id00018",)),
        f"{D}/{EAST}/00118_id00775_a_-b_faceswap_id00062_wavtolip.mp4": (
            *(1, 1, "faceswap-wav2lip"),
            ("id00775", "id00062"),
        ),
        f"{D}/{EAST}/00109_10_id00476_wavtolip.mp4": (1, 1, "wav2lip", ("id00476",)),
    }
    for name, clip in clips.items():
        assert clip.label == int(not name.startswith(A))
        assert fields(clip, "identity", "split") == ("id00076", "")
        assert clip.original == (f"fakeavceleb/{A}/{EAST}/00109.mp4" if clip.label else "")
        assert clip.path == str(tree.root / name.replace("Asian_East", race))
    assert f"1 of the 8 files in meta_data.csv are not on disk: {D}/{EAST}/gone.mp4" in tree.told
    assert f"1 files on disk are not in meta_data.csv and give no clips: {D}/{EAST}/stray.mp4" in tree.told
    assert "1 files stand in rows of several methods" in tree.told
    assert f"{D}: found 2, expected 10835, missing 10833" in tree.told


def test_the_dataset_may_lie_below_the_root(tree):
    make(tree, prefix="FakeAVCeleb_v1.2/FakeAVCeleb/")
    assert tree.read(fakeavceleb).keys() == tree.read(fakeavceleb, "FakeAVCeleb_v1.2/FakeAVCeleb").keys()


def test_mistakes(tree):
    tree.add(f"{A}/a.mp4")
    tree.fails(fakeavceleb, rf"looked for meta_data\.csv .*found {A}/")
    tree.add("meta_data.csv", text="file,label\n")
    tree.fails(fakeavceleb, r"no column source, target1, target2, method; found file, label")
    tree.add("meta_data.csv", text=f"{NAMED},path,\nid1,-,-,real,A,{A},African,men,FakeAVCeleb/{A},a.mp4\n")
    tree.fails(fakeavceleb, r"line 2: expected a file name \(\.mp4\) in column 9 and its folder")
    tree.add("meta_data.csv", text=f"{NAMED},path,\nid1,-,-,real,A,{A},African,men,a.mp4,FakeAVCeleb/RealRobot/x\n")
    tree.fails(fakeavceleb, "line 2: the type is 'RealRobot', expected RealVideo-RealAudio or")
