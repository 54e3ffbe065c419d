"""report.html of one file: one page without scripts, its pictures inside it."""

import base64
import html
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.figures import style
from experiments.verdict import figures
from experiments.verdict.verdict import FAVOURED, Verdict, ratio

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:980px;margin:1.5em auto;padding:0 1em}
h1{font-size:1.35em;margin:.2em 0;overflow-wrap:anywhere}
h2{font-size:1.1em;margin:1.6em 0 .4em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:.9em;margin:.4em 0}td,th{padding:.18em .7em .18em 0;text-align:left;
vertical-align:top;overflow-wrap:anywhere}th{font-weight:600;border-bottom:1px solid #ccc}img{max-width:100%}
.statement{background:#fdf3dc;border-left:4px solid #E69F00;padding:.5em .8em;margin:0 0 1em}
.abstain{background:#eee;border-left:4px solid #6b6b6b;padding:.5em .8em}.big{font-size:1.15em}
.small{color:#555;font-size:.85em}code{font-size:.85em;overflow-wrap:anywhere}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(verdict: Verdict) -> str:
    """The report as HTML."""
    found = verdict.content
    names = [person["name"] for person in found["people"]]
    parts = [
        _paragraph(found["statement"], "statement"),
        f"<h1>{_text(found['file']['name'])}</h1>",
        _head(found),
        _section("Evidence by stream, and by person", _tables_of_evidence(found)),
        _section("Over time", _picture(figures.over_time(verdict), "scores over time") + _segments(found)),
        _section("Faces that were judged", _picture(figures.faces(verdict.examined.shown, names), "faces")),
        _section(
            _title_of_places(verdict), _picture(figures.places(verdict.examined.mapped), "where the model points")
        ),
        _section("Lip-sync", _sync(found["sync"])),
        _section("Type", _type(found["type"])),
        _section("Quality", _quality(found["quality"])),
        _section("Distance from the data that the system knows", _distance(found["distance"])),
        _section("Coverage", _pairs(found["coverage"])),
        _section("Error rates of the operating points", _operating_points(found)),
        _section("File", _pairs(found["file"])),
        _section("System", _system(found["system"])),
        _section("How to read this", _reading(found)),
    ]
    title = f"Report on {_text(found['file']['name'])}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def index(rows: Sequence[tuple[Verdict, str]]) -> str:
    """A page that lists the reports of several files, each with the address of its own."""
    cells = []
    for verdict, address in rows:
        found = verdict.content
        evidence, abstention = found["evidence"], found["abstention"]
        cells.append(
            [
                f'<a href="{html.escape(address, quote=True)}">{_text(found["file"]["path"])}</a>',
                ratio(evidence["lr"]) if evidence else "–",
                _text(evidence["words"]) if evidence else "–",
                _text(f"{abstention['why'].replace('_', ' ')}: {abstention['words']}") if abstention else "",
            ]
        )
    statement = _paragraph(rows[0][0].content["statement"], "statement") if rows else ""
    table = _table(["File", "Likelihood ratio", "In words", "Abstained"], cells, escaped=True)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Reports</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head>\n<body>\n'
        f"{statement}<h1>{len(rows)} files</h1>{table}\n</body></html>\n"
    )


def _head(found: Mapping[str, Any]) -> str:
    abstention, evidence = found["abstention"], found["evidence"]
    parts = []
    if abstention:
        words = f"Nothing should be concluded ({abstention['why'].replace('_', ' ')}): {abstention['words']}."
        parts.append(_paragraph(words, "abstain"))
    if evidence:
        sentence = evidence["sentence"]
        parts.append(_paragraph(f"{sentence[0].upper()}{sentence[1:]}.", "big"))
        parts.append(_scale(evidence))
        interval, chance = evidence["interval"], evidence["probability_interval"]
        bounds = " to ".join(ratio(bound) if bound else "unbounded" for bound in evidence["bounds"])
        rows = [
            ("Likelihood ratio", ratio(evidence["lr"])),
            ("Interval", f"{ratio(interval[0])} to {ratio(interval[1])}" if interval else "none"),
            ("Of the interval", evidence["interval_of"]),
            ("In words", evidence["words"]),
            (
                "Supported by the calibration set",
                bounds + (" (the ratio lies on a bound)" if evidence["capped"] else ""),
            ),
            (
                f"P(manipulated) for a prior of {evidence['prior']:g}",
                f"{evidence['probability']:.3f}" + (f" ({chance[0]:.3f} to {chance[1]:.3f})" if chance else ""),
            ),
        ]
        parts.append(_table([], rows))
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
        (one["stream"], one["member"], ratio(one["lr"]), _support(one["words"], one["favours"]))
        for one in found["streams"]
    ]
    people = [
        (
            one["name"] + (" (highest)" if one["name"] == found["highest"] and len(found["people"]) > 1 else ""),
            ratio(one["lr"]),
            f"{one['seconds_seen']:.1f} s",
            f"{one['seconds_judged']:.1f} s",
            ", ".join(one["members"]),
        )
        for one in found["people"]
    ]
    out = _table(["Stream", "Member", "Likelihood ratio", "Support"], streams) if streams else ""
    return out + (_table(["Who", "Likelihood ratio", "Seen", "Judged", "Members"], people) if people else "")


def _support(words: str, favours: str) -> str:
    return f"{words}, for {FAVOURED[favours]}"


def _segments(found: Mapping[str, Any]) -> str:
    rows = [
        (f"{one['start']:.2f} – {one['end']:.2f} s", f"{one['score']:.2f}", one["member"])
        for one in found["segments"][:12]
    ]
    return _table(["Suspicious segment", "Score", "Member"], rows) if rows else ""


def _title_of_places(verdict: Verdict) -> str:
    kinds = {one.kind for one in verdict.examined.mapped}
    if "localisation" in kinds:
        return "Where the face was manipulated, if it was (most suspicious windows)"
    return "Where the model looks (attention in the most suspicious windows)"


def _sync(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    claim = "" if found["sure"] else "; too unsure to be claimed"
    return _paragraph(
        f"Offset {found['offset_frames']:+.0f} frames ({found['offset_seconds']:+.2f} s; positive: the sound is late), "
        f"confidence {found['confidence']:.3f}, needed {found['least_confidence']:.3f}{claim}."
    )


def _type(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    rows = [(name, f"{share:.2f}") for name, share in found["shares_if_manipulated"].items()]
    note = _paragraph(
        "Shares among the types that the member has learned, given that the file is manipulated.", "small"
    )
    return _table(["Type, if manipulated", "Share"], rows) + note


def _quality(found: Mapping[str, Any]) -> str:
    flags = [
        (one["words"], _number(one["measured"]), _number(one["limit"]), one["unit"], "yes" if one["serious"] else "")
        for one in found["flags"]
    ]
    measures = [(one["what"], _number(one["value"]), one["unit"]) for one in found["measures"]]
    out = (
        _table(["Flag", "Measured", "Limit", "Unit", "Forbids a conclusion"], flags)
        if flags
        else _paragraph("No flag.")
    )
    return out + _table(["Measure", "Value", "Unit"], measures)


def _distance(found: Mapping[str, Any]) -> str:
    note = _paragraph(f"Definition: {found['definition']}.", "small")
    if found["value"] is None:
        return _paragraph(f"Unknown: {found['unknown_because']}.") + note
    words = (
        f"{found['value']:.2f}; {found['quantile']:.0%} of {found['clips']} validation clips lie nearer; "
        f"limit {found['limit']:.2f}."
    )
    rows = [(name, f"{value:+.2f}") for name, value in sorted(found["z"].items(), key=lambda pair: -abs(pair[1]))]
    return _paragraph(words) + _table(["Measure", "Distance in scales"], rows) + note


def _operating_points(found: Mapping[str, Any]) -> str:
    rows = []
    for point in found["operating_points"]:
        rates = [_rate(point[name]) for name in ("false_alarms", "misses", "abstained")]
        data = (
            f"{point['data']['dataset']} {point['data']['split']}, {point['clips']} clips, {point['identities']} people"
        )
        rows.append((point["what"], *rates, data))
    head = ["Operating point", "Genuine called manipulated", "Manipulated called genuine", "Abstained", "Measured on"]
    return _table(head, rows) if rows else _paragraph("None are known.")


def _rate(values: Sequence[float | None]) -> str:
    if values[0] is None:
        return "unknown"
    low, high = values[1:]
    return f"{values[0]:.1%}" + (f" ({low:.1%} to {high:.1%})" if low is not None and high is not None else "")


def _system(found: Mapping[str, Any]) -> str:
    members = [
        (one["name"], ", ".join(one["streams"]), f"{one['weight']:.3g}", f"<code>{_text(one['sha256'])}</code>")
        for one in found["members"]
    ]
    members = [[_text(a), _text(b), _text(c), d] for a, b, c, d in members]
    rest = {key: value for key, value in found.items() if key != "members"}
    return _pairs(rest) + _table(["Member", "Streams", "Weight", "SHA-256 of its parameters"], members, escaped=True)


def _reading(found: Mapping[str, Any]) -> str:
    bands = [
        (f"{one['from']:,.0f} to {one['to']:,.0f}" if one["to"] else f"above {one['from']:,.0f}", one["words"])
        for one in found["scale"]
    ]
    return _paragraph(
        "A likelihood ratio says how much more probable what was found is if the file is manipulated than if it is "
        "genuine. Below 1 its reciprocal supports genuine. What anybody believed before, the prior, is the "
        "reader's own; a probability follows from both. The file is judged in stretches, each as long as the "
        "clips of the calibration; the file's ratio is the mean of theirs, for the hypothesis that one stretch is "
        "manipulated and any may be. It is no proof, and says nothing about who did what, or why."
    ) + _table(["Likelihood ratio, or its reciprocal", "Support"], bands)


def _pairs(found: Mapping[str, Any]) -> str:
    return _table([], [(key.replace("_", " "), _value(value)) for key, value in found.items()])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(_value, value)) or "none"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _section(title: str, body: str) -> str:
    return f"<h2>{_text(title)}</h2>{body}" if body else ""


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, escaped: bool = False) -> str:
    safe = str if escaped else _text
    top = "<tr>" + "".join(f"<th>{_text(cell)}</th>" for cell in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(f"<td>{safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>"


def _text(value: object) -> str:
    return html.escape(str(value).encode("utf-8", "replace").decode(), quote=True)


def _picture(figure: Figure | None, what: str) -> str:
    if figure is None:
        return ""
    buffer = io.BytesIO()
    with style.look(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{_text(what)}" src="data:image/png;base64,{data}">'
