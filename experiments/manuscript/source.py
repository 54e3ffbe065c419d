"""What a paper reads of a study: its tables, the tables of its runs and their configurations; and what is missing."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import run_directory, score_table
from experiments.analysis import detectors, generalisation
from experiments.analysis.detectors import Detector
from experiments.study import plan
from experiments.system_file import EMBEDDED

Row = Mapping[str, Any]

RESULTS = ("complete_results", "statistical_analysis", "metrics_with_intervals", "generalisation", "fusion_comparison")
# Tables that runs leave beside results.csv.
OF_RUNS = {
    "cross_attn": ("fusion",),
    "late_fusion": ("fusion_comparison",),
    "contrastive": ("consistency",),
    "lip_sync": ("offsets",),
    "temporal_consistency": ("rivals", "conditions"),
    "hierarchical": ("types", "segments", "regions"),
    "system": ("calibration", "operating_points"),
}
# {name in the text: file in Figures/}
FIGURES = {
    "roc": "roc_curves_all_models.pdf",
    "reliability": "reliability_of_all.pdf",
    "risk": "risk_coverage_of_all.pdf",
    "pareto": "pareto.pdf",
}
# {name in the text: run, file in its figures/}
PICTURES = {
    "similarity": ("contrastive", "similarity.png"),
    "frames": ("temporal_consistency", "frame_scores.png"),
    "verdict": ("hierarchical", "verdict_1.png"),
    "calibrated": ("system", "reliability.png"),
}


@dataclasses.dataclass(frozen=True)
class Study:
    """A whole study. tables: of Results/, by their names. detectors: those that are compared, in the plan's order."""

    folder: pathlib.Path
    detectors: Sequence[Detector]
    tables: Mapping[str, Sequence[Row]]

    def detector(self, name: str) -> Detector:
        """The detector of this name."""
        return next(one for one in self.detectors if one.name == name)

    def run(self, name: str) -> pathlib.Path:
        """The folder of a detector's training that is best on validation."""
        one = self.detector(name)
        return self.folder / "runs" / one.runs[one.best]

    def config(self, name: str) -> dict[str, Any]:
        """Its configuration."""
        return run_directory.read_config(self.run(name))

    def environment(self, name: str) -> dict[str, Any]:
        """Where it ran: device, threads, versions."""
        return json.loads((self.run(name) / "environment.json").read_text(encoding="utf-8"))

    def table(self, name: str, table: str) -> list[Row]:
        """A table of its run."""
        return score_table.read_csv(self.run(name) / f"{table}.csv")

    def result(self, name: str) -> Row:
        """Its row of complete_results.csv."""
        return next(row for row in self.tables["complete_results"] if row["Run"] == self.run(name).name)

    def quality(self, name: str, metric: str, label: str) -> Row | None:
        """A metric of it with its interval, of metrics_with_intervals.csv; None where there is none."""
        run = self.run(name).name
        found = [row for row in self.tables["metrics_with_intervals"] if (row["Run"], row["Metric"]) == (run, metric)]
        return next((row for row in found if row["Judged by"] == label), None)

    def by_method(self, name: str) -> dict[str, Row]:
        """{method: the AUC of its fakes against all reals}."""
        of_methods = [row for row in self.tables["generalisation"] if row["Kind"] == generalisation.METHOD]
        return {row["Of"]: row for row in of_methods if row["Detector"] == name}

    @property
    def pictures(self) -> dict[str, pathlib.Path]:
        """{name in the text: file} of what the study and its runs have drawn."""
        drawn = {name: self.folder / "Figures" / file for name, file in FIGURES.items()}
        return drawn | {name: self.run(run) / "figures" / file for name, (run, file) in PICTURES.items()}

    @property
    def claims(self) -> list[Row]:
        """The declared claims."""
        return [row for row in self.tables["statistical_analysis"] if row["Declared"] == "yes"]

    @property
    def embedded(self) -> bool:
        """Whether the study is of the embedded dataset."""
        return self.config("cross_attn")["data"]["name"] == EMBEDDED


def read(folder: pathlib.Path) -> Study:
    """Reads a study.

    Raises:
      FileNotFoundError: files are missing; the line names them and the command that makes them.
      ValueError: a table is damaged.
    """
    results = [folder / "Results" / f"{name}.csv" for name in RESULTS]
    if not results[0].is_file():
        raise FileNotFoundError(_missing(folder, results[:1]))
    found = detectors.read(folder, {})
    study = Study(folder, found, {path.stem: score_table.read_csv(path) for path in results if path.is_file()})
    lacking = {one.name for one in plan.EXPERIMENTS} - {one.name for one in found}
    paths = [
        *results,
        *(folder / "Figures" / file for file in FIGURES.values()),
        *(study.run(name) / "figures" / file for name, file in PICTURES.values() if name not in lacking),
        *(folder / "runs" / name / "results.csv" for name in sorted(lacking)),
        *(
            study.run(name) / f"{table}.csv"
            for name, all_of in OF_RUNS.items()
            if name not in lacking
            for table in all_of
        ),
        *(study.run(one.name) / "config.json" for one in found if one.part),
        *(study.run(name) / "environment.json" for name in ("cross_attn",) if name not in lacking),
    ]
    if missing := [path for path in paths if not path.is_file()]:
        raise FileNotFoundError(_missing(folder, missing))
    return study


def _missing(folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> str:
    names = [str(path.relative_to(folder)) for path in paths]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return (
        f"{folder}: a paper needs the whole study; missing: {shown}; what is missing is made by python -m "
        f"experiments.suite --workdir={folder}"
    )
