"""The console's summary of an analysis."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.analysis import compare, findings, generalisation
from experiments.analysis.page import Facts
from experiments.evaluators.comparison import p_value
from experiments.report import terminal
from experiments.report.terminal import WIDTH, number

_MARKS = {compare.SUPPORTED: "✓", compare.CONTRADICTED: "✗", compare.EQUAL: "=", compare.OPEN: "?", compare.ABSENT: "–"}
_BETTER, _THAN, _GAIN = 27, 27, 24


def text(facts: Facts, paths: Sequence[str]) -> str:
    """The claims by family, what all pairs say, what is absent, and the files."""
    gain = f"gain [{findings.level(facts.config)}]"
    fakes = sum(clip.label for clip in facts.clips)
    lines = [
        "─" * WIDTH,
        f"{len(facts.detectors)} detectors · test: {findings.test_set(facts.clips)}, {fakes} fake",
        "─" * WIDTH,
        f"  {'better':<{_BETTER}}{'than':<{_THAN}}{gain:<{_GAIN}}{'Holm p':>7}{'d':>6}{'hidden':>7}",
    ]
    for family, rows in findings.families(facts.tables["claims"], facts.families):
        lines += ["", terminal.fit(family.question, WIDTH)]
        if len(rows) > 1 and all(row["Verdict"] == compare.ABSENT for row in rows):
            why = f"none of its {len(rows)} claims could be made; the first: {rows[0]['Why not']}"
            lines.append(terminal.fit(f"{_MARKS[compare.ABSENT]} {why}", WIDTH))
        else:
            lines += map(_line, rows)
    declared = [row for row in facts.tables["claims"] if row["Declared"] == "yes"]
    others = [row for row in facts.tables["claims"] if row["Declared"] == "no"]
    lines += ["", f"{findings.counts(declared)}."]
    lines += _wrapped(findings.pairs(others))
    lines += [
        "✓ supported   ✗ contradicted   = equal in practice   ? not shown   – not made",
        *_wrapped(
            "*: the best on validation. Gain, interval and p are over people. d: the gain of a person in units of its "
            f"spread over people. hidden: more than {1 - facts.config['power']:.0%} of such test sets miss a true gain "
            "that is smaller."
        ),
        "",
    ]
    lines += _wrapped(generalisation.worst_left_out(facts.tables["generalisation"]))
    for item in facts.absent:
        lines += _wrapped(item)
    return "\n".join([*lines, *terminal.files(paths)])


def _line(row: Mapping[str, Any]) -> str:
    better, than = (_side(row, which) for which in ("Better", "Than"))
    start = f"{_MARKS[row['Verdict']]} {terminal.fit(better, _BETTER - 1):<{_BETTER}}"
    start += f"{terminal.fit(than, _THAN - 1):<{_THAN}}"
    if row["Verdict"] == compare.ABSENT:
        return terminal.fit(f"{start}{row['Why not']}", WIDTH)
    effect = row["d over identities"]
    return (
        f"{start}{findings.gain(row):<{_GAIN}}{p_value(row['Holm p']):>7}"
        f"{number(effect, 2) if math.isfinite(effect) else terminal.ABSENT:>6}"
        f"{number(row['Smallest gain shown at the power']):>7}"
    )


def _side(row: Mapping[str, Any], which: str) -> str:
    return row[which] + ("*" if row[f"{which} chosen from"] > 1 else "")


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, WIDTH, break_on_hyphens=False)
