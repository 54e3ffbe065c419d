"""What the config files share: their `key=value` arguments, and the sections that most of them want alike."""

from collections.abc import Iterable, Mapping

from ml_collections import ConfigDict

SIZES = ("tiny", "base")
# What `pseudo_fakes=true` makes of real clips; of these, each experiment gets those that its streams show.
PSEUDO_FAKES = ("SelfBlended", "Vocoded", "SelfBlendedVocoded", "Dubbed")


class UnknownArgumentError(ValueError):
    """A config argument that this config does not have; another may have it."""


def parse_args(arg: str | None, **defaults: str | int | float | bool) -> ConfigDict:
    """Reads `data=folder,size=base` into typed values with these defaults, and `pseudo_fakes` with False.

    Raises:
      UnknownArgumentError: an argument is unknown.
      ValueError: one is given twice, or not of its default's type.
    """
    defaults = {**defaults, "pseudo_fakes": False}
    values: dict[str, str | int | float | bool] = {}
    for item in filter(None, (arg or "").split(",")):
        key, separator, text = item.partition("=")
        if not separator or key not in defaults:
            raise UnknownArgumentError(
                f"config argument {item!r} is not one of "
                + ", ".join(f"{name}={default}" for name, default in defaults.items())
            )
        if key in values:
            raise ValueError(f"config argument {key!r} is given twice")
        values[key] = _convert(key, text, defaults[key])
    merged = ConfigDict({**defaults, **values})
    if "size" in defaults and "encoder" not in defaults:
        one_of("size", merged.size, SIZES)
    return merged


def one_of(key: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"config argument {key}={value!r} is not one of {', '.join(known)}")


def choose(encoders: Mapping[str, Mapping[str, tuple[str, str]]], args: ConfigDict) -> tuple[str, str]:
    """The encoder's variant and the source of its weights, from {encoder: {size: (variant, source)}}.

    Raises:
      ValueError: `args.encoder` or `args.size` is not in the table.
    """
    one_of("encoder", args.encoder, encoders)
    one_of("size", args.size, encoders[args.encoder])
    return encoders[args.encoder][args.size]


def _convert(key: str, text: str, default: str | int | float | bool) -> str | int | float | bool:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        kind = type(default).__name__
        raise ValueError(f"config argument {key}={text!r}: expected a value of type {kind}") from None


def base(args: ConfigDict) -> ConfigDict:
    """What every experiment has alike, at `args.size` and on `args.data`; model, task and streams are still missing."""
    tiny = args.size == "tiny"
    config = ConfigDict()
    config.seed = 0
    config.folds = 0  # k: cross-validation over k folds by identity; one run each in <workdir>/fold1, …
    config.fold = 0  # with folds: only this one of them, 1 … k

    config.pretrained = ConfigDict()  # {stream: {source, revision, digest, drops}}: where its encoder's weights are
    config.finetune = ConfigDict(
        {
            "mode": args.get("finetune", "all"),  # of the encoders: all, frozen, blocks, norms or lora
            "blocks": 2,  # mode=blocks: how many of the last ones
            "layer_decay": 1.0,  # learning rate of each block over that of the next
            "cache": False,  # mode=frozen: compute the encoders' features once, and train on those
            "rank": 8,  # mode=lora
            "alpha": 16.0,
        }
    )

    config.data = ConfigDict()
    config.data.name = args.data  # data_pipelines/datasets/<name>.py
    config.data.root = ""  # where the raw files are; the embedded dataset makes its own
    config.data.manifest = ""  # data=folder: a CSV with path,label
    config.data.out = ""  # where the records go; default: the cache folder
    config.data.options = ConfigDict()  # passed to the reader
    config.data.crops = ConfigDict(
        {
            "face_size": 64 if tiny else 224,
            "mouth": False,
            "yunet": "",
            "max_seconds": 900.0,  # a longer clip is not read
        }
    )
    config.data.window = 1.6 if tiny else 3.2  # seconds
    config.data.augment = ({"name": "data_pipelines.loading.transforms.HorizontalFlip", "p": 0.5},)
    config.data.targets = ConfigDict()  # beyond the labels, see data_pipelines/batch.py: {"spans": {"max": 4}}
    kinds = PSEUDO_FAKES if args.pseudo_fakes else ()  # fakes made of real clips as they are read
    config.data.pseudo_fakes = tuple({"name": f"data_pipelines.fakes.pseudo_fakes.{kind}"} for kind in kinds)
    config.data.leave_out = ()  # methods whose fakes are absent from training and validation, not from test
    config.data.trim_silence = 0.0  # dB of full scale: clips begin where their sound first passes it; 0 = as they are
    config.data.balance = "method"
    config.data.batch_size = 16 if tiny else 128
    config.data.workers = 0 if tiny else 8  # loader processes; 0 = threads of this process
    config.data.threads = 2 if tiny else 16
    config.data.prefetch = 4

    config.train = ConfigDict()
    config.train.steps = 360 if tiny else 20_000
    config.train.log_steps = 10 if tiny else 100
    config.train.eval_steps = 120 if tiny else 1_000
    config.train.checkpoint_steps = 60 if tiny else 1_000
    config.train.patience = 0  # evaluations without improvement before stopping; 0 = never
    config.train.select = "auc"  # the validation metric of the task that picks the best checkpoint
    config.train.dtype = "float32" if tiny else "bfloat16"  # of the computation; parameters stay float32
    config.train.remat = False
    config.train.accumulate = 1  # micro-batches per update, each of whole real-fake pairs
    config.train.ema = 0.0  # decay of the averaged parameters that evaluation uses; 0 = off
    config.optimizer = ConfigDict(
        {
            "name": "adamw",  # any optimizer of optax that takes a learning_rate
            "options": ConfigDict(),  # its further arguments
            "learning_rate": 3e-3 if tiny else 1e-4,
            "weight_decay": 0.05,
            "warmup_steps": 20 if tiny else 1_000,
            "clip": 5.0,
            "packed": tiny,  # over a few long arrays: compiles sooner; only for optimizers of number by number
            "rules": (),  # (path pattern, learning-rate multiplier); 0 freezes
        }
    )

    config.evaluate = ConfigDict()
    config.evaluate.windows = 2 if tiny else 5  # per clip, evenly spaced
    config.evaluate.batch_size = 32 if tiny else 128
    config.evaluate.bootstrap = 2_000
    return config


def fusion(args: ConfigDict) -> ConfigDict:
    """What fusions of detectors have alike: a detector of each stream and one that compares two of them, to train.

    `config.members` is {name: {"config": a config to train}, {"run": a trained run} or {"scores": a folder of score
    tables}}. A run and a folder may name "column": default score, and "label": the column of the label that it answers
    for. "compares": True is for a detector that compares streams. Tables may state their cost, "ms" a clip and
    "parameters_m" millions of parameters.
    """
    config = ConfigDict()
    config.members = ConfigDict(
        {
            "image": to_train("configs/image.py:encoder=efficientnet,", args),
            "audio": to_train("configs/audio.py:encoder=spectrogram_cnn,", args),
            "video": to_train("configs/video.py:encoder=temporal_difference,", args),
            "sync": {**to_train("configs/lip_sync.py:", args), "compares": True},
        }
    )
    # Settings that every member to train has in place of its own.
    config.override = ConfigDict({"seed": 0, "data": {"root": "", "manifest": "", "out": ""}})
    config.evaluate = ConfigDict({"bootstrap": 2_000})
    return config


def to_train(config: str, args: ConfigDict) -> dict[str, str]:
    """A member of a fusion: a config to train at the fusion's own size and on its data."""
    pseudo_fakes = ",pseudo_fakes=true" if args.pseudo_fakes else ""
    return {"config": f"{config}size={args.size},data={args.data}{pseudo_fakes}"}


def unimodal(config: ConfigDict, args: ConfigDict, stream: str, variant: str, source: str) -> ConfigDict:
    """Model, task and weights of a detector over one stream, which answers for that stream's own label."""
    config.model = ConfigDict()
    config.model.name = "mmdf_jax.models.unimodal"
    config.model.encoders = ConfigDict({stream: {"name": f"mmdf_jax.encoders.{args.encoder}", "variant": variant}})
    config.model.dropout = 0.1
    config.task = ConfigDict(
        {
            "name": "mmdf_jax.tasks.detection",
            "target": "audio_label" if stream == "audio" else "video_label",
            "stream_weight": 0.0,
            "smoothing": 0.05,
        }
    )
    config.pretrained[stream] = weights(source)
    return config


def weights(source: str) -> ConfigDict:
    """Published weights: a Hugging Face repository or a folder, "" to train from scratch."""
    return ConfigDict({"source": source, "revision": "", "digest": "", "drops": ()})
