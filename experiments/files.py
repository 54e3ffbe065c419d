"""Files that are whole or not there: written beside their place, then moved into it. And what JSON can hold."""

import contextlib
import filecmp
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
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
def atomic_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder beside `path` to fill; it takes the place of `path` on success and goes on failure.

    Where `path` has the same files already, it stays as it is.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    before = temporary.with_suffix(".before")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        names = [str(one.relative_to(temporary)) for one in temporary.rglob("*") if one.is_file()]
        if not path.exists():
            temporary.rename(path)
        elif len(filecmp.cmpfiles(path, temporary, names, shallow=False)[0]) < len(names):
            path.rename(before)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def finite(value: Any) -> Any:
    """Plain data for JSON, with null for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
