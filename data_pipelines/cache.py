"""Where everything that can be made again is kept."""

import os
import pathlib


def root() -> pathlib.Path:
    """`$MMDF_JAX_CACHE`, or `~/.cache/mmdf_jax`. Not made here. ValueError if neither is known."""
    if named := os.environ.get("MMDF_JAX_CACHE"):
        return pathlib.Path(named)
    home = os.path.expanduser("~")
    if home in ("~", "/"):  # neither $HOME nor an entry in the list of users, as in many containers
        raise ValueError("no home folder; set MMDF_JAX_CACHE to a folder for records and features")
    return pathlib.Path(home, ".cache", "mmdf_jax")
