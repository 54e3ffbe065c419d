"""02 Audio: one encoder listens to the voice.

    python -m experiments.main --config=configs/audio.py:encoder=spectrogram_cnn
    python -m experiments.main --config=configs/audio.py:encoder=wav2vec2,size=base,data=wavefake --config.data.root=DIR

Each prints the test AUC with its 95 % interval, judged by the audio label, one line per manipulation method, and the
files it wrote.

Arguments: encoder=wav2vec2|hubert|spectrogram_cnn; size=tiny|base|<a published size, see ENCODERS>; data=<reader>.
"""

from ml_collections import ConfigDict

from configs import common

# size: (variant in mmdf_jax/encoders/<name>.py, where its published weights are)
ENCODERS = {
    "wav2vec2": {
        "tiny": ("tiny", ""),
        "base": ("base", "facebook/wav2vec2-base"),
        "large": ("large", "facebook/wav2vec2-large"),
        "large_lv60": ("large_lv60", "facebook/wav2vec2-large-lv60"),
    },
    "hubert": {
        "tiny": ("tiny", ""),
        "base": ("base", "facebook/hubert-base-ls960"),
        "large": ("large", "facebook/hubert-large-ll60k"),
        "xlarge": ("xlarge", "facebook/hubert-xlarge-ll60k"),
    },
    "spectrogram_cnn": {"tiny": ("tiny", ""), "base": ("resnet18", ""), "resnet34": ("resnet34", "")},
}
# learning rates at size=tiny: from scratch, layer-normed encoders want a lower one than the common
TINY_RATES = {"wav2vec2": 1e-3, "hubert": 1e-3}


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, encoder="spectrogram_cnn", data="talking_heads", size="tiny", finetune="all")
    variant, weights = common.choose(ENCODERS, args)
    config = common.base(args)
    config.data.streams = ConfigDict({"audio": {}})
    common.unimodal(config, args, "audio", variant, weights)
    if args.size == "tiny":
        config.optimizer.learning_rate = TINY_RATES.get(args.encoder, config.optimizer.learning_rate)
        if args.encoder == "spectrogram_cnn":
            config.train.steps = 600
    return config
