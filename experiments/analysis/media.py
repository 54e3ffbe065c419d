"""The clips of the failure gallery as they look and sound, where the study's records are on this machine."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data_pipelines.batch import FPS
from data_pipelines.loading import windows
from data_pipelines.prepare import records
from data_pipelines.record import Record
from experiments import progress, score_table
from experiments.analysis.detectors import Detector
from experiments.figures import clip_strip
from experiments.run_directory import log
from mmdf_jax.audio import SAMPLE_RATE

FRAMES = 6
SIDE = 160  # pixels of a frame's side
HEARD = 30.0  # s of a clip that are shown


def draw(
    study: pathlib.Path, detectors: Sequence[Detector], failures: Sequence[Mapping[str, Any]]
) -> dict[str, list[Figure]] | str:
    """{kind of failure: a figure of each of its clips}; a string says why there are none.

    failures: rows of failures.csv. Nothing is prepared for this: only records that are there are read.
    """
    where = _where(study, detectors)
    if not any(row["Clip"] in where for row in failures):
        return (
            "No pictures of clips: the records of the study's dataset are not on this machine, or lack these clips. "
            "Where they are there, the page shows frames, sound and segments of each failure."
        )
    drawn: dict[str, list[Figure]] = {}
    with progress.bar(len(failures), "pictures", unit="clip") as bar:
        for row in failures:
            bar.update()
            if row["Clip"] not in where:
                continue
            folder, split, i = where[row["Clip"]]
            try:
                strip = _strip(records.Records(folder, split)[i], row, detectors)
            except windows.BadRecord as error:
                log.warning("no picture of %s: %s", row["Clip"], error)
                continue
            drawn.setdefault(row["Kind"], []).append(clip_strip.draw(strip))
    return drawn


def _where(study: pathlib.Path, detectors: Sequence[Detector]) -> dict[str, tuple[pathlib.Path, str, int]]:
    """{clip: the folder, split and number of its record}, from the folders that the study's runs have noted."""
    notes = [study / "runs" / run / "records_folder.txt" for one in detectors for run in one.runs]
    texts = dict.fromkeys(note.read_text(encoding="utf-8").strip() for note in notes if note.is_file())
    found: dict[str, tuple[pathlib.Path, str, int]] = {}
    for folder in map(pathlib.Path, texts):
        if not (folder / "records.json").is_file():
            continue
        numbers: dict[str, int] = {}
        try:
            for split, entry in records.read_index(folder):
                numbers[split] = numbers.get(split, -1) + 1
                found.setdefault(entry.clip.clip_id, (folder, split, numbers[split]))
            records.Records(folder, split)
        except (ValueError, OSError) as error:  # of another version, or half there
            log.warning("no pictures from %s: %s", folder, error)
            found = {clip: place for clip, place in found.items() if place[0] != folder}
    return found


def _strip(record: Record, row: Mapping[str, Any], detectors: Sequence[Detector]) -> clip_strip.Strip:
    clip, images = record["clip"], record["frames"]
    seconds = min(max(len(images) / FPS, len(record["audio"]) / SAMPLE_RATE), HEARD)
    shown = min(len(images), round(seconds * FPS))
    numbers = np.unique(np.linspace(0, shown - 1, min(FRAMES, shown)).round().astype(int)) if shown else []
    found = {}
    for one in detectors:
        scored = one.tables[one.best]["test"].get(clip.clip_id)
        if scored is not None and "segments" in scored.extra:
            found[one.name] = [tuple(segment) for segment in score_table.segments(scored) if len(segment) == 3]
    kind = "real" if row["Truth"] == "real" else f"fake, {row['Method']}" if row["Method"] else "fake"
    return clip_strip.Strip(
        title=f"{kind} · {clip.clip_id}",
        label=int(row["Truth"] == "fake"),
        seconds=seconds,
        frames=[windows.decode(images[i], SIDE, grey=False, what=f"frame {i}") for i in numbers],
        audio=record["audio"][: round(HEARD * SAMPLE_RATE)] if len(record["audio"]) else None,
        spans=sorted({*clip.video_segments, *clip.audio_segments}),
        found=found,
        scores={one.name: row[one.name] for one in detectors},
    )
