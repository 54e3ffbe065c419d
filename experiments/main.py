"""Trains one experiment, selects on validation, evaluates on test, writes tables and figures.

    python -m experiments.main --config=configs/cross_attn.py
    python -m experiments.main --config=configs/cross_attn.py:data=folder --config.data.manifest=clips.csv
    python -m experiments.main --config=configs/cross_attn.py:size=base --workdir=runs/big --config.train.steps=50000

Start it again with the same command and it goes on where it was; a finished run prints its table.
"""

import pathlib

from absl import app, flags
from ml_collections import config_flags

from experiments import command_line

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with arguments after a colon.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; default: runs/<config name and arguments>.")
_ALLOW = flags.DEFINE_list("allow", [], "Packages outside the project that names in the config may lie in.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Find the other processes through Slurm, MPI, Kubernetes, …")
_COORDINATOR = flags.DEFINE_string("coordinator", "", "By hand: host:port of process 0.")
_PROCESSES = flags.DEFINE_integer("processes", 0, "By hand: how many processes.")
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "By hand: which one this is, from 0.")


def main(argv: list[str]) -> None:
    """Runs the experiment of the flags."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with command_line.errors():
        config_flag = config_flags.get_config_filename(flags.FLAGS["config"])
        if not pathlib.Path(config_flag.partition(":")[0]).is_file():
            known = ", ".join(sorted(str(path) for path in pathlib.Path("configs").glob("[!_]*.py")))
            raise FileNotFoundError(f"--config={config_flag}: no such file; known here: {known or 'none'}")
        config = _CONFIG.value.to_dict()
        if not {"model", "producer"} & set(config):
            raise ValueError(f"--config={config_flag}: no experiment: expected a model or a producer in it")
        # Imported here: --help and a wrong flag should not wait for JAX.
        from experiments import distributed, experiment, run_directory

        distributed.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS_ID.value, auto=_DISTRIBUTED.value)
        workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else run_directory.default_workdir(config_flag)
    with distributed.ends_alone(), command_line.errors():
        experiment.run(config, workdir, allow=tuple(_ALLOW.value))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=command_line.parse_flags)
