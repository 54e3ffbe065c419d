"""Other people's weights into our parameters: every name accounted for on both sides."""

import importlib
import pathlib
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from mmdf_jax import encoders
from mmdf_jax.typing import Dtype
from mmdf_jax.weights.files import Checkpoint, WeightsError, locate, read_config, read_tensors, sha256, some
from mmdf_jax.weights.rules import Rule

PUBLISHED = "published"  # the variant of an encoder whose fields are those of its weights' config.json


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
        lines = [f"{title} ({len(x)}): {some(x)}" for title, x in problems.items() if x]
        raise WeightsError(f"{name} does not fit the model; {'; '.join(lines)}")
    return traverse_util.unflatten_dict(filled, sep="/")


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
    checkpoint = _checked(source, revision, digest)
    known = _by_model_type()
    kind = checkpoint.config.get("model_type")
    if kind not in known:
        raise WeightsError(f"{source}: unknown model_type {kind!r} in config.json; known are {', '.join(known)}")
    encoder = known[kind]
    try:
        model = encoder.Model(**{**encoder.from_config(checkpoint.config), **fields}, dtype=dtype)
        target = shapes(model, encoder.EXAMPLE)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        reason = f"{type(e).__name__}: {e}".splitlines()[0]
        given = f" with {fields}" if fields else ""
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
    checkpoint, encoder = _checked(source, revision, digest), sys.modules[type(model).__module__]
    said = _fields(source, checkpoint.config, encoder)
    other = [f"{n}={getattr(model, n)!r} here, {v!r} there" for n, v in said.items() if getattr(model, n) != v]
    if other:
        raise WeightsError(
            f"{source} is of another size or kind than the config's encoder: {'; '.join(other)}; "
            f"the encoder's variant={PUBLISHED} takes all of its fields from there"
        )
    variables = convert(read_tensors(checkpoint.files), encoder.RULES, (*encoder.DROPS, *drops), target, str(source))
    return variables, sha256(checkpoint.files)


def published_fields(source: str | pathlib.Path, encoder: str, revision: str | None = None) -> dict[str, Any]:
    """The fields that the config.json of published weights gives to the Model of `encoder`, a module that is imported.

    Dropout rates, and projections behind the encoder, are the user's own choice and are left out.
    Raises WeightsError, one line.
    """
    return _fields(source, read_config(source, revision), sys.modules[encoder])


def _fields(source: str | pathlib.Path, config: Mapping[str, Any], encoder: ModuleType) -> dict[str, Any]:
    kind = config.get("model_type")
    if kind not in getattr(encoder, "MODEL_TYPES", ()):
        raise WeightsError(f"{source} holds a {kind}, which the config's encoder {encoder.__name__} is not")
    try:
        fields = encoder.from_config(dict(config))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        reason = f"{type(e).__name__}: {e}".splitlines()[0]
        raise WeightsError(f"{source}: config.json does not describe a {kind} encoder ({reason})") from e
    return {name: value for name, value in fields.items() if "drop" not in name and name != "projection"}


def _checked(source: str | pathlib.Path, revision: str | None, digest: str | None) -> Checkpoint:
    """The checkpoint, its digest checked."""
    checkpoint = locate(source, revision)
    if digest and (found := sha256(checkpoint.files)) != digest.lower():
        raise WeightsError(f"{source}: SHA-256 of the weights is {found}, expected {digest}")
    return checkpoint


def _by_model_type() -> dict[str, ModuleType]:
    """The encoders of the project by the `model_type`s of config.json that their files say."""
    names = [module.name for module in pkgutil.iter_modules(encoders.__path__, f"{encoders.__name__}.")]
    modules = [importlib.import_module(name) for name in names]
    return {kind: module for module in modules for kind in getattr(module, "MODEL_TYPES", ())}


def shapes(model: nn.Module, example: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """The variables of a model as ShapeDtypeStructs, without computing anything."""
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), example)
