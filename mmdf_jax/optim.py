"""Optimizer and schedule from config; freezing and per-layer learning rates by parameter path.

A parameter's path is its keys joined by '/', for example `encoders_image/block0/attn/query/kernel`.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmdf_jax.typing import Array

Rules = Sequence[tuple[str, float]]
_LARGE = 2**19  # numbers of a leaf that is never copied


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
    """All numbers of a tree in a few arrays: small leaves of rank 0 and 1 as one [n], other small leaves as one [1 n],
    and large leaves as they are.

    XLA compiles hundreds of small element-wise kernels, one set per leaf, for longer than it compiles a small model.
    """
    leaves = jax.tree.leaves(tree)
    small = [leaf for leaf in leaves if leaf.size < _LARGE]
    flat = [leaf.ravel() for leaf in small if leaf.ndim < 2], [leaf.ravel() for leaf in small if leaf.ndim > 1]
    vector, row = (jnp.concatenate([jnp.zeros(0), *some]) for some in flat)
    return [vector, row[None], *(leaf for leaf in leaves if leaf.size >= _LARGE)]


def packed(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer over packed leaves; the same numbers where it works on each number by itself, as Adam does."""

    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(pack(gradients), state, pack(params))
        vector, row, *large = updates
        parts, starts, large = (vector, row[0]), [0, 0], iter(large)
        leaves = []
        for leaf in jax.tree.leaves(params):
            if leaf.size >= _LARGE:
                leaves.append(next(large))
                continue
            which = int(leaf.ndim > 1)
            leaves.append(parts[which][starts[which] : starts[which] + leaf.size].reshape(leaf.shape))
            starts[which] += leaf.size
        return jax.tree.unflatten(jax.tree.structure(params), leaves), state

    return optax.GradientTransformation(lambda params: optimizer.init(pack(params)), update)


def norm(tree: Any) -> Array:
    """The Euclidean norm of all numbers of a tree; finite only if all of them are."""
    return optax.tree.norm(pack(tree))


def kinds_of_kernels(params: Any) -> Any:
    """A tree like `params`: "spatial", "temporal" or "both" for each leaf.

    Kernels [kt kh kw c d] of one frame and several pixels are spatial, of several frames and one pixel temporal. All
    else belongs to both: 3-D kernels that are neither, kernels of one position, biases, norms, dense layers.
    """

    def kind(leaf: Any) -> str:
        if len(leaf.shape) != 5:
            return "both"
        frames, beside = leaf.shape[0] > 1, max(leaf.shape[1:3]) > 1
        return "both" if frames == beside else "temporal" if frames else "spatial"

    return jax.tree.map(kind, params)


def alternated(
    optimizer: optax.GradientTransformation, kinds: Any, *, spatial: int, temporal: int
) -> optax.GradientTransformation:
    """Trains the spatial leaves for `spatial` steps, then the temporal ones for `temporal`, in turn; all others always.

    AltFreezing (Wang et al., CVPR 2023), which has 1 and 20. kinds: as `kinds_of_kernels`. A leaf at rest moves not at
    all, its gradient counts in no norm and enters the moments as 0. One program does it: the step chooses by number.

    Raises:
      ValueError: a count below 1, or one of the two kinds has no leaf.
    """
    if min(spatial, temporal) < 1:
        raise ValueError(f"config.optimizer.alternate: expected 1 step or more of each, found {spatial} and {temporal}")
    found = set(jax.tree.leaves(kinds))
    if missing := {"spatial", "temporal"} - found:
        raise ValueError(f"config.optimizer.alternate: the model has no {sorted(missing)[0]} kernel to alternate with")

    def rest(tree: Any, step: Array) -> Any:
        on = {"spatial": step % (spatial + temporal) < spatial}
        on["temporal"] = ~on["spatial"]
        return jax.tree.map(lambda kind, x: jnp.where(on[kind], x, 0) if kind in on else x, kinds, tree)

    def init(params: Any) -> Any:
        return {"step": jnp.zeros((), jnp.int32), "inner": optimizer.init(params)}

    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        updates, inner = optimizer.update(rest(gradients, state["step"]), state["inner"], params)
        return rest(updates, state["step"]), {"step": state["step"] + 1, "inner": inner}

    return optax.GradientTransformation(init, update)


def make(
    config: Mapping[str, Any], params: Any, steps: int, rates: Any = None
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """An optimizer of optax with warm-up and cosine decay, clipping, freezing and per-leaf rates.

    config: `name`, a function of optax that takes `learning_rate` (default adamw); `options`, its further arguments;
      `learning_rate`; `weight_decay`, for optimizers that have one, on matrices and kernels only (not on biases, norms
      or embeddings of rank 1); `warmup_steps`; `clip`, the global gradient norm (0: off); `rules`, see `multipliers`;
      `packed`, see there (else the state is a tree like the parameters); `alternate`, with counts of `spatial` and
      `temporal` steps, see `alternated` (both 0, or without it: off).
    rates: multipliers like `params`, if they are to be others than the rules'.
    Frozen parameters neither count in the norm nor take optimizer memory.
    Returns the transformation and the schedule of the base rate by step.

    Raises:
      ValueError: optax has no such optimizer, or it does not take one of the options.
    """
    rate = schedule(learning_rate=config["learning_rate"], steps=steps, warmup_steps=config.get("warmup_steps", 0))
    optimizer = _optimizer(
        config.get("name", "adamw"), rate, config.get("weight_decay", 0.0), config.get("options", {})
    )
    if clip := config.get("clip", 0.0):
        optimizer = optax.chain(optax.clip_by_global_norm(clip), optimizer)
    if config.get("packed", False):
        optimizer = packed(optimizer)
    rates = multipliers(params, config.get("rules", ())) if rates is None else rates
    scaled = optax.stateless(lambda updates, _: jax.tree.map(_times, rates, updates))
    labels = jax.tree.map(lambda scale: "trained" if scale else "frozen", rates)
    made = optax.chain(optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels), scaled)
    if any((alternate := config.get("alternate", {})).values()):
        made = alternated(made, kinds_of_kernels(params), **alternate)
    return made, rate


def _times(scale: float, update: Any) -> Any:
    return update if scale in (0, 1) else scale * update


def _optimizer(
    name: str, rate: optax.Schedule, decay: float, options: Mapping[str, Any]
) -> optax.GradientTransformation:
    function = getattr(optax, name, None)
    known = inspect.signature(function).parameters if callable(function) else {}
    if "learning_rate" not in known:
        raise ValueError(f"config.optimizer.name={name!r}: optax has no such optimizer; adamw, sgd, lion, … are")
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"config.optimizer.options: optax.{name} takes no {unknown[0]!r}; it takes {', '.join(known)}")
    arguments = {"learning_rate": rate, **options}
    if "weight_decay" in known:
        arguments["weight_decay"] = decay
        if "mask" in known:
            arguments["mask"] = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    return function(**arguments)
