"""One experiment from its config to its verdict: prepare, train, evaluate, and leave tables and figures behind."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from data_pipelines.clip import SPLITS, Clip
from data_pipelines.fakes import pseudo_fakes
from data_pipelines.prepare import folds, left_out
from data_pipelines.prepare.records import Records, read_header, read_without_record
from experiments import (
    best_model,
    check_options,
    cross_validation,
    distributed,
    embeddings,
    files,
    metrics_log,
    model_figures,
    model_from_config,
    prepare,
    run_directory,
    score_table,
    train,
)
from experiments.evaluators import scoring
from experiments.report import write
from experiments.run_directory import log
from experiments.score_table import Table
from experiments.termination import Termination
from experiments.verdict import quality


def run(config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str] = ()) -> None:
    """Does what is still to do of the experiment in `workdir`, and prints its table.

    With `config.folds`, one run per fold in `workdir/fold1`, … and a table over them; `config.fold` picks one of them.
    A config with a `producer` (a file in experiments/producers) has its score tables made by that; any other trains its
    model.

    Raises:
      ValueError, OSError: config, data or disk; one line says what to do.
      termination.Terminated: SIGTERM or SIGINT; started again, the run goes on.
    """
    if "model" in config:
        config = model_from_config.with_published_fields(config, allow)
    check_options.check(config, allow)
    if not distributed.is_primary():
        run_directory.start_log(None, primary=False)
        with Termination() as termination:
            _do(config, workdir.resolve(), allow, termination)
        return
    workdir = run_directory.create(workdir)
    with run_directory.lock(workdir), Termination() as termination:
        run_directory.write_or_compare_config(workdir, config)
        run_directory.start_log(workdir, primary=True)
        if changed := run_directory.changed_members(workdir):
            log.info("%s is made again: these members have other score tables now: %s", workdir, ", ".join(changed))
            (workdir / "results.csv").unlink(missing_ok=True)
        # results.csv is written last, so it says that all is there.
        if (workdir / "results.csv").exists() and distributed.process_count() == 1:
            log.info(
                "%s is finished: nothing is trained again (to do so, delete it or choose another --workdir)", workdir
            )
            log.info((workdir / "report.txt").read_text(encoding="utf-8"))
        else:
            _do(config, workdir, allow, termination)


def _do(config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str], termination: Termination) -> None:
    folds, fold = config.get("folds", 0), config.get("fold", 0)
    if fold and not folds:
        raise ValueError(f"config.fold={fold}: a fold of how many? Set config.folds too, 3 or more")
    if not folds or fold:
        producer = model_from_config.make_producer(config, allow)
        produce = producer.produce if producer else _train
        produced = produce(config, workdir, allow, termination)
        if distributed.is_primary():
            _report(config, workdir, produced, allow)
        return
    runs = [workdir / f"fold{fold}" for fold in range(1, folds + 1)]
    for number, path in enumerate(runs, 1):
        run({**config, "fold": number}, path, allow)
    if distributed.is_primary():
        run_directory.start_log(workdir, primary=True)
        evaluator = model_from_config.make_evaluator(config, allow)
        cross_validation.write(workdir, runs, evaluator, samples=config["evaluate"]["bootstrap"])


@dataclasses.dataclass(frozen=True)
class Produced:
    """What the first half of a run hands to the second beside `scores/{val,test}.csv`."""

    run: Mapping[str, Any]  # what the run says of itself, see report.write.RUN_COLUMNS
    best_step: int | None  # of the checkpoint that was kept
    figures: Mapping[str, Figure]
    others: Sequence[pathlib.Path] = ()  # further files that it wrote
    tables: Mapping[str, tuple[Table, Sequence[str]]] = dataclasses.field(default_factory=dict)  # with their lines


def _train(
    config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str], termination: Termination
) -> Produced:
    """Trains the config's model, and writes the score tables of validation and test."""
    folder = prepare_records(config, workdir, allow)
    splits = open_splits(config, folder)
    training = train.train(config, workdir, splits, termination, allow)
    best, scored = best_model.load(workdir, config, allow), {}
    for split in ("val", "test"):
        scored[split] = best.score(splits[split], f"scoring {split}", termination)
        rows = scored[split].rows + scoring.without_score(without_record(config, folder, split), best.task)
        if distributed.is_primary():
            score_table.write(workdir / "scores" / f"{split}.csv", rows)
    if distributed.is_primary():
        if vectors := scored["test"].embeddings:
            embeddings.write(workdir / "scores" / embeddings.FILE, vectors)
        # What experiments.detect compares a file with.
        quality.write(workdir / quality.TABLE, splits["val"], read_header(folder)["crops"]["margin"])
    for name, degrade in _conditions(config).items():
        under = dataclasses.replace(best, config={**config, "data": {**config["data"], "degrade": degrade}})
        noisy = under.score(splits["test"], f"scoring test, {name}", termination).rows
        if distributed.is_primary():
            score_table.write(workdir / "scores" / f"test-{name}.csv", noisy)
    run = {
        "model": _short_name(config["model"]),
        "modality": " + ".join(sorted(config["data"]["streams"])),
        "parameters_m": training["parameters"] / 1e6,
        "train_minutes": training["train_minutes"],
        "inference_ms": scored["test"].ms_per_window * scored["test"].windows,
        "peak_memory_gb": training["peak_memory_gb"],
    }
    figures = {}
    if distributed.is_primary():
        figures = model_figures.draw(best, splits["test"], scored["test"].rows, scored["val"].rows, workdir.name)
    return Produced(run, best.step, figures)


def _report(config: Mapping[str, Any], workdir: pathlib.Path, produced: Produced, allow: Sequence[str]) -> None:
    """Writes what follows from the score tables, and prints the report."""
    evaluator, samples = model_from_config.make_evaluator(config, allow), config["evaluate"]["bootstrap"]
    val, test = (score_table.read(workdir / "scores" / f"{split}.csv") for split in ("val", "test"))
    tables = {name: workdir / "scores" / f"test-{name}.csv" for name in _conditions(config)}
    compares = bool(tables) and hasattr(evaluator, "conditions")
    under = {name: score_table.read(table) for name, table in tables.items()}
    report = write.write(
        workdir,
        evaluator,
        val,
        test,
        produced.run,
        samples=samples,
        title=workdir.name,
        log=metrics_log.read(workdir / "metrics.jsonl"),
        best_step=produced.best_step,
        figures=produced.figures,
        others=[*produced.others, workdir / "scores"],
        compared={
            **produced.tables,
            **({"conditions": evaluator.conditions(test, under, samples=samples)} if compares else {}),
        },
    )
    log.info(report)
    for name, table in () if compares else tables.items():
        report = write.write(
            workdir / "evaluations" / name,
            evaluator,
            val,
            under[name],
            {key: produced.run[key] for key in ("model", "modality")},
            samples=samples,
            scored=f"test split, {name}",
            title=f"{workdir.name}, {name}",
            others=[table],
        )
        log.info(report)


def _conditions(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """{name: transforms} under which the test split is scored once more; a config may have none.

    An evaluator with a method `conditions` compares them in one table; for any other each is a report of its own.
    """
    return config["evaluate"].get("conditions", {})


def _short_name(model: Mapping[str, Any]) -> str:
    """The model's name in tables: what stands in the place that its kind leaves open, else its own."""
    encoders = list(model["encoders"].values())
    open_places = {"mmdf_jax.models.unimodal": encoders[0], "mmdf_jax.models.multimodal": model.get("fusion")}
    return open_places.get(model["name"], model)["name"].rpartition(".")[2]


def open_splits(config: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    """{split: records} of the prepared dataset in `folder`: its own splits, or the sides of the config's fold.

    Training and validation are without the fakes of `config.data.leave_out`. With the pseudo-fakes of `config.data`: in
    training always, in evaluation where a split has no fake of its own.
    """
    if config["folds"]:
        opened = folds.open_fold(folder, config["folds"], config["fold"])
    else:
        opened = {split: Records(folder, split) for split in SPLITS}
    opened = left_out.leave_out(opened, _left_out(config))
    return {
        split: pseudo_fakes.add(records, config["data"], training=split == "train") for split, records in opened.items()
    }


def without_record(config: Mapping[str, Any], folder: pathlib.Path, split: str) -> list[tuple[Clip, str]]:
    """(clip, status) of the clips that would be in `open_splits(config, folder)[split]`, had they given a record."""
    if config["folds"]:
        missing = folds.without_record(folder, config["folds"], config["fold"], split)
    else:
        missing = read_without_record(folder, split)
    return [one for one in missing if not left_out.is_left_out(one[0], split, _left_out(config))]


def _left_out(config: Mapping[str, Any]) -> Sequence[str]:
    return config["data"].get("leave_out", ())  # a run of an earlier version has no such setting


def prepare_records(config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str] = ()) -> pathlib.Path:
    """The folder of the config's records, made by the primary process if it is missing; the run notes where it is.

    Where the raw data are gone, the records are those that the run has noted.
    """
    note, folder = workdir / "records_folder.txt", None
    if distributed.is_primary():
        try:
            folder = prepare.ensure(config["data"], train=not config["folds"], allow=allow)
        except FileNotFoundError as error:
            folder = pathlib.Path(note.read_text().strip()) if note.is_file() else None
            if folder is None or not (folder / "records.json").is_file():
                raise FileNotFoundError(f"{error}; records made earlier are read with config.data.out=FOLDER") from None
            log.warning("%s; going on with the records in %s", error, folder)
        prepare.warn_of_clips_without_record(folder)
        files.write_text(note, f"{folder.resolve()}\n")
    distributed.barrier("records")
    return folder or pathlib.Path(note.read_text().strip())
