"""01 Image: one encoder looks at single frames of the face.

    python -m experiments.main --config=configs/image.py:encoder=convnext
    python -m experiments.main --config=configs/image.py:encoder=dinov2,size=base,data=celeb_df --config.data.root=DIR

Each prints the test AUC with its 95 % interval, judged by the video label, one line per manipulation method, and the
files it wrote.

Arguments: encoder=clip|dinov2|convnext|efficientnet; size=tiny|base|<a published size, see ENCODERS>; data=<reader>.
"""

from ml_collections import ConfigDict

from configs import common

# size: (variant in mmdf_jax/encoders/<name>.py, where its published weights are)
ENCODERS = {
    "clip": {
        "tiny": ("tiny", ""),
        "base": ("b16", "openai/clip-vit-base-patch16"),
        "b32": ("b32", "openai/clip-vit-base-patch32"),
        "large": ("l14", "openai/clip-vit-large-patch14"),
    },
    "dinov2": {
        "tiny": ("tiny", ""),
        "small": ("s14", "facebook/dinov2-small"),
        "base": ("b14", "facebook/dinov2-base"),
        "large": ("l14", "facebook/dinov2-large"),
        "giant": ("g14", "facebook/dinov2-giant"),
    },
    "convnext": {
        "tiny": ("tiny", ""),
        "t": ("t", "facebook/convnext-tiny-224"),
        "small": ("s", "facebook/convnext-small-224"),
        "base": ("b", "facebook/convnext-base-224"),
        "large": ("l", "facebook/convnext-large-224"),
    },
    "efficientnet": {
        "tiny": ("tiny", ""),
        "base": ("b0", "google/efficientnet-b0"),
        "b4": ("b4", "google/efficientnet-b4"),
        "b7": ("b7", "google/efficientnet-b7"),
    },
}
# learning rates at size=tiny: from scratch, layer-normed encoders want a lower one than the common
TINY_RATES = {"clip": 1e-3, "dinov2": 1e-3, "convnext": 1e-3}


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, encoder="efficientnet", data="talking_heads", size="tiny", finetune="all")
    variant, weights = common.choose(ENCODERS, args)
    tiny = args.size == "tiny"
    config = common.base(args)
    config.data.streams = ConfigDict({"image": {"frames": 4 if tiny else 8, "size": 64 if tiny else 224}})
    common.unimodal(config, args, "image", variant, weights)
    if tiny:
        config.optimizer.learning_rate = TINY_RATES.get(args.encoder, config.optimizer.learning_rate)
    if tiny and args.encoder in ("clip", "dinov2"):  # from scratch, transformers take longer, and small patches
        config.train.steps = 480
        config.model.encoders.image.patch = 8
    return config
