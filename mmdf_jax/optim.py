"""Optimizer and schedule from config; freezing and per-layer learning rates by parameter path.

A parameter's path is its keys joined by '/', for example `encoders_image/block0/attn/query/kernel`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmdf_jax.typing import Array

Rules = Sequence[tuple[str, float]]
_LARGE = 2**19  # numbers of a parameter that is worked on alone


def schedule(*, learning_rate: float, steps: int, warmup_steps: int = 0, final: float = 0.0) -> optax.Schedule:
    """Linear warm-up to `learning_rate`, then half a cosine down to `final * learning_rate` at step `steps`."""
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"config.optimizer.warmup_steps={warmup_steps} must lie in [0, steps={steps})")
    return optax.warmup_cosine_decay_schedule(
        init_value=learning_rate / max(warmup_steps, 1) if warmup_steps else learning_rate,
        peak_value=learning_rate,
        warmup_steps=max(warmup_steps - 1, 0),
        decay_steps=steps,
        end_value=final * learning_rate,
    )


def path_names(params: Any) -> Any:
    """A tree like `params` that holds each leaf's path."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "/".join(str(getattr(entry, "key", entry)) for entry in path), params
    )


def multipliers(params: Any, rules: Rules) -> Any:
    """A tree like `params` that holds each leaf's learning-rate multiplier; 0 means frozen.

    rules: (pattern, multiplier) pairs; the first pattern that `re.search` finds in the path decides, else 1.

    Raises:
      ValueError: a pattern matches no parameter (a typing error would otherwise train what was to be frozen), or
      everything is frozen.
    """
    names = path_names(params)
    flat = jax.tree.leaves(names)
    for pattern, _ in rules:
        if not any(re.search(pattern, name) for name in flat):
            shown = ", ".join(flat[:5])
            raise ValueError(f"config.optimizer.rules: {pattern!r} matches no parameter; paths look like {shown}, …")

    def multiplier(name: str) -> float:
        return next((float(value) for pattern, value in rules if re.search(pattern, name)), 1.0)

    tree = jax.tree.map(multiplier, names)
    if not any(jax.tree.leaves(tree)):
        raise ValueError("config.optimizer.rules freeze every parameter: nothing is left to train")
    return tree


def pack(tree: Any) -> list[Array]:
    """All numbers of a tree: its small leaves as one vector, its large ones as they are.

    Hundreds of small element-wise kernels, one set per leaf, would take longer to compile than a model itself; copying
    large leaves would take longer than what is done with them.
    """
    leaves = jax.tree.leaves(tree)
    small = [leaf.ravel() for leaf in leaves if leaf.size < _LARGE]
    return [jnp.concatenate([jnp.zeros(0), *small]), *(leaf for leaf in leaves if leaf.size >= _LARGE)]


def make(
    config: Mapping[str, Any], params: Any, steps: int, rates: Any = None
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW with warm-up and cosine decay.

    config: `learning_rate`, `weight_decay` (on matrices and kernels only, not on biases, norms or embeddings of rank
    1), `warmup_steps`, `clip` (global gradient norm; 0: off), `b1`, `b2`, `rules` (see `multipliers`).
    rates: multipliers like `params`, if they are to be others than the rules'.
    Frozen parameters neither count in the norm nor take optimizer memory.
    Returns the transformation and the schedule of the base rate by step.
    """
    rate = schedule(learning_rate=config["learning_rate"], steps=steps, warmup_steps=config.get("warmup_steps", 0))
    clip, decay = config.get("clip", 0.0), config.get("weight_decay", 0.0)
    adam = optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        optax.scale_by_adam(b1=config.get("b1", 0.9), b2=config.get("b2", 0.999)),
    )
    leaf_rates = jax.tree.leaves(multipliers(params, config.get("rules", ())) if rates is None else rates)

    def trained(leaves: Sequence[Any]) -> list[Array]:
        return pack([leaf for leaf, scale in zip(leaves, leaf_rates, strict=True) if scale])

    def init(params: Any) -> Any:
        return adam.init(trained(jax.tree.leaves(params)))

    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        leaves = jax.tree.leaves(params)
        count = optax.tree.get(state, "count")
        updates, state = adam.update(trained(jax.tree.leaves(gradients)), state)
        decayed = trained([leaf if leaf.ndim > 1 else jnp.zeros_like(leaf) for leaf in leaves])
        small, *large = (-rate(count) * (u + decay * d) for u, d in zip(updates, decayed, strict=True))
        new, start, large = [], 0, iter(large)
        for leaf, scale in zip(leaves, leaf_rates, strict=True):
            if not scale:
                new.append(jnp.zeros_like(leaf))
                continue
            if leaf.size >= _LARGE:
                piece = next(large)
            else:
                piece = small[start : start + leaf.size].reshape(leaf.shape)
                start += leaf.size
            new.append(piece if scale == 1 else scale * piece)
        return jax.tree.unflatten(jax.tree.structure(params), new), state

    return optax.GradientTransformation(init, update), rate
