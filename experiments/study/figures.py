"""Figures/ of a study, for print: models compared, fusions, ROC, confusion; and the runs' pictures of attention."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import score_table
from experiments.figures import confusion, fusion_comparison, models_comparison, pictures, roc_curves, style
from experiments.study.plan import Run
from experiments.study.results import FUSED, SINGLE
from mmdf_jax.tasks.detection import judged_label

_GROUPS = {
    **{
        f"{part:02d}": (f"{stream} alone", colour)
        for (part, stream), colour in zip(SINGLE.items(), (style.REAL, style.ACCENT, style.SECOND), strict=True)
    },
    **{f"{part:02d}": ("streams together", style.FAKE) for part in FUSED},
    "08": ("sync alone", style.INK),
    "09": ("video alone", style.SECOND),
}


def gather(study: pathlib.Path, rows: Sequence[Mapping[str, Any]], best: Mapping[str, Run]) -> None:
    """Writes the figures. rows: of complete_results.csv. best: each model's best run, which figures of all show."""
    row_of = {row["Run"]: row for row in rows}
    of_best = [row_of[run.name] for run in best.values()]
    drawn: dict[str, Figure] = {}
    for part, stream in SINGLE.items():
        if own := [row for row in rows if row["Experiment"] == f"{part:02d}"]:
            title = f"{stream.capitalize()} models, each judged by its stream's own label"
            drawn[f"{stream}_models_comparison"] = models_comparison.draw(own, title=title)
    if (path := study / "Results" / "fusion_comparison.csv").is_file():
        drawn["fusion_comparison"] = fusion_comparison.draw(
            score_table.read_csv(path), title="By the clip's label: AUC, and difference to the best single detector"
        )
    seen = {run.name: _seen(run, row_of[run.name]) for run in best.values()}
    drawn["roc_curves_all_models"] = roc_curves.draw(_panels(of_best, seen), title="ROC curves, test split")
    drawn["confusion_matrices"] = confusion.draw_all(
        [(row["Run"], *seen[row["Run"]], row["Threshold"]) for row in of_best],
        title="Confusion matrices, test split, at the threshold of validation",
    )
    drawn["final_comparison_chart"] = models_comparison.draw(
        sorted(of_best, key=lambda row: -np.nan_to_num(row["AUC"])), title="All models", groups=_GROUPS
    )
    attention = [run.folder / "figures" / "attention.png" for run in best.values()]
    if attention := [path for path in attention if path.is_file()]:
        drawn["attention_visualizations"] = pictures.draw(attention)
    for name, figure in drawn.items():
        style.save_for_print(figure, study / "Figures" / name)


def _seen(run: Run, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] that the run answers for, and its scores [n], of the test clips that have one."""
    scored = [one for one in score_table.read(run.folder / "scores" / "test.csv") if one.scored]
    labels = [judged_label(one, row["Judged by"]) for one in scored]
    return np.array(labels), np.array([one.score for one in scored])


def _panels(
    rows: Sequence[Mapping[str, Any]], seen: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, list[tuple[str, np.ndarray, np.ndarray]]]:
    headings = {"01": "image models", "02": "audio models", "03": "video models", "09": "video models"}
    panels: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for row in rows:
        label = "clip's label" if row["Judged by"] == "label" else row["Judged by"].replace("_", " ")
        heading = f"{headings.get(row['Experiment'], 'several streams')}, by the {label}"
        panels.setdefault(heading, []).append((row["Run"], *seen[row["Run"]]))
    return panels
