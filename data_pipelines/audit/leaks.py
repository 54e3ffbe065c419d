"""Leak audit: people, source videos, files and look-alikes that stand in more than one split."""

import collections
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import tqdm
from absl import logging

from data_pipelines.clip import SPLITS, Clip
from data_pipelines.loading import windows
from data_pipelines.prepare import child_processes, extract, media, records

# What is looked for, and what a clip must have to be compared.
CHECKS = {
    "identity": "an identity named",
    "donor": "a donor named",
    "source video": "an original named",
    "same file": "a file that could be read",
    "same pictures": "pictures that could be compared",
    "same sound": "sound that could be compared",
}
# Fingerprints of two encodings of one take lie nearer than this, of two takes hardly ever. Median distances of copies,
# small, cut and off the grid, against those of other takes: pictures up to 0.06 against at least 0.21 (talking heads'
# crops) and 0.83 (fourteen real clips); sound up to 0.31 against 0.54 and 0.73.
_PICTURE_RADIUS, _SOUND_RADIUS = 0.12, 0.38
_SHARE = 0.5  # of the shorter clip's fingerprints that must be near one of the other's
_PICTURE_STEP, _PICTURES, _SOUNDS = 4, 48, 96  # a picture every 0.16 s, and so many of a clip
_PICTURE_SIZE, _PICTURE_KEPT = 32, (8, 8)
_BLOCK, _HOP, _BANDS = 1600, 800, 8  # samples of a spectrum and between two, and its bands
_SOUND_BLOCKS, _SOUND_KEPT = 20, (6, 8)  # 1 s
_DYNAMICS = 1e-4  # of the loudest band's energy: what is softer counts as silence
_FLAT_PICTURE, _FLAT_SOUND = 60.0, 6.0  # norms below which there is nothing to recognise (black, silence)


@dataclasses.dataclass(frozen=True)
class Leak:
    """What stands in several splits. `what` names it ("" for look-alikes)."""

    check: str  # one of CHECKS
    what: str
    clips: tuple[Clip, ...]  # all that share it

    def __str__(self) -> str:
        places = []
        for split in SPLITS:
            if members := [clip.clip_id for clip in self.clips if clip.split == split]:
                places.append(f"{split} ({len(members)} clips, as {members[0]})".replace("1 clips, as ", ""))
        return f"{self.check}{f' {self.what!r}' if self.what else ''} stands in {' and '.join(places)}"


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What a clip is recognised by, also when it was encoded anew.

    sha256: of each of its files; pictures [n 63] and sounds [m 47] float32 of length 1, in the order of time: the low
    frequencies (2-D DCT without the mean) of a grey picture every 0.16 s, and of a second's log band energies every
    0.05 s that is not mostly silent.
    """

    sha256: tuple[str, ...] = ()
    pictures: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 63), np.float32))
    sounds: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 47), np.float32))


def leaks(clips: Sequence[Clip], prints: Mapping[str, Fingerprint]) -> list[Leak]:
    """Everything that clips (each with its split) share across splits, in the order of CHECKS.

    prints: by clip_id; a clip without one is compared by its names alone. People count as one if dataset and name
    agree. ValueError if a clip has no split.
    """
    if without := [clip.clip_id for clip in clips if not clip.split]:
        raise ValueError(f"{len(without)} clips have no split, the first is {without[0]}: nothing to audit")
    return [
        *_shared_people(clips),
        *_shared_sources(clips),
        *_shared_files(clips, prints),
        *_alike("same pictures", clips, {i: p.pictures for i, p in prints.items()}, _PICTURE_RADIUS),
        *_alike("same sound", clips, {i: p.sounds for i, p in prints.items()}, _SOUND_RADIUS),
    ]


def compared(clips: Sequence[Clip], prints: Mapping[str, Fingerprint]) -> dict[str, int]:
    """For each of CHECKS, how many clips could be compared; where it is 0, "no leak" says nothing."""
    known = [prints.get(clip.clip_id, Fingerprint()) for clip in clips]
    return {
        "identity": sum(bool(clip.identity) for clip in clips),
        "donor": sum(bool(clip.donors) for clip in clips),
        "source video": sum(bool(clip.original) for clip in clips),
        "same file": sum(bool(print_.sha256) for print_ in known),
        "same pictures": sum(len(print_.pictures) > 0 for print_ in known),
        "same sound": sum(len(print_.sounds) > 0 for print_ in known),
    }


# What the manifest says


def _shared_people(clips: Sequence[Clip]) -> list[Leak]:
    shown: dict[tuple[str, str], list[Clip]] = collections.defaultdict(list)
    lent = collections.defaultdict(list)
    for clip in clips:
        if clip.identity:
            shown[clip.dataset, clip.identity].append(clip)
        for donor in dict.fromkeys(clip.donors):
            lent[clip.dataset, donor].append(clip)
    found = [Leak("identity", name, tuple(members)) for (_, name), members in shown.items() if _spread(members)]
    for (dataset, name), members in lent.items():
        everywhere = (*members, *(clip for clip in shown.get((dataset, name), ()) if name not in clip.donors))
        if _spread(everywhere):
            found.append(Leak("donor", name, everywhere))
    return found


def _shared_sources(clips: Sequence[Clip]) -> list[Leak]:
    groups = collections.defaultdict(list)
    for clip in clips:
        groups[clip.original or clip.clip_id].append(clip)
    return [Leak("source video", name, tuple(members)) for name, members in groups.items() if _spread(members)]


def _spread(clips: Iterable[Clip]) -> bool:
    return len({clip.split for clip in clips}) > 1


# What the files say


def of_records(folder: str | pathlib.Path) -> dict[str, Fingerprint]:
    """Fingerprints of the clips in a folder of records, from face crops and sound; what is damaged is told and left."""
    prints = {}
    splits = dict.fromkeys(name for name, _ in records.read_index(folder))
    readers = [records.Records(folder, split) for split in splits]
    with tqdm.tqdm(total=sum(map(len, readers)), desc="comparing clips", unit="clip", leave=False) as bar:
        for reader in readers:
            for i, row in enumerate(reader.index):
                try:
                    prints[row.clip.clip_id] = _of_record(reader[i])
                except windows.BadRecord as error:
                    logging.warning("%s: not compared: %s", row.clip.clip_id, error)
                bar.update()
    return prints


def _of_record(record: Mapping[str, Any]) -> Fingerprint:
    chosen = record["frames"][: _PICTURES * _PICTURE_STEP : _PICTURE_STEP]
    pictures = [windows.decode(data, _PICTURE_SIZE, grey=True, what="a picture") for data in chosen]
    return Fingerprint((record["source_sha256"],), _pictures(pictures), _sounds(record["audio"][:]))


def of_files(clips: Sequence[Clip], *, workers: int = 0) -> dict[str, Fingerprint]:
    """Fingerprints of the clips' own files, decoded in guarded children; of those that can be read."""
    prints = {}
    with tqdm.tqdm(total=len(clips), desc="comparing files", unit="clip", leave=False) as bar:
        for i, outcome in child_processes.run(of_file, clips, workers=workers):
            if isinstance(outcome, Fingerprint):
                prints[clips[i].clip_id] = outcome
            bar.update()
    return prints


def of_file(clip: Clip) -> Fingerprint:
    """The fingerprint of one clip, from whole pictures; empty where nothing can be read."""
    chosen: list[np.ndarray] = []

    def take(i: int, time: float, image: np.ndarray) -> None:
        del time
        if i == 0:  # also once more, where a later picture turned out larger
            chosen.clear()
        if i % _PICTURE_STEP == 0 and len(chosen) < _PICTURES:
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            chosen.append(cv2.resize(grey, (_PICTURE_SIZE,) * 2, interpolation=cv2.INTER_AREA))

    cv2.setNumThreads(1)
    picture = media.read(clip.path, on_frame=take, long_side=8 * _PICTURE_SIZE, fps=clip.fps)
    sound = media.read(clip.audio_path) if clip.audio_path else picture
    files = [path for path in (clip.path, clip.audio_path) if path and os.path.isfile(path)]
    audio = np.zeros(0, np.int16) if sound.audio is None else sound.audio
    return Fingerprint(tuple(extract.sha256(path) for path in files), _pictures(chosen), _sounds(audio))


def _pictures(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Fingerprints [n 63] of grey pictures, without those that show nothing."""
    return _units([_low(picture.reshape(_PICTURE_SIZE, -1), _PICTURE_KEPT) for picture in pictures], _FLAT_PICTURE, 63)


def _sounds(audio: np.ndarray) -> np.ndarray:
    """Fingerprints [m 47] of sound [s] int16, without silent seconds."""
    if len(audio) < _HOP * _SOUND_BLOCKS + _BLOCK:
        return np.zeros((0, 47), np.float32)
    samples = np.lib.stride_tricks.sliding_window_view(audio, _BLOCK)[::_HOP].astype(np.float32) / 32768
    power = np.abs(np.fft.rfft(samples * np.hanning(_BLOCK).astype(np.float32))) ** 2 @ _bands().T
    floor = _DYNAMICS * max(float(power.max()), 1e-3)
    energies, active = np.log(power + floor), power.max(1) > 10 * floor
    starts = range(len(energies) - _SOUND_BLOCKS + 1)
    # A second that is half silent would be recognised by where the silence ends: clips often begin alike.
    busy = (s for s in starts if active[s : s + _SOUND_BLOCKS].mean() > 0.6)
    seconds = [energies[s : s + _SOUND_BLOCKS] for s in itertools.islice(busy, _SOUNDS)]
    return _units([_low(second - second.mean(0), _SOUND_KEPT) for second in seconds], _FLAT_SOUND, 47)


def _bands() -> np.ndarray:
    """Triangular filters [bands w], evenly spaced on the mel scale from 100 Hz on."""
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(_BLOCK, 1 / media.SAMPLE_RATE) / 700)
    edges = np.linspace(2595 * np.log10(1 + 100 / 700), mel[-1], _BANDS + 2)
    return np.maximum(0, 1 - np.abs(mel - edges[1:-1, None]) / (edges[1] - edges[0])).astype(np.float32)


def _low(values: np.ndarray, kept: tuple[int, int]) -> np.ndarray:
    """The lowest frequencies of a picture or spectrogram [h w], without the mean."""
    return cv2.dct(np.ascontiguousarray(values, np.float32))[: kept[0], : kept[1]].ravel()[1:]


def _units(vectors: Sequence[np.ndarray], least: float, size: int) -> np.ndarray:
    lengths = [float(np.linalg.norm(vector)) for vector in vectors]
    kept = [vector / length for vector, length in zip(vectors, lengths, strict=True) if length > least]
    return np.stack(kept) if kept else np.zeros((0, size), np.float32)


def _shared_files(clips: Sequence[Clip], prints: Mapping[str, Fingerprint]) -> list[Leak]:
    groups = collections.defaultdict(list)
    for clip in clips:
        for digest in dict.fromkeys(prints.get(clip.clip_id, Fingerprint()).sha256):
            groups[digest].append(clip)
    return [Leak("same file", digest[:12], tuple(members)) for digest, members in groups.items() if _spread(members)]


def _alike(check: str, clips: Sequence[Clip], prints: Mapping[str, np.ndarray], radius: float) -> list[Leak]:
    """Groups of clips of which pairs across splits look or sound alike."""
    from scipy.spatial import cKDTree

    trees, owners = {}, {}
    for split in SPLITS:
        members = [i for i, clip in enumerate(clips) if clip.split == split and len(prints.get(clip.clip_id, ()))]
        if members:
            trees[split] = cKDTree(np.concatenate([prints[clips[i].clip_id] for i in members]))
            owners[split] = np.repeat(members, [len(prints[clips[i].clip_id]) for i in members])
    parent = list(range(len(clips)))

    def find(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b in itertools.combinations(trees, 2):
        near = trees[a].sparse_distance_matrix(trees[b], radius, output_type="coo_matrix")
        for i, j in _pairs(near.row, near.col, owners[a], owners[b]):
            parent[find(j)] = find(i)
    groups = collections.defaultdict(list)
    for i, clip in enumerate(clips):
        groups[find(i)].append(clip)
    return [Leak(check, "", tuple(members)) for members in groups.values() if len(members) > 1]


def _pairs(rows: np.ndarray, columns: np.ndarray, left: np.ndarray, right: np.ndarray) -> Iterable[tuple[int, int]]:
    """Clips of which enough fingerprints match: rows and columns [k] are matches, left and right the owners."""
    matched: dict[tuple[int, int], tuple[set[int], set[int]]] = collections.defaultdict(lambda: (set(), set()))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        ours, theirs = matched[int(left[row]), int(right[column])]
        ours.add(row)
        theirs.add(column)
    sizes = collections.Counter(left.tolist()) + collections.Counter(right.tolist())
    for (i, j), (ours, theirs) in matched.items():
        share = len(ours) / sizes[i] if sizes[i] <= sizes[j] else len(theirs) / sizes[j]
        if share >= _SHARE:
            yield i, j
