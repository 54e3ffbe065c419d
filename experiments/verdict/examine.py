"""A file from its bytes to what the detectors say of it: decoded piece by piece, scored window by window.

A long file is cut into pieces of PIECE seconds, so that memory does not grow with it. In each piece the people are told
apart, their windows are scored, and only what follows from the windows is kept.
"""

import collections
import contextlib
import dataclasses
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.clip import Clip
from data_pipelines.loading.windows import SEEN
from data_pipelines.prepare import child_processes, extract, media, tracking
from data_pipelines.prepare.in_memory import InMemory
from experiments import own_files, progress
from experiments.evaluators import windows_to_clips
from experiments.verdict import quality
from experiments.verdict.detector import MOVING, Detector, Scorer

PIECE = 60.0  # s
LONGEST = 24 * 3600.0  # s: what declares more is damaged
PEOPLE = 4  # in a piece, at most so many are judged
SHOWN = 8  # whole pictures of a piece that are kept
KEPT = 12  # whole pictures, and windows with a map, of a file
SAME = 0.15  # intersection over union of the boxes on both sides of a border from which it is one person
SPECTRA = 1600  # columns of a file's spectrogram
BINS = 100  # rows: 80 Hz each
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of pictures that are read


@dataclasses.dataclass(frozen=True)
class Mapped:
    """One window's pictures [n h w 3] with what the model points at [n gh gw], from 0 to 1."""

    start: float
    score: float
    pictures: np.ndarray
    maps: np.ndarray
    kind: str  # localisation or attention
    window: float


@dataclasses.dataclass(frozen=True)
class Face:
    """Where a person is in a picture: number of the person, box (x0, y0, x1, y1) in pixels of the picture."""

    person: int
    box: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Shown:
    """A whole picture at `time` s, as a JPEG, with the faces that are judged."""

    time: float
    jpeg: bytes
    faces: tuple[Face, ...]


@dataclasses.dataclass
class Person:
    """What is known of one person, or of the sound of a file where nobody is seen.

    windows: of each scorer, its outputs [n …] of the windows that count, times in s of the file. seen: s in which the
    face is seen. measures: of each piece.
    """

    windows: dict[str, list[dict[str, np.ndarray]]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    measures: list[dict[str, float]] = dataclasses.field(default_factory=list)
    frames: int = 0
    seen: int = 0
    last_box: tuple[int, tuple[float, ...]] | None = None  # piece, and the box at its end
    speaker: str = ""

    @property
    def sounds(self) -> bool:
        """Whether any of the pieces has a sound that is not silent."""
        return any(measured["loudness"] >= quality.SILENT for measured in self.measures)

    def outputs(self, scorer: str) -> dict[str, np.ndarray]:
        """All windows' outputs of a scorer, by their starts; {} without any."""
        parts = self.windows.get(scorer)
        if not parts:
            return {}
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(merged["window_start"], kind="stable")
        return {name: values[order] for name, values in merged.items()}


@dataclasses.dataclass
class Examined:
    """All that was found of a file. problem: why nothing could be judged, one line, or ""."""

    path: str
    problem: str = ""
    status: str = ""
    reason: str = ""
    sha256: str = ""
    bytes: int = 0
    facts: media.Facts = dataclasses.field(default_factory=media.Facts)
    still: bool = False
    seconds: float = 0.0
    faces: int = 0
    frames: int = 0
    sound_seconds: float = 0.0
    size: tuple[int, int] = (0, 0)
    people: list[Person] = dataclasses.field(default_factory=list)
    now: list[int] = dataclasses.field(default_factory=list)  # those of the piece at hand, in its order
    shown: list[Shown] = dataclasses.field(default_factory=list)
    mapped: list[Mapped] = dataclasses.field(default_factory=list)
    spectra: list[tuple[float, float, np.ndarray]] = dataclasses.field(default_factory=list)  # start, step s, [t BINS]


@dataclasses.dataclass(frozen=True)
class _Part:
    """One job: a piece of a file for the scorers that read the same crops."""

    file: int
    piece: int
    start: float
    group: int


def examine(paths: Sequence[str], detector: Detector, *, shown: bool = True) -> Iterator[Examined]:
    """Yields what is found of each file, as the files are done.

    shown: whether a bar tells how far it is.
    """
    found = [_look(path) for path in paths]
    groups = _groups(detector)
    stills = any(one.still for one in found)
    with tempfile.TemporaryDirectory() if stills else contextlib.nullcontext("") as folder:
        clips = [_clip(one, pathlib.Path(folder)) for one in found]
        there = [i for i, one in enumerate(found) if not one.problem]
        for i, facts in child_processes.run(media.facts, [clips[i].path for i in there], workers=1):
            if isinstance(facts, media.Facts):
                found[there[i]].facts = facts
                if facts.seconds > LONGEST:
                    found[there[i]].problem = f"it declares {facts.seconds:.0f} s; up to {LONGEST:.0f} s are judged"
        parts, jobs = _plan(found, clips, groups)
        left = collections.Counter(part.file for part in parts)
        for i, one in enumerate(found):
            if not left[i]:
                yield one
        total = round(sum(_seconds(found[part.file], part) for part in parts))
        with progress.bar(total, "judging", unit="s", shown=shown and bool(jobs)) as bar:
            for number, seen in _in_order(own_files.decode(jobs), parts):
                part, one = parts[number], found[parts[number].file]
                _take(one, part, seen, clips[part.file], groups[part.group], detector)
                bar.update(round(_seconds(one, part)))
                left[part.file] -= 1
                if not left[part.file]:
                    _finish(one)
                    yield one


def _in_order(results: Iterator[tuple[int, Any]], parts: Sequence[_Part]) -> Iterator[tuple[int, Any]]:
    """Pieces of one file in their order: who is who is told from the piece before."""
    waiting: dict[int, Any] = {}
    coming = {i: part.file for i, part in enumerate(parts)}
    for number, result in results:
        waiting[number] = result
        while ready := [i for i in waiting if i == min(j for j, file in coming.items() if file == coming[i])]:
            first = ready[0]
            yield first, waiting.pop(first)
            del coming[first]


def _look(path: str) -> Examined:
    """What the file system says."""
    one = Examined(path)
    try:
        if os.path.isdir(path):
            if not (pictures := extract.frame_folder.files(path)):
                one.problem = "a folder without pictures (JPEG, PNG)"
                return one
            one.bytes = sum(os.path.getsize(name) for name in pictures)
        elif not os.path.exists(path):
            one.problem = "there is no such file"
            return one
        elif not os.path.isfile(path):
            one.problem = "not a regular file"
            return one
        else:
            one.bytes = os.path.getsize(path)
            with open(path, "rb") as file:
                one.still = file.read(8).startswith(SIGNATURES)
        if not one.bytes:
            one.problem = "the file is empty"
            return one
        one.sha256 = extract.sha256(path)
    except OSError as error:
        one.problem = error.strerror or "cannot be read"
    return one


def _clip(one: Examined, folder: pathlib.Path) -> Clip:
    """The file as a clip; one picture as a folder of one."""
    path = os.path.abspath(one.path)
    if one.still:
        frames = pathlib.Path(tempfile.mkdtemp(dir=folder))
        suffix = ".png" if pathlib.Path(path).suffix.lower() == ".png" else ".jpg"
        (frames / f"0{suffix}").symlink_to(path)
        path = str(frames)
    return Clip(one.path, path, 0, dataset="files", split="test")


def _groups(detector: Detector) -> list[tuple[extract.Crops, list[Scorer]]]:
    """Scorers by the crops that they read; mouth crops cost little more and are cut for all."""
    groups: dict[extract.Crops, list[Scorer]] = {}
    for scorer in detector.scorers:
        groups.setdefault(dataclasses.replace(scorer.crops, mouth=True), []).append(scorer)
    return [
        (dataclasses.replace(crops, mouth=any(scorer.crops.mouth for scorer in scorers)), scorers)
        for crops, scorers in groups.items()
    ]


def _plan(
    found: Sequence[Examined], clips: Sequence[Clip], groups: Sequence[tuple[extract.Crops, Sequence[Scorer]]]
) -> tuple[list[_Part], list[extract.Job]]:
    parts, jobs = [], []
    for i, (one, clip) in enumerate(zip(found, clips, strict=True)):
        if one.problem:
            continue
        one.seconds = one.facts.seconds
        whole = os.path.isdir(clip.path) or one.seconds <= 1.25 * PIECE
        count = 1 if whole else math.ceil(one.seconds / PIECE - 0.25)
        for piece in range(count):
            end = PIECE * (piece + 1) if piece < count - 1 else one.seconds + PIECE
            for group, (crops, _) in enumerate(groups):
                parts.append(_Part(i, piece, PIECE * piece, group))
                span = None if whole else (PIECE * piece, end)
                jobs.append(extract.Job(clip, crops, span, PEOPLE, 0 if group else SHOWN))
    return parts, jobs


def _seconds(one: Examined, part: _Part) -> float:
    return max(1.0, min(PIECE, one.seconds - part.start))


def _take(
    one: Examined,
    part: _Part,
    seen: extract.Seen,
    clip: Clip,
    group: tuple[extract.Crops, Sequence[Scorer]],
    detector: Detector,
) -> None:
    """Adds what one piece shows to what is known of its file."""
    first = seen.outcomes[0]
    if not part.piece and not part.group:
        one.status, one.reason = first.status, first.reason
        one.size = seen.source.width, seen.source.height
    if not part.group:
        one.faces = max(one.faces, seen.faces)
        one.frames += seen.source.frames or first.frames
        one.sound_seconds += first.audio_samples / media.SAMPLE_RATE
    elif part.group and first.status not in ("ok", one.status) and first.record is None:
        one.reason = one.reason or first.reason
    people = [(outcome, InMemory(clip, outcome)) for outcome in seen.outcomes if outcome.record is not None]
    if not part.group:
        one.now = []
    if not people:
        return
    whose = _who(one, part, people)
    if not part.group:
        _pictures(one, part, seen, people, whose)
        _spectrum(one, part, people[0][1][0]["audio"][:])
    for place, (person, (outcome, source)) in enumerate(zip(whose, people, strict=True)):
        known, record = one.people[person], source[0]
        if not part.group:
            known.measures.append(quality.measure(record, group[0].margin))
            known.frames += outcome.frames
            known.seen += outcome.found
            known.speaker = known.speaker or outcome.speaker
        silent = known.measures and known.measures[-1]["loudness"] < quality.SILENT
        for scorer in group[1]:
            if place and not scorer.sees:
                continue  # the sound is the same for everybody
            out = _score(scorer, source, still=one.still, silent=bool(silent))
            if len(out.get("window_start", ())):
                out["window_start"] = out["window_start"] + np.float32(part.start)
                _keep_maps(one, scorer, out)
                known.windows[scorer.name].append(out)


def _who(one: Examined, part: _Part, people: Sequence[tuple[extract.Outcome, InMemory]]) -> list[int]:
    """The numbers in `one.people` of those who are seen in a piece; new ones are added."""
    borders = []
    for outcome, source in people:
        boxes = source[0]["boxes"] if outcome.frames else np.zeros((0, 4))
        borders.append((tuple(map(float, boxes[0])), tuple(map(float, boxes[-1]))) if len(boxes) else None)
    if part.group and one.now:  # the same people in the same order, but for a whole picture, which is everybody's
        return [one.now[min(i, len(one.now) - 1)] for i in range(len(people))]
    whose = []
    for place, border in enumerate(borders):
        before = [
            i
            for i, known in enumerate(one.people)
            if i not in whose
            and known.last_box
            and known.last_box[0] == part.piece - 1
            and (
                (border is None and not known.last_box[1])
                or (border and known.last_box[1] and tracking.overlap(known.last_box[1], border[0]) > SAME)
            )
        ]
        if border is None and not before:  # only heard: the first person's sound goes on
            before = [i for i in range(len(one.people)) if i == 0 and i not in whose]
        whose.append(before[0] if before else _new(one))
        one.people[whose[-1]].last_box = part.piece, borders[place][1] if borders[place] else ()
    one.now = whose
    return whose


def _new(one: Examined) -> int:
    one.people.append(Person())
    return len(one.people) - 1


def _score(scorer: Scorer, source: InMemory, *, still: bool, silent: bool) -> dict[str, np.ndarray]:
    """What a scorer says of the windows of one record that count: those in which the face is seen in half of the
    frames, where there are pictures. A silent sound counts as none, and so does the movement of a single picture."""
    streams, record, row = set(scorer.data["streams"]), source[0], source.index[0]
    if still and "image" not in streams:
        return {}
    hidden = [f"{stream}_mask" for stream in streams if (still and stream in MOVING) or (silent and stream == "audio")]
    pictures: list[np.ndarray] = []

    def predict(batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        for name in hidden:
            batch[name][...] = False
        batch["mask"] &= np.any([batch[f"{stream}_mask"] for stream in streams], 0)
        if scorer.places:
            pictures.append(batch["image"][batch["mask"]])
        return scorer.predict(batch)

    if not row.frames and streams <= {"image", "video", "mouth"}:
        return {}
    out = own_files.outputs(predict, source, scorer.data, windows=1)
    if scorer.places and row.frames:
        out["pictures"] = np.concatenate(pictures)
    else:
        out.pop("map", None)  # of no picture
    if row.frames and scorer.sees:
        frames = (out["window_start"] * media.FPS + 1e-3).astype(int)
        seen = np.concatenate([[0], np.cumsum(record["found"] > 0)])
        ends = np.minimum(frames + round(scorer.window * media.FPS), len(seen) - 1)
        counts = seen[ends] - seen[np.minimum(frames, len(seen) - 1)] >= SEEN * np.maximum(ends - frames, 1)
        out = {name: values[counts] for name, values in out.items()}
    return out


def _keep_maps(one: Examined, scorer: Scorer, out: dict[str, np.ndarray]) -> None:
    """Takes maps and pictures out of a scorer's outputs, and keeps those of the most suspicious windows."""
    if "map" not in out:
        return
    maps, pictures = out.pop("map"), out.pop("pictures")
    if not pictures.size or not np.isfinite(maps).all():
        return
    for i in np.argsort(-np.nan_to_num(out["score"]))[:3]:
        start, score = float(out["window_start"][i]), float(out["score"][i])
        one.mapped.append(Mapped(start, score, pictures[i], maps[i], scorer.places, scorer.window))
    # Localisation tells more than attention does.
    one.mapped.sort(key=lambda mapped: (mapped.kind != "localisation", -mapped.score))
    del one.mapped[KEPT:]


def _pictures(
    one: Examined,
    part: _Part,
    seen: extract.Seen,
    people: Sequence[tuple[extract.Outcome, InMemory]],
    whose: Sequence[int],
) -> None:
    for picture in seen.pictures:
        faces = []
        for (outcome, source), person in zip(people, whose, strict=True):
            record = source[0]
            if picture.frame < outcome.frames and record["found"][picture.frame]:
                box = record["boxes"][picture.frame] * picture.scale
                faces.append(Face(person, tuple(map(float, box))))
        one.shown.append(Shown(part.start + picture.frame / media.FPS, picture.jpeg, tuple(faces)))
    if len(one.shown) > 2 * KEPT:
        one.shown = one.shown[::2]


def _spectrum(one: Examined, part: _Part, audio: np.ndarray) -> None:
    """Adds a piece's log spectrum, as many columns as its share of the file has."""
    size = 2 * BINS
    if len(audio) < size:
        return
    columns = max(8, round(SPECTRA * min(1.0, len(audio) / media.SAMPLE_RATE / max(one.seconds, 0.1))))
    hop = max(size // 2, len(audio) // columns)
    starts = np.arange(0, len(audio) - size + 1, hop)
    blocks = audio[starts[:, None] + np.arange(size)].astype(np.float32) / 32768 * np.hanning(size).astype(np.float32)
    spectra = np.abs(np.fft.rfft(blocks, axis=1))[:, :BINS].astype(np.float32)
    one.spectra.append((part.start, hop / media.SAMPLE_RATE, spectra))


def _finish(one: Examined) -> None:
    if one.frames or one.sound_seconds:
        one.seconds = 0.0 if one.still else max(one.frames / media.FPS, one.sound_seconds)
    if len(one.shown) > KEPT:
        places = np.linspace(0, len(one.shown) - 1, KEPT).round().astype(int)
        one.shown = [one.shown[i] for i in places]
    if not one.people:
        words = {"no_face": "no face", "no_audio": "no sound", "no_video": "no pictures", "missing": "cannot be read"}
        word = words.get(one.status, one.status)
        parts = [one.reason] if one.reason.startswith(word) else [word, one.reason]
        one.problem = ": ".join(filter(None, parts)) or "nothing in it"


def stretches(scorer: Scorer, out: Mapping[str, np.ndarray], edges: np.ndarray) -> list[dict[str, Any]]:
    """The task's columns of each stretch of a file, {} where nothing is known.

    edges [n + 1]: s; a window belongs to the stretch in which it begins.
    """
    index = np.clip(np.searchsorted(edges, out["window_start"], side="right") - 1, 0, len(edges) - 2)
    starts = np.maximum(out["window_start"] - edges[index], 0.0)
    names = [name for name in out if name not in ("window_start", "clip_index")]
    of_clips = {
        name: windows_to_clips.reduce(
            scorer.task.reduction(name), out[name], index, len(edges) - 1, starts=starts, seconds=scorer.window
        )
        for name in names
    }
    found = []
    for i in range(len(edges) - 1):
        values = {name: column[i] for name, column in of_clips.items()}
        if all(np.isnan(value).all() for value in values.values()):
            found.append({})
            continue
        found.append(scorer.task.finish(values) if hasattr(scorer.task, "finish") else values)
    return found
