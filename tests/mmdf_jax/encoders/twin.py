"""Compares an encoder of ours with its plain torch twin (`experiments.benchmarks.torch_twins`), same random weights."""

import copy
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn

from experiments.benchmarks import torch_models

LIMITS = {"tokens": 1e-4, "pooled": 1e-4, "input gradient": 1e-3}


def compare(model: nn.Module, shapes: Sequence[tuple[int, ...]]) -> dict[str, float]:
    """Largest relative distance of any token, pooled vector, and gradient of <pooled, random> in an input sample.

    shapes: of the inputs, float, [b s] or [b t h w 3]; ours in fp32, the twin in float64, so that all error is ours.
    """
    twin, variables = torch_models.pair(model)
    twin = copy.deepcopy(twin).double().eval()
    std = torch.ones(()) if len(shapes[0]) == 2 else torch.tensor(getattr(model, "encoder", model).std)
    rng = np.random.default_rng(0)
    errors = dict.fromkeys(LIMITS, 0.0)
    for shape in shapes:
        x = rng.normal(0, 0.1, shape) if len(shape) == 2 else rng.random(shape)
        x = x.astype(np.float32)
        z = torch_models.prepare(model, x).double().requires_grad_()
        theirs = torch_models.outputs(twin, z)
        weights = rng.normal(size=theirs["pooled"].shape).astype(np.float32)
        (theirs["pooled"] * torch.from_numpy(weights)).sum().backward()
        gradient = z.grad if z.ndim == 2 else z.grad.movedim(-3, -1) / std
        theirs["input gradient"] = gradient.flatten(1)

        def loss(x, weights=weights):
            out = model.apply(variables, x, train=False)
            return jnp.vdot(out["pooled"], weights), out

        with jax.default_matmul_precision("highest"):
            (_, ours), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
        ours["input gradient"] = gradient.reshape(len(x), -1)
        errors = {name: max(error, relative(ours[name], theirs[name])) for name, error in errors.items()}
    return errors


def main(name: str, model: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
    """Compares a published size, prints a line, and ends the program if an error exceeds its limit."""
    errors = compare(model, shapes)
    print(f"{name:24s} {'ok' if within(errors) else 'FAILS'}", *(f"{k} {v:.1e}" for k, v in errors.items()), flush=True)
    if not within(errors):
        sys.exit(1)


def relative(ours: Any, theirs: torch.Tensor) -> float:
    """The largest relative distance of any vector along the last axis; NaN and infinity stay."""
    ours, theirs = np.asarray(ours, np.float64), theirs.detach().numpy()
    assert ours.shape == theirs.shape
    return float((np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)).max())


def within(errors: dict[str, float]) -> bool:
    """Whether every error is below its limit; NaN is not."""
    return all(errors[name] < limit for name, limit in LIMITS.items())
