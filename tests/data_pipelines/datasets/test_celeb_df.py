"""Celeb-DF: the inverted test list, names of target and source, a validation part of people and donors apart."""

from data_pipelines.datasets import celeb_df
from data_pipelines.prepare import splits

LIST = "List_of_testing_videos.txt"


def make(tree, people=20):
    tree.add("YouTube-real/00170.mp4", "YouTube-real/00171.mp4", "YouTube-real/notes.txt")
    for i in range(people):
        tree.add(f"Celeb-real/id{i}_0000.mp4", f"Celeb-synthesis/id{i}_id{(i + 1) % people}_0000.mp4")
    tree.add(LIST, text="1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n1 Celeb-real/id99_0000.mp4\n")


def test_labels_splits_and_people(tree, fields):
    make(tree)
    clips = tree.read(celeb_df)
    assert len(clips) == 42
    fake, real = clips["Celeb-synthesis/id0_id1_0000.mp4"], clips["Celeb-real/id0_0000.mp4"]
    assert fields(fake, "label", "video_label", "audio_label", "split") == (1, 1, -1, "test")
    assert fields(fake, "identity", "donors", "original") == ("id0", ("id1",), real.clip_id)
    assert fields(real, "label", "video_label", "method", "identity", "donors") == (0, 0, "real", "id0", ())
    assert fields(clips["YouTube-real/00170.mp4"], "label", "split", "identity") == (0, "test", "")
    assert sum(clip.split == "test" for clip in clips.values()) == 2
    assert "celeb_df: Celeb-synthesis: found 20, expected 5639, missing 5619" in tree.told
    assert "celeb_df: test list: found 3, expected 518, missing 515" in tree.told
    assert f"1 of the 3 files in {LIST} are not on disk: Celeb-real/id99_0000.mp4" in tree.told


def test_the_validation_part_shares_nobody_with_training(tree):
    make(tree)
    clips = splits.assign(list(tree.read(celeb_df).values()))
    train, val = ([clip for clip in clips if clip.split == split] for split in ("train", "val"))
    people, held_out = ({name for c in part for name in (c.identity, *c.donors)} - {""} for part in (train, val))
    assert people and held_out and not people & held_out
    assert sum(clip.split == "test" for clip in clips) == 2


def test_version_1_has_other_counts_and_another_name(tree):
    make(tree, 2)
    clips = tree.read(celeb_df, version=1)
    assert {clip.dataset for clip in clips.values()} == {"celeb_df_v1"}
    assert "Celeb-synthesis: found 2, expected 795, missing 793" in tree.told
    tree.fails(celeb_df, "version is 3, expected one of 1, 2", version=3)


def test_a_list_with_the_labels_turned_round_is_refused(tree):
    make(tree, 2)
    tree.add(LIST, text="1 YouTube-real/00170.mp4\n1 Celeb-synthesis/id0_id1_0000.mp4\n")
    tree.fails(celeb_df, rf"{LIST}, line 2: 1 Celeb-synthesis/id0_id1_0000.mp4: expected 1 for real and 0 for fake")
    tree.add(LIST, text="2 YouTube-real/00170.mp4\n")
    tree.fails(celeb_df, "line 1: the label is '2', expected 0 or 1")
    tree.add(LIST, text="1 Youtube/00170.mp4\n")
    tree.fails(celeb_df, "the folder is 'Youtube', expected Celeb-real or YouTube-real or Celeb-synthesis")


def test_unknown_layouts_and_names(tree):
    tree.add("videos/a.mp4")
    tree.fails(celeb_df, "looked for Celeb-real or YouTube-real or Celeb-synthesis .*found videos/")
    tree.add("Celeb-real/id0_0000.mp4")
    tree.fails(celeb_df, rf"no {LIST}, without which test videos would be trained on; found Celeb-real/, videos/")
    make(tree, 2)
    tree.add("Celeb-synthesis/FaceSwap/id0_id1_0000.mp4")
    assert len(tree.read(celeb_df)) == 6
    assert "1 files on disk have names of another form and give no clips: Celeb-synthesis/FaceSwap/" in tree.told
