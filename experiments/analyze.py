"""Compares all detectors of a study: declared claims with corrected tests, intervals over people, figures, a page.

    python -m experiments.analyze --workdir=study
    python -m experiments.analyze --workdir=study --tables=mine=my/tables --tables=theirs=their/tables
    python -m experiments.analyze --workdir=study --config=configs/analysis.py --config.missing=as_chance

It reads score tables and no model: a study's Results/, and folders with a `test.csv` (clip_id, label and score of each
clip) and perhaps a `val.csv` of anybody's detector. The claims are declared in a config before anything is computed. It
writes tables to Results/, figures to Figures/ and report.html. The page shows the clips that detectors get wrong where
the study's records are on this machine; `--config.pictures=false` leaves them out.
"""

import pathlib
from collections.abc import Sequence

from absl import app, flags
from ml_collections import config_flags

from experiments import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "The study.")
_TABLES = flags.DEFINE_multi_string("tables", [], "NAME=FOLDER: score tables of a further detector; repeatable.")
_DECLARED = str(pathlib.Path(__file__).parents[1] / "configs" / "analysis.py")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The declared claims; default: configs/analysis.py.", lock_config=True
)


def main(argv: list[str]) -> None:
    """Analyses the study of the flags."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with command_line.errors():
        path = config_flags.get_config_filename(flags.FLAGS["config"])
        if not pathlib.Path(path.partition(":")[0]).is_file():
            raise FileNotFoundError(f"--config={path}: no such file")
        config = _CONFIG.value.to_dict()
        # Imported here: --help and a wrong flag should not wait for JAX and matplotlib.
        from experiments import run_directory
        from experiments.analysis import analysis, detectors

        run_directory.start_log(None, primary=True)
        further = detectors.folders(_TABLES.value)
        run_directory.log.info("%s", analysis.analyse(pathlib.Path(_WORKDIR.value), further, config))


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """The flags, as every command parses them; the default config is given as by a user, so that overrides find it."""
    given = any(word.lstrip("-").partition("=")[0] == "config" for word in argv)
    return command_line.parse_flags([*argv[:1], *([] if given else [f"--config={_DECLARED}"]), *argv[1:]])


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main, flags_parser=_parse_flags)
