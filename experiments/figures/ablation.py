"""Ablation bars: what a detector loses, method by method, without each of its parts.

    python -m experiments.figures.ablation whole=runs/cross_attn no_comparison=runs/no_comparison --out=ablation.png

Each NAME=RUN is a finished run, the whole detector first; a name that comes again is another seed of the same variant.
"""

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


def draw(
    variants: Mapping[str, Sequence[Sequence[ScoreRow]]], *, methods: Sequence[str] = (), title: str = "", samples: int
) -> Figure:
    """A group of bars per method (its fakes against all reals), a bar per variant: the mean AUC over its runs.

    variants: {name: score tables of its runs, one per seed}, the whole detector first. A single run's bar has its 95 %
      interval over identities; of several, each run is a dot.
    methods: which, in order, `all fakes` and `partial fakes` among them; () is every one.
    samples: of the bootstrap.

    Raises:
      ValueError: there is no variant, one without runs, or no method.
    """
    if not variants or not all(variants.values()):
        raise ValueError("ablation figure: expected at least one variant, and a score table of each")
    rows = {
        name: [
            {row["Method"]: row for row in per_method(t, np.nan, samples=samples) if row["Score"] == "score"}
            for t in tables
        ]
        for name, tables in variants.items()
    }
    known = list(dict.fromkeys(method for runs in rows.values() for run in runs for method in run))
    methods = [method for method in methods or known if method in known]
    if not methods:
        raise ValueError(
            f"ablation figure: none of its methods is in the tables, which have {', '.join(known) or 'none'}"
        )
    with style.look():
        figure = style.new_figure(1.1 + len(methods) * (0.25 + 0.26 * len(variants)), 3.6)
        axes = figure.subplots()
        thick = 0.8 / len(variants)
        for i, (name, runs) in enumerate(rows.items()):
            colour = COLOURS[i % len(COLOURS)]
            for place, method in enumerate(methods):
                found = [run[method] for run in runs if method in run]
                x = place + (i - (len(variants) - 1) / 2) * thick
                values = np.array([row["AUC"] for row in found])
                label = name if place == 0 else None
                axes.bar(x, values.mean() if len(found) else np.nan, 0.9 * thick, color=colour, label=label, alpha=0.85)
                if len(found) > 1:
                    axes.plot(np.full(len(found), x), values, "o", color=style.INK, markersize=2.5)
                elif found:
                    ends = [[values[0] - found[0]["AUC low"]], [found[0]["AUC high"] - values[0]]]
                    axes.errorbar(x, values[0], np.maximum(ends, 0), color=style.INK, linewidth=1, capsize=2)
        axes.axhline(0.5, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_ylim(0.4, 1.01)  # what is below chance by more is cut
        axes.set_ylabel("AUC against all reals")
        axes.set_xticks(range(len(methods)), [method.replace("_", "\n").replace(" ", "\n") for method in methods])
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower left", ncols=3)
        if title:
            axes.set_title(title)
    return figure


def of_runs(items: Sequence[str]) -> dict[str, list[list[ScoreRow]]]:
    """{variant: the test tables of its runs} of items NAME=RUN.

    Raises:
      ValueError: an item of another form.  FileNotFoundError: a run without scores/test.csv.
    """
    variants: dict[str, list[list[ScoreRow]]] = {}
    for item in items:
        name, _, run = item.partition("=")
        if not name or not run:
            raise ValueError(f"{item!r}: expected NAME=RUN, such as whole=runs/cross_attn")
        variants.setdefault(name, []).append(score_table.read(pathlib.Path(run) / "scores" / "test.csv"))
    return variants


def main(argv: Sequence[str]) -> None:
    """Runs the command of the flags."""
    with command_line.errors():
        figure = draw(of_runs(argv[1:]), title="Ablation", samples=2000)
        style.save(figure, pathlib.Path(flags.FLAGS.out))
        print(flags.FLAGS.out)


if __name__ == "__main__":
    flags.DEFINE_string("out", "ablation.png", "Where the figure goes.")
    app.run(main, flags_parser=command_line.parse_flags)
