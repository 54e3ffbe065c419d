"""HuBERT (Hsu et al. 2021): wav2vec 2.0's architecture, trained to predict clusters of hidden units.

Weights: `facebook/hubert-*` on the Hugging Face hub, or any HubertModel that transformers has saved.
"""

from typing import Any

from mmdf_jax.encoders import wav2vec2
from mmdf_jax.encoders.wav2vec2 import DROPS, EXAMPLE, LAST, RULES, SHALLOW, from_config, macs

__all__ = [
    "BENCHMARK",
    "DROPS",
    "EXAMPLE",
    "LAST",
    "MODEL_TYPES",
    "RULES",
    "SHALLOW",
    "VARIANTS",
    "Model",
    "from_config",
    "macs",
]


class Model(wav2vec2.Model):
    """See `mmdf_jax.encoders.wav2vec2.Model`: the same inputs, outputs and fields."""


_LARGE = wav2vec2.VARIANTS["large_lv60"]
VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": wav2vec2.VARIANTS["tiny"],
    "base": dict(),
    "large": _LARGE,
    "xlarge": {**_LARGE, "width": 1280, "depth": 48, "mlp_hidden": 5120},
}

BENCHMARK = ("base",)
MODEL_TYPES = ("hubert",)
