"""06 Cross-modal attention: image, audio and video tokens look at each other; attention maps are kept.

    python -m experiments.main --config=configs/cross_attn.py
    python -m experiments.main --config=configs/cross_attn.py:data=fakeavceleb,size=base

Arguments: data=talking_heads|folder|<reader>, size=tiny (a laptop's CPU, minutes) | base (the paper's size).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny")
    tiny = args.size == "tiny"
    config = ConfigDict()
    config.seed = 0

    config.data = ConfigDict()
    config.data.name = args.data  # data_pipelines/datasets/<name>.py
    config.data.root = ""  # where the raw files are; the embedded dataset makes its own
    config.data.manifest = ""  # data=folder: a CSV with path,label
    config.data.out = ""  # where the records go; default: the cache folder
    config.data.options = ConfigDict()  # passed to the reader
    config.data.crops = ConfigDict({"face_size": 64 if tiny else 256, "mouth": False})
    config.data.window = 1.6 if tiny else 3.2  # seconds
    config.data.streams = ConfigDict(
        {
            "image": {"frames": 2 if tiny else 8, "size": 64 if tiny else 224},
            "video": {"fps": 5.0 if tiny else 12.5, "size": 64 if tiny else 112},
            "audio": {},
        }
    )
    config.data.augment = [{"name": "data_pipelines.transforms.HorizontalFlip", "p": 0.5}]
    config.data.balance = "method"
    config.data.batch_size = 16 if tiny else 128
    config.data.workers = 0 if tiny else 8  # loader processes; 0 = threads of this process
    config.data.threads = 2 if tiny else 16
    config.data.prefetch = 4

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

    config.task = ConfigDict({"name": "mmdf_jax.tasks.detection", "stream_weight": 3.0, "smoothing": 0.05})

    config.train = ConfigDict()
    config.train.steps = 360 if tiny else 20_000
    config.train.log_steps = 10 if tiny else 100
    config.train.eval_steps = 60 if tiny else 1_000
    config.train.checkpoint_steps = 60 if tiny else 1_000
    config.train.patience = 0  # evaluations without improvement before stopping; 0 = never
    config.train.select = "auc"  # the validation metric that picks the best checkpoint: auc, accuracy or loss
    config.train.dtype = "float32" if tiny else "bfloat16"  # of the computation; parameters stay float32
    config.train.remat = False
    config.train.accumulate = 1  # micro-batches per update
    config.train.ema = 0.0  # decay of the averaged parameters that evaluation uses; 0 = off
    config.optimizer = ConfigDict(
        {
            "learning_rate": 3e-3 if tiny else 1e-4,
            "weight_decay": 0.05,
            "warmup_steps": 20 if tiny else 1_000,
            "clip": 5.0,
            "rules": (),  # (path pattern, learning-rate multiplier); 0 freezes
        }
    )

    config.evaluate = ConfigDict()
    config.evaluate.windows = 2 if tiny else 5  # per clip, evenly spaced
    config.evaluate.batch_size = 32 if tiny else 128
    config.evaluate.bootstrap = 2_000
    return config
