"""A trained run's best checkpoint as a folder that stands alone: weights, config, model card, score tables.

    model.safetensors   parameters and batch statistics by path, with the SHA-256 of each in the file's metadata
    config.json         the run's config
    system.json         the run as a system of one member: calibration, thresholds, operating points
    scores/             its score tables of validation and test
    README.md           what it is, how good it is, and what it is not

`best_model.load` and all commands that take a run take such a folder.
"""

import contextlib
import csv
import json
import math
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import safetensors
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from experiments import checkpoints, files, run_directory, score_table, system_file
from experiments.run_directory import log

WEIGHTS = "model.safetensors"
_CHECKPOINT = "checkpoint"  # the one key of the file's metadata: several would be written in any order
_HOW = "export the run again, or copy the whole folder again"


def is_exported(folder: pathlib.Path) -> bool:
    """Whether `folder` is an exported model and no run directory."""
    return (folder / WEIGHTS).is_file() and not (folder / "checkpoints").is_dir()


def export(workdir: pathlib.Path, folder: pathlib.Path, allow: Sequence[str] = ()) -> None:
    """Writes the finished run in `workdir` to `folder`, which is there as a whole or not at all.

    The same run gives the same bytes. allow: packages outside the project that names in its config may lie in.

    Raises:
      FileNotFoundError: the run is not finished.  ValueError: its best checkpoint is damaged.
    """
    row, config = results(workdir), run_directory.read_config(workdir)
    with contextlib.closing(checkpoints.Checkpoints(workdir / "checkpoints")) as saved:
        content = saved.content("best")
        variables, _ = saved.load("best", _abstract(content["arrays"]))
    # What depends on the clock stays behind.
    info = {name: content["info"][name] for name in ("best", "best_step")}
    content = {"schema": checkpoints.SCHEMA, "info": info, "arrays": content["arrays"]}
    content["sha256"] = checkpoints.digest(content)
    tensors = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables, sep="/").items()}
    with files.atomic_folder(folder) as temporary:
        copy_tables(workdir, temporary)
        shutil.copyfile(workdir / "config.json", temporary / "config.json")
        try:
            system_file.write(temporary / system_file.FILE, system_file.of_run(workdir, allow=allow))
        except ValueError as error:  # a kind without P(fake), or a validation split that calibrates nothing
            log.warning("%s gets no %s: %s", folder, system_file.FILE, error)
        card = model_card(workdir.name, row, config, uses=_uses(folder))
        files.write_text(temporary / "README.md", card)
        safetensors_numpy.save_file(tensors, temporary / WEIGHTS, {_CHECKPOINT: json.dumps(content, sort_keys=True)})


def load(folder: pathlib.Path, abstract: Any) -> tuple[Any, dict[str, Any]]:
    """The variables of an exported model, placed as `abstract` says, and `info`: `best` and `best_step`.

    Raises:
      ValueError: the file is damaged, or it is of another model than `abstract`; the message lists what differs.
    """
    path, content = folder / WEIGHTS, contents(folder)
    if unlike := checkpoints.difference(abstract, content["arrays"]):
        raise ValueError(f"{path}: these weights are of another model than {folder / 'config.json'} says ({unlike})")
    expected = {"/".join(_path(name)) for name in content["arrays"]}
    with _opened(path) as file:
        if odd := sorted(expected ^ set(file.keys())):
            raise ValueError(f"{path}: damaged: {checkpoints.some(odd)} is missing or not in its list; {_HOW}")
        flat = {name: file.get_tensor(name) for name in expected}
    state = {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(flat, sep="/")
    if wrong := checkpoints.changed(state, content["arrays"]):
        raise ValueError(f"{path}: damaged: {wrong}; {_HOW}")
    return jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), state, abstract), content["info"]


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
        expected, schema = content.pop("sha256", None), content.get("schema")
    except (ValueError, AttributeError):
        raise ValueError(f"{path}: damaged: its metadata is not JSON; {_HOW}") from None
    if expected != checkpoints.digest(content):
        raise ValueError(f"{path}: damaged: its metadata is not what was saved; {_HOW}")
    if schema != checkpoints.SCHEMA:
        raise ValueError(f"{path}: of schema {schema}; this program reads schema {checkpoints.SCHEMA}; {_HOW}")
    return content


def results(workdir: pathlib.Path) -> dict[str, str]:
    """The row of a finished run's results.csv, cells as they stand there.

    Raises:
      FileNotFoundError: the run is not finished.  ValueError: the table has not one row.
    """
    path = workdir / "results.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise FileNotFoundError(f"{workdir}: no results.csv: the run is not finished; start it again") from None
    if len(rows) != 1:
        raise ValueError(f"{path}: expected one row, found {len(rows)}")
    return rows[0]


def copy_tables(workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies the run's score tables of validation and test into `folder`/scores."""
    (folder / "scores").mkdir()
    for split in ("val", "test"):
        shutil.copyfile(workdir / "scores" / f"{split}.csv", folder / "scores" / f"{split}.csv")


def model_card(name: str, row: Mapping[str, str], config: Mapping[str, Any], *, uses: str) -> str:
    """The README.md of a model: what it is, its test results, how to use it (`uses`), its limits."""
    dataset = config.get("data", {}).get("name", "")
    numbers = [(key, _rounded(cell)) for key, cell in row.items() if key not in ("Model", "Modality") and cell]
    table = "\n".join(f"| {key} | {cell} |" for key, cell in numbers)
    trained = f"trained on `{dataset}`, " if dataset else ""
    limits = "The score of a clip is an estimate. It is no proof, and it accuses nobody."
    if dataset in ("", "talking_heads"):
        limits += (
            " Models of the embedded dataset `talking_heads` have seen rendered faces and voices only: what they say"
            " of real recordings means nothing."
        )
    return (
        "---\nlicense: apache-2.0\nlibrary_name: mmdf_jax\ntags:\n- deepfake-detection\n---\n\n"
        f"# {name}\n\n"
        f"{row['Model']} over {row['Modality']}: {trained}the best checkpoint on validation. A score is P(fake) of a"
        f" clip; 1 is fake.\n\n## Results\n\nOn the test split. Thresholds come from validation, intervals (low, high) are"
        f" 95 % over identities.\n\n| | |\n|---|---|\n{table}\n\n## Use\n\n{uses}\n\n## Limits\n\n{limits}\n"
    )


def _uses(folder: pathlib.Path) -> str:
    return (
        f"    python -m experiments.detect FILE --model={folder.name}\n"
        f"    python -m experiments.evaluate --workdir={folder.name} --data=folder --manifest=clips.csv\n\n"
        f"`{WEIGHTS}` holds the arrays by path, `config.json` the model and how it was trained."
    )


def _rounded(cell: str) -> str:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return f"{number:.0f}" if number.is_integer() and not math.isinf(number) else f"{number:.4g}"


def _path(name: str) -> list[str]:
    """`['params']['kernel']`, as JAX names a leaf, to its keys."""
    return re.findall(r"\['(.*?)'\]", name)


def _abstract(arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tree that a checkpoint's own description of its arrays describes."""
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
