"""06 Cross-modal attention: image, audio and video tokens look at each other; attention maps are kept.

    python -m experiments.main --config=configs/cross_attn.py
    python -m experiments.main --config=configs/cross_attn.py:data=fakeavceleb,size=base --config.data.root=DIR

Each prints the test AUC with its 95 % interval, judged by the clip's label, one line per manipulation method with the
AUC of each stream by that stream's own label, and the files it wrote. README.md has the AUC and the minutes.

Arguments: data=talking_heads|folder|<reader>, size=tiny (a laptop's CPU, minutes) | base (the paper's size).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny")
    tiny = args.size == "tiny"
    config = common.base(args)
    config.data.streams = ConfigDict(
        {
            "image": {"frames": 2 if tiny else 8, "size": 64 if tiny else 224},
            "video": {"fps": 5.0 if tiny else 12.5, "size": 64 if tiny else 112},
            "audio": {},
        }
    )

    variant = "tiny" if tiny else None
    config.model = ConfigDict()
    config.model.name = "mmdf_jax.models.multimodal"
    config.model.encoders = ConfigDict(
        {
            "image": {"name": "mmdf_jax.encoders.clip", "variant": variant or "b16"},
            "audio": {"name": "mmdf_jax.encoders.spectrogram_cnn", "variant": variant or "resnet18"},
            "video": {"name": "mmdf_jax.encoders.resnet3d", "variant": variant or "r3d_18"},
        }
    )
    config.pretrained.image = common.weights("" if tiny else "openai/clip-vit-base-patch16")
    config.pretrained.audio, config.pretrained.video = common.weights(""), common.weights("")
    config.model.fusion = ConfigDict(
        {
            "name": "mmdf_jax.fusion.cross_attention",
            "depth": 1 if tiny else 4,
            "heads": 4 if tiny else 8,
            "dropout": 0.1,
        }
    )
    config.model.width = 96 if tiny else 512
    config.model.dropout = 0.1
    config.model.modality_dropout = 0.1

    config.task = ConfigDict(
        {"name": "mmdf_jax.tasks.detection", "target": "label", "stream_weight": 3.0, "smoothing": 0.05}
    )
    return config
