"""Other people's weights into our parameters: safetensors or Flax msgpack, every name accounted for on both sides.

An encoder file describes its checkpoints with four names:

    RULES     ordered (source, target, transform). `source` is a regular expression for the full name of a tensor in
              the checkpoint, in PyTorch's naming; `target` is the path of our variable from its collection on,
              'params/block\\1/attn/query/kernel', with the expression's groups; `transform` is one of the functions
              below (`dense`, `conv`, ...), numpy in, numpy out. A tensor that two rules match feeds two variables.
              When several tensors make one variable, `source` is a tuple: the expression, then the names of the others
              with the expression's groups; `transform` receives them in that order.
    DROPS     regular expressions of tensors that are left out on purpose: text towers, heads, counters.
    EXAMPLE   jax.ShapeDtypeStruct of the smallest input that initialises the model.
    from_config(config: dict) -> dict    a Hugging Face config.json to the fields of Model.

A plain state dictionary needs no transformers: a folder with `model.safetensors` in the original's names and
a `config.json` that says only `{"model_type": "r3d_18"}`.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from mmdf_jax.typing import Dtype

Rule = tuple[str | tuple[str, ...], str, Callable[..., np.ndarray]]

ENCODERS = {
    "clip": "clip",
    "clip_vision_model": "clip",
    "dinov2": "dinov2",
    "dinov2_with_registers": "dinov2",
    "convnext": "convnext",
    "efficientnet": "efficientnet",
    "wav2vec2": "wav2vec2",
    "hubert": "hubert",
    "r3d_18": "resnet3d",
    "mc3_18": "resnet3d",
    "r2plus1d_18": "resnet3d",
}

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz")
CONVERT = (
    'python -c "import torch, sys; from safetensors.torch import save_file; '
    "d = torch.load(sys.argv[1], weights_only=True, map_location='cpu'); "
    "save_file({k: v.clone().contiguous() for k, v in d.items()}, 'model.safetensors')\" FILE"
)


class WeightsError(ValueError):
    """Weights that cannot be found, are unsafe to open, or do not fit the model."""


# --- transforms: a tensor in PyTorch's layout to ours ------------------------------------------------------------


def same(x: np.ndarray) -> np.ndarray:
    return x


def dense(x: np.ndarray) -> np.ndarray:
    """Linear weight [out in] -> Dense kernel [in out]."""
    return x.T


def conv(x: np.ndarray) -> np.ndarray:
    """Convolution weight [out in *window] -> kernel [*window in out], of any rank, grouped and depthwise too."""
    return x.transpose(*range(2, x.ndim), 1, 0)


def pointwise(x: np.ndarray) -> np.ndarray:
    """1x1 convolution weight [out in 1 ... 1] -> Dense kernel [in out]."""
    if x.shape[2:] != (1,) * (x.ndim - 2):
        raise ValueError(f"expected a 1x1 convolution, found {x.shape}")
    return x.reshape(x.shape[:2]).T


def flat(x: np.ndarray) -> np.ndarray:
    """A vector stored with leading axes of length 1, [1 1 d] -> [d]."""
    return x.reshape(x.shape[-1])


def squeeze(x: np.ndarray) -> np.ndarray:
    """The same without its first axis, which has length 1."""
    return x.squeeze(0)


def first_half(x: np.ndarray) -> np.ndarray:
    """The first half along the output axis: dense [2 out, in] -> [in out], or a bias [2 out] -> [out]."""
    return np.split(x, 2)[0].T


def second_half(x: np.ndarray) -> np.ndarray:
    """The second half, as `first_half`."""
    return np.split(x, 2)[1].T


def weight_norm(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """torch's weight normalisation g v / |v| merged into a `conv` kernel; |v| over the axes where g has length 1."""
    axes = tuple(i for i, n in enumerate(g.shape) if n == 1 and v.shape[i] > 1)
    v = v.astype(np.float64)
    return conv((g * v / np.sqrt((v * v).sum(axes, keepdims=True))).astype(np.float32))


# --- mapping -----------------------------------------------------------------------------------------------------


def convert(
    tensors: Mapping[str, np.ndarray], rules: Iterable[Rule], drops: Iterable[str], target: Any, name: str = "weights"
) -> dict[str, Any]:
    """Tensors of a checkpoint as the variables of a model, fp32 numpy arrays in the structure of `target`.

    target: nested dictionary {collection: {...}} of arrays or ShapeDtypeStructs. Every tensor must be used by a rule or
    declared in `drops`, every variable be filled exactly once, shapes agree and values be finite; otherwise
    WeightsError, one message with all that is wrong, calling the checkpoint `name`.
    """
    shapes = {path: tuple(x.shape) for path, x in traverse_util.flatten_dict(target, sep="/").items()}
    drops = tuple(drops)
    used: set[str] = {n for n in tensors if any(re.fullmatch(d, n) for d in drops)}
    filled: dict[str, np.ndarray | None] = {}
    wrong: list[str] = []
    for source, template, transform in rules:
        first, *others = (source,) if isinstance(source, str) else source
        for match in filter(None, (re.fullmatch(first, n) for n in tensors)):
            path = match.expand(template)
            names = [match.string, *(match.expand(other) for other in others)]
            if path not in shapes or not all(n in tensors for n in names):
                continue  # stays unused, or the variable unfilled: reported below
            used.update(names)
            label = f"{' + '.join(names)} -> {path}"
            if path in filled:
                wrong.append(f"{label}: filled twice")
            filled[path] = None
            arrays = [np.asarray(tensors[n], np.float32) for n in names]
            try:
                array = transform(*arrays)
            except ValueError as e:
                wrong.append(f"{label}: {[a.shape for a in arrays]} cannot be converted ({e})")
                continue
            if array.shape != shapes[path]:
                wrong.append(f"{label}: expected {shapes[path]}, found {array.shape}")
            elif not np.isfinite(array).all():
                wrong.append(f"{label}: holds NaN or infinity")
            filled[path] = array
    problems = {
        "the model has, the file lacks": sorted(set(shapes) - set(filled)),
        "the file has, the model lacks": sorted(set(tensors) - used),
        "do not fit": wrong,
    }
    if any(problems.values()):
        lines = [f"{title} ({len(x)}): {_some(x)}" for title, x in problems.items() if x]
        raise WeightsError(f"{name} does not fit the model; {'; '.join(lines)}")
    return traverse_util.unflatten_dict(filled, sep="/")


def _some(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


# --- files -------------------------------------------------------------------------------------------------------


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
    folder = pathlib.Path(source).expanduser()
    if folder.suffix in PICKLES:
        raise _refusal(source, [folder.name])
    if folder.is_dir():
        fetch = _from_folder(folder)
    elif re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", str(source)) and not folder.exists():
        fetch = _from_hub(str(source), revision)
    else:
        raise FileNotFoundError(
            f"{source}: expected a folder with config.json and model.safetensors, or a Hugging Face repository"
            f" such as facebook/dinov2-base; {'that is a file' if folder.exists() else 'there is no such folder'}"
        )
    config = fetch("config.json")
    if config is None:
        raise WeightsError(
            f'{source} has no config.json, so the architecture is unknown: write one, at least {{"model_type": "..."}}'
            f" with one of {', '.join(ENCODERS)}"
        )
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
        found = [p.name for p in folder.iterdir() if p.suffix in PICKLES] if folder.is_dir() else []
        found = found or ([] if fetch("pytorch_model.bin") is None else ["pytorch_model.bin"])
        if found:
            raise _refusal(source, found)
        raise WeightsError(f"{source} has neither model.safetensors nor flax_model.msgpack")
    return Checkpoint(_json(config), tuple(files))


def _refusal(source: Any, names: list[str]) -> WeightsError:
    return WeightsError(
        f"{source}: {_some(names)} is a pickle, which may run any code of its author's when opened, and is "
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


# --- the whole way -----------------------------------------------------------------------------------------------


def load_encoder(
    source: str | pathlib.Path,
    *,
    dtype: Dtype = jnp.float32,
    revision: str | None = None,
    digest: str | None = None,
    drops: Sequence[str] = (),
    **fields: Any,
) -> tuple[nn.Module, dict[str, Any]]:
    """An encoder and its variables from a Hugging Face repository or a local folder.

    source: repository id ('facebook/dinov2-base'), or a folder with `config.json` and `model.safetensors`,
      `model.safetensors.index.json` with its shards, or `flax_model.msgpack`. `model_type` in config.json
      names the architecture.
    dtype: of the computation; the variables are always fp32.
    revision: branch, tag or commit to pin a download to.
    digest: SHA-256 that the weights must have, of the file or of the shards one after the other in name order.
    drops: expressions of further tensors to leave out.
    fields: overrides of the model's fields (`remat`, `drop_path`, ...).

    Raises WeightsError (a ValueError) in one line for whatever is missing, unsafe, damaged or does not fit.
    """
    checkpoint, encoder = _identified(source, revision, digest)
    try:
        model = encoder.Model(**{**encoder.from_config(checkpoint.config), **fields}, dtype=dtype)
        target = shapes(model, encoder.EXAMPLE)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        reason = f"{type(e).__name__}: {e}".splitlines()[0]
        given = f" with {fields}" if fields else ""
        kind = checkpoint.config["model_type"]
        raise WeightsError(f"{source}: config.json{given} does not describe a {kind} encoder ({reason})") from e
    variables = convert(read_tensors(checkpoint.files), encoder.RULES, (*encoder.DROPS, *drops), target, str(source))
    return model, jax.tree.map(jnp.asarray, variables)


def load_variables(
    source: str | pathlib.Path,
    model: nn.Module,
    target: Any,
    *,
    revision: str | None = None,
    digest: str | None = None,
    drops: Sequence[str] = (),
) -> tuple[dict[str, Any], str]:
    """Published weights as the variables of an encoder that exists: numpy arrays like `target`, and their SHA-256.

    model: an encoder's Model. Its fields must be those that the checkpoint's config.json says, dropout rates apart, for
    the same tensors compute something else with another activation or epsilon. Other arguments as `load_encoder`.

    Raises WeightsError, one line.
    """
    checkpoint, encoder = _identified(source, revision, digest)
    if type(model).__module__ != encoder.__name__:
        raise WeightsError(
            f"{source} holds a {checkpoint.config['model_type']}, for {encoder.__name__}; "
            f"the config's encoder is {type(model).__module__}"
        )
    said = {name: value for name, value in encoder.from_config(checkpoint.config).items() if "drop" not in name}
    said.pop("projection", None)  # the encoder may leave out the last matrix; `drops` must then say so
    other = [f"{n}={getattr(model, n)!r} here, {v!r} there" for n, v in said.items() if getattr(model, n) != v]
    if other:
        raise WeightsError(f"{source} is of another size or kind than the config's encoder: {'; '.join(other)}")
    variables = convert(read_tensors(checkpoint.files), encoder.RULES, (*encoder.DROPS, *drops), target, str(source))
    return variables, sha256(checkpoint.files)


def _identified(source: str | pathlib.Path, revision: str | None, digest: str | None) -> tuple[Checkpoint, Any]:
    """The checkpoint, its digest checked, and the module of the encoder that it is for."""
    checkpoint = locate(source, revision)
    if digest and (found := sha256(checkpoint.files)) != digest.lower():
        raise WeightsError(f"{source}: SHA-256 of the weights is {found}, expected {digest}")
    kind = checkpoint.config.get("model_type")
    if kind not in ENCODERS:
        raise WeightsError(f"{source}: unknown model_type {kind!r} in config.json; known are {', '.join(ENCODERS)}")
    return checkpoint, importlib.import_module(f"mmdf_jax.encoders.{ENCODERS[kind]}")


def shapes(model: nn.Module, example: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """The variables of a model as ShapeDtypeStructs, without computing anything."""
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), example)
