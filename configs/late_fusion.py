"""05 Late fusion: detectors of single streams decide each for itself, and their scores are fused; nothing else trains.

    python -m experiments.main --config=configs/late_fusion.py
    python -m experiments.main --config=configs/late_fusion.py:data=folder,size=base --config.override.data.root=DIR

Each trains the members that are not there yet (runs of their own in <workdir>/members), fits all fusions on validation
with cross-fitting over identities, and prints the test AUC of `config.fusion`, then all fusions beside the single
detectors with paired intervals. Members may also be score tables, val.csv and test.csv in a folder, of any run or of
anybody's detector; one row per clip with `clip_id,label,score` suffices:

    --config.members='{"mine": {"scores": "my/tables"}, "audio": {"scores": "runs/audio/scores"}}' --config.fusion=soft

Arguments: data=talking_heads|folder|<reader>, size=tiny|base.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny")
    config = common.fusion(args)  # what a member may be is told there
    config.producer = ConfigDict({"name": "experiments.producers.late_fusion"})

    # The fusion that makes the run's own score, one of mmdf_jax/fusion/late.py. A clip is fake if any stream is, or if
    # they disagree. Only the fusions whose name ends in _sync take a detector that compares streams; without such a
    # detector choose noisy_or. Of all fusions noisy_or_sync has the highest AUC on validation, cross-fitted.
    config.fusion = "noisy_or_sync"
    return config
