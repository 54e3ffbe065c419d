"""Scores a trained run on any prepared dataset or split, and prints its table.

    python -m experiments.evaluate --workdir=runs/cross_attn
    python -m experiments.evaluate --workdir=runs/cross_attn --data=folder --manifest=clips.csv --split=test
    python -m experiments.evaluate --workdir=runs/lip_sync --degrade='[{"name":
        "data_pipelines.loading.transforms.AudioNoise", "p": 1, "snr": [-10, -10]}]'
    python -m experiments.evaluate --workdir=runs/hierarchical --submission=lavdf

The last writes the prediction file of a published evaluation program into the run's submissions/; what training has
already scored is not scored again for it.

The threshold stays the one that the run's own validation split fixed.
"""

import dataclasses
import json
import pathlib
from typing import Any

from absl import app, flags

from experiments import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "The trained run.")
_DATA = flags.DEFINE_string("data", "", "Another dataset: a reader in data_pipelines/datasets; default: the run's own.")
_ROOT = flags.DEFINE_string("root", "", "Where that dataset's files are.")
_MANIFEST = flags.DEFINE_string("manifest", "", "With --data=folder: a CSV with path,label.")
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "val", "test"], "Which split.")
_DEGRADE = flags.DEFINE_string(
    "degrade", "", "Transforms of data_pipelines/loading/transforms that every window passes first, as a JSON list."
)
_SUBMISSION = flags.DEFINE_string(
    "submission", "", "A format of experiments/submissions (lavdf, avdeepfake1m): also writes its prediction files."
)
_OUT = flags.DEFINE_string("out", "", "The folder of the prediction files; default: submissions/ in the run.")
_ALLOW = flags.DEFINE_list("allow", [], "Packages outside the project that names in the run's config may lie in.")


def main(argv: list[str]) -> None:
    """Runs the evaluation of the flags."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with command_line.errors():
        workdir = pathlib.Path(_WORKDIR.value).resolve()
        submission = _submission() if _SUBMISSION.value else None
        foreign = _DATA.value or _ROOT.value or _MANIFEST.value or _DEGRADE.value
        table = workdir / "scores" / f"{_SPLIT.value}.csv"
        if not submission or foreign or not table.is_file():
            table = evaluate_run(workdir)
        if submission:
            submit(submission, table, pathlib.Path(_OUT.value or workdir / "submissions" / table.stem))


def evaluate_run(workdir: pathlib.Path) -> pathlib.Path:
    """Scores what the flags ask for; writes the table into scores/, the report into evaluations/, and prints it.

    Returns the table's path.
    """
    from data_pipelines.fakes import pseudo_fakes
    from data_pipelines.prepare.records import Records, read_without_record
    from experiments import (
        best_model,
        experiment,
        model_figures,
        model_from_config,
        prepare,
        run_directory,
        score_table,
    )
    from experiments.evaluators import scoring
    from experiments.report import write
    from experiments.termination import Termination

    run_directory.start_log(None, primary=True)
    workdir, allow = workdir.resolve(), tuple(_ALLOW.value)
    config = run_directory.read_config(workdir)
    if "model" not in config:
        raise ValueError(f"{workdir}: this run fuses score tables and has no model; evaluate its members instead")
    best = best_model.load(workdir, config, allow)
    data, name = config["data"], _SPLIT.value
    foreign = bool(_DATA.value or _ROOT.value or _MANIFEST.value)
    if foreign:
        given = {"root": _ROOT.value, "manifest": _MANIFEST.value, "out": "", "options": {}}
        own = [data["name"], data["root"], data["manifest"]]
        data = {**data, **given, "name": _DATA.value or data["name"]}
        name = f"{data['name']}-{name}"
        # Another dataset without splits is scored as a whole; of the run's own, the model knows most clips.
        another = _DATA.value and [data["name"], data["root"], data["manifest"]] != own
        folder = prepare.ensure(data, whole=_SPLIT.value if another else "", allow=allow)
        prepare.warn_of_clips_without_record(folder)
        records = pseudo_fakes.add(Records(folder, _SPLIT.value), data, training=False)
        missing = read_without_record(folder, _SPLIT.value)
    else:
        folder = experiment.prepare_records(config, workdir, allow)
        records = experiment.open_splits(config, folder)[_SPLIT.value]
        missing = experiment.without_record(config, folder, _SPLIT.value)
    if _DEGRADE.value:
        name = f"{name}-degraded"
        best = dataclasses.replace(best, config={**config, "data": {**config["data"], "degrade": _degrade()}})
    with Termination() as termination:
        scored = best.score(records, f"scoring {name}", termination).rows
    rows = scored + scoring.without_score(missing, best.task)
    table = workdir / "scores" / f"{name}.csv"
    score_table.write(table, rows)
    val = score_table.read(workdir / "scores" / "val.csv")
    report = write.write(
        workdir / "evaluations" / name,
        model_from_config.make_evaluator(config, allow),
        val,
        rows,
        {"model": workdir.name, "modality": name},
        samples=config["evaluate"]["bootstrap"],
        scored=f"{_SPLIT.value} split",
        title=f"{workdir.name} on {name}",
        figures=model_figures.verdicts(best, records, scored, val),
        others=[table],
    )
    run_directory.log.info(report)
    return table


def submit(submission: Any, table: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the prediction files of a score table into `folder`, and names them.

    Raises:
      ValueError: the table lacks what the format needs.
    """
    from experiments import run_directory, score_table

    run_directory.start_log(None, primary=True)
    try:
        paths = submission.write(score_table.read(table), folder)
    except ValueError as error:
        raise ValueError(f"{table}: {error}") from None
    run_directory.log.info("\n".join(f"Wrote {path}" for path in paths))


def _submission() -> Any:
    from mmdf_jax.build import build

    known = sorted(path.stem for path in (pathlib.Path(__file__).parent / "submissions").glob("[a-z]*.py"))
    if _SUBMISSION.value not in known:
        raise ValueError(f"--submission={_SUBMISSION.value}: expected one of {', '.join(known)}")
    return build({"name": f"experiments.submissions.{_SUBMISSION.value}"})


def _degrade() -> list[dict]:
    try:
        specs = json.loads(_DEGRADE.value)
    except json.JSONDecodeError as error:
        raise ValueError(f"--degrade={_DEGRADE.value!r} is not JSON ({error})") from None
    if not isinstance(specs, list) or not all(isinstance(spec, dict) for spec in specs):
        raise ValueError(f"--degrade={_DEGRADE.value!r}: expected a list of objects, each with a name and its fields")
    return specs


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main, flags_parser=command_line.parse_flags)
