"""04 Early fusion: one network over all streams' features. Streams, encoders and training are those of 06, but for its
explicit comparison of mouth and sound: what that finds the joint network must find by itself.

    python -m experiments.main --config=configs/early_fusion.py
    python -m experiments.main --config=configs/early_fusion.py:fusion=pooled
    python -m experiments.main --config=configs/early_fusion.py:data=fakeavceleb,size=base --config.data.root=DIR

Each prints the test AUC with its 95 % interval, one line per manipulation method with the AUC of each stream, and the
files it wrote. At each size both have as many parameters as 06, to a few per cent, so that they differ in kind alone.

Arguments: fusion=early (features on common time steps, and a transformer over them) | pooled (one vector a stream, and
an MLP: blind to time); data=talking_heads|folder|<reader>, size=tiny (a laptop's CPU, minutes) | base (the paper's).
"""

from ml_collections import ConfigDict

from configs import common, cross_attn

# (size, fusion): fields of mmdf_jax/fusion/<fusion>.py
FUSIONS = {
    ("tiny", "early"): {"steps": 8, "depth": 4, "heads": 4, "mlp_ratio": 2.75},
    ("tiny", "pooled"): {"hidden": 960},
    ("base", "early"): {"steps": 16, "depth": 14, "heads": 8, "mlp_ratio": 3.5},
    ("base", "pooled"): {"hidden": 17000},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, fusion="early", data="talking_heads", size="tiny")
    common.one_of("fusion", args.fusion, sorted({fusion for _, fusion in FUSIONS}))
    config = cross_attn.get_config(f"data={args.data},size={args.size},pseudo_fakes={args.pseudo_fakes}")
    config.model.compare, config.task.alignment_weight, config.task.pooled_weight = (), 0.0, 0.0
    fields = FUSIONS[args.size, args.fusion]
    config.model.fusion = ConfigDict({"name": f"mmdf_jax.fusion.{args.fusion}", **fields, "dropout": 0.1})
    return config
