"""What was found, as sentences: one for each claim, and what this analysis could not say and why."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.analysis import compare
from experiments.analysis.claims import Family
from experiments.evaluators.comparison import p_value
from experiments.report import terminal
from experiments.score_table import ScoreRow

UNITS = {"auc": "AUC", "brier": "Brier score"}


def level(config: Mapping[str, Any]) -> str:
    """The level of all intervals, such as `95 %`."""
    return f"{100 * (1 - config['alpha']):g} %"


def side(row: Mapping[str, Any], which: str) -> str:
    """A side of a claim, and from how many it was chosen."""
    among = row[f"{which} chosen from"]
    return row[which] + (f" (the best of {among} on validation)" if among > 1 else "")


def gain(row: Mapping[str, Any]) -> str:
    """`+0.031 [+0.004, +0.058]`, or a dash."""
    return terminal.gain(*(row[f"Gain{end}"] for end in ("", " low", " high")))


def sentence(row: Mapping[str, Any]) -> str:
    """What a comparison that was made says, for a reader who knows no statistics."""
    a, b = side(row, "Better"), side(row, "Than")
    unit = UNITS[row["Metric"]]
    values = f"{row['Value of better']:.3f} against {row['Value of than']:.3f} {unit}"
    numbers = f"{values}, gain {gain(row)}, Holm p {p_value(row['Holm p'])}"
    if row["Verdict"] == compare.SUPPORTED:
        return f"{a} is better than {b}: {numbers}."
    if row["Verdict"] == compare.CONTRADICTED:
        return f"{a} is worse than {b}, against the claim: {numbers}."
    if row["Verdict"] == compare.EQUAL:
        sure = f"P(within ±{row['ROPE']:g}) {row['P(practically equal)']:.2f}"
        return f"{a} and {b} are equal in practice: {numbers}; {sure}."
    if math.isnan(row["Standard error"]):
        why = "it has too few people" if math.isnan(row["Gain low"]) else "all of its people show the same difference"
        return f"This test set cannot tell whether {a} is better than {b} ({values}, gain {gain(row)}): {why}."
    smallest = row["Smallest gain shown at the power"]
    shown = "" if math.isnan(smallest) else f"; a test set of these people can miss a true gain below {smallest:.3f}"
    return f"{a} is not shown to be better than {b}: {numbers}{shown}."


def counts(rows: Sequence[Mapping[str, Any]]) -> str:
    """`5 claims: 3 supported, 2 not shown`."""
    found = [(sum(row["Verdict"] == kind for row in rows), kind) for kind in compare.VERDICTS]
    return f"{len(rows)} claims: " + ", ".join(f"{count} {kind}" for count, kind in found if count)


def families(
    rows: Sequence[Mapping[str, Any]], declared: Sequence[Family]
) -> list[tuple[Family, list[Mapping[str, Any]]]]:
    """The rows of each declared family."""
    return [(family, [row for row in rows if row["Family"] == family.name]) for family in declared]


def not_made(rows: Sequence[Mapping[str, Any]]) -> str:
    """The comparisons that could not be made, and why."""
    return "; ".join(f"{row['Better']} over {row['Than']} ({row['Why not']})" for row in rows)


def pairs(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the exploratory comparison of all pairs says."""
    made = [row for row in rows if row["Verdict"] != compare.ABSENT]
    apart = [row for row in made if row["Verdict"] in (compare.SUPPORTED, compare.CONTRADICTED)]
    equal = [row for row in made if row["Verdict"] == compare.EQUAL]
    verb = "is" if len(equal) == 1 else "are"
    every = "the one pair" if len(made) == 1 else f"all {len(made)} pairs"
    return (
        f"Of {every}, which nobody declared, {len(apart)} differ by the clip's label after Holm's "
        f"correction over all of them, and {len(equal)} {verb} equal in practice."
    )


def test_set(clips: Sequence[ScoreRow]) -> str:
    """`384 clips of 24 people`, as far as it is known who is in them."""
    people = {clip.group for clip in clips if clip.identity}
    strangers = sum(not clip.identity for clip in clips)
    if not strangers:
        return f"{len(clips)} clips of {len(people)} people"
    if not people:
        return f"{len(clips)} clips of people who are not named"
    return f"{len(clips)} clips: {len(clips) - strangers} of {len(people)} people, {strangers} of people not named"


def absent(
    config: Mapping[str, Any],
    *,
    datasets: int,
    folds: bool = False,
    once: Sequence[str] = (),
    often: Sequence[str] = (),
    costless: Sequence[str] = (),
    twins: Sequence[tuple[str, str]] = (),
    strangers: int = 0,
    alone: Sequence[str] = (),
    undrawn: Sequence[str] = (),
) -> list[str]:
    """What this analysis does not say, and why.

    datasets: how many of them two detectors or more have all been scored on. folds: whether two were cross-validated.
    once, often: the detectors that were trained once, and those that were trained more often. costless: those whose
    cost is unknown. twins: as of detectors.twins. strangers: test clips of people who are not named. alone: detectors
    without a method that have no detector to be set beside. undrawn: why figures are missing.
    """
    found = [
        f"{a} and {b} give the same score to every test clip, so nothing here compares them. Encoders of one design "
        "are the same network where neither starts from published weights."
        for b, a in twins
    ]
    if strangers:
        found.append(
            f"Who is in {strangers} of the test clips is not known, so each of them counts as a person of its own. If "
            "people recur in them, intervals are too narrow and p too small. A column `identity` in a test table says "
            "who is in each clip."
        )
    if datasets < config["least_datasets"]:
        verb = "is" if datasets < 2 else "are"
        number = {0: "no dataset", 1: "one dataset"}.get(datasets, f"{datasets} datasets")
        found.append(
            "No Friedman test, no pairwise Wilcoxon tests and no critical-difference diagram: they rank detectors over "
            f"datasets, and there {verb} {number} that detectors were scored on together. With fewer than "
            f"{config['least_datasets']} such ranks show next to nothing. Detectors are compared over people instead."
        )
    if not folds:
        found.append(
            "No test over folds (Nadeau and Bengio): it needs detectors that were cross-validated over the same folds."
        )
    if once:
        whose = f"{', '.join(once)} {'was' if len(once) == 1 else 'were'}" if often else "Each detector was"
        if 0 < len(often) < len(once):
            whose = f"All detectors but {', '.join(often)} were"
        found.append(
            f"{whose} trained once: the intervals hold what other people in the test set would change, not what "
            "another seed would. experiments.suite --seeds=3 repeats each training."
        )
    found += undrawn
    if costless:
        found.append(f"No cost in milliseconds of {', '.join(costless)}: their tables do not state it.")
    found += [
        f"What leaving out the method costs {name} is not known: there is no detector that was trained with it."
        for name in alone
    ]
    return found
