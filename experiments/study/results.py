"""Results/ of a study: one row for each run in tables by part, fusions compared, and all score tables."""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments import embeddings, files, model_from_config, run_directory, score_table
from experiments.evaluators import classification, late_fusion
from experiments.producers import members
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import Table
from experiments.study.plan import Run
from mmdf_jax.tasks.detection import judged_label

QUALITY = (
    *("Accuracy", "Precision", "Recall", "F1", "AUC", "AUC low", "AUC high", "EER", "AP", "ECE"),
    *("Threshold", "Best validation accuracy"),
)
COSTS = ("Parameters (M)", "Training time (min)", "Inference (ms/sample)", "Peak memory (GB)")
COUNTS = ("Clips", "Abstained", "Identities")
COLUMNS = ("Experiment", "Run", "Seed", "Model", "Modality", "Judged by", *QUALITY, *COSTS, *COUNTS)
SINGLE = {1: "image", 2: "audio", 3: "video"}  # parts of the plan that compare detectors of one stream
# The parts that put several streams together. 08 compares them only, and 09 looks at the picture alone.
FUSED = (4, 5, 6, 7, 10, 11)
HELD_OUT = "held_out"  # the folder of detectors that were trained without a manipulation


def gather(
    study: pathlib.Path, finished: Sequence[Run], best: Mapping[str, Run], allow: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Writes the tables; returns the rows of complete_results.csv, one for each run."""
    folder = study / "Results"
    rows = _tables(folder, finished, allow)
    for part, stream in SINGLE.items():
        if own := [row for row in rows if row["Experiment"] == f"{part:02d}"]:
            score_table.write_csv(folder / f"{stream}_baseline_results.csv", COLUMNS, own)
    if compared := fusions(list(best.values())):
        score_table.write_csv(folder / "fusion_comparison.csv", compared.columns, compared.rows)
    return rows


def gather_held_out(study: pathlib.Path, finished: Sequence[Run], allow: Sequence[str] = ()) -> None:
    """Writes the tables of the runs that were trained without a manipulation into Results/held_out.

    They lie as those of the study do in Results, so that nothing takes the ones for the others.
    """
    _tables(study / "Results" / HELD_OUT, finished, allow)


def _tables(folder: pathlib.Path, finished: Sequence[Run], allow: Sequence[str]) -> list[dict[str, Any]]:
    """Copies what the runs have scored and writes complete_results.csv; returns its rows."""
    for run in finished:
        scores = run.folder / "scores"
        for path in (*sorted(scores.glob("*.csv")), *scores.glob(embeddings.FILE)):
            with files.atomic(folder / "scores" / run.name / path.name) as temporary:
                shutil.copyfile(path, temporary)
    rows = [row_of(run, allow) for run in finished]
    score_table.write_csv(folder / "complete_results.csv", COLUMNS, rows)
    return rows


def row_of(run: Run, allow: Sequence[str] = ()) -> dict[str, Any]:
    """The run's row of complete_results.csv: of detection by the label that the run answers for.

    So it is also where the run's own report is of something else.
    """
    row, config = run_directory.read_results(run.folder), run_directory.read_config(run.folder)
    cells: dict[str, Any] = {name: _number(row.get(name, "")) for name in (*QUALITY, *COSTS, *COUNTS)}
    label = model_from_config.judged_by(config, allow)
    if "Threshold" not in row:
        val, test = (
            [dataclasses.replace(one, label=judged_label(one, label)) for one in score_table.read(table)]
            for table in (run.folder / "scores" / f"{split}.csv" for split in ("val", "test"))
        )
        cells |= classification.summarise(val, test, samples=config["evaluate"]["bootstrap"])
    named = {
        "Experiment": f"{run.experiment.number:02d}",
        "Run": run.name,
        "Seed": run.seed,
        "Model": row["Model"],
        "Modality": row["Modality"],
        "Judged by": label,
    }
    return named | {name: cells[name] for name in COLUMNS if name not in named}


def fusions(best: Sequence[Run]) -> Table | None:
    """Each model that joins streams beside those of single streams, by the clip's label; None without both.

    Differences are to the single-stream detector that is best on validation, paired over identities.
    """
    joint = [run for run in best if run.experiment.number in FUSED]
    others = [run for run in best if run.experiment.number not in FUSED]
    if not joint or len(others) < 1:
        return None
    taken = [members.Member(run.experiment.short, run.folder / "scores", "score", "label", False) for run in best]
    rows = members.joined(taken)
    is_joint = [run in joint for run in best]
    first = is_joint.index(True)
    tables = []
    for split in ("val", "test"):
        scores = {
            one.name: [float("nan") if its[i] is None else its[i].score for _, its in rows[split]]
            for i, one in enumerate(taken)
        }
        singles = [(row, [its[i] for i, fused in enumerate(is_joint) if not fused]) for row, its in rows[split]]
        own = [one for one, fused in zip(taken, is_joint, strict=True) if not fused]
        fused = {f"fused_{run.experiment.short}": scores[run.experiment.short] for run in joint[1:]}
        tables.append(members.fused_rows(own, singles, scores[taken[first].name], fused))
    evaluator = late_fusion.Evaluator(
        fusion=taken[first].name, comparisons=[run.experiment.short for run in others if run.experiment.compares]
    )
    samples = run_directory.read_config(best[0].folder)["evaluate"]["bootstrap"]
    return evaluator.compared(*tables, samples=samples)


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """complete_results.csv for the terminal."""
    head = f"{'run':<24}{'judged by':<13}{'AUC [95 %]':<22}{'accuracy':>9}{'F1':>7}{'M':>7}{'minutes':>9}{'ms':>8}"
    lines = ["─" * terminal.WIDTH, "The study, test split", "─" * terminal.WIDTH, head]
    for row in rows:
        cells = [number(row["Accuracy"]), number(row["F1"])]
        costs = [number(row[name], digits) for name, digits in zip(COSTS, (2, 1, 1), strict=False)]
        lines.append(
            f"{terminal.fit(row['Run'], 23):<24}{row['Judged by']:<13}"
            f"{with_interval(row['AUC'], row['AUC low'], row['AUC high']):<22}"
            f"{cells[0]:>9}{cells[1]:>7}{costs[0]:>7}{costs[1]:>9}{costs[2]:>8}"
        )
    return "\n".join(lines)


def tree(study: pathlib.Path) -> str:
    """What the study holds, two levels deep, with how many files lie below."""
    return "\n".join(_lines(study))


def _lines(study: pathlib.Path) -> Iterator[str]:
    yield f"{study}/"
    for name in ("Models", "Results", "Figures", "Logs", "runs"):
        inside = sorted(path for path in (study / name).glob("*") if not path.name.startswith("."))
        yield f"  {name}/"
        for path in inside:
            count = sum(one.is_file() for one in path.rglob("*"))
            yield f"    {path.name}" + (f"/  {count} files" if path.is_dir() else "")


def _number(cell: str) -> float:
    """The number that a cell shows as; whole ones stay whole."""
    return int(cell) if cell.isdecimal() else float(cell or "nan")
