"""Audio-video offset and confidence of any video of a talking face.

    python -m experiments.sync FILE… --model=runs/lip_sync
    python -m experiments.sync FILE… --json=offsets.json --fix=manifest.csv

Offsets are positive where the sound comes late. Each file gets one line: offset in frames of 40 ms and in seconds,
confidence (peak of the similarity over shifts minus its median, in cosines), and coverage (share of the time that has
a voice and a moving mouth). Where the confidence is lower than that of nearly all real clips of the model's validation,
no offset is claimed: the pictures are not of the kind that the model has learned, or the streams do not belong
together. Figures of similarity over shifts and over time go to --figures. The exit code is 1 where nothing could be
said of a file, and that file's line says why.

--fix writes a manifest with a column audio_offset, which experiments.prepare --dataset=folder --manifest=… applies.
"""

import dataclasses
import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from experiments import command_line

HOP = 0.4  # s between two windows
SHORTEST = 29  # frames: below, a shift by 15 leaves less than a third of those inside the model's border
SELDOM = 0.05  # of real clips have a confidence below which no offset is claimed
TRAIN = "python -m experiments.main --config=configs/lip_sync.py"


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found of a file, or the `problem` for which nothing can be said.

    least: the confidence that an offset needs to be claimed.
    offset: frames; curve [k]: cosines over shifts; timeline [t]: cosine at shift 0, nan where it is unknown; windows:
    (start in s, offset, confidence) of each.
    """

    path: str
    problem: str = ""
    note: str = ""
    offset: float = math.nan
    confidence: float = math.nan
    least: float = 0.0
    coverage: float = 0.0
    curve: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    timeline: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    windows: Sequence[tuple[float, float, float]] = ()

    @property
    def seconds(self) -> float:
        return self.offset / 25

    @property
    def sure(self) -> bool:
        """Whether there is an offset to claim."""
        return not self.problem and self.confidence >= self.least

    def line(self) -> str:
        """What the terminal says."""
        if self.problem:
            return f"{self.path}: {self.problem}"
        if not self.sure:
            return (
                f"{self.path}: no clear offset: confidence {self.confidence:.3f}, below {self.least:.3f}; "
                f"best guess {self.offset:+.0f} frames"
            )
        late = {1: "the sound is late", 0: "in step", -1: "the sound is early"}[int(np.sign(self.offset))]
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.path}: offset {self.offset:+.0f} frames ({self.seconds:+.2f} s, {late}), "
            f"confidence {self.confidence:.3f}, coverage {self.coverage:.0%}{note}"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data, null for what is unknown."""
        if self.problem:
            return {"path": self.path, "problem": self.problem}
        return {
            "path": self.path,
            "offset_frames": int(self.offset),
            "offset_seconds": self.seconds,
            "confidence": self.confidence,
            "sure": self.sure,
            "coverage": self.coverage,
            "note": self.note,
            "curve": _plain(self.curve),
            "similarity": _plain(self.timeline),
            "windows": [dict(zip(("start", "offset", "confidence"), window, strict=True)) for window in self.windows],
        }


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 6) for value in values.tolist()]


def main(argv: list[str]) -> None:
    """Runs the command of the flags."""
    if len(argv) < 2:
        raise app.UsageError("expected one file or more")
    with command_line.errors():
        given = flags.FLAGS
        found = of_files(argv[1:], pathlib.Path(given.model), tuple(given.allow))
        for one in found:
            print(one.line())
        write(found, table=given.json, manifest=given.fix, figures=given.figures)
    if not all(one.sure for one in found):
        sys.exit(1)


def of_files(paths: Sequence[str], model: pathlib.Path, allow: Sequence[str] = ()) -> list[Found]:
    """What the run `model` finds of each file.

    Raises:
      FileNotFoundError: there is no such run.  ValueError: it is no lip-sync run, or a file is named twice.
    """
    from data_pipelines.clip import Clip
    from data_pipelines.prepare import extract
    from data_pipelines.prepare.in_memory import InMemory
    from experiments import best_model, own_files, prepare, progress, run_directory

    if not (model / "config.json").is_file():
        raise FileNotFoundError(f"--model={model}: no trained run there; train one with: {TRAIN}")
    config = run_directory.read_config(model)
    if set(config["data"]["streams"]) != {"mouth", "audio"}:
        raise ValueError(f"--model={model}: expected a run of configs/lip_sync.py, found one of another experiment")
    own_files.refuse_twice(paths)
    there = [path for path in paths if os.path.exists(path)]
    found = {path: Found(path, "there is no such file") for path in paths}
    if not there:
        return list(found.values())
    run, least = best_model.load(model, config, allow), least_confidence(model)
    # The road of every dataset: guarded decoding, the speaker's face, mouth crops, sound on the pictures' clock.
    clips = [Clip(path, os.path.abspath(path), 0, dataset="files", split="test") for path in there]
    crops = prepare.crops_from(config["data"]["crops"])
    crops.described()  # raises where the detector's file is missing or faulty
    with progress.bar(len(clips), "measuring", unit="file") as bar:
        for i, seen in own_files.decode([extract.Job(clip, crops) for clip in clips]):
            path, outcome = there[i], seen.outcomes[0]
            if outcome.record is None or not outcome.frames:
                found[path] = _nothing(path, outcome.status, outcome.reason)
            elif not outcome.audio_samples:
                found[path] = Found(path, "no sound")
            else:
                found[path] = _measure(run, InMemory(clips[i], outcome), path, least)
            bar.update()
    return list(found.values())


def least_confidence(model: pathlib.Path) -> float:
    """The confidence that all but SELDOM of the real clips of the run's validation pass; 0 where it has none."""
    from experiments import score_table
    from experiments.evaluators.sync import Measured

    path = model / "scores" / "val.csv"
    rows = score_table.read(path) if path.is_file() else []
    passed = [Measured.of(row).confidence for row in rows if row.ok and row.label == 0]
    return float(np.nanquantile(passed, SELDOM)) if np.isfinite(passed).any() else 0.0


def _nothing(path: str, status: str, reason: str) -> Found:
    words = {"no_face": "no face", "no_audio": "no sound", "no_video": "no pictures"}
    return Found(path, ": ".join(filter(None, (words.get(status, status), reason))))


def _measure(run: Any, records: Any, path: str, least: float = 0.0) -> Found:
    """The offset of the one clip of `records`, from windows that overlap."""
    from experiments import own_files

    row, record = records.index[0], records[0]
    frames = min(row.frames, row.audio_samples // 640)
    if frames < SHORTEST:
        return Found(path, f"too short: {frames / 25:.2f} s of face and sound, {SHORTEST / 25:.2f} s are needed")
    window = run.config["data"]["window"]
    count = 1 + max(0, math.ceil((frames / 25 - window) / HOP))
    data = {**run.config["data"], "batch_size": run.config["evaluate"]["batch_size"]}
    out = own_files.outputs(lambda batch: run.predict(run.variables, batch), records, data, windows=count)
    measured = of_windows(out, window)
    if measured is None:
        loud = np.sqrt(np.mean((record["audio"][:] / 32768.0) ** 2))
        return Found(path, "no voice: silence" if loud < run.task.voice else "the mouth does not move with a voice")
    speaker = record["speaker"]
    note = {"sound": "of several faces, the one that moves with the sound", "largest": "the largest of several faces"}
    return Found(
        path,
        note=note.get(speaker, ""),
        least=least,
        **(measured | {"timeline": measured["timeline"][:frames]}),
        coverage=float(np.mean(~np.isnan(measured["timeline"][:frames]))),
    )


def of_windows(out: Mapping[str, np.ndarray], window: float) -> dict[str, Any] | None:
    """Offset, confidence, curve, timeline and windows, as in Found, of a lip-sync task's outputs [n …] for windows of
    `window` s; None where no window has a voice and a moving mouth."""
    from experiments.evaluators import windows_to_clips
    from mmdf_jax.metrics import sync

    heard = ~np.isnan(out["sync_sum"]).any(1)
    if not heard.any():
        return None
    sums, counts, starts = out["sync_sum"][heard], out["sync_count"][heard], out["window_start"]
    curve = sync.mean_curve(sums.sum(0), counts.sum(0))
    whole = sync.read_curve(curve)
    each = [sync.read_curve(sync.mean_curve(*pair)) for pair in zip(sums, counts, strict=True)]
    (timeline,) = windows_to_clips.stitched(out["similarity"], np.zeros(len(starts), int), 1, starts, window)
    return {
        "offset": whole.offset,
        "confidence": whole.confidence,
        "curve": curve,
        "timeline": timeline,
        "windows": [(float(start), one.offset, one.confidence) for start, one in zip(starts[heard], each, strict=True)],
    }


def write(found: Sequence[Found], *, table: str, manifest: str, figures: str) -> None:
    """JSON, manifest and a figure for each file, each where it is named."""
    from data_pipelines import clip
    from experiments import files
    from experiments.figures import style
    from experiments.figures import sync as sync_figures

    known = [one for one in found if one.sure]
    if table:
        files.write_text(pathlib.Path(table), json.dumps([one.as_json() for one in found], indent=1) + "\n")
    if manifest and known:
        clips = [clip.Clip(one.path, one.path, 0, audio_offset=one.seconds) for one in known]
        clip.write_manifest(manifest, clips)
        print(f"{manifest}: {len(known)} files with their offsets, all labelled 0 (real); set the labels that differ")
    if figures:
        for place, one in enumerate(found):
            if one.problem:
                continue
            path = pathlib.Path(figures) / f"{place:03d}-{pathlib.Path(one.path).stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            style.save(sync_figures.of_file(one.curve, one.timeline, one.windows, title=one.line()), path)


def define_flags() -> None:
    """The command's flags; apart, so that this module can be imported beside other commands."""
    flags.DEFINE_string("model", "runs/lip_sync", "A trained run of configs/lip_sync.py.")
    flags.DEFINE_string("json", "", "Where all that is known of each file goes, as JSON.")
    flags.DEFINE_string("fix", "", "Where a manifest of the files with their offsets goes.")
    flags.DEFINE_string("figures", "sync_figures", 'Folder of the figures; "" for none.')
    flags.DEFINE_list("allow", [], "Packages outside the project that names in the run's config may lie in.")


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command_line.parse_flags)
