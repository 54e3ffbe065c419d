"""03 Video: one encoder follows the face through a dense snippet of frames.

    python -m experiments.main --config=configs/video.py:encoder=temporal_difference
    python -m experiments.main --config=configs/video.py:encoder=resnet3d,size=base,data=celeb_df --config.data.root=DIR

Each prints the test AUC with its 95 % interval, judged by the video label, one line per manipulation method, and the
files it wrote.

Arguments: encoder=resnet3d|cnn_lstm|temporal_difference; size=tiny|base|<see ENCODERS>; data=<reader>.
"""

from ml_collections import ConfigDict

from configs import common

# size: (variant in mmdf_jax/encoders/<name>.py, where its published weights are). torchvision publishes those of the
# 3-D networks as pickles: convert them once to safetensors and name the folder in config.pretrained.video.
ENCODERS = {
    "resnet3d": {
        "tiny": ("tiny", ""),
        "base": ("r3d_18", ""),
        "mc3_18": ("mc3_18", ""),
        "r2plus1d_18": ("r2plus1d_18", ""),
    },
    "cnn_lstm": {"tiny": ("tiny", ""), "base": ("efficientnet_b0", ""), "convnext_t": ("convnext_t", "")},
    "temporal_difference": {"tiny": ("tiny", ""), "base": ("resnet18", ""), "resnet34": ("resnet34", "")},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, encoder="resnet3d", data="talking_heads", size="tiny", finetune="all")
    variant, weights = common.choose(ENCODERS, args)
    tiny = args.size == "tiny"
    config = common.base(args)
    # A network of differences needs every frame, and learns from small ones.
    every = tiny and args.encoder == "temporal_difference"
    seen = {"fps": 25.0, "size": 32} if every else {"fps": 5.0, "size": 64} if tiny else {"fps": 12.5, "size": 112}
    config.data.streams = ConfigDict({"video": seen})
    common.unimodal(config, args, "video", variant, weights)
    if tiny and args.encoder == "cnn_lstm":  # ConvNeXt from scratch: longer than batch-normed networks, and slower
        config.optimizer.learning_rate = 1e-3
        config.train.steps = 480
    return config
