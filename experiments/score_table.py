"""Score tables: one CSV row per clip, all that statistics, figures and reports ever read of a detector.

Columns `clip_id, label, score` suffice for a detector of fakes: a table made by anybody's detector is as good as ours.
"""

import csv
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.files import atomic

LONGEST_CELL = 1 << 30  # characters: a film's curve at 25 a second is longer than the csv module allows by itself
REQUIRED = ("clip_id", "label")
OK = "ok"  # any other status: the clip was abstained from, and the status says why


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """One clip, what its dataset says of it, and its score. Labels: 1 fake, 0 real, -1 unknown or absent."""

    clip_id: str
    label: int  # 0 or 1
    score: float = math.nan  # P(fake) in [0, 1]; nan where the detector abstained, or where its kind has no such score
    dataset: str = ""
    split: str = ""
    identity: str = ""
    method: str = ""
    video_label: int = -1
    audio_label: int = -1
    status: str = OK
    # Further columns: floats (nan = empty) or text. Names that begin with `score_` hold scores of one stream. A curve
    # or a timeline is text (see `curve`).
    extra: Mapping[str, float | str] = dataclasses.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the clip was scored, whatever the columns of its scores are."""
        return self.status == OK

    @property
    def scored(self) -> bool:
        return not math.isnan(self.score)

    @property
    def group(self) -> tuple[str, str]:
        """What bootstraps resample: the identity within its dataset, or the clip itself where none is known."""
        return (self.dataset, self.identity) if self.identity else ("", self.clip_id)


@dataclasses.dataclass(frozen=True)
class Table:
    """Any table of a report: its columns in order, and its rows as dictionaries."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def curve(row: ScoreRow, name: str) -> np.ndarray:
    """A column that holds a curve or a timeline, as the task's outputs `curve` and `stitched` do: [k], nan for null.

    Raises:
      ValueError: the cell is no list of numbers.
    """
    try:
        return np.array(json.loads(row.extra.get(name) or "[]"), float)
    except (TypeError, ValueError):
        raise ValueError(
            f"clip {row.clip_id!r}, column {name}: expected a list of numbers, found {row.extra[name]!r}"
        ) from None


def curve_cell(values: np.ndarray) -> str:
    """The inverse of `curve`: JSON with six digits after the point."""
    return json.dumps([None if math.isnan(value) else round(value, 6) for value in values.tolist()])


def segments(row: ScoreRow, name: str = "segments") -> np.ndarray:
    """A column that holds segments [n 3], (start, end, score) in clip seconds, or spans [n 2], (start, end).

    An empty cell and `[]` are [0 0].

    Raises:
      ValueError: the cell is no list of such.
    """
    cell = row.extra.get(name, "")
    empty = cell == "" or (isinstance(cell, float) and math.isnan(cell))  # nan: the column is empty throughout
    try:
        found = np.array([] if empty else json.loads(cell), float)
    except (TypeError, ValueError):
        found = np.zeros(1)
    found = found.reshape(0, 0) if not found.size else found
    if found.ndim != 2 or found.shape[1] not in (0, 2, 3):
        raise ValueError(
            f"clip {row.clip_id!r}, column {name}: expected a list of [start, end, score] or of [start, end], "
            f"found {row.extra[name]!r}"
        )
    return found


def segments_cell(values: np.ndarray) -> str:
    """The inverse of `segments`: JSON with six digits after the point."""
    return json.dumps([[round(value, 6) for value in segment] for segment in values.tolist()])


COLUMNS = (
    *("clip_id", "dataset", "split", "identity", "method", "label", "video_label", "audio_label"),
    *("status", "score"),
)


def write_csv(path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes dictionaries as CSV, atomically; nan becomes an empty cell, floats keep every digit."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else repr(float(value))
    return str(int(value) if isinstance(value, (bool, np.bool_)) else value)


def read_csv(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of any table that write_csv wrote: numbers where cells are such, nan where they are empty.

    Raises:
      FileNotFoundError: there is none.  ValueError: it has no header.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not reader.fieldnames:
            raise ValueError(f"{path}: expected a table, found an empty file")
        return [{name: _value(cell) for name, cell in row.items()} for row in reader]


def _value(cell: str) -> Any:
    try:
        return float(cell or "nan")
    except ValueError:
        return cell


def write(path: str | os.PathLike, rows: Sequence[ScoreRow]) -> None:
    """Writes a score table atomically; extra columns follow the standard ones in order of first appearance."""
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    if clash := set(extra) & set(COLUMNS):
        raise ValueError(f"{path}: extra columns may not be named {sorted(clash)}")
    # A kind of detector that has no P(fake) has no column of it.
    without = any(row.ok for row in rows) and not any(row.scored for row in rows)
    columns = [name for name in COLUMNS if name != "score" or not without]
    write_csv(
        path,
        [*columns, *extra],
        ({**{name: getattr(row, name) for name in columns}, **row.extra} for row in rows),
    )


def read(path: str | os.PathLike) -> list[ScoreRow]:
    """Reads a score table strictly.

    FileNotFoundError without the file; ValueError, naming file and line, for a missing column, a label that is not
    0 or 1, a score outside [0, 1] or not finite, an empty score on a row whose status is `ok`, and a clip named
    twice. Extra columns become floats where every cell is a number or empty, else text.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such score table")
    csv.field_size_limit(LONGEST_CELL)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            cells = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV table in UTF-8 ({error})") from error
    for name in REQUIRED:
        if name not in header:
            raise ValueError(f"{path}: column {name!r} is missing; found {', '.join(header) or 'an empty file'}")
    if repeated := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"{path}: column {sorted(repeated)[0]!r} stands there twice")

    extra = [name for name in header if name not in COLUMNS]
    numeric = {name for name in extra if all(_is_number(row[name]) for _, row in cells)}
    rows, line_of = [], {}
    for line, row in cells:
        where = f"{path}, line {line}"
        if None in row or None in row.values():
            raise ValueError(f"{where}: expected {len(header)} cells, as in the header")
        parsed = _parse(where, row, extra, numeric)
        if parsed.clip_id in line_of:
            raise ValueError(f"{where}: clip {parsed.clip_id!r} was already on line {line_of[parsed.clip_id]}")
        line_of[parsed.clip_id] = line
        rows.append(parsed)
    return rows


def _parse(where: str, row: dict[str, str], extra: Sequence[str], numeric: set[str]) -> ScoreRow:
    row = {name: cell.strip() for name, cell in row.items()}
    if not row["clip_id"]:
        raise ValueError(f"{where}: clip_id is empty")
    status = row.get("status") or OK
    score = _score(where, "score", row.get("score", ""))
    if "score" in row and math.isnan(score) and status == OK:
        raise ValueError(f"{where}: score of {row['clip_id']!r} is empty; give a number in [0, 1], or a status why not")
    values = {}
    for name in extra:
        if name.startswith("score_"):
            values[name] = _score(where, name, row[name])
        else:
            values[name] = (float(row[name]) if row[name] else math.nan) if name in numeric else row[name]
    return ScoreRow(
        clip_id=row["clip_id"],
        label=_label(where, "label", row["label"], "0 (real) or 1 (fake)"),
        score=score,
        video_label=_label(where, "video_label", row.get("video_label") or "-1", "0, 1 or -1"),
        audio_label=_label(where, "audio_label", row.get("audio_label") or "-1", "0, 1 or -1"),
        status=status,
        extra=values,
        **{name: row.get(name, "") for name in ("dataset", "split", "identity", "method")},
    )


def _is_number(cell: str | None) -> bool:
    try:
        return not cell or not cell.strip() or math.isfinite(float(cell))
    except ValueError:
        return False


def _score(where: str, name: str, cell: str) -> float:
    try:
        score = float(cell) if cell else None
    except ValueError:
        score = math.inf
    if score is None:
        return math.nan
    if not 0 <= score <= 1:  # false for nan too
        raise ValueError(f"{where}: {name} must be a number in [0, 1], found {cell!r}")
    return score


def _label(where: str, name: str, cell: str, allowed: str) -> int:
    # 0.0 and 1.0 are what spreadsheets and pandas make of a column with gaps.
    try:
        label = float(cell)
    except ValueError:
        label = math.nan
    if label not in ((0, 1) if name == "label" else (0, 1, -1)):
        raise ValueError(f"{where}: {name} must be {allowed}, found {cell!r}")
    return int(label)
