"""The plain-text table at the end of a run: overall, per manipulation method, and where the files are."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
NAME = 30  # columns for a method's name
ABSENT = "–"


def number(value: float, digits: int = 3) -> str:
    """Fixed point, or a dash for nan."""
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}"


def with_interval(value: float, low: float, high: float) -> str:
    """`0.912 [0.861, 0.946]`, without the brackets where there is no interval."""
    return number(value) + ("" if math.isnan(low) else f" [{number(low)}, {number(high)}]")


def render(
    row: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    files: Sequence[str | os.PathLike] = (),
    *,
    target: str = "label",
    title: str = "test split",
) -> str:
    """A text of at most 100 columns (file paths apart) from results.summarise's row and results.per_method's rows.

    target: the label that the row was judged by. title: what was scored.
    """
    return "\n".join([*_overall(row, target, title), "", *_per_method(methods), *_files(files)])


def _overall(row: Mapping[str, Any], target: str, scored: str) -> list[str]:
    title = " · ".join(part for part in (row["Model"], row["Modality"]) if part) or "Results"
    clips = f"{row['Clips']} clips of {row['Identities']} identities"
    lines = ["─" * WIDTH, _fit(f"{title} · {scored}: {clips}", WIDTH), "─" * WIDTH]
    if target != "label":
        lines.append(f"Judged by {target}: a clip whose {target.split('_')[0]} is real counts as real.")
    if row["Abstained"]:
        lines.append(f"Abstained from {row['Abstained']} more: they have no score and stand in no number below.")
    if math.isnan(row["AUC"]):
        lines.append("AUC, EER and AP need real and fake clips: the test split has one class only.")
    if math.isnan(row["Threshold"]):
        lines.append("No threshold: the validation split lacks real or fake clips, so nothing was decided.")
    auc = with_interval(row["AUC"], row["AUC low"], row["AUC high"])
    ranking = (
        ("AUC", f"{auc} (95 % over identities)" if "[" in auc else auc),
        ("EER", number(row["EER"])),
        ("AP", number(row["AP"])),
        ("ECE", number(row["ECE"])),
    )
    decisions = [(name, number(row[name.capitalize()])) for name in ("accuracy", "precision", "recall")]
    decisions += [("F1", number(row["F1"])), ("on validation: accuracy", number(row["Best validation accuracy"]))]
    costs = (
        ("parameters", _quantity(row["Parameters (M)"], "M", 2)),
        ("training", _quantity(row["Training time (min)"], "min", 1)),
        ("inference", _quantity(row["Inference (ms/sample)"], "ms/clip", 1)),
        ("peak memory", _quantity(row["Peak memory (GB)"], "GB", 2)),
    )
    return [*lines, *_cells(*ranking), *_cells(("threshold", number(row["Threshold"])), *decisions), *_cells(*costs)]


def _quantity(value: float, unit: str, digits: int) -> str:
    return ABSENT if math.isnan(value) else f"{value:.{digits}f} {unit}"


def _cells(*pairs: tuple[str, str]) -> list[str]:
    """Name-value pairs on as few lines as fit; what is unknown is left out."""
    lines = [""]
    for name, value in pairs:
        if value == ABSENT:
            continue
        cell = f"{name} {value}"
        if lines[-1] and len(lines[-1]) + 3 + len(cell) > WIDTH:
            lines.append("")
        lines[-1] += f"{'   ' if lines[-1] else ''}{cell}"
    return [line for line in lines if line]


def _per_method(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    if not methods:
        return ["No fake clips, hence no table per method."]
    streams = list(dict.fromkeys(row["Score"] for row in methods if row["Score"] != "score"))
    streams = streams[: (WIDTH - NAME - 37) // 8]  # what the page is wide enough for; the CSV has all
    names = [stream.removeprefix("score_") for stream in streams]
    head = f"{'method (against all reals)':<{NAME}}{'fakes':>6}  {'AUC [95 %]':<22}{'recall':>7}"
    lines = [head + "".join(f"{_fit(name, 7):>8}" for name in names)]
    of_stream = {(row["Method"], row["Score"]): row["AUC"] for row in methods}
    for row in methods:
        if row["Score"] != "score":
            continue
        lines.append(
            f"{_fit(row['Method'], NAME - 1):<{NAME}}{row['Fakes']:>6}  "
            f"{with_interval(row['AUC'], row['AUC low'], row['AUC high']):<22}{number(row['Recall']):>7}"
            + "".join(f"{number(of_stream.get((row['Method'], stream), math.nan)):>8}" for stream in streams)
        )
    if streams:
        lines.append(f"{', '.join(names)}: AUC of that stream's own score against that stream's own label.")
    return lines


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _files(files: Sequence[str | os.PathLike]) -> list[str]:
    return ["", "Files:", *(f"  {os.fspath(file)}" for file in files)] if files else []
