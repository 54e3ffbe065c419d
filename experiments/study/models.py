"""Models/ of a study: each model's best run, chosen on validation, as a folder that stands alone."""

import contextlib
import dataclasses
import math
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import (
    checkpoints,
    exported_model,
    files,
    model_from_config,
    run_directory,
    score_table,
    system_file,
)
from experiments.run_directory import log
from experiments.study import card
from experiments.study.plan import Run
from experiments.verdict import quality
from mmdf_jax.metrics import classification

FITTED = ("fusion_weights.csv", "fusion_comparison.csv")  # what a fusion of tables leaves in place of weights
# All that a folder may have of the suite; what else lies there is the user's. Without the first no folder is a model.
FILES = (
    *("config.json", exported_model.WEIGHTS, system_file.FILE, "results.csv", "report.txt", quality.TABLE, "README.md"),
    *("scores/val.csv", "scores/test.csv", *FITTED),
)


def best_seeds(finished: Sequence[Run]) -> dict[str, Run]:
    """{model: its finished run with the best validation}, in the order given; ties go to the lower seed."""
    best: dict[str, Run] = {}
    for run in finished:
        before = best.get(run.experiment.model)
        if before is None or on_validation(run) > on_validation(before):
            best[run.experiment.model] = run
    return best


def on_validation(run: Run) -> float:
    """What the run's best checkpoint reached on validation, greater is better; of fused tables the AUC."""
    if (run.folder / "checkpoints").is_dir():
        with contextlib.closing(checkpoints.Checkpoints(run.folder / "checkpoints")) as saved:
            value = saved.content("best")["info"]["best"]
        return -math.inf if value is None else value
    rows = [row for row in score_table.read(run.folder / "scores" / "val.csv") if row.scored]
    return classification.auc(np.array([row.label for row in rows]), np.array([row.score for row in rows]))


def gather(study: pathlib.Path, best: Mapping[str, Run], allow: Sequence[str]) -> None:
    """Writes the models' folders; one that is there and the same stays as it is, and what others have put there.

    Raises:
      ValueError: a run's checkpoint is damaged.
    """
    folder = study / "Models"
    trained = {model: run for model, run in best.items() if not run.experiment.members}
    moved = {run.folder.resolve(): (folder / model).resolve() for model, run in trained.items()}
    for model, run in best.items():
        if model in trained:
            export(run.folder, folder / model, allow)
        else:
            _export_fusion(run.folder, folder / model, moved, allow)


def export(workdir: pathlib.Path, folder: pathlib.Path, allow: Sequence[str] = ()) -> None:
    """Writes a finished run that was trained to `folder` (see exported_model).

    The same run gives the same bytes. allow: packages outside the project that names in its config may lie in.

    Raises:
      FileNotFoundError: the run is not finished.  ValueError: its best checkpoint is damaged.
    """
    with files.exchanged(folder, FILES) as temporary:
        _describe(
            workdir,
            temporary,
            allow,
            f"    python -m experiments.detect FILE --model={folder.name}\n"
            f"    python -m experiments.evaluate --workdir={folder.name} --data=folder --manifest=clips.csv",
        )
        try:
            samples = run_directory.read_config(workdir)["evaluate"]["bootstrap"]
            system = system_file.of_run(workdir, samples=samples, allow=allow)
            system_file.write(temporary / system_file.FILE, system)
        except ValueError as error:  # a kind without P(fake), or a validation split that calibrates nothing
            log.warning("%s gets no %s: %s", folder, system_file.FILE, error)
        with contextlib.closing(checkpoints.Checkpoints(workdir / "checkpoints")) as saved:
            content = saved.content("best")
            variables, _ = saved.load("best", exported_model.abstract(content["arrays"]))
        exported_model.write(temporary, variables, content)


def _export_fusion(
    workdir: pathlib.Path,
    folder: pathlib.Path,
    moved: Mapping[pathlib.Path, pathlib.Path],
    allow: Sequence[str],
) -> None:
    """A fusion of tables: what it has fitted. moved: {a run: where in Models/ it is}, without symbolic links."""
    with files.exchanged(folder, FILES) as temporary:
        members = run_directory.read_config(workdir)["members"]
        uses = "It fuses the scores of\n\n" + "\n".join(f"* {name}: `{one['run']}`" for name, one in members.items())
        if (workdir / system_file.FILE).is_file():
            system = system_file.read(workdir / system_file.FILE)
            places = [(workdir / member.run).resolve() for member in system.members]
            runs = [os.path.relpath(moved.get(place, place), folder.resolve()) for place in places]
            changed = tuple(
                dataclasses.replace(member, run=member.run and run)
                for member, run in zip(system.members, runs, strict=True)
            )
            system_file.write(temporary / system_file.FILE, dataclasses.replace(system, members=changed))
            uses = f"    python -m experiments.detect FILE --model={folder.name}\n\n{uses}"
        for name in FITTED:
            if (workdir / name).is_file():
                shutil.copyfile(workdir / name, temporary / name)
        _describe(workdir, temporary, allow, uses)


def _describe(workdir: pathlib.Path, folder: pathlib.Path, allow: Sequence[str], uses: str) -> None:
    """What a run and its copy have alike: config, score tables, results; and the card."""
    row, config = run_directory.read_results(workdir), run_directory.read_config(workdir)
    (folder / "scores").mkdir()
    for name in ("config.json", "scores/val.csv", "scores/test.csv", "results.csv"):
        shutil.copyfile(workdir / name, folder / name)
    for name in ("report.txt", quality.TABLE):
        if (workdir / name).is_file():  # fusions have no quality of records
            shutil.copyfile(workdir / name, folder / name)
    data = system_file.data_of(score_table.read(workdir / "scores" / "test.csv"), "test")
    label = model_from_config.judged_by(config, allow)
    files.write_text(folder / "README.md", card.write(workdir.name, row, data, label, uses))
