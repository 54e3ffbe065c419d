"""Does the whole study, and leaves its models, tables, figures and logs under the plan's names.

    python -m experiments.suite --workdir=study
    python -m experiments.suite --workdir=study --only=01,06 --seeds=3 --jobs=2
    python -m experiments.suite --workdir=study --data=folder,size=base --config.data.root=DIR
    python -m experiments.suite --workdir=study --list
    python -m experiments.suite --workdir=study --leave_out=face_swap,lip_reenactment,voice_clone,dubbing

Start it again with the same command and it goes on where it was: what is finished is not done again. A run that fails
is named at the end, and stops only those that need it. Then the study is gathered and, as its last part, analysed
(experiments.analyze); with `--only`, if 12 is among the numbers. `--list` prints a command per run, for any scheduler;
when those are done, the suite only gathers what they left. `--slurm` submits each run as a job.

`--leave_out` is a part of its own: some detectors are trained once more, as they were but without each of these
manipulations, and the analysis sets beside each other how well they tell its fakes when they have seen such fakes and
when they have not. Their tables lie apart, in Results/held_out.
"""

import json
import pathlib
import re
import runpy
import time
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from experiments import command_line, files, run_directory
from experiments.run_directory import log
from experiments.study import plan

_OVERRIDE = re.compile(r"--?config\.([^=]+)=(.*)", re.DOTALL)


def main(argv: list[str]) -> None:
    """Runs the study of the flags."""
    told = flags.FLAGS
    with command_line.errors():
        study = pathlib.Path(told.workdir)
        given = plan.Settings(
            plan.parse_arguments(told.data),
            _overrides(argv[1:]),
            told.seeds,
            tuple(told.allow),
            tuple(dict.fromkeys(told.leave_out)),
        )
        settings = plan.joined(plan.recall(study), given, study)
        runs = plan.runs(study, settings)
        wanted, added = plan.chosen(runs, told.only, told.leave_out)
        todo = plan.in_order(run for run in runs if run in wanted or run in added)
        if told.list:
            for one in todo:
                print(plan.command(one), flush=True)
            return
        options, analysed = _slurm_options(), plan.analysed(told.only)
        run_directory.create(study)
        with run_directory.lock(study):
            failed = _do(study, settings, runs, todo, added, options, analysed, told.jobs)
    if failed:
        raise SystemExit(1)


def _do(
    study: pathlib.Path,
    settings: plan.Settings,
    runs: Sequence[plan.Run],
    todo: Sequence[plan.Run],
    added: Sequence[plan.Run],
    options: dict[str, Any] | None,
    analysed: bool = False,
    jobs: int = 0,
) -> dict[str, str]:
    """The runs, then what is gathered, and analysed; returns what has failed, which the last lines name."""
    from experiments.study import run, slurm

    (study / "Logs").mkdir(exist_ok=True)
    run_directory.start_log(study / "Logs", primary=True)
    plan.remember(study, settings, runs)
    if added:
        log.info("also done, since others need them: %s", ", ".join(one.name for one in added))
    if finished := [one.name for one in todo if one.finished]:
        log.info("finished before: %s", ", ".join(finished))
    start = run.start_child if options is None else slurm.launcher(study / "Logs" / "slurm", options)
    began = time.monotonic()
    failed = run.do(todo, start, jobs or (1 if options is None else len(todo) or 1))
    log.info("the runs took %.1f min", (time.monotonic() - began) / 60)
    try:
        _gather(study, runs, settings)
        if analysed:
            _analyse(study)
    finally:  # whatever else goes wrong, what has failed is named
        for name, reason in failed.items():
            log.error("%s: %s", name, reason)
        if failed:
            log.error("%d of %d runs have no result; the same command tries them again", len(failed), len(todo))
    return failed


def _gather(study: pathlib.Path, runs: Sequence[plan.Run], settings: plan.Settings) -> None:
    """Models/, Results/, Figures/ and Logs/ from the runs that are finished."""
    finished = [run for run in runs if run.finished and not run.experiment.without]
    held_out = [run for run in runs if run.finished and run.experiment.without]
    if not finished:
        raise ValueError(f"{study}: an empty study: no run in {study / 'runs'} is finished, so nothing is gathered")
    if half := [run.name for run in runs if not run.finished and (run.folder / "config.json").is_file()]:
        log.warning("not finished, or of members that were trained again since, so not gathered: %s", ", ".join(half))
    from experiments.study import figures, logs, models, results  # JAX and matplotlib, which --list does not wait for

    best = models.best_seeds(finished)
    logs.gather(study, [*finished, *held_out])
    rows = results.gather(study, finished, best, settings.allow)
    if held_out:
        results.gather_held_out(study, held_out, settings.allow)
    figures.gather(study, rows, best)
    models.gather(study, best, settings.allow)
    log.info("%s", results.page(rows))
    log.info("%s", results.tree(study))


def _analyse(study: pathlib.Path) -> None:
    """The plan's last part, by the declared claims.

    Raises:
      ValueError: the study has nothing to compare, or a table is damaged.
    """
    from experiments.analysis import analysis

    config = runpy.run_path(plan.CLAIMS)["get_config"]().to_dict()
    try:
        page = analysis.analyse(study, {}, config)
        log.info("%s", page)
        files.write_text(study / "Logs" / "training_log_nb12.txt", page + "\n")
    except (ValueError, OSError) as error:
        raise ValueError(f"{study} is gathered, but not analysed: {error}") from None


def _overrides(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for word in words:
        match = _OVERRIDE.fullmatch(word)
        if not match:
            raise ValueError(f"{word!r}: unexpected; expected --config.KEY=VALUE for what the configs are to have")
        pairs[match[1]] = match[2]
    return tuple(pairs.items())


def _slurm_options() -> dict[str, Any] | None:
    """The parameters for submitit, None without --slurm."""
    try:
        options = json.loads(flags.FLAGS.slurm_options)
    except json.JSONDecodeError as error:
        raise ValueError(f"--slurm_options={flags.FLAGS.slurm_options!r} is not JSON ({error})") from None
    if not isinstance(options, dict):
        raise ValueError(f"--slurm_options={flags.FLAGS.slurm_options!r}: expected an object")
    return options if flags.FLAGS.slurm else None


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """The flags, as every command parses them; what the configs are to have comes back as the words that are left."""
    overrides = [word for word in argv if re.match(r"--?config\.", word)]
    return [*command_line.parse_flags([word for word in argv if word not in overrides]), *overrides]


def define_flags() -> None:
    """The command's flags; apart, so that this module can be imported beside other commands."""
    flags.DEFINE_string("workdir", None, "Where the study lives.")
    flags.DEFINE_string(
        "data", "", "A dataset, then config arguments: folder,size=base. Each config takes those that it knows."
    )
    flags.DEFINE_list("only", [], "Numbers or names of runs; what they need is added.")
    flags.DEFINE_list(
        "leave_out", [], "Manipulations: trains some detectors without each, in place of the study's runs."
    )
    flags.DEFINE_integer("seeds", 1, "Repeats each run with the seeds 0 … N - 1.", lower_bound=1)
    flags.DEFINE_bool("list", False, "Prints the command of each run, and what it needs first; does nothing.")
    flags.DEFINE_integer("jobs", 0, "Runs at once; default: 1, with --slurm all.", lower_bound=0)
    flags.DEFINE_bool("slurm", False, "Submits the runs to Slurm, through submitit.")
    flags.DEFINE_string(
        "slurm_options", "{}", 'submitit\'s parameters as JSON, such as {"timeout_min": 600, "gpus_per_node": 1}.'
    )
    flags.DEFINE_list("allow", [], "Packages outside the project that names in the configs may lie in.")
    flags.mark_flag_as_required("workdir")


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=_parse_flags)
