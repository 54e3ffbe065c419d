"""A file from its bytes to what the detectors say of it: decoded piece by piece, scored window by window.

A long file is cut into pieces of PIECE seconds, so that memory does not grow with it. In each piece the people are told
apart, their windows are scored, and only what follows from the windows is kept. Who speaks is judged with the sound,
everybody else by the picture alone. Sound without a face is judged as a person of its own.
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
from data_pipelines.loading.windows import shows_face
from data_pipelines.prepare import child_processes, extract, media
from data_pipelines.prepare.in_memory import InMemory
from experiments import own_files, progress
from experiments.verdict import people, quality
from experiments.verdict.detector import MOVING, Detector, Scorer
from experiments.verdict.examined import Box, Examined, Face, Gap, Mapped, Person, Shown

PIECE = 60.0  # s
LONGEST = 24 * 3600.0  # s: what lasts longer is not judged
PEOPLE = 4  # in a piece, at most so many are judged
ALBUM = 24  # whole pictures that are kept of a piece at most,
PICTURES = 120  # and of a file about so many, one of each piece at least
KEPT = 12  # windows with a map, of a file
MISSED = 1.0  # s: a piece that lacks less at its end is whole
SPECTRA = 1600  # columns of a file's spectrogram
BINS = 100  # rows: 80 Hz each
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of pictures that are read

Group = tuple[extract.Crops, Sequence[Scorer]]  # what is cut out of the pictures, and who reads it
Record = tuple[extract.Outcome, InMemory]


@dataclasses.dataclass(frozen=True)
class _Part:
    """One job: a piece of a file, from start to end in s, for the scorers that read the same crops."""

    file: int
    piece: int
    start: float
    end: float
    group: int


@dataclasses.dataclass
class _File:
    """A file at work, with what is known of the piece at hand.

    left: parts to come. statuses: of each piece. read: s up to which something could be read. now: the people of the
    piece in the order of its first group, with the middle of their boxes; counted: those whose frames are counted.
    """

    one: Examined
    clip: Clip
    left: int = 0
    statuses: list[str] = dataclasses.field(default_factory=list)
    read: float = 0.0
    now: list[tuple[int, Box | None]] = dataclasses.field(default_factory=list)
    counted: set[int] = dataclasses.field(default_factory=set)


def examine(paths: Sequence[str], detector: Detector, *, shown: bool = True) -> Iterator[Examined]:
    """Yields what is found of each file, as the files are done.

    shown: whether a bar tells how far it is.
    """
    found = [_look(path) for path in paths]
    groups = _groups(detector)
    stills = any(one.still for one in found)
    with tempfile.TemporaryDirectory() if stills else contextlib.nullcontext("") as folder:
        files = [_File(one, _clip(one, pathlib.Path(folder))) for one in found]
        there = [file for file in files if not file.one.problem]
        for i, facts in child_processes.run(media.facts, [file.clip.path for file in there], workers=1):
            if isinstance(facts, media.Facts):
                there[i].one.facts = facts
                there[i].one.problem = _too_long(there[i].clip.path, facts.seconds)
        parts, jobs = _plan(files, groups)
        for file in files:
            if not file.left:
                yield file.one
        with progress.bar(round(sum(map(_seconds, parts))), "judging", unit="s", shown=shown and bool(jobs)) as bar:
            for number, seen in _in_order(own_files.decode(jobs), parts):
                part, file = parts[number], files[parts[number].file]
                _take(file, part, seen, groups[part.group])
                bar.update(round(_seconds(part)))
                file.left -= 1
                if not file.left:
                    _finish(file)
                    yield file.one


def _in_order(results: Iterator[tuple[int, Any]], parts: Sequence[_Part]) -> Iterator[tuple[int, Any]]:
    """Parts of one file in their order: who is who is told from the piece before."""
    waiting: dict[int, Any] = {}
    coming: dict[int, collections.deque[int]] = collections.defaultdict(collections.deque)
    for i, part in enumerate(parts):
        coming[part.file].append(i)
    for number, result in results:
        waiting[number] = result
        of_file = coming[parts[number].file]
        while of_file and of_file[0] in waiting:
            first = of_file.popleft()
            yield first, waiting.pop(first)


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


def _too_long(path: str, seconds: float) -> str:
    """Why a file that declares so many seconds is not judged; "" where it is."""
    if os.path.isdir(path) and seconds > media.LIMITS.seconds:
        return (
            f"its pictures last {seconds:.0f} s at {media.FPS} a second; up to {media.LIMITS.seconds:.0f} s are judged"
        )
    return f"it declares {seconds:.0f} s; up to {LONGEST:.0f} s are judged" if seconds > LONGEST else ""


def _groups(detector: Detector) -> list[Group]:
    """Scorers by the crops that they read, first those that the quality is measured in.

    What only hears reads any of them. Mouth crops cost little more and are cut for all. How long a training clip may
    be (`max_seconds`) says nothing of a piece.
    """

    def read(crops: extract.Crops) -> extract.Crops:
        return dataclasses.replace(crops, mouth=True, max_seconds=media.LIMITS.seconds)

    groups: dict[extract.Crops, list[Scorer]] = {read(detector.measured): []}
    for scorer in detector.scorers:
        groups.setdefault(read(scorer.crops if scorer.sees else detector.measured), []).append(scorer)
    return [
        (dataclasses.replace(crops, mouth=any(scorer.crops.mouth for scorer in scorers)), scorers)
        for crops, scorers in groups.items()
    ]


def _plan(files: Sequence[_File], groups: Sequence[Group]) -> tuple[list[_Part], list[extract.Job]]:
    parts, jobs = [], []
    for i, file in enumerate(files):
        one = file.one
        if one.problem:
            continue
        one.seconds = one.facts.seconds
        whole = os.path.isdir(file.clip.path) or one.seconds <= 1.25 * PIECE
        count = 1 if whole else math.ceil(one.seconds / PIECE - 0.25)
        album = max(1, min(ALBUM, PICTURES // count))
        for piece in range(count):
            start, last = PIECE * piece, piece == count - 1
            for group, (crops, _) in enumerate(groups):
                parts.append(_Part(i, piece, start, one.seconds if last else start + PIECE, group))
                span = None if whole else (start, one.seconds + PIECE if last else start + PIECE)
                jobs.append(extract.Job(file.clip, crops, span, PEOPLE, 0 if group else album))
                file.left += 1
    return parts, jobs


def _seconds(part: _Part) -> float:
    return max(1.0, part.end - part.start)


def _take(file: _File, part: _Part, seen: extract.Seen, group: Group) -> None:
    """Adds what one part shows to what is known of its file."""
    one, (crops, scorers) = file.one, group
    _note(file, part, seen, scorers)
    records = [(outcome, InMemory(file.clip, outcome)) for outcome in seen.outcomes if outcome.record is not None]
    if not records:
        return
    whose = _who(file, part, crops, [source[0] for _, source in records])
    if not part.group:
        _pictures(one, part, seen, records, whose)
        _spectrum(one, part, records[0][1][0]["audio"][:])
    for place, (person, (outcome, source)) in enumerate(zip(whose, records, strict=True)):
        known, record = one.people[person], source[0]
        measured = quality.measure(record, crops.margin)
        if not part.group:
            known.measures.append(measured)
        if person not in file.counted:
            file.counted.add(person)
            known.frames += outcome.frames
            known.seen += outcome.found
            known.speaker = known.speaker or outcome.speaker
        deaf = place > 0 or not outcome.audio_samples or measured["loudness"] < quality.SILENT
        known.heard |= not deaf
        for scorer in scorers:
            out = _score(scorer, source, still=one.still, deaf=deaf)
            if len(out.get("window_start", ())):
                out["window_start"] = out["window_start"] + np.float32(part.start)
                _keep_maps(one, scorer, out)
                known.windows[scorer.name].append(out)


def _note(file: _File, part: _Part, seen: extract.Seen, scorers: Sequence[Scorer]) -> None:
    """What a part could be read of, and what not."""
    one, first = file.one, seen.outcomes[0]
    pictures = (seen.source.frames or first.frames) / media.FPS
    sound = first.audio_samples / media.SAMPLE_RATE
    if not part.group:
        file.now, file.counted = [], set()
        file.statuses.append(first.status)
        one.reason = one.reason or first.reason
        one.size = max(one.size, (seen.source.width, seen.source.height))
        one.faces = max(one.faces, seen.faces)
        one.frames += round(pictures * media.FPS)
        one.sound_seconds += sound
        file.read = part.start + max(pictures, sound) if pictures or sound else file.read
    if first.status not in extract.BAD or any(gap.end == part.end for gap in one.gaps):
        return
    # Up to where there is all that the file has; a container that is cut off further on says so in every piece.
    has = [length for length, ever in ((pictures, one.frames), (sound, one.sound_seconds)) if ever]
    until = part.start + min(has, default=0.0) if first.status == "truncated" else part.start
    if part.end - until > MISSED:
        whose = f"for {', '.join(scorer.name for scorer in scorers)}: " if part.group else ""
        one.gaps.append(Gap(until, part.end, first.status, whose + first.reason))


def _who(file: _File, part: _Part, crops: extract.Crops, records: Sequence[Mapping[str, Any]]) -> list[int]:
    """The numbers in `Examined.people` of those who are seen or heard in a part; new ones are added."""
    one = file.one
    if part.group and file.now:
        if crops.face == "whole":  # it shows everybody, and who speaks answers for it
            return [file.now[0][0]] * len(records)
        whose, nobody = people.matched(file.now, list(map(people.middle, records))), file.now[0][0]
    else:
        before = [(i, known.last[1]) for i, known in enumerate(one.people) if known.last[0] == part.piece - 1]
        whose = people.matched(before, [people.near(record, 0) for record in records])
        nobody = next((i for i, known in enumerate(one.people) if not known.frames), None)
    for place, record in enumerate(records):
        if whose[place] is None and not len(record["frames"]):
            whose[place] = nobody
        if whose[place] is None:
            one.people.append(Person())
            whose[place] = len(one.people) - 1
    if not part.group:
        file.now = [(person, people.middle(record)) for person, record in zip(whose, records, strict=True)]
        for person, record in zip(whose, records, strict=True):
            one.people[person].last = part.piece, people.near(record, len(record["frames"]) - 1)
    return whose


def _score(scorer: Scorer, source: InMemory, *, still: bool, deaf: bool) -> dict[str, np.ndarray]:
    """What a scorer says of the windows of one record of which it has any stream.

    Pictures count where the face is seen in half of a window's frames; a still picture has no movement. deaf: whether
    the sound does not count, for it is silent or somebody else's.
    """
    streams, record, row = set(scorer.data["streams"]), source[0], source.index[0]
    looks = streams - {"audio"}
    hidden = {*(MOVING if still else ()), *(("audio",) if deaf else ()), *(() if row.frames else looks)} & streams
    if hidden == streams:
        return {}
    pictures: list[np.ndarray] = []

    def predict(batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        for name in hidden:
            batch[f"{name}_mask"][...] = False
        if row.frames and looks:
            starts = (batch["window_start"] * media.FPS + 1e-3).astype(int)
            unseen = ~shows_face(record["found"], starts, scorer.window)
            for name in looks:
                batch[f"{name}_mask"][unseen] = False
        batch["mask"] &= np.any([batch[f"{name}_mask"] for name in streams], 0)
        out = dict(scorer.model.predict(batch))
        if scorer.model.places:
            pictures.append(batch["image"][batch["mask"]])
            out["map"] = np.where(batch["image_mask"].reshape(-1, *[1] * (out["map"].ndim - 1)), out["map"], np.nan)
        return out

    out = own_files.outputs(predict, source, scorer.data, windows=1)
    return out | {"pictures": np.concatenate(pictures)} if scorer.model.places else out


def _keep_maps(one: Examined, scorer: Scorer, out: dict[str, np.ndarray]) -> None:
    """Takes maps and pictures out of a scorer's outputs, and keeps those of the most suspicious windows."""
    if "map" not in out:
        return
    maps, pictures = out.pop("map"), out.pop("pictures")
    there = np.flatnonzero(np.isfinite(maps.reshape(len(maps), -1)).all(1))
    for i in there[np.argsort(-np.nan_to_num(out["score"][there]), kind="stable")][:3]:
        start, score = float(out["window_start"][i]), float(out["score"][i])
        one.mapped.append(Mapped(start, score, pictures[i], maps[i], scorer.model.places, scorer.window))
    # Localisation tells more than attention does.
    one.mapped.sort(key=lambda mapped: (mapped.kind != "localisation", -mapped.score))
    del one.mapped[KEPT:]


def _pictures(one: Examined, part: _Part, seen: extract.Seen, records: Sequence[Record], whose: Sequence[int]) -> None:
    for picture in seen.pictures:
        faces = []
        for (outcome, source), person in zip(records, whose, strict=True):
            record = source[0]
            if picture.frame < outcome.frames and record["found"][picture.frame]:
                box = record["boxes"][picture.frame] * picture.scale
                faces.append(Face(person, tuple(map(float, box))))
        one.shown.append(Shown(part.start + picture.frame / media.FPS, picture.jpeg, tuple(faces)))


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


def _finish(file: _File) -> None:
    """What is known of a file once all of its parts are."""
    one = file.one
    if file.read:
        one.seconds = 0.0 if one.still else file.read
    one.status = _status(file.statuses)
    if len(file.statuses) > 1 and one.gaps:
        gap, more = one.gaps[0], len(one.gaps) - 1
        one.reason = f"{gap.start:.0f} to {gap.end:.0f} s: {gap.status}, {gap.reason}" + f", and {more} more" * (
            more > 0
        )
    if not one.people:
        words = {"no_face": "no face", "no_audio": "no sound", "no_video": "no pictures", "missing": "cannot be read"}
        word = words.get(one.status, one.status)
        parts = [one.reason] if one.reason.startswith(word) else [word, one.reason]
        one.problem = ": ".join(filter(None, parts)) or "nothing in it"


def _status(pieces: Sequence[str]) -> str:
    """The status of a file of these pieces: `truncated` where some could not be read, else that of the best."""
    if len(set(pieces)) == 1:
        return pieces[0]
    if set(pieces) & (set(extract.BAD) - {"no_face"}):
        return "truncated"
    return next(status for status in ("ok", "no_audio", "no_video", "no_face") if status in pieces)
