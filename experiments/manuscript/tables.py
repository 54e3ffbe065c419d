"""The tables of a paper, from those of the study: cells as they are to be read, each number with its interval."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.analysis import compare
from experiments.evaluators.comparison import p_value
from experiments.manuscript import wording
from experiments.manuscript.source import Row, Study
from experiments.report.terminal import ABSENT
from experiments.study.results import SINGLE

_LABELS = {"label": "clip", "video_label": "picture", "audio_label": "voice"}
_VERDICTS = {compare.EQUAL: "equal in practice", compare.ABSENT: "not tested"}


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text. A row of one cell is a heading of the rows below it. left: columns of words, not of numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)


def make(study: Study) -> dict[str, Table]:
    """{name: table} of a study."""
    makers: dict[str, Callable[[Study], Table]] = {
        "detectors": _detectors,
        "claims": _claims,
        "fusions": _fusions,
        "methods": _methods,
        "localisation": _localisation,
        "calibration": _calibration,
        "ablations": _ablations,
        "settings": _settings,
    }
    return {name: maker(study) for name, maker in makers.items()}


def number(value: float, digits: int = 3) -> str:
    """`.978`, or a dash: a table of shares needs no zeros before the point."""
    if math.isnan(value):
        return ABSENT
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def interval(row: Mapping[str, Any] | None, name: str) -> str:
    """`.978 [.960, .988]` of a column and its limits."""
    if row is None:
        return ABSENT
    low, high = (row.get(f"{name} {end}", math.nan) for end in ("low", "high"))
    return number(row[name]) + ("" if math.isnan(low) else f" [{number(low)}, {number(high)}]")


def signed(row: Mapping[str, Any], name: str) -> str:
    """`+.031 [+.004, +.058]` of a difference."""

    def one(value: float) -> str:
        return ("+" if value >= 0 else "−") + number(abs(value))

    if math.isnan(row[name]):
        return ABSENT
    low, high = (row[f"{name} {end}"] for end in ("low", "high"))
    return one(row[name]) + ("" if math.isnan(low) else f" [{one(low)}, {one(high)}]")


def _detectors(study: Study) -> Table:
    def measured(name: str, metric: str, label: str) -> str:
        row = study.quality(name, metric, label)
        return (
            ABSENT
            if row is None
            else interval({metric: row["Value"], f"{metric} low": row["Low"], f"{metric} high": row["High"]}, metric)
        )

    groups: dict[str, list[Sequence[str]]] = {}
    for one in study.detectors:
        own = [measured(one.name, metric, one.judged_by) for metric in ("AUC", "EER", "Accuracy", "F1", "ECE")]
        row = (wording.short(one.name), _LABELS[one.judged_by], *own, measured(one.name, "AUC", "label"))
        groups.setdefault(_group(one.part), []).append(row)
    rows = [row for group, own in groups.items() for row in ((group,), *own)]
    columns = ("detector", "judged by", "AUC", "EER", "accuracy", "F1", "ECE", "AUC, clip")
    return Table(columns, rows, (0, 1))


def _group(part: str) -> str:
    if part in ("", "08"):
        return "synchrony" if part else "from outside"
    stream = SINGLE.get(3 if part == "09" else int(part))
    return {"image": "pictures", "audio": "voices", "video": "video"}.get(stream or "", "several streams")


def _claims(study: Study) -> Table:
    rows: list[Sequence[str]] = []
    before = ""
    for row in study.claims:
        if row["Family"] != before:
            before = row["Family"]
            unit = {"auc": "AUC", "brier": "Brier score"}[row["Metric"]]
            rows.append((f"{before} ({unit})",))
        sides = [wording.short(row[which]) + "*" * (row[f"{which} chosen from"] > 1) for which in ("Better", "Than")]
        verdict = _VERDICTS.get(row["Verdict"], row["Verdict"])
        facts = [signed(row, "Gain"), p_value(row["Holm p"]), _plain(row["d over identities"], 2)]
        rows.append((*sides, *facts, verdict, number(row["Smallest gain shown at the power"])))
    return Table(("better", "than", "gain", "Holm p", "d", "verdict", "smallest"), rows, (0, 1, 5))


def _plain(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else ABSENT


def _fusions(study: Study) -> Table:
    names = {one.name.rpartition("-")[2]: one.name for one in study.detectors}
    rows = [
        (
            wording.short(names.get(row["Detector"], row["Detector"])),
            row["Kind"],
            interval(row, "AUC"),
            signed(row, "Difference"),
            p_value(row["Holm p"]),
        )
        for row in study.tables["fusion_comparison"]
    ]
    return Table(("detector", "kind", "AUC", "difference", "Holm p"), rows, (0, 1))


def _methods(study: Study) -> Table:
    of = {one.name: study.by_method(one.name) for one in study.detectors}
    methods = list(dict.fromkeys(name for rows in of.values() for name in rows))
    rows = [
        (wording.short(name), *(interval(found.get(method), "Clip AUC") for method in methods))
        for name, found in of.items()
    ]
    return Table(("detector", *(name.replace("_", " ") for name in methods)), rows)


def _localisation(study: Study) -> Table:
    rows: list[Sequence[str]] = [("types: macro F1",)]
    rows += [(row["System"], interval(row, "Macro-F1")) for row in study.table("hierarchical", "types")]
    for overlap in ("0.5", "0.75"):
        rows.append((f"segments: AP at overlap {overlap}",))
        for row in study.table("hierarchical", "segments"):
            rows.append((wording.method(row["Fakes"]), interval(row, f"AP@{overlap}")))
    if regions := study.table("hierarchical", "regions"):
        rows.append(("regions: AUC over cells",))
        rows += [(row["Map"], interval(row, "Pixel AUC")) for row in regions]
    return Table(("", "value"), rows)


def _calibration(study: Study) -> Table:
    names = ("Brier", "ECE", "Log-loss", "Cllr", "Cllr min")
    rows = [(row["Score"], *(interval(row, name) for name in names)) for row in study.table("system", "calibration")]
    return Table(("score", "Brier", "ECE", "log-loss", "Cllr", "minimum"), rows)


def _ablations(study: Study) -> Table:
    rows: list[Sequence[str]] = [("cross-attention, by the clip's label",)]
    rows += [_part(row["Rival"], row) for row in study.table("cross_attn", "fusion")]
    rows.append(("temporal consistency, by whether the picture is fake",))
    for row in study.table("temporal_consistency", "rivals"):
        kind, _, name = row["Score"].partition("_")
        rows.append(_part(f"{name}, logistic regression" if kind == "baseline" else f"branch {name}", row))
    rows += [_part(f"frames {row['Score']}", row) for row in study.table("temporal_consistency", "conditions")]
    rows.append(("rules of late fusion, minus the best single stream",))
    fused = [row for row in study.table("late_fusion", "fusion_comparison") if row["Kind"].startswith("fusion")]
    rows += [_part(row["Detector"].replace("_", " "), row) for row in fused]
    return Table(("", "AUC", "difference"), rows)


def _part(name: str, row: Row) -> Sequence[str]:
    return name, interval(row, "AUC"), signed(row, "Difference")


def _settings(study: Study) -> Table:
    rows = []
    for one in study.detectors:
        if not one.part:
            continue
        config, result = study.config(one.name), study.result(one.name)
        streams = ", ".join(config["data"]["streams"]) if "data" in config else f"{len(config['members'])} detectors"
        train = config.get("train", {})
        rows.append(
            (
                wording.short(one.name),
                streams,
                str(train.get("steps", ABSENT)),
                str(config.get("data", {}).get("batch_size", ABSENT)),
                _plain(result["Parameters (M)"], 2),
                _plain(result["Training time (min)"], 1),
                _plain(result["Inference (ms/sample)"], 1),
                _plain(result["Peak memory (GB)"], 1),
            )
        )
    columns = ("detector", "reads", "steps", "batch", "parameters (M)", "minutes", "ms/clip", "GB")
    return Table(columns, rows, (0, 1))
