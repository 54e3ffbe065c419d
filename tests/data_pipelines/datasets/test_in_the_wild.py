"""In-the-Wild: meta.csv."""

from data_pipelines.datasets import in_the_wild


def test_labels_and_speakers(tree, fields):
    tree.add(*(f"release_in_the_wild/{i}.wav" for i in (0, 1, 9)))
    rows = ("file,speaker,label", "0.wav,Alec Guinness,spoof", "1.wav,Barack Obama,bona-fide", "2.wav,x,bona-fide")
    tree.add("release_in_the_wild/meta.csv", text="\n".join(rows))
    clips = tree.read(in_the_wild)
    columns = ("split", "label", "video_label", "audio_label", "method", "identity")
    assert {name: fields(clip, *columns) for name, clip in clips.items()} == {
        "0.wav": ("test", 1, -1, 1, "", "Alec Guinness"),
        "1.wav": ("test", 0, -1, 0, "real", "Barack Obama"),
    }
    assert "1 of the 3 files in meta.csv are not on disk: 2.wav" in tree.told
    assert "1 files on disk are not in meta.csv and give no clips: 9.wav" in tree.told
    assert "found 2, expected 31779, missing 31777" in tree.told


def test_mistakes(tree):
    tree.add("0.wav")
    tree.fails(in_the_wild, r"looked for meta\.csv .*found 0\.wav")
    tree.add("meta.csv", text="file,label\n")
    tree.fails(in_the_wild, "no column speaker; found file, label")
    tree.add("meta.csv", text="file,speaker,label\n0.wav,x,fake\n")
    tree.fails(in_the_wild, "line 2: label is 'fake', expected bona-fide or bonafide or spoof")
