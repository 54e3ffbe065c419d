"""07 Contrastive alignment: mouth and voice share a space in which equal times match; one network also classifies.

    python -m experiments.main --config=configs/contrastive.py
    python -m experiments.main --config=configs/contrastive.py:data=fakeavceleb,size=base --config.data.root=DIR

Each prints the test AUC with its 95 % interval, one line per manipulation method, how well the consistency of mouth and
voice alone tells each method, and what the shared space knows of people. What each loss adds, one line each:

    … --config.task.time_weight=0        no matching in time: only whole windows are matched
    … --config.task.pooled_weight=0      no matching over the batch
    … --config.task.mismatch_weight=0    dubbed clips are not pushed apart

Arguments: data=talking_heads|folder|<reader>, size=tiny (a laptop's CPU, minutes) | base (the paper's size).
"""

from ml_collections import ConfigDict

from configs import common

# Methods that change a stream and keep it in time with the other, as the embedded dataset and FakeAVCeleb name them.
# Voices that FakeAVCeleb clones (rtvc) are read from a text, and are not.
IN_SYNC = ("face_swap", "lip_reenactment", "voice_clone", "face_swap_voice_clone", "faceswap", "fsgan")


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny")
    tiny = args.size == "tiny"
    config = common.base(args)
    config.data.crops.mouth = True
    config.data.streams = ConfigDict(
        {
            "image": {"frames": 2 if tiny else 8, "size": 64 if tiny else 224},
            "mouth": {"fps": 25.0, "size": 32 if tiny else 88},
            "audio": {},
        }
    )
    config.data.targets = ConfigDict({"frame_labels": {"feather": 0.0}, "method": {"vocabulary": IN_SYNC}})

    config.model = ConfigDict()
    config.model.name = "mmdf_jax.models.contrastive"
    config.model.encoders = ConfigDict(
        {
            "image": {"name": "mmdf_jax.encoders.efficientnet", "variant": "tiny" if tiny else "b0"},
            "mouth": {"name": "mmdf_jax.encoders.lip_resnet", "variant": "tiny" if tiny else "resnet18_temporal"},
            "audio": {"name": "mmdf_jax.encoders.spectrogram_cnn", "variant": "tiny_25hz"}
            if tiny
            else {"name": "mmdf_jax.encoders.hubert", "variant": "base"},
        }
    )
    config.pretrained.image = common.weights("" if tiny else "google/efficientnet-b0")
    config.pretrained.mouth = common.weights("")
    config.pretrained.audio = common.weights("" if tiny else "facebook/hubert-base-ls960")
    config.model.pair = ("mouth", "audio")
    config.model.features = 64 if tiny else 256
    config.model.hidden = 64 if tiny else 256
    config.model.fusion = ConfigDict(
        {
            "name": "mmdf_jax.fusion.pooled",
            "hidden": 128 if tiny else 1024,
            "width": 64 if tiny else 512,
            "dropout": 0.1,
        }
    )
    config.model.dropout = 0.1
    config.model.modality_dropout = 0.1

    config.task = ConfigDict(
        {
            "name": "mmdf_jax.tasks.contrastive",
            "detection": {
                "name": "mmdf_jax.tasks.detection",
                "target": "label",
                "stream_weight": 1.0,
                "smoothing": 0.05,
            },
            "time_weight": 0.5,
            "pooled_weight": 0.1,
            "mismatch_weight": 0.5,
            "margin": 0.2,
        }
    )
    return config
