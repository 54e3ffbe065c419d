"""What follows from what was found of a file: likelihood ratios of its people, and when nothing should be concluded.

A file is cut into stretches as long as the clips of validation. Each stretch is scored and calibrated as one such clip.
A person's ratio is the mean of the ratios of their stretches, and the file's is that of the person with the highest.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import sync
from experiments.evaluators import windows_to_clips
from experiments.verdict import quality
from experiments.verdict.detector import Detector, Scorer
from experiments.verdict.distance import LIMIT, Distance
from experiments.verdict.evidence import Evidence
from experiments.verdict.examined import Examined, Person, Shown

STEP = 0.04  # s, of timelines
LEAST = 0.3  # of a segment's score, to be told
SHORTEST = 0.2  # s, of a segment of steps
SEGMENTS = 100  # are told at most, of a file


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve over a file's time: values [t] at times [t] s."""

    name: str
    times: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A part of the file, s, that was judged as one clip: its log likelihood ratio, and the members' scores."""

    start: float
    end: float
    llr: float
    scores: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Segment:
    """A suspicious part of the file, s, as a member finds it."""

    start: float
    end: float
    score: float
    member: str


@dataclasses.dataclass(frozen=True)
class OfStream:
    """The evidence of one stream alone, as a member answers for it."""

    stream: str
    member: str
    evidence: Evidence


@dataclasses.dataclass(frozen=True)
class Sync:
    """Lip-sync: offset in frames (positive: the sound is late), its confidence, and the one from which it is claimed.

    windows: (start in s, offset, confidence) of each.
    """

    member: str
    offset: float
    confidence: float
    least: float
    windows: tuple[tuple[float, float, float], ...]


@dataclasses.dataclass(frozen=True)
class Types:
    """The shares of the types of manipulation, if it is one, as a member sees them."""

    member: str
    shares: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Judged:
    """What follows from one person's windows.

    probability: P(fake) at the calibration's own share of fakes, for the thresholds; nan without evidence. covered [t]
    bool: steps of STEP s of the file that some window covers. members: those that answered. streams: in the order of
    the scorers. lines, steps: scores of windows and of steps over time.
    """

    name: str
    person: Person
    evidence: Evidence | None
    probability: float
    streams: tuple[OfStream, ...]
    stretches: tuple[Stretch, ...]
    segments: tuple[Segment, ...]
    types: Types | None
    sync: Sync | None
    covered: np.ndarray
    members: tuple[str, ...]
    lines: tuple[Line, ...]
    steps: tuple[Line, ...]

    @property
    def seconds(self) -> float:
        """s of the file that some window covers."""
        return float(self.covered.sum() * STEP)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What follows for a file.

    best: the person with the highest ratio, None where nobody can be judged. measures: of that person; None where there
    is nobody. abstention: (why, words) for which nothing should be concluded, the gravest first.
    """

    people: tuple[Judged, ...]
    best: Judged | None
    measures: Mapping[str, float] | None
    flags: tuple[quality.Flag, ...]
    distance: Distance | None
    abstention: tuple[tuple[str, str], ...]

    @property
    def seconds(self) -> float:
        """s of the file in which somebody is judged."""
        return float(np.any([each.covered for each in self.people], 0).sum() * STEP)

    def pictures(self, one: Examined, count: int) -> list[Shown]:
        """At most `count` of the file's pictures: in each `count`-th of its time the most suspicious one.

        The most suspicious come first; how suspicious is the ratio of the stretch, of whoever is seen.
        """
        slots: dict[int, tuple[float, Shown]] = {}
        for picture in one.shown:
            slot = min(int(picture.time / max(one.seconds, STEP) * count), count - 1)
            seen = [self.people[face.person] for face in picture.faces]
            llrs = [s.llr for each in seen for s in each.stretches if s.start <= picture.time < s.end]
            value = max(llrs, default=-math.inf)
            if slot not in slots or value > slots[slot][0]:
                slots[slot] = value, picture
        return [picture for _, picture in sorted(slots.values(), key=lambda pair: (-pair[0], pair[1].time))]


def judge(one: Examined, detector: Detector) -> Judgement:
    """What follows from what was found of a file."""
    seconds = max(one.seconds, STEP)
    edges = np.linspace(0, seconds, max(1, round(seconds / detector.stretch)) + 1)
    people = tuple(
        _of_person(one, name, person, edges, detector) for name, person in zip(one.names, one.people, strict=True)
    )
    known = [each for each in people if each.evidence]
    best = max(known, key=lambda each: each.evidence.llr, default=None)
    measured = best or next(iter(people), None)
    measures = quality.mean_of(measured.person.measures) if measured else None
    flags = ()
    if measures:
        flags = quality.flags(
            measures,
            face_side=min((scorer.crops.face_side for scorer in detector.scorers if scorer.sees), default=0.0),
            people=sum(person.frames > 0 for person in one.people),
            seconds=one.seconds,
            window=detector.window,
            still=one.still,
            pictures=one.size != (0, 0),
        )
    distance = detector.reference.distance(measures) if detector.reference and measures else None
    return Judgement(people, best, measures, tuple(flags), distance, _abstention(one, detector, best, flags, distance))


def _of_person(one: Examined, name: str, person: Person, edges: np.ndarray, detector: Detector) -> Judged:
    outs = {scorer.name: out for scorer in detector.scorers if (out := person.outputs(scorer.name))}
    of_stretches, whole = {}, {}
    for scorer in detector.scorers:
        if scorer.name in outs:
            of_stretches[scorer.name] = stretches(scorer, outs[scorer.name], edges)
            whole[scorer.name] = stretches(scorer, outs[scorer.name], edges[[0, -1]])[0]
    members = detector.system.members
    scores = np.full((len(edges) - 1, len(members)), np.nan)
    for j, (member, place) in enumerate(zip(members, detector.member_of, strict=True)):
        for i, values in enumerate(of_stretches.get(detector.scorers[place].name, ())):
            scores[i, j] = values.get(member.column, np.nan)
    evidence = detector.scale.of_stretches(scores)
    scorers, there = [scorer for scorer in detector.scorers if whole.get(scorer.name)], _there(person)
    llr, names = detector.scale.llr(scores), [member.name for member in members]
    return Judged(
        name=name,
        person=person,
        evidence=evidence,
        probability=detector.scale.probability(scores) if evidence else math.nan,
        streams=tuple(_streams(scorers, of_stretches, there)),
        stretches=tuple(
            Stretch(float(start), float(end), float(value), dict(zip(names, row.tolist(), strict=True)))
            for start, end, value, row in zip(edges[:-1], edges[1:], llr, scores, strict=True)
            if not math.isnan(value)
        ),
        segments=tuple(_segments(scorers, whole)),
        types=_types(scorers, whole),
        sync=_sync(scorers, outs),
        covered=_covered(outs, {scorer.name: scorer.window for scorer in scorers}, one),
        members=tuple(name for name, known in zip(names, ~np.isnan(scores).all(0), strict=True) if known),
        lines=tuple(_line(scorer, outs[scorer.name]) for scorer in scorers if "score" in outs[scorer.name]),
        steps=tuple(line for scorer in scorers for line in _steps(scorer, whole[scorer.name], there)),
    )


def stretches(scorer: Scorer, out: Mapping[str, np.ndarray], edges: np.ndarray) -> list[dict[str, Any]]:
    """The task's columns of each stretch of a file, {} where nothing is known.

    edges [n + 1]: s; a window belongs to the stretch that its middle lies in. Timelines and segments count from the
    first of the stretch's windows, or from the file's beginning where there is one stretch.
    """
    count = len(edges) - 1
    index = np.clip(np.searchsorted(edges, out["window_start"] + scorer.window / 2, side="right") - 1, 0, count - 1)
    firsts = np.full(count, np.inf)
    np.minimum.at(firsts, index, out["window_start"])
    starts = out["window_start"] - (firsts[index] if count > 1 else 0.0)
    names = [name for name in out if name not in ("window_start", "clip_index")]
    of_clips = {
        name: windows_to_clips.reduce(
            scorer.model.task.reduction(name), out[name], index, count, starts=starts, seconds=scorer.window
        )
        for name in names
    }
    found = []
    for i in range(count):
        values = {name: column[i] for name, column in of_clips.items()}
        if all(np.isnan(value).all() for value in values.values()):
            found.append({})
            continue
        found.append(scorer.model.task.finish(values) if hasattr(scorer.model.task, "finish") else values)
    return found


def _abstention(
    one: Examined,
    detector: Detector,
    best: Judged | None,
    flags: Sequence[quality.Flag],
    distance: Distance | None,
) -> tuple[tuple[str, str], ...]:
    """Why nothing should be concluded, the gravest reason first; none where something may be."""
    if best is None:
        return (("nothing_to_judge", one.problem or _nothing(one, detector)),)
    found = []
    if detector.system.data["embedded"]:
        found.append(("stand_in", "drawn talking heads are all that the system knows; it concludes nothing"))
    if serious := [flag for flag in flags if flag.serious]:
        words = "; ".join(f"{flag.words} ({flag.measured:.3g}, limit {flag.limit:.3g} {flag.unit})" for flag in serious)
        found.append(("quality", words))
    if distance and distance.out:
        farthest = sorted(distance.z, key=lambda name: -abs(distance.z[name]))[:3]
        named = ", ".join(f"{quality.MEASURES[name][0]} {distance.z[name]:+.1f}" for name in farthest)
        words = (
            f"unlike the validation clips: distance {distance.value:.1f}, {LIMIT:.0%} of them lie within "
            f"{distance.limit:.1f} (furthest, in scales: {named})"
        )
        found.append(("out_of_distribution", words))
    if detector.system.verdicts(np.array([best.probability]))[0] < 0:
        pair = detector.system.thresholds["conformal"]
        words = (
            f"P(manipulated) {best.probability:.3f} at the calibration's own prior lies between {pair['low']:.3f} and "
            f"{pair['high']:.3f}, where neither answer keeps its error rate of {pair['error']:g}"
        )
        if math.isinf(pair["low"]) or math.isinf(pair["high"]):
            words = f"the calibration has too few people for an answer with an error rate of {pair['error']:g}"
        found.append(("between_thresholds", words))
    return tuple(found)


def _nothing(one: Examined, detector: Detector) -> str:
    wanted = " or ".join(sorted({stream for member in detector.system.members for stream in member.streams}))
    seen = [word for word, has in (("a face", any(p.frames for p in one.people)), ("sound", one.sound_seconds)) if has]
    return f"the detectors read {wanted}; the file has {' and '.join(seen) or 'neither a face nor sound'} to offer"


def _there(person: Person) -> set[str]:
    """The streams that there are of somebody: a member may have a score of a stream that the file lacks."""
    pictures = {"image", "video", "mouth"} if person.frames else set()
    sound = {"audio"} if person.heard else set()
    return pictures | sound | ({"sync"} if pictures and sound else set())


def _streams(
    scorers: Sequence[Scorer], of_stretches: Mapping[str, Sequence[Mapping[str, Any]]], there: set[str]
) -> list[OfStream]:
    found = []
    for scorer in scorers:
        for scale in scorer.model.streams:
            scores = [float(values.get(scale.column, math.nan)) for values in of_stretches[scorer.name]]
            if scale.stream in there and (evidence := scale.evidence(scores)):
                found.append(OfStream(scale.stream, scorer.name, evidence))
    return found


def _segments(scorers: Sequence[Scorer], whole: Mapping[str, Mapping[str, Any]]) -> list[Segment]:
    """Suspicious segments: those of the members that find segments, else where steps score 0.5 or more."""
    found = [
        Segment(begin, end, score, scorer.name)
        for scorer in scorers
        for begin, end, score in json.loads(whole[scorer.name].get("segments", "[]"))
        if score >= LEAST
    ]
    if not found:
        for scorer in scorers:
            steps = whole[scorer.name].get("frame_scores")
            found += [Segment(*run, scorer.name) for run in _runs(steps)] if steps is not None else []
    return sorted(found, key=lambda segment: -segment.score)[:SEGMENTS]


def _runs(steps: np.ndarray) -> list[tuple[float, float, float]]:
    """(begin, end, mean score) where steps [t] of STEP s score 0.5 or more for SHORTEST s."""
    high = np.concatenate([[False], np.nan_to_num(steps) >= 0.5, [False]]).astype(int)
    begins, ends = np.flatnonzero(np.diff(high) == 1), np.flatnonzero(np.diff(high) == -1)
    return [
        (a * STEP, b * STEP, float(np.nanmean(steps[a:b])))
        for a, b in zip(begins.tolist(), ends.tolist(), strict=True)
        if (b - a) * STEP >= SHORTEST
    ]


def _types(scorers: Sequence[Scorer], whole: Mapping[str, Mapping[str, Any]]) -> Types | None:
    for scorer in scorers:
        types = {name[5:]: float(value) for name, value in whole[scorer.name].items() if name.startswith("type_")}
        fakes = {name: value for name, value in types.items() if name != "real"}
        if total := sum(fakes.values()):
            return Types(scorer.name, {name: value / total for name, value in fakes.items()})
    return None


def _sync(scorers: Sequence[Scorer], outs: Mapping[str, Mapping[str, np.ndarray]]) -> Sync | None:
    for scorer in scorers:
        if "sync_sum" in outs[scorer.name] and (found := sync.of_windows(outs[scorer.name], scorer.window)):
            least, windows = (
                sync.least_confidence(scorer.run),
                tuple(tuple(map(float, one)) for one in found["windows"]),
            )
            return Sync(scorer.name, float(found["offset"]), float(found["confidence"]), least, windows)
    return None


def _line(scorer: Scorer, out: Mapping[str, np.ndarray]) -> Line:
    return Line(scorer.name, out["window_start"] + scorer.window / 2, np.asarray(out["score"], float))


def _steps(scorer: Scorer, values: Mapping[str, Any], there: set[str]) -> list[Line]:
    names = [name for name in values if name.startswith("frame_") and np.ndim(values[name]) == 1]
    names = [name for name in names if name == "frame_scores" or name[6:] in there]
    return [
        Line(f"{scorer.name}: {name[6:]}", (np.arange(len(values[name])) + 0.5) * STEP, values[name]) for name in names
    ]


def _covered(outs: Mapping[str, Mapping[str, np.ndarray]], windows: Mapping[str, float], one: Examined) -> np.ndarray:
    """Steps [t] of STEP s of the file that some window covers; none of a picture."""
    covered = np.zeros(round(one.seconds / STEP), bool)
    for name, window in windows.items():
        for start in outs[name]["window_start"]:
            covered[round(float(start) / STEP) : round((float(start) + window) / STEP)] = True
    return covered
