"""Compares all detectors of a study: declared claims with corrected tests, intervals over people, figures, a page.

    python -m experiments.analyze --workdir=study
    python -m experiments.analyze --workdir=study --tables=mine=my/tables --tables=theirs=their/tables
    python -m experiments.analyze --workdir=study --config=configs/analysis.py --config.missing=as_chance

It reads score tables only, no model and no media: a study's Results/, and folders with a `test.csv` (clip_id, label and
score of each clip) and perhaps a `val.csv` of anybody's detector. The claims are declared in a config before anything
is computed. It writes tables to Results/, figures to Figures/ and report.html.
"""

import pathlib

from absl import app, flags
from ml_collections import config_flags

from experiments import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "The study.")
_TABLES = flags.DEFINE_multi_string("tables", [], "NAME=FOLDER: score tables of a further detector; repeatable.")
_CONFIG = config_flags.DEFINE_config_file("config", "configs/analysis.py", "The declared claims.", lock_config=True)


def main(argv: list[str]) -> None:
    """Analyses the study of the flags."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with command_line.errors():
        config = _CONFIG.value.to_dict()
        further = _further(_TABLES.value)
        from experiments import run_directory
        from experiments.analysis import analysis

        run_directory.start_log(None, primary=True)
        run_directory.log.info("%s", analysis.analyse(pathlib.Path(_WORKDIR.value), further, config))


def _further(words: list[str]) -> dict[str, pathlib.Path]:
    """{name: folder} of --tables."""
    found: dict[str, pathlib.Path] = {}
    for word in words:
        name, separator, folder = word.partition("=")
        if not separator or not name or not folder or name in found:
            raise ValueError(f"--tables={word}: expected NAME=FOLDER, each name once")
        if not pathlib.Path(folder).is_dir():
            raise FileNotFoundError(f"--tables={word}: no such folder")
        found[name] = pathlib.Path(folder)
    return found


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main, flags_parser=command_line.parse_flags)
