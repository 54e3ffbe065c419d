"""06 Cross-modal attention: picture, mouth, sound and video look at each other, and mouth and sound are compared.

    python -m experiments.main --config=configs/cross_attn.py
    python -m experiments.main --config=configs/cross_attn.py:data=fakeavceleb,size=base --config.data.root=DIR

Each prints the test AUC with its 95 % interval, judged by the clip's label, one line per manipulation method with the
AUC of each stream by that stream's own label, and the files it wrote. README.md has the AUC and the minutes.

Arguments: data=talking_heads|folder|<reader>, size=tiny (a laptop's CPU, minutes) | base (the paper's size).

What each part brings, one line each:

    --config.model.compare="()"               no comparison of mouth and sound, hence no `sync` stream and no matching
    --config.task.alignment_weight=0          the comparison learns from labels alone
    --config.task.pooled_weight=0             no matching of whole windows over the batch
    --config.model.fusion.time_bias=False     attention does not know how near in time two tokens are
    --config.model.modality_dropout=0.0       no stream is ever hidden

experiments/figures/ablation.py draws such runs beside each other.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny")
    tiny = args.size == "tiny"
    config = common.base(args)
    config.data.crops.mouth = True
    config.data.streams = ConfigDict(
        {
            "image": {"frames": 2 if tiny else 8, "size": 64 if tiny else 224},
            "video": {"fps": 25.0, "size": 32} if tiny else {"fps": 12.5, "size": 112},
            "mouth": {"fps": 25.0, "size": 32 if tiny else 88},
            "audio": {},
        }
    )

    config.model = ConfigDict()
    config.model.name = "mmdf_jax.models.multimodal"
    # Mouth and sound are compared every 40 ms. The video of size=base keeps 80 ms.
    video = {"variant": "r2plus1d_18", "strides": ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2))}
    config.model.encoders = ConfigDict(
        {
            "image": {"name": "mmdf_jax.encoders.efficientnet", "variant": "tiny"}
            if tiny
            else {"name": "mmdf_jax.encoders.clip", "variant": "b16"},
            "video": {"name": "mmdf_jax.encoders.lip_resnet", "variant": "changes_tiny"}
            if tiny
            else {"name": "mmdf_jax.encoders.resnet3d", **video},
            "mouth": {"name": "mmdf_jax.encoders.lip_resnet", "variant": "tiny" if tiny else "resnet18_temporal"},
            "audio": {"name": "mmdf_jax.encoders.spectrogram_cnn", "variant": "tiny_25hz"}
            if tiny
            else {"name": "mmdf_jax.encoders.wav2vec2", "variant": "base"},
        }
    )
    config.pretrained.image = common.weights("" if tiny else "openai/clip-vit-base-patch16")
    config.pretrained.audio = common.weights("" if tiny else "facebook/wav2vec2-base")
    config.pretrained.video, config.pretrained.mouth = common.weights(""), common.weights("")
    config.model.compare = ("mouth", "audio")
    config.model.fusion = ConfigDict(
        {
            "name": "mmdf_jax.fusion.cross_attention",
            "depth": 1 if tiny else 4,
            "heads": 4 if tiny else 8,
            "dropout": 0.1,
            "time_bias": True,
        }
    )
    config.model.width = 96 if tiny else 512
    config.model.dropout = 0.1
    config.model.modality_dropout = 0.1

    config.task = ConfigDict(
        {
            "name": "mmdf_jax.tasks.detection",
            "target": "label",
            "stream_weight": 5.0,  # one for each of the five heads
            "smoothing": 0.05,
            "alignment_weight": 0.5,
            "pooled_weight": 0.1,
        }
    )
    if tiny:
        config.train.steps, config.train.eval_steps = 300, 100
    return config
