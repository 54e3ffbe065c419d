"""A user's own clips: a CSV manifest, or the folders real/ and fake/."""

import collections
import os
import pathlib
import re
from collections.abc import Sequence

from absl import logging

from data_pipelines.clip import Clip, frames_a_second, read_manifest
from data_pipelines.datasets._layout import IMAGES, Tree, suffix
from data_pipelines.prepare.containers import SUFFIXES

_FOLDERS = {"real": 0, "fake": 1}


def read(root: str = "", manifest: str = "", fps: float = 25.0) -> list[Clip]:
    """The clips of a manifest, or of a folder.

    Args:
      root: a folder that holds `manifest.csv`, or media files under `real/` and `fake/` at any depth (a fake's method
        is the name of its folder below `fake/`, if it lies in one). Links are followed. A folder of extracted frames is
        one clip: it lies below `real/` or `fake/`, and the names of its pictures (at least two) differ in the last
        number alone, as `0001.png` or `frame_12.jpg` do. Other pictures, and kinds of files that are not read, are
        counted in one warning.
      manifest: a CSV file; see `clip.read_manifest`. Goes before root.
      fps: pictures a second of the folders of frames below root; a manifest says it in its column `fps`.

    Raises FileNotFoundError if there is no such file or folder and ValueError if the manifest is faulty or no clip is
    found; one line each.
    """
    fps = frames_a_second(fps)
    if not manifest and root and (pathlib.Path(root) / "manifest.csv").is_file():
        manifest = str(pathlib.Path(root).absolute() / "manifest.csv")
    if manifest:
        if fps != 25:
            raise ValueError(f"{manifest}: a manifest says fps={fps:g} in a column fps, not in config.data.options")
        return read_manifest(manifest, dataset="folder")
    if not root:
        raise ValueError("data=folder needs config.data.manifest=FILE.csv or config.data.root=DIR")
    folder = pathlib.Path(root).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    if not any((folder / name).is_dir() for name in _FOLDERS):
        raise ValueError(f"{root}: expected a manifest.csv, or the folders real and fake with media files in them")
    tree, clips, unread = Tree("folder", folder), [], collections.Counter()
    for name, label in _FOLDERS.items():
        for prefix, names in sorted(tree.walk(name)):
            visible = [file for file in names if file[0] != "."]
            found = sorted(prefix + file for file in visible if suffix(file) in SUFFIXES)
            rest = [file for file in visible if suffix(file) not in SUFFIXES]
            if prefix != f"{name}/" and _is_sequence(pictures := [file for file in rest if suffix(file) in IMAGES]):
                found.append(prefix.rstrip("/"))
                rest = [file for file in rest if file not in set(pictures)]
            unread.update(suffix(file) or "without suffix" for file in rest)
            clips += [tree.clip(path, label, fps=fps, **_method(path, label)) for path in found]
    if unread:
        kinds = ", ".join(f"{count} {kind}" for kind, count in unread.most_common())
        logging.warning("%s: %d files in real and fake are not read: %s", root, unread.total(), kinds)
    if not clips:
        raise ValueError(f"{root}: no media files in real or fake ({', '.join(sorted(SUFFIXES))}, folders of frames)")
    return clips


def _method(path: str, label: int) -> dict[str, str]:
    parts = path.split("/")
    return {"method": parts[1]} if label == 1 and len(parts) > 2 else {}


def _is_sequence(pictures: Sequence[str]) -> bool:
    """Whether the names of the pictures are one name with a running number."""
    names = {re.fullmatch(r"(.*?)\d+(\D*)", os.path.splitext(name)[0]) for name in pictures}
    return len(pictures) > 1 and None not in names and len({match.groups() for match in names}) == 1
