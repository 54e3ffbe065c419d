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
    config = ConfigDict()
    config.producer = ConfigDict({"name": "experiments.producers.late_fusion"})

    # {name: {"config": a config to train}, {"run": a trained run} or {"scores": a folder of score tables}}. A run and a
    # folder may name "column": default score, and "label": the column of the label that it answers for. "compares":
    # True for a detector that compares streams: it is no rival as a single stream, and only the fusions that end in
    # _sync take it.
    extra = f"size={args.size},data={args.data}" + (",pseudo_fakes=true" if args.pseudo_fakes else "")
    config.members = ConfigDict(
        {
            "image": {"config": f"configs/image.py:encoder=efficientnet,{extra}"},
            "audio": {"config": f"configs/audio.py:encoder=spectrogram_cnn,{extra}"},
            "video": {"config": f"configs/video.py:encoder=temporal_difference,{extra}"},
            "sync": {"config": f"configs/lip_sync.py:{extra}", "compares": True},
        }
    )
    # Settings that every member to train has in place of its own.
    config.override = ConfigDict({"seed": 0, "data": {"root": "", "manifest": "", "out": ""}})

    # The run's own score: one of mmdf_jax/fusion/late.py. A clip is fake if any stream is, or if they disagree. Of all
    # fusions this one also has the highest AUC on validation, cross-fitted. Without a detector that compares: noisy_or.
    config.fusion = "noisy_or_sync"
    config.evaluate = ConfigDict({"bootstrap": 2_000})
    return config
