"""The verdict on one file, as plain data: what stands in verdict.json (see schema.json), and the lines of the terminal.

It accuses nobody: it says how much more probable what was found is under one hypothesis than under the other, for a
system trained on named data, and when nothing should be concluded.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import sync
from experiments.verdict import distance as distance_lib
from experiments.verdict import quality
from experiments.verdict.detector import Detector, Scorer
from experiments.verdict.evidence import Evidence
from experiments.verdict.examine import Examined, Person, stretches
from mmdf_jax.metrics import likelihood

SCHEMA = 1  # of verdict.json: raise it when an older reader could not read the new form
EMBEDDED = (
    "Trained on the embedded corpus of drawn talking heads, a stand-in that makes the program run anywhere: nothing "
    "follows from it for recordings of real people."
)
LEAST = 0.3  # of a segment's score, to be shown
FAVOURED = {"fake": "manipulated over genuine", "real": "genuine over manipulated", "neither": "either"}
STEP = 0.04  # s, of timelines
SHORTEST = 0.2  # s, of a segment of steps
LR_SCALE = [{"from": low, "to": high, "words": words} for low, high, words in likelihood.BANDS]


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve over a file's time, for the report: values [t] at times [t] s."""

    name: str
    times: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Verdict:
    """content: what verdict.json holds of the file. examined and lines: what the report shows besides."""

    content: dict[str, Any]
    examined: Examined
    lines: tuple[Line, ...] = ()
    steps: tuple[Line, ...] = ()

    def light(self) -> "Verdict":
        """Without what only the report of this file shows."""
        return Verdict(self.content, Examined(self.examined.path))

    @property
    def judged(self) -> bool:
        return self.content["evidence"] is not None

    def terminal(self) -> list[str]:
        """A few lines on the file."""
        found, path = self.content, self.content["file"]["path"]
        if not self.judged:
            return [f"{path}: nothing to judge: {found['abstention']['words']}"]
        evidence = found["evidence"]
        head = f"{path}: {evidence['sentence']}"
        numbers = [
            f"likelihood ratio {ratio(evidence['lr'])}{_range(evidence['interval'])}: {evidence['words']}"
            + (", at the bound of what the calibration supports" if evidence["capped"] else ""),
            f"P(manipulated) {evidence['probability']:.2f} at a prior of {evidence['prior']:g}",
        ]
        lines = [head, "  " + "; ".join(numbers)]
        by_stream: dict[str, list[str]] = {}
        for one in found["streams"]:
            by_stream.setdefault(one["stream"], []).append(f"{ratio(one['lr'])} ({one['member']})")
        if by_stream:
            streams = "; ".join(f"{stream} {', '.join(each)}" for stream, each in by_stream.items())
            lines.append(f"  likelihood ratios by stream: {streams}")
        if len(found["people"]) > 1:
            people = ", ".join(f"{one['name']} {ratio(one['lr'])}" for one in found["people"] if one["lr"] is not None)
            lines.append(f"  of {len(found['people'])} people, {found['highest']} has the highest: {people}")
        if found["abstention"]:
            why = found["abstention"]["why"].replace("_", " ")
            lines.append(f"  abstained ({why}): {found['abstention']['words']}")
        if flags := [flag["words"] for flag in found["quality"]["flags"]]:
            lines.append(f"  quality: {'; '.join(flags)}")
        return lines


def judge(one: Examined, detector: Detector, prior: float) -> Verdict:
    """The verdict on a file that was examined.

    prior: P(fake) that a reader holds before the evidence, between 0 and 1.
    """
    system = detector.system
    found = [_Judged.of(one, person, one.people[0], detector) for person in one.people]
    known = [i for i, each in enumerate(found) if each.evidence]
    highest = max(known, key=lambda i: found[i].evidence.llr, default=None)
    best = None if highest is None else found[highest]
    measures = quality.mean_of(one.people[highest or 0].measures) if one.people else None
    crop = min((scorer.crops.face_size for scorer in detector.scorers if scorer.sees), default=0)
    people = sum(person.frames > 0 for person in one.people)
    flags = []
    if measures:
        flags = quality.flags(
            measures,
            crop=crop,
            people=people,
            seconds=one.seconds,
            window=detector.window,
            still=one.still,
            pictures=one.size != (0, 0),
        )
    out = detector.reference.distance(measures) if detector.reference and measures else None
    evidence = best.evidence if best else None
    content = {
        "schema": SCHEMA,
        "statement": EMBEDDED if system.data["embedded"] else _trained_on(system.data),
        "file": _file(one),
        "system": _system(detector),
        "abstention": _abstention(one, detector, best, flags, out),
        "evidence": evidence and _evidence(evidence, prior, system.data),
        "streams": best.streams if best else [],
        "people": [_person(i, person, each) for i, (person, each) in enumerate(zip(one.people, found, strict=True))],
        "highest": None if highest is None else _name(highest, one.people[highest]),
        "stretches": best.stretches if best else [],
        "segments": best.segments if best else [],
        "sync": best.sync if best else None,
        "type": best.type if best else None,
        "quality": {
            "measures": [
                {"name": name, "what": what, "value": measures[name] if measures else math.nan, "unit": unit}
                for name, (what, unit) in quality.MEASURES.items()
            ],
            "flags": [dict(vars(flag)) for flag in flags],
        },
        "distance": _distance(out, detector),
        "coverage": _coverage(one, best, detector),
        "thresholds": dict(system.thresholds),
        "operating_points": [dict(point) for point in system.operating_points],
        "scale": LR_SCALE,
    }
    return Verdict(_plain(content), one, *((best.lines, best.steps) if best else ((), ())))


@dataclasses.dataclass(frozen=True)
class _Judged:
    """What follows from one person's windows."""

    evidence: Evidence | None
    probability: float  # at the calibration's own share of fakes, for the thresholds
    streams: list[dict[str, Any]]
    stretches: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    type: dict[str, Any] | None
    sync: dict[str, Any] | None
    seconds: float  # s that some window covers
    members: list[str]
    lines: tuple[Line, ...]
    steps: tuple[Line, ...]

    @classmethod
    def of(cls, one: Examined, person: Person, first: Person, detector: Detector) -> "_Judged":
        outs = {}
        for scorer in detector.scorers:
            out = (person if scorer.sees else first).outputs(scorer.name)
            if out:
                outs[scorer.name] = out
        count = max(1, round(one.seconds / detector.stretch))
        last = max((out["window_start"].max() for out in outs.values()), default=0.0)
        edges = np.linspace(0, float(last) + 1e-3, count + 1)
        of_stretches, whole = {}, {}
        for scorer in detector.scorers:
            if scorer.name in outs:
                of_stretches[scorer.name] = stretches(scorer, outs[scorer.name], edges)
                whole[scorer.name] = stretches(scorer, outs[scorer.name], edges[[0, -1]])[0]
        members = detector.system.members
        scores = np.full((count, len(members)), np.nan)
        for j, (member, place) in enumerate(zip(members, detector.member_of, strict=True)):
            for i, values in enumerate(of_stretches.get(detector.scorers[place].name, ())):
                scores[i, j] = values.get(member.column, np.nan)
        evidence = detector.scale.of_stretches(scores)
        scorers = [scorer for scorer in detector.scorers if whole.get(scorer.name)]
        return cls(
            evidence=evidence,
            probability=detector.scale.probability(scores) if evidence else math.nan,
            streams=_streams(scorers, of_stretches, _there(person)),
            stretches=_stretches(edges, scores, detector, one.seconds) if evidence else [],
            segments=_segments(scorers, whole),
            type=_type(scorers, whole),
            sync=_sync(scorers, outs),
            seconds=_covered(outs, {scorer.name: scorer.window for scorer in scorers}, one),
            members=[member.name for member, known in zip(members, ~np.isnan(scores).all(0), strict=True) if known],
            lines=tuple(_line(scorer, outs[scorer.name]) for scorer in scorers if "score" in outs[scorer.name]),
            steps=tuple(line for scorer in scorers for line in _steps(scorer, whole[scorer.name], _there(person))),
        )


def _trained_on(data: Mapping[str, Any]) -> str:
    return (
        f"Calibrated on {data['clips']} clips of {data['identities']} people of {data['dataset'] or 'unnamed data'} "
        f"({data['split']}); it holds for files like those."
    )


def _file(one: Examined) -> dict[str, Any]:
    return {
        "path": one.path,
        "name": pathlib.Path(one.path).name,
        "sha256": one.sha256 or None,
        "bytes": one.bytes,
        "container": "picture" if one.still else one.facts.container,
        "declared_streams": [] if one.still else list(one.facts.streams),
        "declared_seconds": 0.0 if one.still else round(one.facts.seconds, 3),
        "width": one.size[0],
        "height": one.size[1],
        "status": one.status or "not_read",
        "reason": one.reason or one.problem,
    }


def _system(detector: Detector) -> dict[str, Any]:
    system = detector.system
    return {
        "name": system.name,
        "sha256": detector.digest,
        "ensemble": system.ensemble,
        "members": [
            {
                "name": member.name,
                "sha256": member.digest,
                "column": member.column,
                "streams": list(member.streams),
                "weight": float(system.weights[member.name]),
            }
            for member in system.members
        ],
        "data": dict(system.data),
        "prior_of_calibration": system.prior,
        "code": dict(system.code),
    }


def _evidence(evidence: Evidence, prior: float, data: Mapping[str, Any]) -> dict[str, Any]:
    strength, favours = evidence.words
    interval = None if math.isnan(evidence.low) else [math.exp(evidence.low), math.exp(evidence.high)]
    at = lambda llr: float(likelihood.probability(llr, prior))  # noqa: E731
    words = f"{strength} support for {FAVOURED[favours]}"
    return {
        "lr": evidence.lr,
        "log10_lr": evidence.llr / math.log(10),
        "interval": interval,
        "interval_of": evidence.interval_of,
        "bounds": [math.exp(bound) if math.isfinite(bound) else None for bound in evidence.bounds],
        "capped": evidence.capped,
        "words": words,
        "favours": favours,
        "sentence": sentence(evidence.lr, data["dataset"]),
        "prior": prior,
        "probability": at(evidence.llr),
        "probability_interval": interval and [at(evidence.low), at(evidence.high)],
    }


def sentence(lr: float, dataset: str) -> str:
    """The likelihood ratio in words that accuse nobody."""
    system = f"for a system trained on {dataset or 'unnamed data'}"
    if lr == 1:
        return f"what was found is as probable in a manipulated file as in a genuine one, {system}"
    first, second = ("manipulated", "genuine") if lr > 1 else ("genuine", "manipulated")
    times = ratio(max(lr, 1 / lr))
    return f"what was found is {times} times more probable if the file is {first} than if it is {second}, {system}"


def ratio(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3g}" if 0.001 <= value < 1e5 else f"{value:.1e}"


def _range(interval: Sequence[float] | None) -> str:
    return f" ({ratio(interval[0])} to {ratio(interval[1])})" if interval else ""


def _abstention(
    one: Examined,
    detector: Detector,
    best: _Judged | None,
    flags: Sequence[quality.Flag],
    out: distance_lib.Distance | None,
) -> dict[str, str] | None:
    """Why nothing should be concluded, the gravest reason first; None where something may be."""
    if best is None:
        return {"why": "nothing_to_judge", "words": one.problem or _nothing(one, detector)}
    if serious := [flag for flag in flags if flag.serious]:
        words = "; ".join(f"{flag.words} ({flag.measured:.3g}, limit {flag.limit:.3g} {flag.unit})" for flag in serious)
        return {"why": "quality", "words": words}
    if out and out.out:
        farthest = sorted(out.z, key=lambda name: -abs(out.z[name]))[:3]
        named = ", ".join(f"{quality.MEASURES[name][0]} {out.z[name]:+.1f}" for name in farthest)
        words = (
            f"unlike the validation clips: distance {out.value:.1f}, {distance_lib.LIMIT:.0%} of them lie within "
            f"{out.limit:.1f} (furthest, in scales: {named})"
        )
        return {"why": "out_of_distribution", "words": words}
    if detector.system.verdicts(np.array([best.probability]))[0] < 0:
        pair = detector.system.thresholds["conformal"]
        words = (
            f"P(manipulated) {best.probability:.3f} at the calibration's own prior lies between {pair['low']:.3f} and "
            f"{pair['high']:.3f}, where neither answer keeps its error rate of {pair['error']:g}"
        )
        if math.isinf(pair["low"]) or math.isinf(pair["high"]):
            words = f"the calibration has too few people for an answer with an error rate of {pair['error']:g}"
        return {"why": "between_thresholds", "words": words}
    if detector.system.data["embedded"]:
        return {"why": "stand_in", "words": "drawn talking heads are all that the system knows; it concludes nothing"}
    return None


def _nothing(one: Examined, detector: Detector) -> str:
    wanted = " or ".join(sorted({stream for member in detector.system.members for stream in member.streams}))
    seen = [word for word, has in (("a face", any(p.frames for p in one.people)), ("sound", one.sound_seconds)) if has]
    return f"the detectors read {wanted}; the file has {' and '.join(seen) or 'neither a face nor sound'} to offer"


def _name(i: int, person: Person) -> str:
    return f"person {i + 1}" if person.frames else "the sound"


def _person(i: int, person: Person, judged: _Judged) -> dict[str, Any]:
    return {
        "name": _name(i, person),
        "seconds_seen": round(person.seen * STEP, 3),
        "followed_because": person.speaker,
        "lr": judged.evidence.lr if judged.evidence else None,
        "log10_lr": judged.evidence.llr / math.log(10) if judged.evidence else None,
        "seconds_judged": round(judged.seconds, 3),
        "members": judged.members,
    }


def _there(person: Person) -> set[str]:
    """The streams that there are of somebody: a member may have a score of a stream that the file lacks."""
    pictures, sound = person.frames > 0, person.sounds
    streams = {*(("image", "video", "mouth") if pictures else ()), *(("audio",) if sound else ())}
    return streams | ({"sync"} if pictures and sound else set())


def _streams(
    scorers: Sequence[Scorer], of_stretches: Mapping[str, Sequence[Mapping[str, Any]]], there: set[str]
) -> list[dict[str, Any]]:
    found = []
    for scorer in scorers:
        for scale in scorer.streams:
            if scale.stream not in there:
                continue
            scores = [float(values.get(scale.column, math.nan)) for values in of_stretches[scorer.name]]
            if evidence := scale.evidence(scores):
                strength, favours = evidence.words
                found.append(
                    {
                        "stream": scale.stream,
                        "member": scorer.name,
                        "lr": evidence.lr,
                        "log10_lr": evidence.llr / math.log(10),
                        "bounds": [math.exp(bound) if math.isfinite(bound) else None for bound in evidence.bounds],
                        "words": strength,
                        "favours": favours,
                    }
                )
    return found


def _stretches(edges: np.ndarray, scores: np.ndarray, detector: Detector, seconds: float) -> list[dict[str, Any]]:
    llr, names = detector.scale.llr(scores), [member.name for member in detector.system.members]
    ends = [*edges[1:-1], max(seconds, float(edges[-1]))]
    return [
        {
            "start": round(float(start), 3),
            "end": round(float(end), 3),
            "log10_lr": value / math.log(10),
            "scores": dict(zip(names, row, strict=True)),
        }
        for start, end, value, row in zip(edges[:-1], ends, llr, scores, strict=True)
    ]


def _segments(scorers: Sequence[Scorer], whole: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Suspicious segments: those of the members that find segments, else where steps score 0.5 or more."""
    found = []
    for scorer in scorers:
        for begin, end, score in json.loads(whole[scorer.name].get("segments", "[]")):
            if score >= LEAST:
                found.append({"start": begin, "end": end, "score": score, "member": scorer.name})
    if not found:
        for scorer in scorers:
            steps = whole[scorer.name].get("frame_scores")
            found += [{**span, "member": scorer.name} for span in _runs(steps)] if steps is not None else []
    return sorted(found, key=lambda segment: -segment["score"])[:100]


def _runs(steps: np.ndarray) -> list[dict[str, float]]:
    high = np.concatenate([[False], np.nan_to_num(steps) >= 0.5, [False]]).astype(int)
    begins, ends = np.flatnonzero(np.diff(high) == 1), np.flatnonzero(np.diff(high) == -1)
    return [
        {"start": round(a * STEP, 3), "end": round(b * STEP, 3), "score": float(np.nanmean(steps[a:b]))}
        for a, b in zip(begins.tolist(), ends.tolist(), strict=True)
        if (b - a) * STEP >= SHORTEST
    ]


def _type(scorers: Sequence[Scorer], whole: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    for scorer in scorers:
        types = {name[5:]: float(value) for name, value in whole[scorer.name].items() if name.startswith("type_")}
        fakes = {name: value for name, value in types.items() if name != "real"}
        if total := sum(fakes.values()):
            shares = {name: value / total for name, value in fakes.items()}
            return {"member": scorer.name, "shares_if_manipulated": shares, "most": max(shares, key=shares.get)}
    return None


def _sync(scorers: Sequence[Scorer], outs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any] | None:
    for scorer in scorers:
        if "sync_sum" in outs[scorer.name] and (found := sync.of_windows(outs[scorer.name], scorer.window)):
            least = sync.least_confidence(scorer.run)
            return {
                "member": scorer.name,
                "offset_frames": float(found["offset"]),
                "offset_seconds": float(found["offset"]) * STEP,
                "confidence": float(found["confidence"]),
                "least_confidence": least,
                "sure": bool(found["confidence"] >= least),
                "windows": [
                    {"start": round(start, 3), "offset_frames": float(offset), "confidence": float(confidence)}
                    for start, offset, confidence in found["windows"]
                ],
            }
    return None


def _line(scorer: Scorer, out: Mapping[str, np.ndarray]) -> Line:
    return Line(scorer.name, out["window_start"] + scorer.window / 2, np.asarray(out["score"], float))


def _steps(scorer: Scorer, values: Mapping[str, Any], there: set[str]) -> list[Line]:
    names = [name for name in values if name.startswith("frame_") and np.ndim(values[name]) == 1]
    names = [name for name in names if name == "frame_scores" or name[6:] in there]
    return [
        Line(f"{scorer.name}: {name[6:]}", (np.arange(len(values[name])) + 0.5) * STEP, values[name]) for name in names
    ]


def _covered(outs: Mapping[str, Mapping[str, np.ndarray]], windows: Mapping[str, float], one: Examined) -> float:
    covered = np.zeros(max(1, round(one.seconds / STEP)), bool)
    for name, window in windows.items():
        for start in outs[name]["window_start"]:
            covered[round(float(start) / STEP) : round((float(start) + window) / STEP)] = True
    return 0.0 if one.still else float(covered.sum() * STEP)


def _coverage(one: Examined, best: _Judged | None, detector: Detector) -> dict[str, Any]:
    return {
        "seconds": round(one.seconds, 3),
        "seconds_judged": round(best.seconds, 3) if best else 0.0,
        "pictures": one.frames,
        "sound_seconds": round(one.sound_seconds, 3),
        "people_seen": one.faces,
        "people_judged": sum(person.frames > 0 for person in one.people),
        "seconds_a_stretch": round(detector.stretch, 3),
        "members_that_answered": best.members if best else [],
    }


def _distance(out: distance_lib.Distance | None, detector: Detector) -> dict[str, Any]:
    why = "" if out else "nothing can be measured" if detector.reference else "no measures of the validation clips"
    return {
        "definition": distance_lib.DEFINITION,
        "value": out and out.value,
        "limit": out and out.limit,
        "quantile": out and out.quantile,
        "clips": out.clips if out else 0,
        "z": dict(out.z) if out else {},
        "out": bool(out and out.out),
        "unknown_because": why,
    }


def _plain(value: Any) -> Any:
    """JSON data: null for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def document(contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What verdict.json holds of several files."""
    return {"schema": SCHEMA, "verdicts": list(contents)}
