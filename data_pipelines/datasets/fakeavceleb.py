"""FakeAVCeleb v1.2: four combinations of real and fake streams, told by a CSV whose header misnames its columns."""

import csv
import dataclasses
import re
from collections.abc import Iterator

from absl import logging

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_TYPES = {  # folder: video label, audio label, expected number
    "RealVideo-RealAudio": (0, 0, 500),
    "RealVideo-FakeAudio": (0, 1, 500),
    "FakeVideo-RealAudio": (1, 0, 9709),
    "FakeVideo-FakeAudio": (1, 1, 10835),
}
_PERSON = re.compile(r"id\d{5}")


def read(root: str) -> list[Clip]:
    """All videos of meta_data.csv, without splits: there is no official one. root: its folder, or one above it.

    A file that stands in several rows is one clip, its methods joined by `+`.
    """
    tree = _layout.find("fakeavceleb", root, "meta_data.csv")
    present = {_plain(path): path for path in tree.files(*_TYPES)}
    clips: dict[str, Clip] = {}
    for relative, row in _rows(tree):
        video, audio, _ = _TYPES[relative.partition("/")[0]]
        if relative in clips:
            methods = sorted({*clips[relative].method.split("+"), row["method"]})
            clips[relative] = dataclasses.replace(clips[relative], method="+".join(methods))
            continue
        people = _PERSON.findall(" ".join((_layout.stem(relative), row["target1"], row["target2"])))
        clips[relative] = tree.clip(
            relative,
            int(video or audio),
            file=present.get(relative, ""),
            video_label=video,
            audio_label=audio,
            method=row["method"] if video or audio else "real",
            identity=row["source"],
            donors=tuple(dict.fromkeys(person for person in people if person != row["source"])),
        )
    twice = sum("+" in clip.method for clip in clips.values())
    if twice:
        logging.info("fakeavceleb: %d files stand in rows of several methods", twice)
    _layout.compare("fakeavceleb", "meta_data.csv", clips, present)
    originals = {clip.identity: clip.clip_id for clip in clips.values() if clip.label == 0}
    there = [
        dataclasses.replace(clip, original=originals.get(clip.identity, "") if clip.label else "")
        for relative, clip in clips.items()
        if relative in present
    ]
    expected = {folder: facts[2] for folder, facts in _TYPES.items()}
    return _layout.finish(tree, there, expected, lambda clip: clip.clip_id.split("/")[1])


def _rows(tree: _layout.Tree) -> Iterator[tuple[str, dict[str, str]]]:
    """(relative path with plain folder names, the columns that are named right) of each row.

    As distributed, the ninth column is called `path` and holds the file's name, and the tenth, with the folder, has no
    name; copies rename either. So both are taken by place and checked by content.
    """
    path = tree.root / "meta_data.csv"
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, [])]
        names = ("source", "target1", "target2", "method")
        if missing := [name for name in names if name not in header]:
            raise ValueError(f"{path}: no column {', '.join(missing)}; found {', '.join(header) or 'nothing'}")
        for row in filter(None, reader):
            row = [cell.strip() for cell in row]
            at = next((at for at in (8, 9) if _is_place(row[at : at + 2])), None)  # 9: an index column stands in front
            if at is None:
                raise ValueError(
                    f"{path}, line {reader.line_num}: expected a file name (.mp4) in column 9 and its folder "
                    f"(FakeAVCeleb/…) in column 10, found {row[8:10]}"
                )
            relative = _plain(row[at + 1].rstrip("/").partition("/")[2] + "/" + row[at])
            _layout.one_of(_TYPES, relative.partition("/")[0], "the type", f"{path}, line {reader.line_num}")
            yield relative, {name: row[header.index(name)] for name in names}


def _is_place(cells: list[str]) -> bool:
    return len(cells) == 2 and cells[0].endswith(".mp4") and cells[1].startswith("FakeAVCeleb/")


def _plain(relative: str) -> str:
    """Folders as `Asian_East` where a copy has `Asian (East)`."""
    folder, _, name = relative.rpartition("/")
    return "/".join(re.sub(r"[ ()]+", "_", part).strip("_") for part in folder.split("/")) + "/" + name
