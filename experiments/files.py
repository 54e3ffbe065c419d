"""Files that are whole or not there: written beside their place, then moved into it. And what JSON can hold."""

import contextlib
import filecmp
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary file beside `path` to write to; it takes the place of `path` on success and goes on failure."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` as the whole of `path`."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def exchanged(folder: pathlib.Path, names: Sequence[str]) -> Iterator[pathlib.Path]:
    """A temporary folder to fill with files of `names`; on success they take the place of those in `folder`.

    What else lies in `folder` stays there. A new folder appears as a whole. In one that is there already, the first of
    `names` goes first and comes last, so that nobody takes half of the old and half of the new for one. Files that are
    the same stay as they are. One process at a time: what a killed one has left is removed.
    """
    for left in folder.parent.glob(f".{folder.name}.*"):
        if left.suffix[1:].isdecimal():
            shutil.rmtree(left)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        new, old = ([name for name in names if (place / name).is_file()] for place in (temporary, folder))
        if not folder.exists():
            temporary.rename(folder)
        elif new != old or filecmp.cmpfiles(folder, temporary, new, shallow=False)[0] != new:
            for name in old:
                (folder / name).unlink()
            for name in reversed(new):
                (folder / name).parent.mkdir(exist_ok=True)
                os.replace(temporary / name, folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def finite(value: Any) -> Any:
    """Plain data for JSON, with null for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
