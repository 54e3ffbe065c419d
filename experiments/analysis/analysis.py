"""A study's last experiment: from score tables to tables of comparisons, figures, a page and the console's summary."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import files, progress
from experiments.analysis import (
    claims,
    compare,
    detectors,
    failures,
    figures,
    findings,
    generalisation,
    media,
    page,
    quality,
    space,
    summary,
)
from experiments.figures import style
from experiments.score_table import ScoreRow, write_csv

TABLE, QUALITY, GENERALISATION, FAILURES = (
    "statistical_analysis.csv",
    "metrics_with_intervals.csv",
    "generalisation.csv",
    "failures.csv",
)
RANKS = "ranks_over_datasets.csv"
WRITTEN = "analysis_files.txt"  # what this analysis has written, so that the next one can remove what it does not
PAGE = "report.html"
_SETTINGS = {"families", "rope", "alpha", "power", "missing", "bootstrap", "least_datasets", "gallery", "pictures"}
_NO_PICTURES = "No pictures of clips: config.pictures is false."


def analyse(study: pathlib.Path, further: Mapping[str, pathlib.Path], config: Mapping[str, Any]) -> str:
    """Writes Results/, Figures/ and report.html of a study; returns the summary for the console.

    further: {name: folder of score tables} of other detectors. config: of configs/analysis.py.

    Raises:
      FileNotFoundError, ValueError: the config is wrong, or the tables are none, damaged, of one class, of other clips
        or of one detector only.
    """
    check(config)
    declared = claims.read(config)
    everyone = detectors.read(study, further)
    compared = generalisation.compared(everyone)
    clips = detectors.clips_of(everyone)
    families = [*declared, claims.all_pairs(compared)]
    tables = _computed(everyone, compared, clips, families, config, detectors.unread(study, everyone))
    ranks = generalisation.ranks(tables["generalisation"], config)
    columns = {
        TABLE: ("claims", compare.COLUMNS),
        QUALITY: ("quality", quality.COLUMNS),
        GENERALISATION: ("generalisation", generalisation.COLUMNS),
        FAILURES: ("failures", (*failures.COLUMNS, *(one.name for one in compared))),
    }
    if ranks:
        tables["ranks"] = list(ranks.rows)
        columns[RANKS] = ("ranks", generalisation.RANK_COLUMNS)
    drawn, undrawn = figures.draw(study, compared, clips, tables, config, ranks), []
    if isinstance(embeddings := space.draw(compared, clips), str):
        undrawn.append(embeddings)
    else:
        drawn["embeddings"] = embeddings
    pictures = _NO_PICTURES
    if config["pictures"]:
        pictures = media.draw(study, compared, tables["failures"])
    if isinstance(pictures, str):
        undrawn.append(pictures)
        pictures = {}
    absent = _absent(everyone, tables, config, undrawn)
    facts = page.Facts(compared, clips, declared, tables, config, absent, ranks, pictures)
    written = [f"Results/{file}" for file in columns]
    written += [f"Figures/{name}.{kind}" for name in drawn for kind in ("png", "pdf")]
    _begin(study, written)
    for file, (key, header) in columns.items():
        write_csv(study / "Results" / file, header, tables[key])
    with progress.bar(len(drawn), "figures", unit="figure") as bar:
        for name, one in drawn.items():
            style.settle(one.figure)
            style.save_for_print(one.figure, study / "Figures" / name)
            bar.update()
    files.write_text(study / PAGE, page.page(facts, drawn))
    paths = [study / "Results" / file for file in columns] + [study / "Figures", study / PAGE]
    return summary.text(facts, [os.path.relpath(path) for path in paths])


def _begin(study: pathlib.Path, written: Sequence[str]) -> None:
    """Removes what an earlier analysis has written and this one will not, and notes what this one writes.

    Only files that stand in that note are removed.
    """
    note = study / "Results" / WRITTEN
    before = note.read_text(encoding="utf-8").splitlines() if note.is_file() else []
    for name in set(before) - set(written):
        if pathlib.PurePosixPath(name).parent.as_posix() in ("Results", "Figures"):
            (study / name).unlink(missing_ok=True)
    files.write_text(note, "".join(f"{name}\n" for name in written))


def _computed(
    everyone: Sequence[detectors.Detector],
    compared: Sequence[detectors.Detector],
    clips: Sequence[ScoreRow],
    families: Sequence[claims.Family],
    config: Mapping[str, Any],
    unread: Mapping[str, str],
) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables: `claims`, `quality`, `generalisation`, `failures`."""
    runs = [(one, training) for one in compared for training in range(len(one.runs))]
    tables: dict[str, list[dict[str, Any]]] = {"claims": [], "quality": []}
    with progress.bar(len(families) + len(runs) + 1, "statistics", unit="table") as bar:
        for family in families:
            tables["claims"] += compare.family_rows(family, compared, clips, config, unread)
            bar.update()
        for one, training in runs:
            tables["quality"] += quality.rows(one, training, clips, config)
            bar.update()
        tables["generalisation"] = generalisation.rows(everyone, config)
        bar.update()
    tables["failures"] = failures.rows(compared, clips, config["gallery"], config["missing"])
    return tables


def check(config: Mapping[str, Any]) -> None:
    """Raises ValueError, `config.…`, for a setting that cannot be meant."""
    if lacking := sorted(_SETTINGS - set(config)):
        raise ValueError(f"config.{lacking[0]} is missing: expected a config of claims, as configs/analysis.py is")
    if config["missing"] not in detectors.MISSING:
        raise ValueError(f"config.missing={config['missing']}: expected one of {', '.join(detectors.MISSING)}")
    for key in ("alpha", "power"):
        if not (isinstance(config[key], float) and 0 < config[key] < 1):
            raise ValueError(f"config.{key}={config[key]}: expected a number between 0 and 1")
    if config["alpha"] >= config["power"]:
        raise ValueError(f"config.power={config['power']}: expected more than config.alpha={config['alpha']}")
    for metric in claims.METRICS:
        if not config["rope"].get(metric, -1) >= 0:
            raise ValueError(f"config.rope.{metric}: expected a number of at least 0")
    if not isinstance(config["pictures"], bool):
        raise ValueError(f"config.pictures={config['pictures']}: expected true or false")
    for key, least in (("bootstrap", 2), ("gallery", 1), ("least_datasets", 2)):
        if not (isinstance(config[key], int) and config[key] >= least):
            raise ValueError(f"config.{key}={config[key]}: expected a whole number of at least {least}")


def _absent(
    everyone: Sequence[detectors.Detector],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    config: Mapping[str, Any],
    undrawn: Sequence[str] = (),
) -> list[str]:
    """What this analysis cannot say of these detectors. undrawn: why figures are missing."""
    compared, lacking = generalisation.compared(everyone), generalisation.without(everyone)
    _, _, values = generalisation.matrix(tables["generalisation"], generalisation.DATASET)
    once = [one.name for one in compared if len(one.runs) == 1]
    return findings.absent(
        config,
        datasets=len(generalisation.shared(values, config["least_datasets"])[1]),
        folds=sum(bool(one.folds) for one in compared) > 1,
        once=once,
        often=[one.name for one in compared if len(one.runs) > 1],
        costless=[one.name for one in compared if not one.ms > 0],
        twins=detectors.twins(compared),
        strangers=sum(not clip.identity for clip in detectors.clips_of(compared)),
        undrawn=undrawn,
        alone=[name for name, (whole, _) in lacking.items() if whole not in {one.name for one in everyone}],
    )
