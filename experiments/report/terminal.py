"""The pieces of every report on the terminal: a heading, name-value pairs, costs, the list of files."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
ABSENT = "–"


def number(value: float, digits: int = 3) -> str:
    """Fixed point, or a dash for nan."""
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}"


def with_interval(value: float, low: float, high: float) -> str:
    """`0.912 [0.861, 0.946]`, without the brackets where there is no interval."""
    return number(value) + ("" if math.isnan(low) else f" [{number(low)}, {number(high)}]")


def gain(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """`+0.031 [+0.004, +0.058]`, without the brackets where there is no interval; a dash for nan."""
    if math.isnan(value):
        return ABSENT
    signed = [f"{round(x, 3) + 0.0:+.3f}" for x in (value, low, high)]  # no -0.000
    return signed[0] + ("" if math.isnan(low) else f" [{signed[1]}, {signed[2]}]")


def heading(row: Mapping[str, Any], what: str) -> list[str]:
    """The `Model` and `Modality` of a row of results.csv and what was scored, between rules."""
    title = " · ".join(part for part in (row["Model"], row["Modality"]) if part) or "Results"
    return ["─" * WIDTH, fit(f"{title} · {what}", WIDTH), "─" * WIDTH]


def costs(row: Mapping[str, Any]) -> list[str]:
    """The costs of a row of results.csv, as far as they are known."""
    return cells(
        ("parameters", _quantity(row["Parameters (M)"], "M", 2)),
        ("training", _quantity(row["Training time (min)"], "min", 1)),
        ("inference", _quantity(row["Inference (ms/sample)"], "ms/clip", 1)),
        ("peak memory", _quantity(row["Peak memory (GB)"], "GB", 2)),
    )


def _quantity(value: float, unit: str, digits: int) -> str:
    return ABSENT if math.isnan(value) else f"{value:.{digits}f} {unit}"


def cells(*pairs: tuple[str, str]) -> list[str]:
    """Name-value pairs on as few lines as fit, without the unknown ones."""
    lines = [""]
    for name, value in pairs:
        if value == ABSENT:
            continue
        cell = f"{name} {value}"
        if lines[-1] and len(lines[-1]) + 3 + len(cell) > WIDTH:
            lines.append("")
        lines[-1] += f"{'   ' if lines[-1] else ''}{cell}"
    return [line for line in lines if line]


def fit(text: str, width: int) -> str:
    """The text, cut to `width` columns."""
    return text if len(text) <= width else text[: width - 1] + "…"


def files(paths: Sequence[str | os.PathLike]) -> list[str]:
    """A list of what was written."""
    return ["", "Files:", *(f"  {os.fspath(path)}" for path in paths)] if paths else []
