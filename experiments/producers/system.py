"""The integrated system as a run: members chosen, combined and calibrated on validation, and written as system.json.

A pipeline is a way to choose members and a way to combine them. Every pipeline is scored on validation by nested
cross-validation over identities: choice, calibration and weights all know nothing of the person that they score. The
pipeline whose scores, once calibrated, have the least log-loss becomes the system.
"""

import collections
import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import distributed, operating_points, progress, run_directory, score_table, system_file
from experiments.experiment import Produced
from experiments.operating_points import Limits
from experiments.producers import members
from experiments.report import terminal
from experiments.report.terminal import number
from experiments.run_directory import log
from experiments.score_table import Table
from experiments.system_file import System
from experiments.termination import Termination
from mmdf_jax.fusion import late, selection
from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.classification import auc

MISSING = {"present": math.nan, "exclude": math.nan, "as_real": 0.0, "as_fake": 1.0, "as_chance": 0.5}
SELECTIONS = ("single", "greedy", "budget", "all")
BUDGETS = {"ms": "inference_ms", "parameters_m": "parameters_m"}  # {key of config.budget: of members.COSTS}


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A selection and an ensemble, and what they chose and scored on validation."""

    selection: str
    ensemble: str
    choice: selection.Choice

    @property
    def name(self) -> str:
        return self.selection if self.selection == "single" else f"{self.selection}_{self.ensemble}"


@dataclasses.dataclass(frozen=True)
class Producer:
    """Makes a system of `config.members`."""

    def check(self, config: Mapping[str, Any], allow: Sequence[str]) -> None:
        """Refuses what is wrong with the config before any member is trained.

        Raises:
          ValueError: `config.<name>: …`.
        """
        specs = config["members"]
        if not specs:
            raise ValueError("config.members: expected a detector or more, found none; see configs/system.py")
        members.check(specs, config["override"])
        for name, known in (("selections", SELECTIONS), ("ensembles", late.ENSEMBLES)):
            if not config[name]:
                raise ValueError(f"config.{name}: expected one or more of {', '.join(known)}, found none")
            if wrong := [value for value in config[name] if value not in known]:
                raise ValueError(f"config.{name}: {wrong[0]!r} is not one of {', '.join(known)}")
        if config["missing"] not in MISSING:
            raise ValueError(f"config.missing={config['missing']}: expected one of {', '.join(MISSING)}")
        if unknown := sorted(set(config["budget"]) - set(BUDGETS)):
            raise ValueError(f"config.budget: unknown key {unknown[0]!r}; known: {', '.join(BUDGETS)}")
        for key, value in config["budget"].items():
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(f"config.budget.{key}={value}: expected a number of at least 0; 0 is no budget")
        if len(limits := _budget(config)) > 1:
            raise ValueError(f"config.budget: expected one limit, found {' and '.join(limits)}")
        if not limits and set(config["selections"]) == {"budget"}:
            raise ValueError("config.budget: the selection budget needs a limit, as config.budget.ms=100")
        for key, limit in limits.items():
            if "budget" not in config["selections"]:
                raise ValueError(
                    f"config.budget.{key}={limit:g}: no selection of config.selections uses it; add 'budget' there, or "
                    "set it to 0"
                )
        if not (isinstance(config["error"], float) and 0 < config["error"] < 1):
            raise ValueError(f"config.error={config['error']}: expected a rate above 0 and below 1")

    def evaluator(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The report on a system."""
        return {"name": "experiments.evaluators.system", "error": config["error"]}

    def produce(
        self, config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str], termination: Termination
    ) -> Produced:
        """Trains the members that are to be trained, writes the score tables of all pipelines, and system.json."""
        detectors = members.make(config, workdir, allow)
        if not distributed.is_primary():
            return Produced({}, None, {})
        run_directory.start_log(workdir, primary=True)  # the members' runs have written to their own
        rows = members.joined(detectors)
        run_directory.note_members(workdir, {member.name: member.folder for member in detectors})
        if config["missing"] == "exclude":
            rows = {split: _complete(some, split) for split, some in rows.items()}
        val, test = (members.data(detectors, rows[split], MISSING[config["missing"]]) for split in members.SPLITS)
        selection.refuse_too_few_people(val)
        selects = _selects(config, detectors)
        members.warn_of_uninformative(val)
        pipelines = _pipelines(val, selects, config["ensembles"])
        pipeline = min(pipelines, key=lambda one: round(selection.loss_of_all(val.labels, one.choice.nested), 9))
        known = ~np.isnan(pipeline.choice.nested_fused)
        people = [row.group for (row, _), has in zip(rows["val"], known, strict=True) if has]
        calibration, limits = operating_points.calibrate(
            val.labels[known], pipeline.choice.nested_fused[known], people, config["error"]
        )
        system = _system(workdir, detectors, val, pipeline, calibration.calibrator, limits, rows["val"])
        own = test.scores[:, [test.names.index(member.name) for member in system.members]]
        tables = {
            "val": members.fused_rows(detectors, rows["val"], *_on_val(pipelines, pipeline, calibration)),
            "test": members.fused_rows(detectors, rows["test"], *_on_test(pipelines, test.scores, system, own)),
        }
        for split, table in tables.items():
            score_table.write(workdir / "scores" / f"{split}.csv", table)
        points = operating_points.measured(
            limits.thresholds,
            tables["test"],
            test.labels,
            system.probability(own),
            samples=config["evaluate"]["bootstrap"],
        )
        system = dataclasses.replace(system, operating_points=points)
        system_file.write(workdir / system_file.FILE, system)
        taken = [detectors[i] for i in dict.fromkeys(pipeline.choice.chosen)]
        run = {
            "model": f"system ({pipeline.name})",
            "modality": " + ".join(member.name for member in taken),
            **members.costs(taken),
        }
        table = _members_table(detectors, val, pipelines, system)
        lines = [*_members_lines(table, pipelines, pipeline.name), "", *_system_lines(system, calibration)]
        return Produced(run, None, {}, [workdir / system_file.FILE], {"members": (table, lines)})


def _budget(config: Mapping[str, Any]) -> dict[str, float]:
    """The budget that the config sets: {key of BUDGETS: limit}, of one key at most."""
    return {key: float(value) for key, value in config["budget"].items() if value}


def _complete(rows: Sequence[members.Joined], split: str) -> list[members.Joined]:
    """The clips that every member's table has."""
    kept = [(row, own) for row, own in rows if all(its is not None for its in own)]
    if not kept:
        raise ValueError(f"config.missing=exclude: no clip of {split} is in the tables of all members")
    if len(kept) < len(rows):
        log.warning(
            "%d of %d clips of %s are left out: not every table has them", len(rows) - len(kept), len(rows), split
        )
    return kept


def _selects(config: Mapping[str, Any], detectors: Sequence[members.Member]) -> dict[str, selection.Select]:
    """{selection: how it chooses members, given data and the ensemble}; `budget` only where there is a limit."""
    known: dict[str, selection.Select] = {
        "single": selection.best_single,
        "greedy": selection.greedy,
        "all": lambda data, ensemble: tuple(range(len(data.names))),
    }
    for key, limit in _budget(config).items():
        known["budget"] = _under_budget(key, limit, detectors)
    return {name: known[name] for name in config["selections"] if name in known}


def _under_budget(key: str, limit: float, detectors: Sequence[members.Member]) -> selection.Select:
    costs = np.array([member.costs.get(BUDGETS[key], math.nan) for member in detectors])
    if unknown := [member.name for member, cost in zip(detectors, costs, strict=True) if math.isnan(cost)]:
        raise ValueError(
            f"config.budget.{key}={limit:g}: what {unknown[0]} costs is not known; state it as "
            f"config.members.{unknown[0]}.{key} of its score tables, or give a run with a results.csv"
        )
    if (least := costs.min()) > limit:
        cheapest = detectors[int(costs.argmin())].name
        raise ValueError(f"config.budget.{key}={limit:g}: no member meets it; the cheapest, {cheapest}, has {least:g}")
    return lambda data, ensemble: selection.under_budget(data, ensemble, costs, limit)


def _pipelines(val: late.Data, selects: Mapping[str, selection.Select], ensembles: Sequence[str]) -> list[Pipeline]:
    pairs = [(name, ensemble) for name in selects for ensemble in (ensembles if name != "single" else ["log_pool"])]
    found = []
    with progress.bar(len(pairs), "choosing", unit="pipeline") as bar:
        for name, ensemble in pairs:
            found.append(Pipeline(name, ensemble, selection.nested(selects[name], val, ensemble)))
            bar.update()
    return found


def _on_val(
    pipelines: Sequence[Pipeline], pipeline: Pipeline, calibration: calibrators.Chosen
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The system's score of validation [n], and further columns; all but the naive ones are held out.

    The limits in system.json come from this score, and so do those of the report.
    """
    fused = pipeline.choice.nested_fused
    score = np.full(len(fused), np.nan)
    score[~np.isnan(fused)] = calibration.held_out
    others = {f"fused_{one.name}": one.choice.nested for one in pipelines}
    others |= {f"naive_{one.name}": one.choice.naive for one in pipelines}
    return score, {"uncalibrated": fused, **others}


def _on_test(
    pipelines: Sequence[Pipeline], scores: np.ndarray, system: System, own: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The system's score of test [n], and further columns; scores [n m] of all members, own [n k] of the system's."""
    others = {f"fused_{one.name}": one.choice.fitted.probability(scores) for one in pipelines}
    return system.probability(own), {"uncalibrated": system.fused(own), **others}


def _system(
    workdir: pathlib.Path,
    detectors: Sequence[members.Member],
    val: late.Data,
    pipeline: Pipeline,
    calibrator: calibrators.Calibrator,
    limits: Limits,
    rows: Sequence[members.Joined],
) -> System:
    """The system of a pipeline, still without operating points."""
    times = collections.Counter(pipeline.choice.chosen)  # a greedy choice may count a member twice
    chosen = list(times)
    weights = pipeline.choice.fitted.fusion.weights
    return System(
        name=workdir.name,
        members=tuple(
            _member(detectors[i], workdir, own)
            for i, own in zip(chosen, late.calibrations(val.only(chosen)), strict=True)
        ),
        ensemble=pipeline.ensemble,
        weights=weights or {val.names[i]: float(count) for i, count in times.items()},
        calibration=calibrator,
        prior=limits.prior,
        llr_bounds=limits.llr_bounds,
        thresholds=limits.thresholds,
        operating_points=(),
        data=system_file.data_of([row for row, _ in rows], "val"),
        code=system_file.code(),
    )


def _member(member: members.Member, workdir: pathlib.Path, calibrator: calibrators.Calibrator) -> system_file.Member:
    """A member by its digest: of its parameters where it is a trained run, else of its validation table."""
    config = run_directory.read_config(member.run) if member.run else {}
    trained = "model" in config
    return system_file.Member(
        name=member.name,
        run=os.path.relpath(member.run.resolve(), workdir.resolve()) if trained else "",
        digest=system_file.digest_of(member.run) if trained else system_file.digest_of_table(member.folder / "val.csv"),
        column=member.column,
        label=member.label,
        compares=member.compares,
        streams=tuple(sorted(config["data"]["streams"])) if trained else (),
        calibration=calibrator,
    )


def _members_table(
    detectors: Sequence[members.Member], val: late.Data, pipelines: Sequence[Pipeline], system: System
) -> Table:
    """A row for each member: what it is, how it does on validation, and in which pipelines it stands."""
    weights = {member.name: system.weights[member.name] for member in system.members}
    rows = []
    for i, member in enumerate(detectors):
        known = ~np.isnan(val.scores[:, i]) & (val.own[:, i] >= 0)
        rows.append(
            {
                "Member": member.name,
                "Column": member.column,
                "Label": "disagreement" if member.compares else member.label,
                "Clips": int((~np.isnan(val.scores[:, i])).sum()),
                "Validation AUC": auc(val.own[known, i], val.scores[known, i]),
                "Inference (ms/sample)": member.costs.get("inference_ms", math.nan),
                "Parameters (M)": member.costs.get("parameters_m", math.nan),
                "Weight": weights.get(member.name, math.nan),
                **{one.name: int(i in one.choice.chosen) for one in pipelines},
            }
        )
    return Table(tuple(rows[0]), rows)


def _members_lines(table: Table, pipelines: Sequence[Pipeline], name: str) -> list[str]:
    """The members on the terminal, with how many of a selection's pipelines take each."""
    of_selection: dict[str, list[str]] = {}
    for one in pipelines:
        of_selection.setdefault(one.selection, []).append(one.name)
    heads = "".join(f"{selection:>8}" for selection in of_selection)
    lines = [f"{'member':<20}{'answers for':<14}{'AUC on val':>11}{'ms/clip':>9}{'M':>8}{heads}{'weight':>10}"]
    for row in table.rows:
        taken = "".join(f"{sum(row[one] for one in names)} of {len(names)}".rjust(8) for names in of_selection.values())
        lines.append(
            f"{terminal.fit(row['Member'], 19):<20}{row['Label']:<14}{number(row['Validation AUC']):>11}"
            f"{number(row['Inference (ms/sample)'], 1):>9}{number(row['Parameters (M)'], 2):>8}{taken}"
            f"{number(row['Weight']):>10}"
        )
    return [*lines, f"Columns: pipelines of a selection that take the member. Weight: in {name}, the system."]


def _system_lines(system: System, calibration: calibrators.Chosen) -> list[str]:
    """How the system is calibrated, and where it is."""
    losses = ", ".join(f"{method} {loss:.3f}" for method, loss in calibration.losses.items())
    data, count = system.data, len(system.members)
    whose = f"{data['clips']} clips of {data['identities']} people" + (
        f" of {data['dataset']}" if data["dataset"] else ""
    )
    lines = [
        f"{system_file.FILE}: {count} member{'s' * (count > 1)} by {system.ensemble},",
        f"calibrated by {calibration.method} on {whose}, {system.prior:.0%} of them fake.",
        f"Log-loss in nats, cross-fitted over people: {losses}.",
    ]
    if data["clips"] < calibrators.ISOTONIC_FROM:
        lines.append(f"Isotonic regression is taken from {calibrators.ISOTONIC_FROM:,} clips on.")
    if data["embedded"]:
        lines.append("The embedded dataset is a stand-in: this system says nothing about real fakes.")
    pair = system.thresholds["conformal"]
    if unsaid := [word for word, side in (("real", "low"), ("fake", "high")) if math.isinf(pair[side])]:
        lines.append(
            f"Validation has too few people to promise an error rate of {pair['error']:g}: nothing is called "
            f"{' or '.join(unsaid)} there."
        )
    return lines
