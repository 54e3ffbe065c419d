"""08 Lip-sync: mouths against speech, in the manner of SyncNet; learned without labels.

    python -m experiments.main --config=configs/lip_sync.py
    python -m experiments.main --config=configs/lip_sync.py:data=fakeavceleb,size=base --config.data.root=DIR

The first prints how often the offset of real clips is found to within a frame, from one window of 0.2 s, from several
and from whole clips, as they are and with noise added (evaluate.conditions), beside two classic methods; and the AUC
per manipulation method of a score made of similarity, confidence and offset. Then experiments/sync.py measures any
video with it.

Arguments: criterion=matching|clips|margin|cosine, see mmdf_jax/tasks/lip_sync.py; audio=spectrogram_cnn|hubert (base);
data=talking_heads|folder|<reader>; size=tiny (a laptop's CPU, minutes) | base (the paper's size).
"""

from ml_collections import ConfigDict

from configs import common

TRANSFORMS = "data_pipelines.loading.transforms"


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(
        arg, criterion="matching", audio="spectrogram_cnn", data="talking_heads", size="tiny", finetune="all"
    )
    tiny = args.size == "tiny"
    if args.audio not in ("spectrogram_cnn", "hubert"):
        raise ValueError(f"config argument audio={args.audio!r} is not one of spectrogram_cnn, hubert")
    config = common.base(args)
    config.data.streams = ConfigDict({"mouth": {"fps": 25.0, "size": 32 if tiny else 88}, "audio": {}})
    config.data.crops.mouth = True
    config.data.balance = "real"  # labels are unused but for this: what is fake may be out of step
    config.data.augment = (
        {"name": f"{TRANSFORMS}.HorizontalFlip", "p": 0.5},
        {"name": f"{TRANSFORMS}.AudioNoise", "p": 0.7, "snr": (-12.0, 25.0)},
        {"name": f"{TRANSFORMS}.Blur", "p": 0.3, "sigma": (0.0, 6.0)},
        {"name": f"{TRANSFORMS}.Noise", "p": 0.3, "sigma": (0.0, 20.0)},
    )

    hubert = args.audio == "hubert"
    config.model = ConfigDict()
    config.model.name = "mmdf_jax.models.lip_sync"
    config.model.encoders = ConfigDict(
        {
            "mouth": {"name": "mmdf_jax.encoders.lip_resnet", "variant": "tiny" if tiny else "resnet18"},
            "audio": {"name": f"mmdf_jax.encoders.{args.audio}", "variant": "tiny" if tiny else "base"},
        }
    )
    if not hubert:
        config.model.encoders.audio.variant = "tiny_25hz"
        if not tiny:
            config.model.encoders.audio.update(width=96, stage_sizes=(2, 2))
    config.model.width = 64 if tiny else 256
    config.model.scale = 10.0
    config.model.baselines = True
    config.model.border = 3  # steps of 40 ms: what the tiny encoders see to each side
    config.pretrained.mouth = common.weights("")
    config.pretrained.audio = common.weights("facebook/hubert-base-ls960" if hubert and not tiny else "")

    config.task = ConfigDict(
        {
            "name": "mmdf_jax.tasks.lip_sync",
            "criterion": args.criterion,
            "margin": 1.0,
            "voice": 0.01,
            "motion": 0.4,
        }
    )
    config.train.select = "accuracy_1"
    config.train.steps = 400 if tiny else 20_000
    config.train.eval_steps = 100 if tiny else 1_000
    config.train.checkpoint_steps = config.train.eval_steps
    # The test split is scored once more under each: {name: transforms of every window}.
    config.evaluate.conditions = ConfigDict(
        {
            "snr_minus_10dB": (
                {"name": f"{TRANSFORMS}.AudioNoise", "p": 1.0, "snr": (-10.0, -10.0), "slope": (0.0, 0.0)},
            )
        }
    )
    return config
