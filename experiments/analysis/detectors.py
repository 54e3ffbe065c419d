"""The detectors that an analysis compares: score tables of a study's runs, and of anybody's detector beside them."""

import csv
import dataclasses
import functools
import math
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import score_table
from experiments.producers import members
from experiments.run_directory import log
from experiments.score_table import ScoreRow
from experiments.study.results import HELD_OUT
from mmdf_jax.metrics import classification
from mmdf_jax.tasks.detection import TARGETS, judged_label

# What becomes of a clip that a detector has no score of: it stands in no number of that detector, or the detector is
# taken to have said real, fake, or that it does not know.
MISSING = {"exclude": math.nan, "as_real": 0.0, "as_fake": 1.0, "as_chance": 0.5}
SPLITS = ("train", "val", "test")  # of the data that a detector was trained on; its other tables are of other data
_SINGLE = ("01", "02", "03", "09")  # the parts of the plan whose detectors read one stream
_COSTS = ("Inference (ms/sample)", "Parameters (M)")
_COLUMNS = ("Experiment", "Run", "Judged by", "Modality", *_COSTS)  # of complete_results.csv, that are read
_SEED = re.compile(r"(.+)-seed(\d+)")


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """A detector, with the score tables of each of its trainings.

    part: of the study's plan, "" for a detector from outside. judged_by: the label that its score answers for.
    runs: the names of its trainings, by seed. tables: of each training, {table's name: {clip: row}}; `test` is always
    there. folds: the test tables of a cross-validation, if it is one. ms, parameters_m: nan where unknown. folders: of
    the tables of each training, for messages. held_out: whether the study has trained it without a manipulation.
    """

    name: str
    tables: tuple[Mapping[str, Mapping[str, ScoreRow]], ...]
    runs: tuple[str, ...]
    part: str = ""
    judged_by: str = "label"
    modality: str = ""
    ms: float = math.nan
    parameters_m: float = math.nan
    folds: tuple[Mapping[str, ScoreRow], ...] = ()
    folders: tuple[pathlib.Path, ...] = ()
    held_out: bool = False

    @property
    def single(self) -> bool:
        """Whether it is one of the study's detectors of a single stream."""
        return self.part in _SINGLE

    @functools.cached_property
    def best(self) -> int:
        """The training that is best on validation, which figures show; the first where validation says nothing."""
        found = [own_auc(table.get("val", {}).values(), self.judged_by) for table in self.tables]
        return int(np.argmax(np.nan_to_num(found, nan=-1.0)))

    def scores(
        self, clips: Sequence[ScoreRow], table: str = "test", column: str = "score", missing: str = "exclude"
    ) -> np.ndarray:
        """What each training says of the clips [s n]; what it has no score of, as MISSING says.

        Raises:
          ValueError: the column holds something else than numbers.
        """
        return np.array([self._column(i, table, clips, column, MISSING[missing]) for i in range(len(self.tables))])

    def has(self, column: str) -> bool:
        """Whether its test tables have the column."""
        return column == "score" or all(
            any(column in row.extra for row in table["test"].values()) for table in self.tables
        )

    def threshold(self, training: int, label: str, column: str = "score") -> float:
        """The operating threshold that validation fixes for a label; nan without validation."""
        rows = list(self.tables[training].get("val", {}).values())
        values = self._column(training, "val", rows, column, math.nan)
        known = ~np.isnan(values)
        labels = np.array([judged_label(row, label) for row in rows], int)
        return classification.threshold_for(labels[known], values[known]) if known.any() else math.nan

    def _column(self, training: int, table: str, clips: Sequence[ScoreRow], column: str, lacking: float) -> np.ndarray:
        try:
            return column_of(self.tables[training].get(table, {}), clips, column, lacking)
        except ValueError as error:
            folder = self.folders[training] if self.folders else pathlib.Path(self.name)
            raise ValueError(f"{folder / table}.csv, {error}") from None


def own_auc(rows: Sequence[ScoreRow], judged_by: str) -> float:
    """AUC of the score by a label; nan without both classes."""
    scored = [row for row in rows if row.scored]
    labels = np.array([judged_label(row, judged_by) for row in scored], int)
    return classification.auc(labels, np.array([row.score for row in scored], float))


def column_of(table: Mapping[str, ScoreRow], clips: Sequence[ScoreRow], column: str, lacking: float) -> np.ndarray:
    """A column of a table for clips [n]; `lacking` where it has no number.

    Raises:
      ValueError: `clip …, column …`: a cell is text.
    """
    values = []
    for clip in clips:
        row = table.get(clip.clip_id)
        value = math.nan if row is None else row.score if column == "score" else row.extra.get(column, math.nan)
        if isinstance(value, str):  # one such cell makes the whole column text
            value = _number(value, f"clip {clip.clip_id!r}, column {column}")
        values.append(lacking if math.isnan(value) else value)
    return np.array(values, float)


def _number(cell: str, where: str) -> float:
    """The number of a cell, nan for an empty one."""
    try:
        value = float(cell or 0)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: expected a number, found {cell!r}")
    return value if cell else math.nan


def clips_of(detectors: Sequence[Detector], table: str = "test") -> list[ScoreRow]:
    """Every clip that any detector's table has, by its name, with what any of them says of it.

    Raises:
      ValueError: two tables do not agree whether a clip is fake.
    """
    of_clip: dict[str, list[tuple[str, ScoreRow]]] = {}
    for detector in detectors:
        for one in detector.tables:
            for clip_id, row in one.get(table, {}).items():
                of_clip.setdefault(clip_id, []).append((detector.name, row))
    for clip_id, there in of_clip.items():
        if len({row.label for _, row in there}) > 1:
            names = [next(name for name, row in there if row.label == kind) for kind in (0, 1)]
            raise ValueError(f"clip {clip_id!r} of {table}: real for {names[0]}, fake for {names[1]}")
    return [functools.reduce(members.completed, [row for _, row in of_clip[clip]]) for clip in sorted(of_clip)]


def read(study: pathlib.Path, further: Mapping[str, pathlib.Path]) -> list[Detector]:
    """The detectors of a study's Results/, in the plan's order, then those of `further` {name: folder of tables}, then
    those that the study has trained without a manipulation.

    Raises:
      FileNotFoundError: there are no tables.
      ValueError: a table is damaged, of other clips or of one class, or there is one detector only.
    """
    found = _of_study(study / "Results")
    if taken := {one.name for one in found} & set(further):
        raise ValueError(f"--tables={sorted(taken)[0]}=…: the study has a detector of this name; choose another")
    if not found and not further:
        table = study / "Results" / "complete_results.csv"
        what = "no run in it has a score table with P(fake)" if table.is_file() else "no such table"
        raise FileNotFoundError(
            f"{table}: {what}; experiments.suite --workdir={study} gathers "
            "it from finished runs, or give --tables=NAME=FOLDER for each detector"
        )
    found += [_with_facts(_from_outside(name, folder), found) for name, folder in further.items()]
    if len(found) < 2:
        raise ValueError(f"one detector ({found[0].name}): nothing to compare; add one with --tables=NAME=FOLDER")
    first = _named(found[0])
    for one in found[1:]:
        if not first.keys() & _named(one).keys():
            raise ValueError(
                f"no test clip of {one.name} ({next(iter(_named(one)))!r}, …) is one of {found[0].name} "
                f"({next(iter(first))!r}, …): detectors are joined by clip_id"
            )
    labels = [row.label for row in clips_of(found)]
    if len(set(labels)) < 2:
        kind = "fake" if labels[0] else "real"
        raise ValueError(f"all {len(labels)} test clips are {kind}: expected real and fake clips")
    return found + [dataclasses.replace(one, held_out=True) for one in _of_study(study / "Results" / HELD_OUT)]


def folders(words: Sequence[str]) -> dict[str, pathlib.Path]:
    """{name: folder} of `NAME=FOLDER`, as `read` takes further detectors.

    Raises:
      ValueError, FileNotFoundError: `--tables=…`: it is something else, or the folder is not there.
    """
    found: dict[str, pathlib.Path] = {}
    for word in words:
        name, separator, folder = word.partition("=")
        if not separator or not name or not folder or name in found:
            raise ValueError(f"--tables={word}: expected NAME=FOLDER, each name once")
        if not pathlib.Path(folder).is_dir():
            raise FileNotFoundError(f"--tables={word}: no such folder")
        found[name] = pathlib.Path(folder)
    return found


def twins(detectors: Sequence[Detector]) -> list[tuple[str, str]]:
    """Pairs of detectors, the later one first, that give every test clip the same score."""
    clips = clips_of(detectors)
    scores = [one.scores(clips)[one.best] for one in detectors]
    return [
        (detectors[i].name, detectors[j].name)
        for i in range(len(detectors))
        for j in range(i)
        if np.array_equal(scores[i], scores[j], equal_nan=True)
    ]


def _named(detector: Detector) -> Mapping[str, ScoreRow]:
    return detector.tables[0]["test"]


def _of_study(results: pathlib.Path) -> list[Detector]:
    """The detectors of complete_results.csv and scores/; none where the study has no such table."""
    path = results / "complete_results.csv"
    if not path.is_file():
        return []
    by_name: dict[str, list[dict[str, str]]] = {}
    for row in _results(path):
        by_name.setdefault(_without_seed(row["Run"]), []).append(row)
    found = []
    for name, own in by_name.items():
        tables = tuple(_tables(results / "scores" / row["Run"]) for row in own)
        if not all(any(row.scored for row in one["test"].values()) for one in tables):
            log.warning("%s: its test table has no P(fake), so it is not compared", name)
            continue
        costs = [_number(own[0][key], f"{path}, run {own[0]['Run']}, column {key}") for key in _COSTS]
        runs = tuple(row["Run"] for row in own)
        facts = (own[0][key] for key in ("Experiment", "Judged by", "Modality"))
        folders = tuple(results / "scores" / run for run in runs)
        found.append(Detector(name, tables, runs, *facts, *costs, folders=folders))
    return found


def _results(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of complete_results.csv.

    Raises:
      ValueError: it is no such table.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV table in UTF-8 ({error}); gather the study again") from None
    for row in rows:
        if lacking := [name for name in _COLUMNS if row.get(name) is None]:
            raise ValueError(f"{path}: column {lacking[0]!r} is missing; gather the study again")
        if row["Judged by"] not in TARGETS:
            raise ValueError(
                f"{path}, run {row['Run']}, column Judged by: expected one of {', '.join(TARGETS)}, "
                f"found {row['Judged by']!r}"
            )
    names = [row["Run"] for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1 or not name}):
        raise ValueError(
            f"{path}, column Run: expected each run once, found {twice[0]!r} {names.count(twice[0])} times"
        )
    return rows


def unread(study: pathlib.Path, found: Sequence[Detector]) -> dict[str, str]:
    """{detector of the study that is not among `found`: why}."""
    reasons = {}
    for config in sorted((study / "runs").glob("*/config.json")):
        finished = (config.parent / "results.csv").is_file()
        reasons[_without_seed(config.parent.name)] = (
            "its run is not gathered" if finished else "its run is not finished"
        )
    if (path := study / "Results" / "complete_results.csv").is_file():
        reasons |= {_without_seed(row["Run"]): "its test table has no P(fake)" for row in _results(path)}
    return {name: why for name, why in reasons.items() if name not in {one.name for one in found}}


def _without_seed(run: str) -> str:
    match = _SEED.fullmatch(run)
    return match[1] if match else run


def _with_facts(detector: Detector, others: Sequence[Detector]) -> Detector:
    """A detector from outside, whose rows say of their clips what the study's tables do: identity, method, labels."""
    known: dict[tuple[str, str], ScoreRow] = {}
    for other in others:
        for name, table in other.tables[0].items():
            known |= {(name, clip): row for clip, row in table.items()}

    def completed(name: str, row: ScoreRow) -> ScoreRow:
        other = known.get((name, row.clip_id))
        return row if other is None else dataclasses.replace(members.completed(row, other), extra=row.extra)

    tables = {
        name: {clip: completed(name, row) for clip, row in table.items()} for name, table in detector.tables[0].items()
    }
    return dataclasses.replace(detector, tables=(tables,))


def _from_outside(name: str, folder: pathlib.Path) -> Detector:
    """A folder of score tables, test.csv and perhaps val.csv; or a run that has it in scores/, and folds beside it."""
    inside = folder / "scores" if (folder / "scores").is_dir() else folder
    tables = _tables(inside)
    if not any(row.scored for row in tables["test"].values()):
        raise ValueError(f"--tables={name}={folder}: its test.csv has no score")
    folds = sorted(folder.glob("fold*/scores/test.csv"), key=lambda path: (len(str(path)), str(path)))
    return Detector(name, (tables,), (name,), folds=tuple(_read(path) for path in folds), folders=(inside,))


def _tables(folder: pathlib.Path) -> dict[str, dict[str, ScoreRow]]:
    if not (folder / "test.csv").is_file():
        raise FileNotFoundError(
            f"{folder / 'test.csv'}: no such score table; expected clip_id,label,score of each clip"
        )
    return {path.stem: _read(path) for path in sorted(folder.glob("*.csv"))}


def _read(path: pathlib.Path) -> dict[str, ScoreRow]:
    rows = score_table.read(path)
    if not rows:
        raise ValueError(f"{path}: expected clips, found an empty table")
    return {row.clip_id: row for row in rows}
