"""What was found, as sentences: one for each claim, and what this analysis could not say and why."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.analysis import compare
from experiments.analysis.claims import Family
from experiments.evaluators.comparison import p_value
from experiments.report.terminal import ABSENT

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
    if math.isnan(row["Gain"]):
        return ABSENT
    limits = "" if math.isnan(row["Gain low"]) else f" [{row['Gain low']:+.3f}, {row['Gain high']:+.3f}]"
    return f"{row['Gain']:+.3f}{limits}"


def sentence(row: Mapping[str, Any]) -> str:
    """What a comparison that was made says, for a reader who knows no statistics."""
    a, b = side(row, "Better"), side(row, "Than")
    unit = UNITS[row["Metric"]]
    numbers = f"{row['Value of better']:.3f} against {row['Value of than']:.3f} {unit}, Holm p {p_value(row['Holm p'])}"
    if row["Verdict"] == compare.SUPPORTED:
        return f"{a} is better than {b}: {numbers}."
    if row["Verdict"] == compare.CONTRADICTED:
        return f"{a} is worse than {b}, against the claim: {numbers}."
    if row["Verdict"] == compare.EQUAL:
        sure = f"P(within ±{row['ROPE']:g}) {row['P(practically equal)']:.2f}"
        return f"{a} and {b} are equal in practice: {numbers}; {sure}."
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
    return (
        f"Of all {len(made)} pairs, which nobody declared, {len(apart)} differ by the clip's label after Holm's "
        f"correction over all of them, and {len(equal)} are equal in practice."
    )


def absent(
    datasets: int,
    config: Mapping[str, Any],
    trainings: int,
    folds: bool,
    missing_costs: Sequence[str],
    twins: Sequence[tuple[str, str]] = (),
) -> list[str]:
    """What this analysis does not say, and why. twins: as of detectors.twins."""
    found = [
        f"{a} and {b} give every test clip the same score: they are one detector under two names, and nothing here "
        "compares them."
        for b, a in twins
    ]
    if datasets < config["least_datasets"]:
        number = {0: "no dataset", 1: "one dataset"}.get(datasets, f"{datasets} datasets")
        found.append(
            "No Friedman test, no pairwise Wilcoxon tests and no critical-difference diagram: they rank detectors over "
            f"datasets, and there is {number} that all detectors have scored. With fewer than "
            f"{config['least_datasets']} such ranks show next to nothing. Detectors are compared over people instead."
        )
    if not folds:
        found.append(
            "No test over folds (Nadeau and Bengio): it needs detectors that were cross-validated over the same folds."
        )
    if trainings < 2:
        found.append(
            "One training of each detector: the intervals hold what other people in the test set would change, not "
            "what another seed would. experiments.suite --seeds=3 repeats each training."
        )
    found.append(
        "No t-SNE of embeddings and no pictures of clips: they need the models and the media, and this analysis reads "
        "score tables alone."
    )
    if missing_costs:
        found.append(f"No cost in milliseconds of {', '.join(missing_costs)}: their tables do not state it.")
    return found
