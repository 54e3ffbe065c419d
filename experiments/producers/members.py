"""The members of a fusion: detectors, trained here or anybody's, whose score tables are joined clip by clip."""

import dataclasses
import functools
import math
import pathlib
import re
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import experiment, model_from_config, run_directory, score_table
from experiments.evaluators.scoring import ABSTAINED
from experiments.run_directory import log
from experiments.score_table import OK, ScoreRow
from mmdf_jax.fusion import late
from mmdf_jax.metrics.classification import auc
from mmdf_jax.tasks.detection import STREAM_LABELS, TARGETS, own_label

# What a member may be, and the keys that describe it.
KINDS = {
    "config": ("compares",),
    "run": ("column", "label", "compares"),
    "scores": ("column", "label", "compares", "ms", "parameters_m"),
}
RESERVED = (late.OFFSET, late.MISSING)  # weights that a fusion may have beside those of its members
COSTS = {  # {what a run says of itself: (its column of results.csv, how the costs of several add up)}
    "parameters_m": ("Parameters (M)", sum),
    "train_minutes": ("Training time (min)", sum),
    "inference_ms": ("Inference (ms/sample)", sum),
    "peak_memory_gb": ("Peak memory (GB)", max),
}
SPLITS = ("val", "test")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Member:
    """A detector's score tables: `column` holds P(fake), judged by the clip's column `label`.

    run: the trained run that made them, None for tables from outside. costs: what the detector costs, with keys of
    COSTS, as far as it is known.
    """

    name: str
    folder: pathlib.Path
    column: str
    label: str
    compares: bool
    run: pathlib.Path | None = None
    costs: Mapping[str, float] = dataclasses.field(default_factory=dict)


# A clip with what is known of it, and the row of each member, None where its table lacks the clip.
Joined = tuple[ScoreRow, list[ScoreRow | None]]


def check(members: Mapping[str, Mapping[str, Any]], override: Mapping[str, Any]) -> None:
    """Refuses what is wrong with `config.members` before any of them is trained.

    Raises:
      ValueError: `config.members.<name>: …`.  FileNotFoundError: a config to train is not there.
    """
    for name, spec in members.items():
        where = f"config.members.{name}"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{where}: expected a name of small letters, digits and _")
        if name in RESERVED:
            raise ValueError(f"{where}: {name} is the name of a fusion's own weight; choose another")
        kinds = [kind for kind in KINDS if kind in spec]
        if len(kinds) != 1:
            raise ValueError(
                f"{where}: expected one of `config` (to train), `run` (a trained run) and `scores` (a folder of score "
                f"tables), found {' and '.join(kinds) or 'none of them'}"
            )
        known = (kinds[0], *KINDS[kinds[0]])
        if unknown := sorted(set(spec) - set(known)):
            raise ValueError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(known)}")
        if "label" in spec and spec["label"] not in TARGETS:
            raise ValueError(f"{where}.label={spec['label']}: expected one of {', '.join(TARGETS)}")
        for cost in ("ms", "parameters_m"):
            if cost in spec and not (isinstance(spec[cost], int | float) and 0 <= spec[cost] < math.inf):
                raise ValueError(f"{where}.{cost}={spec[cost]}: expected a number of at least 0")
        if "config" in spec:
            _member_config(name, spec["config"], override)


def make(config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str]) -> list[Member]:
    """The members that `config.members` describes; those with a `config` are trained if they are not there yet.

    The tables of all others are read first, so that a missing or wrong one is told before hours of training.

    Raises:
      FileNotFoundError, ValueError: a run, a table or a results.csv is missing or wrong; or as `experiment.run`.
    """
    there = {name: _existing(name, spec, allow) for name, spec in config["members"].items() if "config" not in spec}
    for member in there.values():
        for split in SPLITS:
            _read(member, split)
    return [
        there[name] if name in there else _trained(name, spec, config["override"], workdir, allow)
        for name, spec in config["members"].items()
    ]


def _trained(
    name: str, spec: Mapping[str, Any], override: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str]
) -> Member:
    """The member of a config, trained as a run of its own."""
    own, run = _member_config(name, spec["config"], override), workdir / "members" / name
    experiment.run(own, run, allow)
    label, compares = model_from_config.judged_by(own, allow), bool(spec.get("compares"))
    return Member(name, run / "scores", "score", label, compares, run, _costs_in(name, run))


def _existing(name: str, spec: Mapping[str, Any], allow: Sequence[str]) -> Member:
    """The member of a trained run, or of score tables; they are not read yet."""
    column = spec.get("column", "score")
    label = spec.get("label", STREAM_LABELS.get(column.removeprefix("score_"), "label"))
    folder, run = pathlib.Path(spec["scores"] if "scores" in spec else spec["run"]), None
    if "run" in spec:
        folder, run = folder / "scores", folder
        own = run_directory.read_config(run)
        if column == "score" and "label" not in spec:
            label = model_from_config.judged_by(own, allow)
    stated = {"inference_ms": spec.get("ms"), "parameters_m": spec.get("parameters_m")}
    costs = {cost: float(value) for cost, value in stated.items() if value is not None}
    if not costs and column == "score":  # a stream's column costs less than its whole run
        costs = _costs_in(name, folder.parent)
    return Member(name, folder, column, label, bool(spec.get("compares")), run, costs)


def _costs_in(name: str, run: pathlib.Path) -> dict[str, float]:
    """What the results.csv of a run says that it costs; empty where there is none.

    Raises:
      ValueError: the file is not that of a run.
    """
    path = run / "results.csv"
    if not path.is_file():
        return {}
    try:
        row = run_directory.read_results(run)
        if lacking := [column for column, _ in COSTS.values() if column not in row]:
            raise ValueError(f"{path}: column {lacking[0]!r} is missing")
        return {cost: float(row[column] or "nan") for cost, (column, _) in COSTS.items()}
    except ValueError as error:
        raise ValueError(
            f"{error}; expected the results.csv of a run, which says what member {name} costs. Move the file away, or "
            f"give the tables as `scores` and state their `ms` and `parameters_m`"
        ) from None


def _member_config(name: str, flag: str, override: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a member to train, with what `config.override` sets."""
    path, _, arg = flag.partition(":")
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"config.members.{name}.config={flag}: no such file")
    own = runpy.run_path(path)["get_config"](arg).to_dict()
    return _overridden(own, override, f"config.override, member {name} ({path})")


def _overridden(config: Mapping[str, Any], override: Mapping[str, Any], where: str) -> dict[str, Any]:
    if unknown := sorted(set(override) - set(config)):
        raise ValueError(f"{where}: there is no setting {unknown[0]!r}; known: {', '.join(sorted(config))}")
    nested = {
        key: _overridden(config[key], value, f"{where}: {key}")
        if isinstance(value, Mapping) and isinstance(config[key], Mapping) and config[key]
        else value
        for key, value in override.items()
    }
    return {**config, **nested}


def joined(members: Sequence[Member]) -> dict[str, list[Joined]]:
    """{split: each clip that any member's table has} of validation and test.

    Raises:
      FileNotFoundError, ValueError: a table is missing, wrong or of other clips; or the splits share a clip.
    """
    rows = {split: _joined(members, split) for split in SPLITS}
    if both := {row.clip_id for row, _ in rows["val"]} & {row.clip_id for row, _ in rows["test"]}:
        raise ValueError(
            f"clip {min(both)!r} is in validation and in test of the members' tables: expected disjoint splits"
        )
    return rows


def _joined(members: Sequence[Member], split: str) -> list[Joined]:
    tables = [_read(member, split) for member in members]
    for member, table in zip(members[1:], tables[1:], strict=True):
        if not set(table) & set(tables[0]):
            raise ValueError(
                f"{member.folder / split}.csv: no clip of it is in {members[0].folder / split}.csv, "
                f"which members {member.name} and {members[0].name} are joined by"
            )
    found = []
    for clip_id in dict.fromkeys(clip_id for table in tables for clip_id in table):
        rows = [table.get(clip_id) for table in tables]
        there = [row for row in rows if row is not None]
        labels = {row.label for row in there}
        if len(labels) > 1:
            raise ValueError(f"clip {clip_id!r} of {split}: the members' tables do not agree whether it is fake")
        found.append((functools.reduce(completed, there), rows))
    for member, table in zip(members, tables, strict=True):
        if missing := len(found) - len(table):
            log.warning("%s: %d of %d clips of %s are not in its table", member.name, missing, len(found), split)
    return found


def completed(row: ScoreRow, other: ScoreRow) -> ScoreRow:
    """`row`, with what only `other` says of the clip."""
    texts = {name: getattr(row, name) or getattr(other, name) for name in ("dataset", "identity", "method")}
    labels = {name: max(getattr(row, name), getattr(other, name)) for name in ("video_label", "audio_label")}
    return dataclasses.replace(row, **texts, **labels, extra={**other.extra, **row.extra})


def _read(member: Member, split: str) -> dict[str, ScoreRow]:
    """{clip: row with the member's score in `score`}.

    Raises:
      FileNotFoundError, ValueError: as score_table.read, or the table lacks the member's column.
    """
    path = member.folder / f"{split}.csv"
    rows = score_table.read(path)
    if not rows:
        raise ValueError(f"{path} (member {member.name}): expected clips, found an empty table")
    if member.column != "score":
        columns = list(dict.fromkeys(name for row in rows for name in row.extra))
        if member.column not in columns:
            raise ValueError(
                f"{path}: no column {member.column!r}, which member {member.name} needs; found {', '.join(columns)}"
            )
        values = [row.extra[member.column] for row in rows]
        if bad := [value for value in values if isinstance(value, str) or not (value != value or 0 <= value <= 1)]:
            raise ValueError(f"{path}, column {member.column}: expected numbers in [0, 1], found {bad[0]!r}")
        rows = [dataclasses.replace(row, score=value) for row, value in zip(rows, values, strict=True)]
    if not any(row.scored for row in rows):
        raise ValueError(f"{path}: member {member.name} has no score in column {member.column!r}")
    return {row.clip_id: row for row in rows}


def data(members: Sequence[Member], rows: Sequence[Joined], lacking: float = math.nan) -> late.Data:
    """The scores, labels and identities of joined rows; lacking: the score of a clip that a member's table lacks."""
    names = {group: code for code, group in enumerate(sorted({row.group for row, _ in rows}))}
    return late.Data(
        tuple(member.name for member in members),
        np.array([[lacking if row is None else row.score for row in own] for _, own in rows]),
        np.array([[own_label(row, member.label, member.compares) for member in members] for row, _ in rows]),
        np.array([row.label for row, _ in rows]),
        np.array([names[row.group] for row, _ in rows]),
        tuple(member.compares for member in members),
    )


def warn_of_uninformative(val: late.Data) -> None:
    """Warns of each member whose fakes do not score higher than its reals on validation."""
    for i, name in enumerate(val.names):
        known = ~np.isnan(val.scores[:, i]) & (val.own[:, i] >= 0)
        if not auc(val.own[known, i], val.scores[known, i]) > 0.5:
            log.warning("%s: on validation its fakes do not score higher than its reals", name)


def fused_rows(
    members: Sequence[Member], rows: Sequence[Joined], score: np.ndarray, others: Mapping[str, np.ndarray]
) -> list[ScoreRow]:
    """The score table of a fusion: its `score` [n], `score_<member>`, and `others` {column: [n]}."""
    table = []
    for i, (row, own) in enumerate(rows):
        extra = {"partial": row.extra["partial"]} if "partial" in row.extra else {}
        for member, its in zip(members, own, strict=True):
            extra[f"score_{member.name}"] = float("nan") if its is None else its.score
        extra |= {name: float(values[i]) for name, values in others.items()}
        value = float(score[i])
        status = OK if value == value else row.status if row.status != OK else ABSTAINED
        table.append(dataclasses.replace(row, score=value, status=status, extra=extra))
    return table


def costs(members: Sequence[Member]) -> dict[str, float]:
    """What all members cost together, as far as it is known of each of them; memory is the largest."""
    return {
        cost: add([member.costs[cost] for member in members])
        for cost, (_, add) in COSTS.items()
        if all(cost in member.costs for member in members)
    }
