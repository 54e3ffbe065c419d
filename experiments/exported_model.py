"""A trained run's best checkpoint as a folder that stands alone: weights, config, model card, score tables.

    model.safetensors   parameters and batch statistics by path, with the SHA-256 of each in the file's metadata
    config.json         the run's config
    system.json         the run as a system of one member: calibration, thresholds, operating points
    scores/             its score tables of validation and test
    results.csv         its row of results, what it costs among them, and report.txt, its report
    README.md           what it is, how good it is, and what it is not

`best_model.load` and all commands that take a run take such a folder.
"""

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import safetensors
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from experiments import checkpoints

WEIGHTS = "model.safetensors"
_CHECKPOINT = "checkpoint"  # the one key of the file's metadata: several would be written in any order
_HOW = "export the run again, or copy the whole folder again"


def is_exported(folder: pathlib.Path) -> bool:
    """Whether `folder` is an exported model and no run directory."""
    return (folder / WEIGHTS).is_file() and not (folder / "checkpoints").is_dir()


def write(folder: pathlib.Path, variables: Any, content: Mapping[str, Any]) -> None:
    """Writes the weights' file: `variables`, and of a checkpoint's `content` what does not depend on the clock."""
    info = {name: content["info"][name] for name in ("best", "best_step")}
    content = {"schema": checkpoints.SCHEMA, "info": info, "arrays": content["arrays"]}
    content["sha256"] = checkpoints.digest(content)
    tensors = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables, sep="/").items()}
    safetensors_numpy.save_file(tensors, folder / WEIGHTS, {_CHECKPOINT: json.dumps(content, sort_keys=True)})


def load(folder: pathlib.Path, wanted: Any) -> tuple[Any, dict[str, Any]]:
    """The variables of an exported model, placed as `wanted` says, and `info`: `best` and `best_step`.

    Raises:
      ValueError: the file is damaged, or it is of another model than `wanted`; the message lists what differs.
    """
    path, content = folder / WEIGHTS, contents(folder)
    if unlike := checkpoints.difference(wanted, content["arrays"]):
        raise ValueError(f"{path}: these weights are of another model than {folder / 'config.json'} says ({unlike})")
    expected = {"/".join(_path(name)) for name in content["arrays"]}
    with _opened(path) as file:
        if odd := sorted(expected ^ set(file.keys())):
            raise ValueError(f"{path}: damaged: {checkpoints.some(odd)} is missing or not in its list; {_HOW}")
        flat = {name: file.get_tensor(name) for name in expected}
    state = {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(flat, sep="/")
    if wrong := checkpoints.changed(state, content["arrays"]):
        raise ValueError(f"{path}: damaged: {wrong}; {_HOW}")
    return jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), state, wanted), content["info"]


def contents(folder: pathlib.Path) -> dict[str, Any]:
    """What the weights' file says of itself: `info`, and `arrays` as `checkpoints.describe` gives them.

    Raises:
      ValueError: the file is damaged, or another program's or version's.
    """
    path = folder / WEIGHTS
    with _opened(path) as file:
        text = (file.metadata() or {}).get(_CHECKPOINT)
    if text is None:
        raise ValueError(f"{path}: no key {_CHECKPOINT!r} in its metadata: expected a model that a study has exported")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: damaged: its metadata is not JSON; {_HOW}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged: expected an object as its metadata, found {content!r:.60}; {_HOW}")
    expected, schema = content.pop("sha256", None), content.get("schema")
    if expected != checkpoints.digest(content):
        raise ValueError(f"{path}: damaged: its metadata is not what was saved; {_HOW}")
    if schema != checkpoints.SCHEMA:
        raise ValueError(f"{path}: of schema {schema}; this program reads schema {checkpoints.SCHEMA}; {_HOW}")
    if not _is_described(content):
        raise ValueError(f"{path}: damaged: its metadata lacks `info` or `arrays` as an export writes them; {_HOW}")
    return content


def _is_described(content: Mapping[str, Any]) -> bool:
    """Whether the metadata has what `write` puts there."""
    info, arrays = content.get("info"), content.get("arrays")
    if not isinstance(info, dict) or not isinstance(arrays, dict):
        return False
    parts = ("dtype", "shape", "sha256")
    described = all(isinstance(array, dict) and all(part in array for part in parts) for array in arrays.values())
    return described and "best" in info and "best_step" in info


def _path(name: str) -> list[str]:
    """`['params']['kernel']`, as JAX names a leaf, to its keys."""
    return re.findall(r"\['(.*?)'\]", name)


def abstract(arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The variables that `checkpoints.describe` has described, without their values, on the first device."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    flat = {
        tuple(_path(name)): jax.ShapeDtypeStruct(tuple(array["shape"]), array["dtype"], sharding=sharding)
        for name, array in arrays.items()
    }
    return {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(flat)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, "numpy") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); {_HOW}") from None
