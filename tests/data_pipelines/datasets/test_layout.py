"""What the readers share."""

import json
import os

import pytest

from data_pipelines.datasets import _layout


def test_a_dataset_is_found_at_the_root_or_below(tree):
    tree.add("a/b/mark/file.mp4", "a/b/.hidden/file.mp4", "a/b/.DS_Store")
    for root in ("", "a", "a/b"):
        found = _layout.find("some", str(tree.root / root), "mark", "other")
        assert (found.root, found.files()) == (tree.root / "a/b", ["mark/file.mp4"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        _layout.find("some", str(tree.root / "none"), "mark")
    tree.add("c/d/mark/x")
    with pytest.raises(ValueError, match=r"2 folders look like some; give one as the root: .*a/b, .*c/d"):
        _layout.find("some", str(tree.root), "mark")
    with pytest.raises(ValueError, match=r"looked for one or two here and up to 2 folders below, found a/, c/$"):
        _layout.find("some", str(tree.root), "one", "two")


def test_links_are_followed_once(tree):
    tree.add("data/a.mp4")
    os.symlink(tree.root / "data", tree.root / "data/again")
    os.symlink(tree.root / "data", tree.root / "elsewhere")
    assert _layout.find("some", str(tree.root), "elsewhere").files("elsewhere") == ["elsewhere/a.mp4"]


def test_lists_and_disk_are_compared_both_ways(caplog):
    _layout.compare("some", "list.txt", "abcdef", "efgh")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "some: 4 of the 6 files in list.txt are not on disk: a, b, c and 1 more",
        "some: 2 files on disk are not in list.txt and give no clips: g, h",
    ]


def test_the_inventory(tree, caplog):
    found = _layout.Tree("some", tree.root)
    clips = [found.clip("b", 1, method="swap"), found.clip("c", 1, method="swap"), found.clip("a", 0)]
    with caplog.at_level("INFO"):
        ordered = _layout.finish(found, clips, {"real": 3, "swap": 1})
    assert [clip.clip_id for clip in ordered] == ["some/a", "some/b", "some/c"]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "some: real: found 1, expected 3, missing 2"),
        ("WARNING", "some: swap: found 2, expected 1, missing 0, 1 more than expected"),
    ]
    with pytest.raises(ValueError, match="no clips of some in this folder; found nothing"):
        _layout.finish(found, [], {})


def test_segments():
    assert _layout.segments([[0, 1.5], [2, 2]], "x") == ((0.0, 1.5),)
    assert _layout.segments(None, "x") == ()
    for bad in ([[1, 0]], [[-1, 2]], [[1]], [3], "ab", [[0, float("inf")]]):
        with pytest.raises(ValueError, match="x: the segments are"):
            _layout.segments(bad, "x")


def test_faulty_lists_are_told_by_place(tree):
    tree.add("a.json", text="{")
    tree.add("a.txt", text="a b\n\nc\n")
    tree.add("a.csv", text="a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"a\.json: not JSON"):
        _layout.read_json(tree.root / "a.json", list)
    tree.add("a.json", text=json.dumps({}))
    with pytest.raises(ValueError, match=r"expected a JSON list, found a dict"):
        _layout.read_json(tree.root / "a.json", list)
    with pytest.raises(ValueError, match=r"a\.txt, line 3: expected 2 columns or more, found 1: 'c'"):
        list(_layout.read_columns(tree.root / "a.txt", 2))
    with pytest.raises(ValueError, match=r"a\.csv, line 3: fewer cells"):
        list(_layout.read_table(tree.root / "a.csv", "a", "b"))
    with pytest.raises(ValueError, match=r"a\.csv: no column c; found a, b"):
        list(_layout.read_table(tree.root / "a.csv", "a", "c"))
