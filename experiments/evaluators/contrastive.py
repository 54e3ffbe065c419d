"""The report on a detector that also compares two streams: the classifier's, and apart from it their consistency."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.evaluators import classification
from experiments.evaluators.classification import NAME
from experiments.figures import score_distributions
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table, curve
from mmdf_jax.metrics import alignment

# Columns that are high where the streams agree, and what they are called.
CONSISTENCY = {
    "consistency": "mean",
    "consistency_p10": "p10",
    "retrieval_at_1": "retrieval",
    "consistency_pooled": "pooled",
}
EMBEDDING = "embedding_"
LEAKAGE_COLUMNS = ("Measure", "Value", "Chance", "Clips")


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Reports on the classifier as `classification` does, on the columns of CONSISTENCY and on `embedding_<stream>`."""

    classification: classification.Evaluator

    @property
    def judged_by(self) -> str:
        """The label that `score` answers for."""
        return self.classification.judged_by

    @property
    def headline(self) -> tuple[str, ...]:
        return (*self.classification.headline, "Consistency AUC on dubbing")

    @property
    def averaged(self) -> tuple[str, ...]:
        return (*self.classification.averaged, "Pooled consistency AUC on dubbing")

    def results(self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int) -> dict[str, Any]:
        """The classifier's, and the AUC of low consistency, against reals, of fakes whose streams disagree.

        Raises:
          ValueError: a row has no score, or the table has no column `consistency`.
        """
        row = self.classification.results(val, test, samples=samples)
        if not any("consistency" in entry.extra for entry in test):
            raise ValueError("the score table has no column `consistency`; is it of a model of contrastive.py?")
        judged = [entry for entry in test if entry.label == 0 or disagrees(entry)]
        of = {
            column: classification.summarise([], inconsistent(judged, column), samples=samples)
            for column in ("consistency", "consistency_pooled")
        }
        mean, pooled = of["consistency"], of["consistency_pooled"]
        return {
            **row,
            "Consistency AUC on dubbing": mean["AUC"],
            "Consistency AUC low": mean["AUC low"],
            "Consistency AUC high": mean["AUC high"],
            "Pooled consistency AUC on dubbing": pooled["AUC"],
        }

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """The classifier's; `consistency.csv`, each method against all reals by each column; `shared_space.csv`."""
        rows = []
        for column in CONSISTENCY:
            of = classification.per_method(inconsistent(test, column), math.nan, samples=samples)
            rows += [{**entry, "Score": column} for entry in of if entry["Score"] == "score"]
        return {
            **self.classification.tables(val, test, row, samples=samples),
            "consistency": Table(classification.METHOD_COLUMNS, rows),
            "shared_space": Table(LEAKAGE_COLUMNS, shared_space(test)),
        }

    def figures(
        self,
        test: Sequence[ScoreRow],
        row: Mapping[str, Any],
        tables: Mapping[str, Table],
        *,
        title: str,
        samples: int,
    ) -> dict[str, Figure]:
        """The classifier's, and the consistency per method."""
        seen = [entry for entry in inconsistent(test, "consistency") if entry.scored]
        return {
            **self.classification.figures(test, row, tables, title=title, samples=samples),
            "consistency": score_distributions.draw(
                [entry.score for entry in seen],
                [classification.method_of(entry) for entry in seen],
                [entry.label for entry in seen],
                title=f"{title}(1 - consistency) / 2 per method",
            ),
        }

    def text(self, row: Mapping[str, Any], tables: Mapping[str, Table], scored: str) -> list[str]:
        """The classifier's lines, the consistency of each method, and what the shared space knows."""
        of = {(entry["Method"], entry["Score"]): entry for entry in tables["consistency"].rows}
        lines = [
            *self.classification.text(row, tables, scored),
            "",
            f"{'consistency alone (low: fake)':<{NAME}}{'fakes':>6}  {'AUC of the mean':<22}"
            + "".join(f"{name:>11}" for name in list(CONSISTENCY.values())[1:]),
        ]
        for method in dict.fromkeys(method for method, _ in of):
            mean, *others = (of[method, column] for column in CONSISTENCY)
            auc = with_interval(mean["AUC"], mean["AUC low"], mean["AUC high"])
            cells = "".join(f"{number(other['AUC']):>11}" for other in others)
            lines.append(f"{terminal.fit(method, NAME - 1):<{NAME}}{mean['Fakes']:>6}  {auc:<22}{cells}")
        known = [entry for entry in tables["shared_space"].rows if not math.isnan(entry["Value"])]
        if known:
            lines += ["", f"{'shared space, real clips':<58}{'value':>8}{'chance':>9}"]
            lines += [
                f"{entry['Measure']:<58}{number(entry['Value']):>8}{number(entry['Chance']):>9}" for entry in known
            ]
        return lines

    def pooled(self, tables: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
        """One table of several folds': scores and consistency as ranks; spaces of different models share nothing."""
        kept = []
        for table in tables:
            kept.append(
                [
                    dataclasses.replace(
                        row, extra={name: of for name, of in row.extra.items() if not name.startswith(EMBEDDING)}
                    )
                    for row in table
                ]
            )
        return classification.ranked(kept, columns=tuple(CONSISTENCY))

    def label(self, row: ScoreRow) -> int:
        """The label that a row is judged by."""
        return self.classification.label(row)


def disagrees(row: ScoreRow) -> bool:
    """Whether the clip is fake although each of its streams is real: dubbing."""
    return row.label == 1 and row.video_label == row.audio_label == 0


def inconsistent(rows: Sequence[ScoreRow], column: str) -> list[ScoreRow]:
    """The rows with (1 - consistency) / 2, in [0, 1], as their only score; abstained from where that is unknown."""
    changed = []
    for row in rows:
        score = (1 - float(row.extra.get(column, math.nan))) / 2
        extra = {name: value for name, value in row.extra.items() if name == "partial"}
        changed.append(dataclasses.replace(row, score=score, extra=extra))
    return changed


def shared_space(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """What the space of the windows' vectors knows of the real clips: one row per measure, with LEAKAGE_COLUMNS."""
    names = [name for name in dict.fromkeys(key for row in rows for key in row.extra) if name.startswith(EMBEDDING)]
    reals = [row for row in rows if row.label == 0 and row.ok]
    if len(names) != 2 or not reals:
        return []
    both = [[curve(row, name) for name in names] for row in reals]
    # An empty cell has no numbers, and a window that lacks a stream has nan.
    kept = [i for i, pair in enumerate(both) if all(len(of) and np.isfinite(of).all() for of in pair)]
    if not kept:
        return []
    x, y = (_unit(np.stack([both[i][side] for i in kept])) for side in (0, 1))
    groups = [reals[i].group for i in kept]
    first, second = (name.removeprefix(EMBEDDING) for name in names)
    nan = math.nan
    measures = [
        (f"alignment of {first} and {second} (0 to 4, low is good)", alignment.alignment(x, y), nan),
        (f"uniformity of {first} (-8 to 0, low is good)", alignment.uniformity(x), nan),
        (f"uniformity of {second}", alignment.uniformity(y), nan),
        ("own voice first among clips of the same person", *alignment.retrieval(x, y, groups, same=True)),
        ("own voice first among clips of other people", *alignment.retrieval(x, y, groups, same=False)),
        ("same person's voice before another's, other clips", alignment.identity_leakage(x, y, groups), 0.5),
    ]
    return [{"Measure": name, "Value": value, "Chance": chance, "Clips": len(kept)} for name, value, chance in measures]


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
