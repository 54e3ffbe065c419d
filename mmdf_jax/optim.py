"""Optimizer and schedule from config; freezing and per-layer learning rates by parameter path.

A parameter's path is its keys joined by '/', for example `encoders_image/block0/attn/query/kernel`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

Rules = Sequence[tuple[str, float]]


def schedule(
    *, learning_rate: float, steps: int, warmup_steps: int = 0, final: float = 0.0
) -> optax.Schedule:
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
            raise ValueError(
                f"config.optimizer.rules: {pattern!r} matches no parameter; paths look like {shown}, …"
            )

    def multiplier(name: str) -> float:
        return next((float(value) for pattern, value in rules if re.search(pattern, name)), 1.0)

    tree = jax.tree.map(multiplier, names)
    if not any(jax.tree.leaves(tree)):
        raise ValueError("config.optimizer.rules freeze every parameter: nothing is left to train")
    return tree


def make(
    config: Mapping[str, Any], params: Any, steps: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW with warm-up and cosine decay.

    config: `learning_rate`, `weight_decay` (on matrices and kernels only, not on biases, norms or embeddings of rank
    1), `warmup_steps`, `clip` (global gradient norm; 0: off), `b1`, `b2`, `rules` (see `multipliers`).
    Gradients of frozen parameters are zeroed first: they neither count in the norm nor take optimizer memory, and
    XLA drops their computation.
    Returns the transformation and the schedule of the base rate by step.
    """
    rate = schedule(
        learning_rate=config["learning_rate"], steps=steps, warmup_steps=config.get("warmup_steps", 0)
    )
    tree = multipliers(params, config.get("rules", ()))
    trainable = jax.tree.map(bool, tree)
    adamw = optax.chain(
        optax.scale_by_adam(b1=config.get("b1", 0.9), b2=config.get("b2", 0.999)),
        optax.add_decayed_weights(
            config.get("weight_decay", 0.0), mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)
        ),
        _scale_by(tree),
        optax.scale_by_learning_rate(rate),
    )
    clip = config.get("clip", 0.0)
    frozen = jax.tree.map(lambda trains: not trains, trainable)
    transformation = optax.chain(
        optax.masked(optax.set_to_zero(), frozen),
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        optax.masked(adamw, trainable),
    )
    return transformation, rate


def _scale_by(tree: Any) -> optax.GradientTransformation:
    """Multiplies each update by its leaf's constant; optax.masked hands over masked leaves as MaskedNode."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        masked = lambda node: isinstance(node, optax.MaskedNode)  # noqa: E731
        scaled = jax.tree.map(
            lambda value, leaf: leaf if masked(leaf) else leaf * jnp.asarray(value, leaf.dtype), tree, updates
        )
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
