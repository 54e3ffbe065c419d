"""A user's own clips: a CSV manifest, or the folders real/ and fake/."""

import os
import pathlib

from data_pipelines.clip import Clip, read_manifest

SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wav", ".flac", ".mp3", ".ogg", ".m4a"))
_FOLDERS = {"real": 0, "fake": 1}


def read(root: str = "", manifest: str = "") -> list[Clip]:
    """The clips of a manifest, or of a folder.

    Args:
      root: a folder that holds `manifest.csv`, or media files under `real/` and `fake/` at any depth (a fake's method
        is the name of its folder below `fake/`, if it lies in one).
      manifest: a CSV file; see `clip.read_manifest`. Goes before root.

    Raises FileNotFoundError if there is no such file or folder and ValueError if the manifest is faulty or no clip is
    found; one line each.
    """
    if manifest:
        return read_manifest(manifest, dataset="folder")
    if not root:
        raise ValueError("data=folder needs config.data.manifest=FILE.csv or config.data.root=DIR")
    folder = pathlib.Path(root).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    if (folder / "manifest.csv").is_file():
        return read_manifest(folder / "manifest.csv", dataset="folder")
    if not any((folder / name).is_dir() for name in _FOLDERS):
        raise ValueError(f"{root}: expected a manifest.csv, or the folders real and fake with media files in them")
    clips = [clip for name, label in _FOLDERS.items() for clip in _media_below(folder, name, label)]
    if not clips:
        raise ValueError(f"{root}: no media files in real or fake ({', '.join(sorted(SUFFIXES))})")
    return clips


def _media_below(folder: pathlib.Path, name: str, label: int) -> list[Clip]:
    clips = []
    for parent, folders, files in os.walk(folder / name):
        folders.sort()
        for file in sorted(files):
            path = pathlib.Path(parent, file)
            if path.suffix.lower() not in SUFFIXES or file.startswith("."):
                continue
            relative = path.relative_to(folder)
            method = "real" if label == 0 else relative.parts[1] if len(relative.parts) > 2 else ""
            clips.append(Clip(f"folder/{relative}", str(path), label, dataset="folder", method=method))
    return clips
