"""One experiment from its config to its verdict: prepare, train, evaluate, and leave tables and figures behind."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.clip import SPLITS, Clip
from data_pipelines.fakes import pseudo_fakes
from data_pipelines.prepare import folds
from data_pipelines.prepare.records import Records, read_without_record
from experiments import (
    best_model,
    cross_validation,
    distributed,
    files,
    metrics_log,
    prepare,
    results,
    run_directory,
    score_table,
    train,
)
from experiments.evaluators import scoring
from experiments.figures import attention, style
from experiments.figures import run as figures_of_run
from experiments.report import terminal
from experiments.run_directory import log
from experiments.score_table import ScoreRow


def run(config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str] = ()) -> None:
    """Does what is still to do of the experiment in `workdir`, and prints its table.

    With `config.folds`, one run per fold in `workdir/fold1`, … and a table over them; `config.fold` picks one of them.

    Raises:
      ValueError, OSError: config, data or disk; one line says what to do.
    """
    if not distributed.is_primary():
        run_directory.start_log(None, primary=False)
        _do(config, workdir.resolve(), allow)
        return
    workdir = run_directory.create(workdir)
    with run_directory.lock(workdir):
        run_directory.settle_config(workdir, config)
        run_directory.start_log(workdir, primary=True)
        # results.csv is written last, so it says that all is there.
        if (workdir / "results.csv").exists() and distributed.process_count() == 1:
            log.info(
                "%s is finished: nothing is trained again (to do so, delete it or choose another --workdir)", workdir
            )
            log.info((workdir / "report.txt").read_text())
        else:
            _do(config, workdir, allow)


def _do(config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str]) -> None:
    if config["fold"] and not config["folds"]:
        raise ValueError(f"config.fold={config['fold']}: a fold of how many? Set config.folds too, 3 or more")
    if not config["folds"] or config["fold"]:
        _train_and_evaluate(config, workdir, allow)
        return
    runs = [workdir / f"fold{fold}" for fold in range(1, config["folds"] + 1)]
    for fold, path in enumerate(runs, 1):
        run({**config, "fold": fold}, path, allow)
    if distributed.is_primary():
        run_directory.start_log(workdir, primary=True)
        cross_validation.write(workdir, runs, config["task"]["target"], samples=config["evaluate"]["bootstrap"])


def _train_and_evaluate(config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str]) -> None:
    folder = prepare_records(config)
    splits = open_splits(config, folder)
    training = train.train(config, workdir, splits, allow)
    best = best_model.load(workdir, config, allow)
    tables, ms_per_window = {}, math.nan
    for split in ("val", "test"):
        scores = best.score(splits[split], title=f"scoring {split}")
        tables[split], ms_per_window = scores.rows, scores.ms_per_window  # that of test stays
        tables[split] += scoring.without_score(without_record(config, folder, split))
        if distributed.is_primary():
            score_table.write(workdir / "scores" / f"{split}.csv", tables[split])
    if not distributed.is_primary():
        return
    test, target = tables["test"], config["task"]["target"]
    judged = {split: score_table.judged_by(rows, target) for split, rows in tables.items()}
    costs = {
        "model": _short_name(config["model"]),
        "modality": " + ".join(sorted(config["data"]["streams"])),
        "parameters_m": training["parameters"] / 1e6,
        "train_minutes": training["train_minutes"],
        "inference_ms": ms_per_window * config["evaluate"]["windows"],
        "peak_memory_gb": training["peak_memory_gb"],
    }
    samples = config["evaluate"]["bootstrap"]
    row = results.summarise(judged["val"], judged["test"], costs, samples=samples)
    methods = results.per_method(test, row["Threshold"], samples=samples)
    results.write_methods(workdir / "methods.csv", methods)
    figures = draw_figures(best, workdir, splits["test"], judged["test"], row["Threshold"])
    written = [workdir / "results.csv", workdir / "methods.csv", workdir / "scores", *figures]
    report = terminal.render(row, methods, [os.path.relpath(path) for path in written], target=target)
    files.write_text(workdir / "report.txt", report + "\n")
    results.write_results(workdir / "results.csv", row)
    log.info(report)


def _short_name(model: Mapping[str, Any]) -> str:
    """The model's name in tables: its encoder's where it has one, else its fusion's."""
    encoders = list(model["encoders"].values())
    return (encoders[0] if len(encoders) == 1 else model["fusion"])["name"].rpartition(".")[2]


def open_splits(config: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    """{split: records} of the prepared dataset in `folder`: its own splits, or the sides of the config's fold.

    With the pseudo-fakes of `config.data`: in training always, in evaluation where a split has no fake of its own.
    """
    if config["folds"]:
        opened = folds.open_fold(folder, config["folds"], config["fold"])
    else:
        opened = {split: Records(folder, split) for split in SPLITS}
    return {
        split: pseudo_fakes.add(records, config["data"], training=split == "train") for split, records in opened.items()
    }


def without_record(config: Mapping[str, Any], folder: pathlib.Path, split: str) -> list[tuple[Clip, str]]:
    """(clip, status) of the clips that would be in `open_splits(config, folder)[split]`, had they given a record."""
    if config["folds"]:
        return folds.without_record(folder, config["folds"], config["fold"], split)
    return read_without_record(folder, split)


def draw_figures(
    best: best_model.Trained, workdir: pathlib.Path, records: Records, test: Sequence[ScoreRow], threshold: float
) -> list[pathlib.Path]:
    """Everything that one would show of a run, as PNG files under `figures/`; returns their paths."""
    folder = workdir / "figures"
    paths = figures_of_run.write(
        folder,
        test,
        threshold,
        log=metrics_log.read(workdir / "metrics.jsonl"),
        best_step=best.step,
        title=workdir.name,
        samples=best.config["evaluate"]["bootstrap"],
    )
    if maps := best_model.attention_maps(best, records, test):
        paths.append(folder / "attention.png")
        style.save(attention.draw(maps, title=f"{workdir.name}: where the fused decision looks"), paths[-1])
    return paths


def prepare_records(config: Mapping[str, Any]) -> pathlib.Path:
    """The folder of the config's records, made by the primary process if it is missing."""
    if distributed.is_primary():
        prepare.tell_without_record(prepare.ensure(config["data"]))
    distributed.barrier("records")
    return prepare.ensure(config["data"])
