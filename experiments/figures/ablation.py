"""Ablation bars: what a detector loses, method by method, without each of its parts.

    python -m experiments.figures.ablation whole=runs/cross_attn no_comparison=runs/no_comparison --out=ablation.png
    python -m experiments.figures.ablation whole=runs/hierarchical frames_alone=runs/frames_alone --measure=AP@0.5

Each NAME=RUN is a finished run, the whole detector first; a name that comes again is another seed of the same variant.
"""

import csv
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from experiments import command_line, score_table
from experiments.evaluators.classification import per_method
from experiments.figures import style
from experiments.score_table import ScoreRow

COLOURS = (style.REAL, style.FAKE, style.ACCENT, style.SECOND, style.THIRD, style.MUTED, style.INK)
AUC = "AUC"
SEGMENTS = ("AP@0.5", "AP@0.75", "Frame AUC")  # measures of segments.csv that have intervals
WHAT = {
    AUC: "AUC against all reals",
    **{name: f"{name} of the segments" for name in SEGMENTS[:2]},
    "Frame AUC": "AUC of the frames within partial fakes",
}
Measured = Mapping[str, tuple[float, float, float]]  # of one run {group of fakes: value, low, high}


def draw(
    variants: Mapping[str, Sequence[Measured]], *, groups: Sequence[str] = (), measure: str = AUC, title: str = ""
) -> Figure:
    """A cluster of bars per group of fakes, a bar per variant: the mean of the measure over its runs.

    variants: {name: its runs, one per seed}, the whole detector first. A single run's bar has its 95 % interval over
      identities; of several, each run is a dot.
    groups: which, in order, `all fakes` and `partial fakes` among them; () is every one.

    Raises:
      ValueError: there is no variant, one without runs, or no group.
    """
    if not variants or not all(variants.values()):
        raise ValueError("ablation figure: expected at least one variant, and a finished run of each")
    known = list(dict.fromkeys(group for runs in variants.values() for run in runs for group in run))
    groups = [group for group in groups or known if group in known]
    if not groups:
        raise ValueError(
            f"ablation figure: none of its groups is in the tables, which have {', '.join(known) or 'none'}"
        )
    with style.look():
        figure = style.new_figure(1.1 + len(groups) * (0.25 + 0.26 * len(variants)), 3.6)
        axes = figure.subplots()
        thick = 0.8 / len(variants)
        for i, (name, runs) in enumerate(variants.items()):
            colour = COLOURS[i % len(COLOURS)]
            for place, group in enumerate(groups):
                found = [run[group] for run in runs if group in run]
                x = place + (i - (len(variants) - 1) / 2) * thick
                values = np.array([value for value, _, _ in found])
                label = name if place == 0 else None
                axes.bar(x, values.mean() if len(found) else np.nan, 0.9 * thick, color=colour, label=label, alpha=0.85)
                if len(found) > 1:
                    axes.plot(np.full(len(found), x), values, "o", color=style.INK, markersize=2.5)
                elif found:
                    value, low, high = found[0]
                    ends = np.maximum([[value - low], [high - value]], 0)
                    axes.errorbar(x, value, ends, color=style.INK, linewidth=1, capsize=2)
        axes.set_ylim(0, 1.01)
        if measure.endswith(AUC):
            axes.axhline(0.5, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
            axes.set_ylim(0.4, 1.01)  # what is below chance by more is cut
        axes.set_ylabel(WHAT[measure])
        axes.set_xticks(range(len(groups)), [group.replace("_", "\n").replace(" ", "\n") for group in groups])
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower left", ncols=3)
        if title:
            axes.set_title(title)
    return figure


def of_table(rows: Sequence[ScoreRow], samples: int) -> Measured:
    """The AUC of each method's fakes against all reals of a score table; samples: of the bootstrap."""
    found = (row for row in per_method(rows, np.nan, samples=samples) if row["Score"] == "score")
    return {row["Method"]: (row["AUC"], row["AUC low"], row["AUC high"]) for row in found}


def of_segments(path: pathlib.Path, measure: str) -> Measured:
    """One of SEGMENTS from a run's segments.csv, of the groups of fakes where it is known.

    Raises:
      FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {measure} is known of runs of configs/hierarchical.py")
    with open(path, newline="") as file:
        cells = {
            row["Fakes"]: [row[name] or "nan" for name in (measure, f"{measure} low", f"{measure} high")]
            for row in csv.DictReader(file)
        }
    values = {group: tuple(map(float, row)) for group, row in cells.items()}
    return {group: row for group, row in values.items() if np.isfinite(row[0])}


def of_runs(items: Sequence[str], measure: str = AUC, samples: int = 2000) -> dict[str, list[Measured]]:
    """{variant: its runs} of items NAME=RUN.

    Raises:
      ValueError: an item of another form.  FileNotFoundError: a run without its table.
    """
    variants: dict[str, list[Measured]] = {}
    for item in items:
        name, _, run = item.partition("=")
        if not name or not run:
            raise ValueError(f"{item!r}: expected NAME=RUN, such as whole=runs/cross_attn")
        if measure == AUC:
            found = of_table(score_table.read(pathlib.Path(run) / "scores" / "test.csv"), samples)
        else:
            found = of_segments(pathlib.Path(run) / "segments.csv", measure)
        variants.setdefault(name, []).append(found)
    return variants


def main(argv: Sequence[str]) -> None:
    """Runs the command of the flags."""
    with command_line.errors():
        measure = flags.FLAGS.measure
        figure = draw(of_runs(argv[1:], measure), measure=measure, title="Ablation")
        style.save(figure, pathlib.Path(flags.FLAGS.out))
        print(flags.FLAGS.out)


if __name__ == "__main__":
    flags.DEFINE_string("out", "ablation.png", "Where the figure goes.")
    flags.DEFINE_enum("measure", AUC, [AUC, *SEGMENTS], "What the bars show; all but AUC for configs/hierarchical.py.")
    app.run(main, flags_parser=command_line.parse_flags)
