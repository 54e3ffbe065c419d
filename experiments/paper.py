"""A study as a paper that an author goes on editing, as its PDF, and as slides.

    python -m experiments.paper --workdir=study
    python -m experiments.paper --workdir=study --out=my/paper

It reads what the suite and the analysis have left, and writes paper.tex, references.bib, the numbers, tables and
figures that they take in, and, with typst (pip install -e '.[paper]'), paper.pdf and slides.pdf. Numbers stand in the
text as macros, so that the same command after another study changes them all. A paper.tex or references.bib that
somebody has edited stays as it is.
"""

import pathlib

from absl import app, flags

from experiments import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "The study.")
_OUT = flags.DEFINE_string("out", None, "The paper's folder; default: Paper/ in the study.")


def main(argv: list[str]) -> None:
    """Writes the paper of the flags."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with command_line.errors():
        # Imported here: --help and a wrong flag should not wait for JAX and matplotlib.
        from experiments import run_directory
        from experiments.manuscript import write

        run_directory.start_log(None, primary=True)
        study = pathlib.Path(_WORKDIR.value)
        run_directory.log.info("%s", write.write(study, pathlib.Path(_OUT.value) if _OUT.value else study / "Paper"))


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main, flags_parser=command_line.parse_flags)
