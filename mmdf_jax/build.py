"""build(spec): finds what spec.name names and calls it with the rest. The only indirection, and the only builder.

A spec is plain data: `{"name": "mmdf_jax.encoders.clip", "variant": "tiny", "depth": 2}`. Its name *is* the file, and
the package says what a file there defines. In packages of many small classes the name ends in the class:
`data_pipelines.loading.transforms.HorizontalFlip`. A run's saved config may come from a stranger, so only modules
inside the project's own packages are ever imported, or inside packages that the user allows by hand.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What a file of each package defines.
FILES = {
    "mmdf_jax.encoders": "Model",
    "mmdf_jax.fusion": "Model",
    "mmdf_jax.models": "Model",
    "mmdf_jax.tasks": "Task",
    "experiments.evaluators": "Evaluator",
    "experiments.producers": "Producer",
    "experiments.submissions": "Submission",
    "data_pipelines.datasets": "read",
}
# What the classes of each module derive from.
FAMILIES = {"data_pipelines.loading.transforms": "Transform", "data_pipelines.fakes.pseudo_fakes": "Kind"}
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def build(spec: Mapping[str, Any], *, allow: Sequence[str] = ()) -> Any:
    """Builds what `spec` describes; of a dataset reader, what it reads.

    Args:
      spec: `name`, see above; `variant`, if there, picks a row of the module's VARIANTS; everything else goes to what
        is named, and overrides the variant. Values that are specs themselves (also in dicts and lists) are built first.
      allow: further packages that names may lie in. A file there defines one of Model, Task, Evaluator,
        Producer, Submission or read, or the name ends in a class.

    Raises:
      ValueError: the name lies outside the allowed packages, does not exist, or is of nothing that can be built; the
        variant or a field is unknown.
    """
    name = spec.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"config: `name` must be a module path such as 'mmdf_jax.encoders.clip', found {name!r}")
    module, made = _find(name, allow)
    fields = {key: value for key, value in spec.items() if key not in ("name", "variant")}
    if "variant" in spec:
        variants = getattr(module, "VARIANTS", {})
        if spec["variant"] not in variants:
            raise ValueError(f"config: {name} has no variant {spec['variant']!r}; known: {', '.join(variants)}")
        fields = {**variants[spec["variant"]], **fields}
    signature = inspect.signature(made)
    known = [field for field in signature.parameters if field not in ("parent", "name")]
    anything = any(field.kind is field.VAR_KEYWORD for field in signature.parameters.values())
    if not anything and (unknown := sorted(set(fields) - set(known))):
        raise ValueError(f"config: {name} has no field {', '.join(unknown)}; known: {', '.join(known)}")
    built = {key: _build_nested(value, allow) for key, value in fields.items()}
    try:
        signature.bind(**built)
    except TypeError as error:
        raise ValueError(f"config: {name}: {error}; it takes {', '.join(known)}") from None
    return made(**built)


def _find(name: str, allow: Sequence[str]) -> tuple[Any, Callable[..., Any]]:
    """The module of a name, and what is to be called."""
    parent, _, last = name.rpartition(".")
    if parent in FAMILIES:
        module = importlib.import_module(parent)
        base = getattr(module, FAMILIES[parent])
        family = {
            key: value
            for key, value in vars(module).items()
            if key[0] != "_" and isinstance(value, type) and issubclass(value, base) and value is not base
        }
        if last not in family:
            raise ValueError(f"config: unknown {FAMILIES[parent].lower()} {name!r}; known: {', '.join(family)}")
        return module, family[last]
    if parent not in FILES and not any(name.startswith(package + ".") for package in allow):
        raise ValueError(
            f"config: {name!r} is outside the allowed packages {', '.join((*FILES, *FAMILIES, *allow))}; "
            "if you trust it, allow its package with --allow=PACKAGE"
        )
    if parent in FILES:
        module = _import(name)
        symbols = [FILES[parent]]
    elif last[0].isupper():
        module, symbols = _import(parent), [last]
    else:
        module, symbols = _import(name), [*dict.fromkeys(FILES.values())]
    defined = [getattr(module, symbol) for symbol in symbols if hasattr(module, symbol)]
    defined = [made for made in defined if callable(made) and made.__module__ == module.__name__]
    if len(defined) != 1:
        found = "none" if not defined else "several"
        raise ValueError(f"config: {name!r} must define one of {', '.join(symbols)}, found {found}")
    return module, defined[0]


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise ValueError(f"config: there is no module {name!r}") from None


def _build_nested(value: Any, allow: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        if "name" in value:
            return build(value, allow=allow)
        return {key: _build_nested(item, allow) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_build_nested(item, allow) for item in value)
    return value
