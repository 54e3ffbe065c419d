"""What the config files share: their `key=value` arguments, and the sections that most of them want alike."""

from ml_collections import ConfigDict

SIZES = ("tiny", "base")


def parse_args(arg: str | None, **defaults: str | int | float | bool) -> ConfigDict:
    """Reads `data=folder,size=base` into typed values with these defaults.

    Raises:
      ValueError: an argument is unknown, given twice, not `key=value`, or not of its default's type.
    """
    values: dict[str, str | int | float | bool] = {}
    for item in filter(None, (arg or "").split(",")):
        key, separator, text = item.partition("=")
        if not separator or key not in defaults:
            raise ValueError(
                f"config argument {item!r} is not one of "
                + ", ".join(f"{name}={default}" for name, default in defaults.items())
            )
        if key in values:
            raise ValueError(f"config argument {key!r} is given twice")
        values[key] = _convert(key, text, defaults[key])
    merged = ConfigDict({**defaults, **values})
    if "size" in defaults and merged.size not in SIZES:
        raise ValueError(f"config argument size={merged.size!r} is not one of {', '.join(SIZES)}")
    return merged


def _convert(key: str, text: str, default: str | int | float | bool) -> str | int | float | bool:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        kind = type(default).__name__
        raise ValueError(f"config argument {key}={text!r}: expected a value of type {kind}") from None
