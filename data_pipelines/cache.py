"""Where everything that can be made again is kept."""

import os
import pathlib


def root() -> pathlib.Path:
    """`$MMDF_JAX_CACHE`, or `~/.cache/mmdf_jax`. Not made here."""
    return pathlib.Path(os.environ.get("MMDF_JAX_CACHE") or pathlib.Path("~/.cache/mmdf_jax").expanduser())
