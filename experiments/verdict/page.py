"""report.html of one file: one page without scripts, its pictures inside it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import html
from experiments.verdict import figures
from experiments.verdict.verdict import FAVOURED, WHY, Verdict, ratio


def page(verdict: Verdict) -> str:
    """The report as HTML."""
    found = verdict.content
    names = [person["name"] for person in found["people"]]
    parts = [
        html.paragraph(found["statement"], "statement"),
        f"<h1>{html.text(found['file']['name'])}</h1>",
        _head(found),
        html.section("Evidence by stream, and by person", _tables_of_evidence(found)),
        html.section("Over time", html.picture(figures.over_time(verdict), "scores over time") + _segments(found)),
        html.section(
            "Faces that were judged, the most suspicious first",
            html.picture(figures.faces(verdict.pictures, names), "faces"),
        ),
        html.section(
            _title_of_places(verdict), html.picture(figures.places(verdict.examined.mapped), "where the model points")
        ),
        html.section("Lip-sync", _sync(found["sync"])),
        html.section("Type", _type(found["type"])),
        html.section("Quality", _quality(found["quality"])),
        html.section("Distance from the data that the system knows", _distance(found["distance"])),
        html.section("Coverage", _coverage(found["coverage"])),
        html.section("Error rates of the operating points", _operating_points(found)),
        html.section("File", _pairs(found["file"])),
        html.section("System", _system(found["system"])),
        html.section("How to read this", _reading(found)),
    ]
    title = f"Report on {found['file']['name']}"
    return html.document(title, parts)


def index(rows: Sequence[tuple[Verdict, str]]) -> str:
    """A page that lists the reports of several files, each with the address of its own."""
    cells = []
    for verdict, address in rows:
        found = verdict.content
        evidence, abstention = found["evidence"], found["abstention"]
        cells.append(
            [
                f'<a href="{html.text(address)}">{html.text(found["file"]["path"])}</a>',
                html.text(f"{WHY[abstention['why']]}: {abstention['words']}") if abstention else "",
                ratio(evidence["lr"]) if evidence else "–",
                html.text(evidence["words"]) if evidence and not abstention else "–",
            ]
        )
    statement = html.paragraph(rows[0][0].content["statement"], "statement") if rows else ""
    table = html.table(["File", "Nothing should be concluded", "Likelihood ratio", "In words"], cells, escaped=True)
    return html.document("Reports", [statement, f"<h1>{len(rows)} files</h1>", table])


def _head(found: Mapping[str, Any]) -> str:
    abstention, evidence = found["abstention"], found["evidence"]
    parts = []
    if abstention:
        words = f"Nothing should be concluded: {WHY[abstention['why']]}: {abstention['words']}."
        also = [f"Besides, {WHY[one['why']]}: {one['words']}." for one in abstention["also"]]
        parts.append(html.paragraph(" ".join([words, *also]), "abstain"))
    if evidence:
        sentence = evidence["sentence"]
        heading = f"{sentence[0].upper()}{sentence[1:]}."
        if abstention:
            heading = "For the record, without weight: what the system computed."
        parts.append(html.paragraph(heading, "small" if abstention else "big"))
        parts.append(_scale(evidence))
        interval, chance = evidence["interval"], evidence["probability_interval"]
        bounds = " to ".join(ratio(bound) if bound else "unbounded" for bound in evidence["bounds"])
        rows = [
            ("Likelihood ratio", ratio(evidence["lr"])),
            ("Computed as", evidence["estimator"]),
            ("Interval", f"{ratio(interval[0])} to {ratio(interval[1])}" if interval else "none"),
            ("Of the interval", evidence["interval_of"]),
            *([] if abstention else [("In words", evidence["words"])]),
            (
                "Supported by the calibration set",
                bounds + (" (the ratio lies on a bound)" if evidence["capped"] else ""),
            ),
            (
                f"P(manipulated) for a prior of {evidence['prior']:g}",
                f"{evidence['probability']:.3f}" + (f" ({chance[0]:.3f} to {chance[1]:.3f})" if chance else ""),
            ),
        ]
        parts.append(html.table([], rows))
    return "".join(parts)


def _scale(evidence: Mapping[str, Any]) -> str:
    """The likelihood ratio on its logarithmic scale, as SVG."""
    at = lambda value: 480 + 78 * max(-6.0, min(6.0, value))  # noqa: E731
    marks = []
    for power in range(-6, 7):
        label = "1" if power == 0 else f"10{_superscript(power)}"
        marks.append(f'<line x1="{at(power)}" x2="{at(power)}" y1="26" y2="38" stroke="#6b6b6b"/>')
        marks.append(f'<text x="{at(power)}" y="52" text-anchor="middle">{label}</text>')
    x = at(evidence["log10_lr"])
    if evidence["interval"]:
        low, high = (at(math.log10(max(end, 1e-9))) for end in evidence["interval"])
        marks.append(f'<rect x="{low}" width="{max(high - low, 2)}" y="22" height="10" fill="#CC79A7" opacity="0.5"/>')
    ends = [at(math.log10(bound)) if bound else end for bound, end in zip(evidence["bounds"], (12, 948), strict=True)]
    marks.append(f'<rect x="{ends[0]}" width="{ends[1] - ends[0]}" y="36" height="3" fill="#009E73"/>')
    marks.append(f'<path d="M{x} 32 l-7 -14 h14 z" fill="#222"/>')
    return (
        '<svg viewBox="0 0 960 74" width="100%" role="img" aria-label="likelihood ratio on its scale" '
        'font-size="12" font-family="sans-serif" fill="#222"><line x1="12" x2="948" y1="32" y2="32" stroke="#222"/>'
        '<text x="12" y="12">favours genuine</text><text x="948" y="12" text-anchor="end">favours manipulated</text>'
        + "".join(marks)
        + '<text x="480" y="70" text-anchor="middle">likelihood ratio; band: its interval; '
        "green: what the calibration set supports</text></svg>"
    )


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _tables_of_evidence(found: Mapping[str, Any]) -> str:
    streams = [
        (one["stream"], one["member"], ratio(one["lr"]), "–" if found["abstention"] else _support(one))
        for one in found["streams"]
    ]
    people = [
        (
            one["name"] + (" (highest)" if one["name"] == found["highest"] and len(found["people"]) > 1 else ""),
            ratio(one["lr"]),
            f"{one['seconds_seen']:.1f} s",
            f"{one['seconds_judged']:.1f} s",
            " and ".join(one["judged_by"]),
            ", ".join(one["members"]),
        )
        for one in found["people"]
    ]
    out = html.table(["Stream", "Member", "Likelihood ratio", "Support"], streams) if streams else ""
    return out + (html.table(["Who", "Likelihood ratio", "Seen", "Judged", "By", "Members"], people) if people else "")


def _support(one: Mapping[str, Any]) -> str:
    return f"{one['words']}, for {FAVOURED[one['favours']]}"


def _segments(found: Mapping[str, Any]) -> str:
    rows = [
        (f"{one['start']:.2f} – {one['end']:.2f} s", one["person"], f"{one['score']:.2f}", one["member"])
        for one in found["segments"][:12]
    ]
    return html.table(["Suspicious segment", "Who", "Score", "Member"], rows) if rows else ""


def _title_of_places(verdict: Verdict) -> str:
    kinds = {one.kind for one in verdict.examined.mapped}
    if "localisation" in kinds:
        return "Where the face was manipulated, if it was (most suspicious windows)"
    return "Where the model looks (attention in the most suspicious windows)"


def _sync(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    claim = "" if found["sure"] else "; too unsure to be claimed"
    return html.paragraph(
        f"Of {found['person']}: offset {found['offset_frames']:+.0f} frames "
        f"({found['offset_seconds']:+.2f} s; positive: the sound is late), "
        f"confidence {found['confidence']:.3f}, needed {found['least_confidence']:.3f}{claim}."
    )


def _type(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    rows = [(name, f"{share:.2f}") for name, share in found["shares_if_manipulated"].items()]
    note = html.paragraph(
        "Shares among the types that the member has learned, given that the file is manipulated.", "small"
    )
    return html.table(["Type, if manipulated", "Share"], rows) + note


def _quality(found: Mapping[str, Any]) -> str:
    flags = [
        (one["words"], _number(one["measured"]), _number(one["limit"]), one["unit"], "yes" if one["serious"] else "")
        for one in found["flags"]
    ]
    measures = [(one["what"], _number(one["value"]), one["unit"]) for one in found["measures"]]
    out = (
        html.table(["Flag", "Measured", "Limit", "Unit", "Forbids a conclusion"], flags)
        if flags
        else html.paragraph("No flag.")
    )
    return out + html.table(["Measure", "Value", "Unit"], measures)


def _distance(found: Mapping[str, Any]) -> str:
    note = html.paragraph(f"Definition: {found['definition']}.", "small")
    if found["value"] is None:
        return html.paragraph(f"Unknown: {found['unknown_because']}.") + note
    words = (
        f"{found['value']:.2f}; {found['quantile']:.0%} of {found['clips']} validation clips lie nearer; "
        f"limit {found['limit']:.2f}."
    )
    rows = [(name, f"{value:+.2f}") for name, value in sorted(found["z"].items(), key=lambda pair: -abs(pair[1]))]
    return html.paragraph(words) + html.table(["Measure", "Distance in scales"], rows) + note


def _coverage(found: Mapping[str, Any]) -> str:
    gaps = [(one["words"],) for one in found["gaps"]]
    rest = {key: value for key, value in found.items() if key != "gaps"}
    return (html.table(["Not all of this could be judged"], gaps) if gaps else "") + _pairs(rest)


def _operating_points(found: Mapping[str, Any]) -> str:
    rows = []
    for point in found["operating_points"]:
        rates = [_rate(point[name]) for name in ("false_alarms", "misses", "abstained")]
        data = (
            f"{point['data']['dataset']} {point['data']['split']}, {point['clips']} clips, {point['identities']} people"
        )
        rows.append((point["what"], *rates, data))
    head = ["Operating point", "Genuine called manipulated", "Manipulated called genuine", "Abstained", "Measured on"]
    return html.table(head, rows) if rows else html.paragraph("None are known.")


def _rate(values: Sequence[float | None]) -> str:
    if values[0] is None:
        return "unknown"
    low, high = values[1:]
    return f"{values[0]:.1%}" + (f" ({low:.1%} to {high:.1%})" if low is not None and high is not None else "")


def _system(found: Mapping[str, Any]) -> str:
    members = [
        (one["name"], ", ".join(one["streams"]), f"{one['weight']:.3g}", f"<code>{html.text(one['sha256'])}</code>")
        for one in found["members"]
    ]
    members = [[html.text(a), html.text(b), html.text(c), d] for a, b, c, d in members]
    rest = {key: value for key, value in found.items() if key != "members"}
    return _pairs(rest) + html.table(
        ["Member", "Streams", "Weight", "SHA-256 of its parameters"], members, escaped=True
    )


def _reading(found: Mapping[str, Any]) -> str:
    bands = [
        (f"{one['from']:,.0f} to {one['to']:,.0f}" if one["to"] else f"above {one['from']:,.0f}", one["words"])
        for one in found["scale"]
    ]
    return html.paragraph(
        "A likelihood ratio says how much more probable what was found is if the file is manipulated than if it is "
        "genuine. Below 1 its reciprocal supports genuine. What anybody believed before, the prior, is the "
        "reader's own; a probability follows from both. The file is judged in stretches, each as long as the "
        "clips of the calibration; the file's ratio is the mean of theirs, for the hypothesis that one stretch is "
        "manipulated and any may be. It is no proof, and says nothing about who did what, or why."
    ) + html.table(["Likelihood ratio, or its reciprocal", "Support"], bands)


def _pairs(found: Mapping[str, Any]) -> str:
    return html.table([], [(key.replace("_", " "), _value(value)) for key, value in found.items()])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(_value, value)) or "none"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
