"""Which parameters of an encoder train, by path: all, none, the last blocks, the norms; rates that fall with depth.

All encoders name their repeated parts `block3` or `stage1_block0`, what leads to a stage `down1`, and their
normalisations `…norm…`. What comes after the last block an encoder's file says itself, in LAST.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from mmdf_jax.optim import path_names

MODES = ("all", "frozen", "blocks", "norms", "lora")
_ENCODER = re.compile(r"encoders_(\w+)/")
_BLOCK = re.compile(r"(?:stage(\d+)_)?block(\d+)/")
_DOWN = re.compile(r"(?:^|/)down(\d+)")
_NORM = re.compile(r"norm[^/]*/(norm/)?(scale|bias)$")


def last(encoder: nn.Module) -> tuple[str, ...]:
    """What comes after the last block: LAST of the encoder's file, regular expressions of names in its parameters.

    A file without LAST has nothing there. Those of an encoder within it stand below the field's name: `encoder/norm`.
    """
    inner = {name: field for name, field in vars(encoder).items() if isinstance(field, nn.Module) and name != "parent"}
    return (
        *getattr(sys.modules[type(encoder).__module__], "LAST", ()),
        *(f"{name}/(?:{pattern})" for name, field in inner.items() for pattern in last(field)),
    )


def rates(params: Any, finetune: Mapping[str, Any], after: Mapping[str, Sequence[str]]) -> Any:
    """A tree like `params` with each leaf's learning-rate multiplier; 0 is frozen. Only encoders are touched.

    finetune: `mode`, one of
        all     everything trains
        frozen  nothing does
        blocks  the last `blocks` blocks and what comes after them
        norms   scales and biases of normalisation layers
        lora    nothing but the low-rank matrices that `mmdf_jax.lora` adds
      `layer_decay`: multiplier of each block relative to the next (Bao et al. 2022, BEiT); what comes before the first
      block is one deeper, what comes after the last has 1.
    after: {stream: `last` of its encoder}.

    Raises:
      ValueError: unknown mode, or a mode that finds nothing to train in an encoder.
    """
    mode, decay = finetune["mode"], finetune["layer_decay"]
    if mode not in MODES:
        raise ValueError(f"config.finetune.mode={mode!r}: expected one of {', '.join(MODES)}")
    if not 0 < decay <= 1:
        raise ValueError(f"config.finetune.layer_decay={decay}: expected a number in (0, 1]")
    names = path_names(params)
    paths = [name for name in jax.tree.leaves(names) if _ENCODER.match(name)]
    depth_of = {}
    for encoder in sorted({_ENCODER.match(path)[0] for path in paths}):
        stream = _ENCODER.match(encoder)[1]
        depth_of |= depths([path for path in paths if path.startswith(encoder)], after.get(stream, ()))

    def multiplier(name: str) -> float:
        if name not in depth_of:
            return 1.0
        from_the_end = depth_of[name]
        trains = {
            "all": True,
            "frozen": False,
            "blocks": from_the_end <= finetune["blocks"],
            "norms": bool(_NORM.search(name)),
            "lora": False,
        }[mode]
        return decay**from_the_end if trains else 0.0

    tree = jax.tree.map(multiplier, names)
    if mode in ("blocks", "norms"):
        trained = {
            _ENCODER.match(p)[0]
            for p, rate in zip(jax.tree.leaves(names), jax.tree.leaves(tree), strict=True)
            if p in depth_of and rate
        }
        if idle := sorted({_ENCODER.match(path)[0] for path in paths} - trained):
            raise ValueError(f"config.finetune.mode={mode} finds nothing to train in {', '.join(idle)}")
    return tree


def depths(paths: Sequence[str], after: Sequence[str]) -> dict[str, int]:
    """How many blocks lie after each parameter of one encoder, its own included: 0 where `after` matches, which comes
    after the last block, n + 1 for what comes before the first of n."""
    blocks = sorted({_block(path) for path in paths if _block(path)})
    count = len(blocks)

    def depth(path: str) -> int:
        if block := _block(path):
            return count - blocks.index(block)
        if down := _DOWN.search(path):  # a downsampling belongs to the stage that it leads to
            return count - next(i for i, (stage, _) in enumerate(blocks) if stage == int(down[1]))
        name = path[_ENCODER.match(path).end() :]
        return 0 if any(re.match(rf"(?:{pattern})(?:/|$)", name) for pattern in after) else count + 1

    return {path: depth(path) for path in paths}


def _block(path: str) -> tuple[int, int] | None:
    match = _BLOCK.search(path)
    return (int(match[1] or 0), int(match[2])) if match else None
