"""Where weights lie and how they are opened: hub, folders, safetensors, Flax msgpack. Pickles are refused.

A plain state dictionary needs no transformers: a folder with `model.safetensors` in the original's names and
a `config.json` that says only `{"model_type": "r3d_18"}`.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz")
CONVERT = (
    'python -c "import torch, sys; from safetensors.torch import save_file; '
    "d = torch.load(sys.argv[1], weights_only=True, map_location='cpu'); "
    "save_file({k: v.clone().contiguous() for k, v in d.items()}, 'model.safetensors')\" FILE"
)


class WeightsError(ValueError):
    """Weights that cannot be found, are unsafe to open, or do not fit the model."""


class Safetensors(Mapping[str, np.ndarray]):
    """The tensors of one or several safetensors files, read when asked for."""

    def __init__(self, paths: Iterable[pathlib.Path]) -> None:
        self.where: dict[str, pathlib.Path] = {}
        for path in paths:
            with _opened(path) as f:
                for name in f.keys():
                    if name in self.where:
                        raise WeightsError(f"{name} stands in both {self.where[name]} and {path}")
                    self.where[name] = path

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            with _opened(self.where[name]) as f:
                return f.get_tensor(name)
        except TypeError:  # bfloat16, which numpy alone does not know
            with _opened(self.where[name], "flax") as f:
                return np.asarray(f.get_tensor(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)


@contextlib.contextmanager
def _opened(path: pathlib.Path, framework: str = "numpy") -> Iterator[Any]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework) as f:
            yield f
    except safetensors.SafetensorError as e:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({e}): download it again, or, if it is a renamed pickle, "
            f"convert it where you trust it: {CONVERT}"
        ) from e


def read_msgpack(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a flax_model.msgpack, under the names and in the layouts of the same PyTorch model."""
    from flax import serialization

    try:
        tree = traverse_util.flatten_dict(serialization.msgpack_restore(path.read_bytes()), sep=".")
        if not all(isinstance(x, np.ndarray) for x in tree.values()):
            raise TypeError("it holds something else than arrays")
    except Exception as e:  # whatever a damaged or hostile file provokes in msgpack or numpy
        raise WeightsError(f"{path} is not a whole Flax msgpack of arrays ({e}): download it again") from e
    tensors = {}
    for name, x in tree.items():
        parent, _, leaf = name.rpartition(".")
        if leaf == "kernel":
            x = x.transpose(-1, -2, *range(x.ndim - 2)) if x.ndim > 1 else x
        renamed = {"kernel": "weight", "scale": "weight", "embedding": "weight"}.get(leaf, leaf)
        tensors[f"{parent}.{renamed}" if parent else renamed] = x
    return tensors


def read_tensors(files: Sequence[pathlib.Path]) -> Mapping[str, np.ndarray]:
    """The tensors of the weight files of one checkpoint, by name in PyTorch's convention."""
    return read_msgpack(files[0]) if files[0].suffix == ".msgpack" else Safetensors(files)


def sha256(files: Iterable[pathlib.Path]) -> str:
    """SHA-256 of the files' bytes in this order: for one file, what `sha256sum` prints."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as f:
            while chunk := f.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as e:
        raise WeightsError(f"{path}: not readable as JSON ({e})") from e
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint lies on this machine: its configuration, and its weight files in a fixed order."""

    config: dict[str, Any]
    files: tuple[pathlib.Path, ...]


def locate(source: str | pathlib.Path, revision: str | None = None) -> Checkpoint:
    """Finds, and if need be downloads, `config.json` and the weight files of a folder or Hugging Face repository.

    Downloads show progress and are cached where huggingface_hub caches; without a network the cache serves.
    Raises FileNotFoundError for a folder that is not there, WeightsError for everything else.
    """
    fetch = _fetcher(source, revision)
    config = read_config(source, revision)
    if single := fetch("model.safetensors"):
        files = [single]
    elif index := fetch("model.safetensors.index.json"):
        files = []
        for shard in sorted(set(_json(index).get("weight_map", {}).values())):
            if pathlib.PurePath(shard).name != shard or not shard.endswith(".safetensors"):
                raise WeightsError(f"{index}: {shard!r} is not the plain name of a safetensors file")
            if (path := fetch(shard)) is None:
                raise WeightsError(f"{source}: {shard} is missing, though {index.name} lists it")
            files.append(path)
        if not files:
            raise WeightsError(f"{index} lists no files: expected a non-empty 'weight_map'")
    elif msgpack := fetch("flax_model.msgpack"):
        files = [msgpack]
    else:
        folder = pathlib.Path(source).expanduser()
        found = [p.name for p in folder.iterdir() if p.suffix in PICKLES] if folder.is_dir() else []
        found = found or ([] if fetch("pytorch_model.bin") is None else ["pytorch_model.bin"])
        if found:
            raise _refusal(source, found)
        raise WeightsError(f"{source} has neither model.safetensors nor flax_model.msgpack")
    return Checkpoint(config, tuple(files))


def read_config(source: str | pathlib.Path, revision: str | None = None) -> dict[str, Any]:
    """The `config.json` of a folder or Hugging Face repository. Raises as `locate`."""
    path = _fetcher(source, revision)("config.json")
    if path is None:
        raise WeightsError(
            f'{source} has no config.json, so the architecture is unknown: write one, at least {{"model_type": "..."}}'
            " with one of the MODEL_TYPES in the encoder's file"
        )
    return _json(path)


def _fetcher(source: str | pathlib.Path, revision: str | None) -> Callable[[str], pathlib.Path | None]:
    """Gives the path of one of the source's files by its name, None if there is no such file."""
    folder = pathlib.Path(source).expanduser()
    if folder.suffix in PICKLES:
        raise _refusal(source, [folder.name])
    if folder.is_dir():
        return _from_folder(folder)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", str(source)) and not folder.exists():
        return _from_hub(str(source), revision)
    raise FileNotFoundError(
        f"{source}: expected a folder with config.json and model.safetensors, or a Hugging Face repository"
        f" such as facebook/dinov2-base; {'that is a file' if folder.exists() else 'there is no such folder'}"
    )


def _refusal(source: Any, names: list[str]) -> WeightsError:
    return WeightsError(
        f"{source}: {some(names)} is a pickle, which may run any code of its author's when opened, and is "
        f"refused. Convert it once, in a place where that would do no harm: {CONVERT}"
    )


def _from_folder(folder: pathlib.Path) -> Callable[[str], pathlib.Path | None]:
    return lambda name: folder / name if (folder / name).is_file() else None


def _from_hub(repo: str, revision: str | None) -> Callable[[str], pathlib.Path | None]:
    import huggingface_hub
    from huggingface_hub import errors

    def fetch(name: str) -> pathlib.Path | None:
        if name == "pytorch_model.bin":  # only asked whether it is there; never downloaded
            try:
                return pathlib.Path(name) if huggingface_hub.file_exists(repo, name, revision=revision) else None
            except (errors.OfflineModeIsEnabled, OSError):
                return None
        try:
            return pathlib.Path(huggingface_hub.hf_hub_download(repo, name, revision=revision))
        except errors.LocalEntryNotFoundError as e:
            if huggingface_hub.try_to_load_from_cache(repo, "config.json", revision=revision):
                return None  # offline, and this name is not among the cached ones
            raise WeightsError(
                f"{repo} is not in the cache and huggingface.co cannot be reached: connect to the network once, "
                f"or pass a local folder with config.json and model.safetensors"
            ) from e
        except errors.GatedRepoError as e:
            raise WeightsError(
                f"{repo} asks for its terms to be accepted on huggingface.co, then `hf auth login`"
            ) from e
        except errors.RepositoryNotFoundError as e:
            raise WeightsError(f"{repo}: neither a folder here nor a repository on huggingface.co") from e
        except errors.RevisionNotFoundError as e:
            raise WeightsError(f"{repo} has no revision {revision!r} on huggingface.co") from e
        except errors.EntryNotFoundError:
            return None
        except OSError as e:
            raise WeightsError(f"{repo}: downloading {name} failed ({e}); run again, it resumes") from e

    return fetch


def some(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
