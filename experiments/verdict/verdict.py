"""The verdict on one file, as it is written: what stands in verdict.json (see schema.json), and the terminal's lines.

It accuses nobody: it says how much more probable what was found is under one hypothesis than under the other, for a
system trained on named data. Where nothing should be concluded, it says that first.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import files
from experiments.verdict import distance as distance_lib
from experiments.verdict import judged, quality
from experiments.verdict.detector import Detector
from experiments.verdict.evidence import Evidence
from experiments.verdict.examined import Examined, Shown
from experiments.verdict.judged import STEP, Judged, Judgement, Line, OfStream, Sync, Types
from mmdf_jax.metrics import likelihood

SCHEMA = 2  # of verdict.json: raise it when an older reader could not read the new form
EMBEDDED = (
    "Trained on the embedded corpus of drawn talking heads, a stand-in that makes the program run anywhere: nothing "
    "follows from it for recordings of real people."
)
FAVOURED = {"fake": "manipulated over genuine", "real": "genuine over manipulated", "neither": "either"}
LR_SCALE = [{"from": low, "to": high, "words": words} for low, high, words in likelihood.BANDS]
PICTURES = 12  # in a report
ENOUGH = 0.9  # of a file: where less is judged, the terminal says so
WHY = {  # of an abstention, in words
    "nothing_to_judge": "nothing to judge",
    "stand_in": "the system is a stand-in",
    "quality": "quality",
    "out_of_distribution": "out of distribution",
    "between_thresholds": "between the thresholds",
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """content: what verdict.json holds of the file. The rest is what its report shows besides.

    lines, steps: scores over time of the person with the highest ratio. pictures: the most suspicious first.
    """

    content: dict[str, Any]
    examined: Examined
    lines: tuple[Line, ...] = ()
    steps: tuple[Line, ...] = ()
    pictures: tuple[Shown, ...] = ()

    def light(self) -> "Verdict":
        """Without what only the report of this file shows."""
        return Verdict(self.content, Examined(self.examined.path))

    @property
    def judged(self) -> bool:
        """Whether there is any evidence."""
        return self.content["evidence"] is not None

    def terminal(self) -> list[str]:
        """A few lines on the file."""
        found, path = self.content, self.content["file"]["path"]
        evidence, abstention = found["evidence"], found["abstention"]
        if not self.judged:
            return [f"{path}: nothing to judge: {abstention['words']}"]
        numbers = f"likelihood ratio {ratio(evidence['lr'])}{_range(evidence['interval'])}"
        capped = ", at the bound of what the calibration supports" if evidence["capped"] else ""
        chance = f"P(manipulated) {evidence['probability']:.2f} at a prior of {evidence['prior']:g}"
        if abstention:
            lines = [f"{path}: nothing should be concluded: {WHY[abstention['why']]}: {abstention['words']}"]
            lines += [f"  besides: {WHY[one['why']]}: {one['words']}" for one in abstention["also"]]
            lines.append(f"  for the record, without weight: {numbers}{capped}; {chance}")
        else:
            lines = [f"{path}: {evidence['sentence']}", f"  {numbers}: {evidence['words']}{capped}; {chance}"]
        if found["streams"]:
            lines.append(f"  likelihood ratios by stream: {_by_stream(found['streams'])}")
        if len(found["people"]) > 1:
            people = ", ".join(f"{one['name']} {ratio(one['lr'])}" for one in found["people"] if one["lr"] is not None)
            lines.append(f"  the highest of: {people}")
        seconds, covered = (found["coverage"][name] for name in ("seconds", "seconds_judged"))
        if gaps := found["coverage"]["gaps"]:
            more = f", and {len(gaps) - 1} more parts" if len(gaps) > 1 else ""
            lines.append(f"  not all could be judged: {gaps[0]['words']}{more}")
        elif covered < ENOUGH * seconds or found["file"]["status"] == "truncated":
            why = found["file"]["reason"]
            lines.append(f"  not all could be judged: {covered:.1f} of {seconds:.1f} s" + f": {why}" * bool(why))
        if flags := [flag["words"] for flag in found["quality"]["flags"]]:
            lines.append(f"  quality: {'; '.join(flags)}")
        return lines


def verdict(one: Examined, detector: Detector, prior: float) -> Verdict:
    """The verdict on a file that was examined.

    prior: P(fake) that a reader holds before the evidence, between 0 and 1.
    """
    system, found = detector.system, judged.judge(one, detector)
    best, measures = found.best, found.measures
    speaks = next((each for each in (best, *found.people) if each and each.sync), None)
    content = {
        "schema": SCHEMA,
        "statement": EMBEDDED if system.data["embedded"] else _trained_on(system.data),
        "file": _file(one),
        "system": _system(detector),
        "abstention": _abstention(found.abstention),
        "evidence": best and _evidence(best, found, detector, prior),
        "streams": list(map(_stream, best.streams)) if best else [],
        "people": list(map(_person, found.people)),
        "highest": best and best.name,
        "stretches": [_stretch(each, one) for each in found.people for one in each.stretches],
        "segments": _segments(found.people),
        "sync": speaks and _sync(speaks.name, speaks.sync),
        "type": _types(best.types) if best and best.types else None,
        "quality": {
            "measures": [
                {"name": name, "what": what, "value": measures[name] if measures else math.nan, "unit": unit}
                for name, (what, unit) in quality.MEASURES.items()
            ],
            "flags": [dict(vars(flag)) for flag in found.flags],
        },
        "distance": _distance(found.distance, detector),
        "coverage": _coverage(one, found, detector),
        "thresholds": dict(system.thresholds),
        "operating_points": [dict(point) for point in system.operating_points],
        "scale": LR_SCALE,
    }
    pictures = tuple(found.pictures(one, PICTURES))
    return Verdict(files.finite(content), one, *((best.lines, best.steps) if best else ((), ())), pictures)


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


def _abstention(reasons: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    if not reasons:
        return None
    first, *others = ({"why": why, "words": words} for why, words in reasons)
    return first | {"also": others}


def _evidence(best: Judged, found: Judgement, detector: Detector, prior: float) -> dict[str, Any]:
    evidence = best.evidence
    interval = None if math.isnan(evidence.low) else [math.exp(evidence.low), math.exp(evidence.high)]
    at = lambda llr: float(likelihood.probability(llr, prior))  # noqa: E731
    strength, favours = evidence.words
    return {
        **_ratios(evidence),
        "estimator": _estimator(best, found, detector.stretch),
        "interval": interval,
        "interval_of": evidence.interval_of,
        "capped": evidence.capped,
        "words": f"{strength} support for {FAVOURED[favours]}",
        "favours": favours,
        "sentence": sentence(evidence.lr, detector.system.data["dataset"]),
        "prior": prior,
        "probability": at(evidence.llr),
        "probability_interval": interval and [at(evidence.low), at(evidence.high)],
    }


def _estimator(best: Judged, found: Judgement, stretch: float) -> str:
    """What the ratio is computed as, in words."""
    count, people = len(best.stretches), sum(each.evidence is not None for each in found.people)
    words = f"the likelihood ratio of {best.name}, whose windows were scored and calibrated as one clip of validation"
    if count > 1:
        words = (
            f"the mean of the likelihood ratios of {count} stretches of about {stretch:.1f} s of {best.name}, each "
            "scored and calibrated as one clip of validation"
        )
    more = f"; of {people} people the highest is taken, which leans towards manipulated" if people > 1 else ""
    return words + more


def sentence(lr: float, dataset: str) -> str:
    """The likelihood ratio in words that accuse nobody."""
    system = f"for a system trained on {dataset or 'unnamed data'}"
    if lr == 1:
        return f"what was found is as probable in a manipulated file as in a genuine one, {system}"
    first, second = ("manipulated", "genuine") if lr > 1 else ("genuine", "manipulated")
    times = ratio(max(lr, 1 / lr))
    return f"what was found is {times} times more probable if the file is {first} than if it is {second}, {system}"


def ratio(value: float | None) -> str:
    """A likelihood ratio in three digits."""
    if value is None:
        return "unknown"
    return f"{value:.3g}" if 0.001 <= value < 1e5 else f"{value:.1e}"


def _by_stream(found: Sequence[Mapping[str, Any]]) -> str:
    """Each stream's ratio, or the lowest and the highest of its members; the report has each."""
    by_stream: dict[str, list[Mapping[str, Any]]] = {}
    for one in found:
        by_stream.setdefault(one["stream"], []).append(one)
    words = []
    for stream, each in by_stream.items():
        ratios = [one["lr"] for one in each if one["lr"] is not None]
        if len(each) == 1 or not ratios:
            words.append(f"{stream} {ratio(each[0]['lr'])} ({each[0]['member']})")
        else:
            words.append(f"{stream} {ratio(min(ratios))} to {ratio(max(ratios))} ({len(each)} members)")
    return "; ".join(words)


def _range(interval: Sequence[float] | None) -> str:
    return f" ({ratio(interval[0])} to {ratio(interval[1])})" if interval else ""


def _ratios(evidence: Evidence) -> dict[str, Any]:
    return {
        "lr": evidence.lr,
        "log10_lr": evidence.llr / math.log(10),
        "bounds": [math.exp(bound) if math.isfinite(bound) else None for bound in evidence.bounds],
    }


def _stream(one: OfStream) -> dict[str, Any]:
    strength, favours = one.evidence.words
    return {
        "stream": one.stream,
        "member": one.member,
        **_ratios(one.evidence),
        "words": strength,
        "favours": favours,
    }


def _person(each: Judged) -> dict[str, Any]:
    return {
        "name": each.name,
        "seconds_seen": round(each.person.seen * STEP, 3),
        "followed_because": each.person.speaker,
        "judged_by": ["picture"] * (each.person.frames > 0) + ["sound"] * each.person.heard,
        "lr": each.evidence.lr if each.evidence else None,
        "log10_lr": each.evidence.llr / math.log(10) if each.evidence else None,
        "seconds_judged": round(each.seconds, 3),
        "members": list(each.members),
    }


def _stretch(each: Judged, one: judged.Stretch) -> dict[str, Any]:
    return {
        "person": each.name,
        "start": round(one.start, 3),
        "end": round(one.end, 3),
        "log10_lr": one.llr / math.log(10),
        "scores": dict(one.scores),
    }


def _segments(people: Sequence[Judged]) -> list[dict[str, Any]]:
    """Those of everybody, by falling score."""
    pairs = sorted(((each.name, one) for each in people for one in each.segments), key=lambda pair: -pair[1].score)
    return [
        {
            "person": name,
            "start": round(one.start, 3),
            "end": round(one.end, 3),
            "score": one.score,
            "member": one.member,
        }
        for name, one in pairs[: judged.SEGMENTS]
    ]


def _sync(name: str, found: Sync) -> dict[str, Any]:
    return {
        "person": name,
        "member": found.member,
        "offset_frames": found.offset,
        "offset_seconds": found.offset * STEP,
        "confidence": found.confidence,
        "least_confidence": found.least,
        "sure": found.confidence >= found.least,
        "windows": [
            {"start": round(start, 3), "offset_frames": offset, "confidence": confidence}
            for start, offset, confidence in found.windows
        ],
    }


def _types(found: Types) -> dict[str, Any]:
    shares = dict(found.shares)
    return {"member": found.member, "shares_if_manipulated": shares, "most": max(shares, key=shares.get)}


def _coverage(one: Examined, found: Judgement, detector: Detector) -> dict[str, Any]:
    return {
        "seconds": round(one.seconds, 3),
        "seconds_judged": round(found.seconds, 3),
        "pictures": one.frames,
        "sound_seconds": round(one.sound_seconds, 3),
        "people_seen": one.faces,
        "people_judged": sum(person.frames > 0 for person in one.people),
        "seconds_a_stretch": round(detector.stretch, 3),
        "members_that_answered": list(found.best.members) if found.best else [],
        "gaps": [dataclasses.asdict(gap) | {"words": gap.words} for gap in one.gaps],
    }


def _distance(out: distance_lib.Distance | None, detector: Detector) -> dict[str, Any]:
    why = "" if out else detector.no_reference or "nothing can be measured"
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


def document(contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What verdict.json holds of several files."""
    return {"schema": SCHEMA, "verdicts": list(contents)}
