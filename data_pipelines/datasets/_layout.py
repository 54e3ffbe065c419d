"""What all readers share: finding a dataset's folder, files and lists, and telling what is missing."""

import collections
import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from data_pipelines.clip import Clip, Segment

VIDEO = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"))
AUDIO = frozenset((".wav", ".flac", ".mp3", ".ogg", ".m4a"))
IMAGES = frozenset((".png", ".jpg", ".jpeg"))
_DEPTH = 2  # folders below the given root in which the dataset may lie
_SHOWN = 3  # names that a message gives


@dataclasses.dataclass(frozen=True)
class Tree:
    """A dataset's folder on disk. Relative paths have `/` between their parts."""

    dataset: str
    root: pathlib.Path
    prefix: str = ""  # of the clip_ids, where part of a dataset lies in a folder of its own

    def clip_id(self, relative: str) -> str:
        """Unique over datasets: two fakes of different methods with one file name are two clips."""
        return f"{self.dataset}/{self.prefix}{relative}"

    def clip(self, relative: str, label: int, *, file: str = "", **fields: Any) -> Clip:
        """The clip of the file `relative`; `file` is its path on disk where a copy of the dataset renames it."""
        fields = ({"method": "real"} if label == 0 else {}) | fields
        return Clip(self.clip_id(relative), self.path(file or relative), label, dataset=self.dataset, **fields)

    def path(self, relative: str) -> str:
        """Absolute path of a file in the tree."""
        return str(self.root / relative)

    def files(self, *below: str, suffixes: Collection[str] = VIDEO) -> list[str]:
        """Relative paths of the files in these folders (default: all) at any depth, sorted; hidden ones left out."""
        return sorted(
            prefix + name
            for prefix, names in self.walk(*below)
            for name in names
            if suffix(name) in suffixes and name[0] != "."
        )

    def sequences(self, *below: str) -> list[str]:
        """Relative paths of the folders that hold pictures, sorted."""
        return sorted(
            prefix.rstrip("/") for prefix, names in self.walk(*below) if any(suffix(name) in IMAGES for name in names)
        )

    def walk(self, *below: str) -> Iterator[tuple[str, list[str]]]:
        """(relative path with its slash, file names) of each folder; links are followed, no folder comes twice."""
        seen = set()
        for start in below or (".",):
            for parent, folders, names in os.walk(self.root / start, followlinks=True):
                stat = os.stat(parent)
                if (stat.st_dev, stat.st_ino) in seen:  # a link that leads back
                    folders.clear()
                    continue
                seen.add((stat.st_dev, stat.st_ino))
                folders[:] = sorted(name for name in folders if name[0] != ".")
                relative = os.path.relpath(parent, self.root)
                yield "" if relative == "." else relative.replace(os.sep, "/") + "/", names


def suffix(name: str) -> str:
    """Lower-case suffix with its dot."""
    return os.path.splitext(name)[1].lower()


def stem(relative: str) -> str:
    """File name without folders and suffix."""
    return os.path.splitext(relative.rpartition("/")[2])[0]


def find(dataset: str, root: str, *marks: str) -> Tree:
    """The tree whose folder holds one of `marks` (relative paths or glob patterns): root, or a folder below it.

    Raises FileNotFoundError if there is no such folder as root, ValueError if none or several look like the dataset.
    """
    top = pathlib.Path(root).absolute()
    if not top.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    level = [top]
    for _ in range(_DEPTH + 1):
        matches = [folder for folder in level if any(next(folder.glob(mark), None) for mark in marks)]
        if len(matches) > 1:
            names = ", ".join(map(str, matches[:_SHOWN]))
            raise ValueError(f"{root}: {len(matches)} folders look like {dataset}; give one as the root: {names}")
        if matches:
            return Tree(dataset, matches[0])
        level = sorted(child for folder in level for child in _folders(folder))
    raise ValueError(
        f"{root}: not the layout of {dataset}: looked for {' or '.join(marks)} here and up to {_DEPTH} folders below, "
        f"found {listing(top)}"
    )


def listing(folder: pathlib.Path) -> str:
    """What a folder holds, in a few words."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    return _some(names, 6) if names else "nothing"


def compare(dataset: str, source: str, listed: Iterable[str], present: Iterable[str]) -> None:
    """Warns of what `source` lists and the disk lacks, and the reverse: how many, and the first names."""
    listed, present = set(listed), set(present)
    tell_missing(dataset, source, listed, present)
    tell_unused(dataset, f"are not in {source}", present - listed)


def tell_missing(dataset: str, source: str, listed: Collection[str], present: Collection[str]) -> None:
    """Warns of what `source` lists and the disk lacks."""
    if lacking := sorted(set(listed).difference(present)):
        counts = f"{len(lacking)} of the {len(listed)}"
        logging.warning("%s: %s files in %s are not on disk: %s", dataset, counts, source, _some(lacking))


def tell_unused(dataset: str, why: str, files: Iterable[str]) -> None:
    """Warns of files on disk that give no clip."""
    if files := sorted(files):
        logging.warning("%s: %d files on disk %s and give no clips: %s", dataset, len(files), why, _some(files))


def tell_count(dataset: str, part: str, found: int, expected: int | None) -> None:
    """One line of the inventory: found, expected, missing."""
    if expected is None:
        logging.info("%s: %s: found %d", dataset, part, found)
    else:
        tell = logging.info if found == expected else logging.warning
        more = f", {found - expected} more than expected" if found > expected else ""
        missing = max(0, expected - found)
        tell("%s: %s: found %d, expected %d, missing %d%s", dataset, part, found, expected, missing, more)


def finish(
    tree: Tree, clips: Sequence[Clip], expected: Mapping[str, int], part: Callable[[Clip], str] = lambda c: c.method
) -> list[Clip]:
    """The clips in the order of their ids, after the inventory of their parts was told.

    expected: number of clips by part. ValueError if there are no clips at all.
    """
    counts = collections.Counter(part(clip) or "unnamed" for clip in clips)
    for name in dict.fromkeys((*expected, *sorted(counts))):
        tell_count(tree.dataset, name, counts[name], expected.get(name))
    if not clips:
        raise ValueError(f"{tree.root}: no clips of {tree.dataset} in this folder; found {listing(tree.root)}")
    return sorted(clips, key=lambda clip: clip.clip_id)


def check(option: str, value: Any, known: Iterable[Any]) -> None:
    """ValueError if an option's value is not one of those known."""
    if value not in (known := tuple(known)):
        raise ValueError(f"{option} is {value!r}, expected one of {', '.join(map(str, known))}")


def one_of(table: Mapping[str, Any], word: str, what: str, where: object) -> Any:
    """table[word]. ValueError, naming the place, for a word that the format does not have."""
    if word not in table:
        raise ValueError(f"{where}: {what} is {word!r}, expected {' or '.join(table)}")
    return table[word]


def segments(value: Any, where: object) -> tuple[Segment, ...]:
    """[[start, end], …] in seconds as a Clip's segments; empty spans left out. ValueError for anything else."""
    try:
        spans = [(float(start), float(end)) for start, end in value or ()]
    except (TypeError, ValueError):
        spans = [(1.0, 0.0)]
    if any(not 0 <= start <= end < float("inf") for start, end in spans):
        raise ValueError(f"{where}: the segments are {value!r}, expected pairs of start and later end in seconds")
    return tuple(span for span in spans if span[0] < span[1])


def read_json(path: pathlib.Path, kind: type) -> Any:
    """A JSON file whose outermost value is a `list` or `dict`. ValueError names the file."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path}: expected a JSON {kind.__name__}, found a {type(value).__name__}")
    return value


def read_columns(path: pathlib.Path, at_least: int) -> Iterator[tuple[str, list[str]]]:
    """(place, fields) of each line of a text file with blanks between its columns. ValueError for too few."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if fields := line.split():
                if len(fields) < at_least:
                    found = f"found {len(fields)}: {line.strip()!r}"
                    raise ValueError(f"{path}, line {number}: expected {at_least} columns or more, {found}")
                yield f"{path}, line {number}", fields


def read_table(path: pathlib.Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(place, row) of a CSV file with a header that has at least these columns. ValueError names the file."""
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if missing := [name for name in columns if name not in names]:
            raise ValueError(f"{path}: no column {', '.join(missing)}; found {', '.join(names) or 'nothing'}")
        for row in reader:
            if any(row[name] is None for name in columns):
                raise ValueError(f"{path}, line {reader.line_num}: fewer cells than the header has columns")
            yield f"{path}, line {reader.line_num}", {name: row[name].strip() for name in columns}


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except PermissionError:
        return []


def _some(names: Sequence[str], count: int = _SHOWN) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
