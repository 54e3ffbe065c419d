"""Late fusion as a run: the score tables of several detectors to one, without a model of its own.

A member is a config to train, as a run of its own in `<workdir>/members/<name>`, or a folder of score tables (val.csv,
test.csv) of any run or of anybody's detector.
"""

import csv
import dataclasses
import functools
import pathlib
import re
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import distributed, experiment, run_directory, score_table
from experiments.evaluators.scoring import ABSTAINED
from experiments.experiment import Produced
from experiments.figures import fusion_weights
from experiments.run_directory import log
from experiments.score_table import OK, ScoreRow
from experiments.termination import Termination
from mmdf_jax.fusion import late
from mmdf_jax.metrics.classification import auc
from mmdf_jax.stats.bootstrap import draws
from mmdf_jax.tasks.detection import STREAM_LABELS, TARGETS, judged_label

TRAINED, TABLES = ("config", "compares"), ("scores", "column", "label", "compares")
WEIGHT_COLUMNS = ("Fusion", "Weight", "Value", "Low", "High")
WEIGHTED = ("weighted", "noisy_or", "noisy_or_sync", "logistic", "logistic_sync")
RESAMPLES = 200  # of the fits, at most; their percentiles are for a figure
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Member:
    """A detector's score tables: `column` holds P(fake), judged by the clip's column `label`."""

    name: str
    folder: pathlib.Path
    column: str
    label: str
    compares: bool


@dataclasses.dataclass(frozen=True)
class Producer:
    """Fuses `config.members` by `config.fusion`, and by all other fusions of mmdf_jax/fusion/late.py beside it."""

    def check(self, config: Mapping[str, Any], allow: Sequence[str]) -> None:
        """Refuses what is wrong with the members before any of them is trained.

        Raises:
          ValueError: `config.<name>: …`.
        """
        members = config["members"]
        if len(members) < 2:
            raise ValueError(f"config.members: expected two detectors or more to fuse, found {len(members)}")
        for name, spec in members.items():
            where = f"config.members.{name}"
            if not _NAME.fullmatch(name):
                raise ValueError(f"{where}: expected a name of small letters, digits and _")
            if ("config" in spec) == ("scores" in spec):
                raise ValueError(f"{where}: expected either `config` (to train) or `scores` (a folder of score tables)")
            known = TRAINED if "config" in spec else TABLES
            if unknown := sorted(set(spec) - set(known)):
                raise ValueError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(known)}")
            if "label" in spec and spec["label"] not in TARGETS:
                raise ValueError(f"{where}.label={spec['label']}: expected one of {', '.join(TARGETS)}")
            if "config" in spec:
                _member_config(name, spec["config"], config["override"])
        compares = tuple(bool(spec.get("compares")) for spec in members.values())
        empty = np.zeros((0, len(members)))
        known = late.available(late.Data(tuple(members), empty, empty, empty[:, 0], empty[:, 0], compares))
        if config["fusion"] not in known:
            raise ValueError(f"config.fusion={config['fusion']}: with these members expected one of {', '.join(known)}")

    def evaluator(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The report that compares fusions."""
        compares = [name for name, spec in config["members"].items() if spec.get("compares")]
        return {
            "name": "experiments.evaluators.late_fusion",
            "fusion": config["fusion"],
            "comparisons": compares,
        }

    def produce(
        self, config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str], termination: Termination
    ) -> Produced:
        """Trains the members that are not there, and writes the fused score tables of validation and test."""
        members = [_member(name, spec, config, workdir, allow) for name, spec in config["members"].items()]
        if not distributed.is_primary():
            return Produced({}, None, {})
        run_directory.start_log(workdir, primary=True)  # the members' runs have written to their own
        rows = {split: _joined(members, split) for split in ("val", "test")}
        if both := {row.clip_id for row, _ in rows["val"]} & {row.clip_id for row, _ in rows["test"]}:
            raise ValueError(
                f"clip {min(both)!r} is in validation and in test of the members' tables: expected disjoint splits"
            )
        val, test = (_data(members, rows[split]) for split in ("val", "test"))
        _refuse_or_warn(val)
        fused = {}
        for name in late.available(val):
            fused[name] = late.cross_fitted(name, val), late.fit(name, val).apply(test.scores)
        for i, split in enumerate(("val", "test")):
            columns = {name: both[i] for name, both in fused.items()}
            table = _fused_rows(members, rows[split], columns, config["fusion"])
            score_table.write(workdir / "scores" / f"{split}.csv", table)
        weights = _weights(val, min(RESAMPLES, config["evaluate"]["bootstrap"]))
        score_table.write_csv(workdir / "fusion_weights.csv", WEIGHT_COLUMNS, weights)
        figures = {"fusion_weights": fusion_weights.draw(weights, title=f"{workdir.name}: what each fusion weighs")}
        run = {
            "model": f"late fusion ({config['fusion']})",
            "modality": " + ".join(member.name for member in members),
            **_costs(members),
        }
        return Produced(run, None, figures, [workdir / "fusion_weights.csv"])


def _member(
    name: str, spec: Mapping[str, Any], config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str]
) -> Member:
    compares = bool(spec.get("compares"))
    if "scores" in spec:
        column = spec.get("column", "score")
        label = spec.get("label", STREAM_LABELS.get(column.removeprefix("score_"), "label"))
        return Member(name, pathlib.Path(spec["scores"]), column, label, compares)
    own = _member_config(name, spec["config"], config["override"])
    experiment.run(own, workdir / "members" / name, allow)
    label = own.get("task", {}).get("target", "label")
    return Member(name, workdir / "members" / name / "scores", "score", label, compares)


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


def _joined(members: Sequence[Member], split: str) -> list[tuple[ScoreRow, list[ScoreRow | None]]]:
    """Each clip that any member's table has: what is known of it, and the row of each member, None without one."""
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
        found.append((functools.reduce(_completed, there), rows))
    for member, table in zip(members, tables, strict=True):
        if missing := len(found) - len(table):
            log.warning("%s: %d of %d clips of %s are not in its table", member.name, missing, len(found), split)
    return found


def _completed(row: ScoreRow, other: ScoreRow) -> ScoreRow:
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


def _data(members: Sequence[Member], rows: Sequence[tuple[ScoreRow, list[ScoreRow | None]]]) -> late.Data:
    nan = float("nan")
    names = {group: code for code, group in enumerate(sorted({row.group for row, _ in rows}))}
    return late.Data(
        tuple(member.name for member in members),
        np.array([[nan if row is None else row.score for row in own] for _, own in rows]),
        np.array([[_own_label(row, member) for member in members] for row, _ in rows]),
        np.array([row.label for row, _ in rows]),
        np.array([names[row.group] for row, _ in rows]),
        tuple(member.compares for member in members),
    )


def _own_label(row: ScoreRow, member: Member) -> int:
    """The label that a member answers for; -1 where the clip says nothing about the member.

    A comparison of streams answers for clips whose streams are real and disagree. Other fakes may be in step or not.
    """
    if member.compares and row.label == 1 and row.video_label >= 0 and row.audio_label >= 0:
        return 1 if row.video_label == row.audio_label == 0 else -1
    return judged_label(row, member.label)


def _refuse_or_warn(val: late.Data) -> None:
    if len(kinds := set(val.labels.tolist())) < 2:
        kind = "fake" if 1 in kinds else "real"
        raise ValueError(f"late fusion is fitted on validation, which has {len(val.labels)} {kind} clips and no other")
    for i, name in enumerate(val.names):
        known = ~np.isnan(val.scores[:, i]) & (val.own[:, i] >= 0)
        if not auc(val.own[known, i], val.scores[known, i]) > 0.5:
            log.warning("%s: on validation its fakes do not score higher than its reals", name)


def _fused_rows(
    members: Sequence[Member],
    rows: Sequence[tuple[ScoreRow, list[ScoreRow | None]]],
    fused: Mapping[str, np.ndarray],
    fusion: str,
) -> list[ScoreRow]:
    table = []
    for i, (row, own) in enumerate(rows):
        extra = {"partial": row.extra["partial"]} if "partial" in row.extra else {}
        for member, its in zip(members, own, strict=True):
            extra[f"score_{member.name}"] = float("nan") if its is None else its.score
        extra |= {f"fused_{name}": float(values[i]) for name, values in fused.items() if name != fusion}
        score = float(fused[fusion][i])
        status = OK if score == score else row.status if row.status != OK else ABSTAINED
        table.append(dataclasses.replace(row, score=score, status=status, extra=extra))
    return table


def _weights(val: late.Data, resamples: int) -> list[dict[str, Any]]:
    """What each fusion has fitted, with the 2.5 and 97.5 percentiles of fits to resampled identities."""
    people = [np.flatnonzero(val.groups == group) for group in np.unique(val.groups)]
    samples = []
    for times in draws(len(people), resamples, seed=0):
        resample = val.take(np.concatenate([np.tile(rows, n) for rows, n in zip(people, times, strict=True)]))
        if len(set(resample.labels.tolist())) == 2:
            samples.append(resample)
    table = []
    for name in late.available(val):
        if name not in WEIGHTED:
            continue
        penalty = late.chosen_penalty(name, val)
        fits = [late.fit(name, resample, penalty).weights for resample in samples]
        for weight, value in late.fit(name, val, penalty).weights.items():
            spread = [fit[weight] for fit in fits if weight in fit] or [float("nan")]
            low, high = np.quantile(spread, [0.025, 0.975]).tolist()
            table.append({"Fusion": name, "Weight": weight, "Value": value, "Low": low, "High": high})
    return table


def _costs(members: Sequence[Member]) -> dict[str, float]:
    """The sums of the members' costs, as far as all of them are trained here; memory is the largest."""
    rows = []
    for member in members:
        path = member.folder.parent / "results.csv"
        if member.column != "score" or not path.is_file():
            return {}
        with open(path, newline="", encoding="utf-8") as file:
            rows.append(next(csv.DictReader(file)))
    columns = {
        "parameters_m": ("Parameters (M)", sum),
        "train_minutes": ("Training time (min)", sum),
        "inference_ms": ("Inference (ms/sample)", sum),
        "peak_memory_gb": ("Peak memory (GB)", max),
    }
    return {key: reduce([float(row[name] or "nan") for row in rows]) for key, (name, reduce) in columns.items()}
