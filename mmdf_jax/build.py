"""build(spec): imports the module that spec.name names and calls its class with the rest. The only indirection.

A spec is plain data: `{"name": "mmdf_jax.encoders.clip", "variant": "tiny", "depth": 2}`. Its name *is* the file. A
run's saved config may come from a stranger, so only modules inside the project's own packages are ever imported, or
inside packages that the user allows by hand.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

PACKAGES = ("mmdf_jax.encoders", "mmdf_jax.fusion", "mmdf_jax.models", "mmdf_jax.tasks", "experiments.evaluators")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def build(spec: Mapping[str, Any], symbol: str = "Model", *, allow: Sequence[str] = ()) -> Any:
    """Builds what `spec` describes.

    Args:
      spec: `name` is a module path inside one of PACKAGES; `variant`, if there, picks a row of the module's VARIANTS;
        everything else goes to the class, and overrides the variant. Values that are specs themselves (also in dicts
        and lists) are built first, as Models.
      symbol: the class that the module exports for this purpose: "Model", "Task" or "Evaluator".
      allow: further packages that names may lie in.

    Raises:
      ValueError: the name lies outside the allowed packages, does not exist, or exports no such class; the variant or
        a field is unknown.
    """
    name = spec.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"config: `name` must be a module path such as 'mmdf_jax.encoders.clip', found {name!r}")
    packages = (*PACKAGES, *allow)
    if not any(name.startswith(package + ".") for package in packages):
        raise ValueError(
            f"config: {name!r} is outside the allowed packages {', '.join(packages)}; "
            "if you trust it, allow its package with --allow=PACKAGE"
        )
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise ValueError(f"config: there is no module {name!r}") from None
    cls = getattr(module, symbol, None)
    if not isinstance(cls, type) or cls.__module__ != name:
        raise ValueError(f"config: {name!r} defines no class {symbol}")

    fields = {key: value for key, value in spec.items() if key not in ("name", "variant")}
    if "variant" in spec:
        variants = getattr(module, "VARIANTS", {})
        if spec["variant"] not in variants:
            raise ValueError(f"config: {name} has no variant {spec['variant']!r}; known: {', '.join(variants)}")
        fields = {**variants[spec["variant"]], **fields}
    known = [field for field in cls.__dataclass_fields__ if field not in ("parent", "name")]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError(f"config: {name}.{symbol} has no field {', '.join(unknown)}; known: {', '.join(known)}")
    return cls(**{key: _build_nested(value, allow) for key, value in fields.items()})


def _build_nested(value: Any, allow: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        if "name" in value:
            return build(value, allow=allow)
        return {key: _build_nested(item, allow) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_build_nested(item, allow) for item in value)
    return value
