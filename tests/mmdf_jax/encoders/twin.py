"""Compares an encoder of ours with its plain torch twin (`experiments.benchmark.torch_twins`), same random weights.

The twin computes in float64. At published sizes some of the millions of ReLUs stand within fp32's rounding of zero, and
some maxima over time of another, and the gradient jumps with the side that one falls to, in torch as in ours: most
gradients are within 2e-6, up to half are off by 1e-3 to 1e-2. So there the least of several inputs counts in fp32, for
an error of ours would be in all of them, with the largest and torch's largest beside it; in float64 nothing jumps.
"""

import copy
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn

from experiments.benchmark import torch_models

LIMITS = {"tokens": 1e-4, "pooled": 1e-4, "input gradient": 1e-3}
DRAWS = 7


def compare(model: nn.Module, shapes: Sequence[tuple[int, ...]], *, float64: bool = False) -> dict[str, float]:
    """Largest relative distance of any token, pooled vector, and gradient of <pooled, random> in an input sample.

    shapes: of the inputs, float, [b s] or [b t h w 3]. `float64`: the gradient's is the least of several inputs, with
    the largest, the largest of torch's fp32 gradient, and that of ours in float64 beside it.
    """
    twin, variables = torch_models.pair(model)
    twin.eval()
    exact = copy.deepcopy(twin).double()
    rng = np.random.default_rng(0)
    errors: dict[str, float] = {}
    for shape in shapes:
        found: dict[str, list[float]] = {}
        for draw in range(DRAWS if float64 else 1):
            x = (rng.normal(0, 0.1, shape) if len(shape) == 2 else rng.random(shape)).astype(np.float32)
            z = torch_models.prepare(model, x)
            weights = rng.normal(size=twin(z)[1].shape).astype(np.float32)
            theirs = reference(exact, z, weights)
            ours = outputs_and_gradient(model, variables, x, weights)
            if len(shape) == 5:
                ours["input gradient"] *= np.float32(getattr(model, "encoder", model).std)  # the twin's is normalised
            pairs = {name: (ours[name], theirs[name]) for name in ("tokens", "pooled")}
            gradients = {"input gradient": ours["input gradient"]}
            if float64:
                gradients["torch's largest"] = reference(twin, z, weights)["input gradient"]
            if float64 and draw == 0:
                gradients["both in float64"] = gradient_in_float64(model, variables, z, weights)
            for name, gradient in gradients.items():
                pairs[name] = tuple(x.reshape(len(x), -1) for x in (gradient, theirs["input gradient"]))
            for name, pair in pairs.items():
                found.setdefault(name, []).append(relative(*pair))
        worst = {name: max(values) for name, values in found.items()}
        if float64:
            worst |= {"input gradient": min(found["input gradient"]), "largest": worst["input gradient"]}
        errors = {name: max(errors.get(name, 0.0), value) for name, value in worst.items()}
    return errors


def reference(twin: torch.nn.Module, z: torch.Tensor, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Tokens, pooled and the gradient of <pooled, weights> in the input of the twin, in its precision."""
    dtype = next(twin.parameters()).dtype
    z = z.to(dtype, copy=True).requires_grad_()
    out = torch_models.outputs(twin, z)
    (out["pooled"] * torch.from_numpy(weights)).sum().backward()
    gradient = z.grad if z.ndim == 2 else z.grad.movedim(-3, -1)
    return {**{name: x.detach().numpy() for name, x in out.items()}, "input gradient": gradient.numpy()}


def outputs_and_gradient(model: nn.Module, variables: Any, x: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The same of ours."""

    def loss(x: jax.Array, variables: Any) -> tuple[jax.Array, Any]:
        out = model.apply(variables, x, train=False)
        return jnp.vdot(out["pooled"], weights), (out["tokens"], out["pooled"])

    with jax.default_matmul_precision("highest"):
        gradient, (tokens, pooled) = jax.jit(jax.grad(loss, has_aux=True))(x, variables)
    return {"tokens": np.asarray(tokens), "pooled": np.asarray(pooled), "input gradient": np.array(gradient)}


def gradient_in_float64(model: nn.Module, variables: Any, z: torch.Tensor, weights: np.ndarray) -> np.ndarray:
    """Ours in the twin's input, everything in float64."""
    x = z.numpy()
    if x.ndim == 5:
        # Pixels are normalised in fp32, which is exact for what is normal already.
        x, model = np.moveaxis(x, 2, -1), model.clone(mean=(0.0,) * 3, std=(1.0,) * 3)
    model = model.clone(dtype=jnp.float64)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), variables)
        return outputs_and_gradient(model, wide, jnp.asarray(x, jnp.float64), weights)["input gradient"]


def main(name: str, model: nn.Module, shapes: Sequence[tuple[int, ...]], *, float64: bool) -> None:
    """Compares a published size, prints a line, and ends the program if an error exceeds its limit."""
    errors = compare(model, shapes, float64=float64)
    fine = within(errors)
    print(f"{name:30s} {'ok' if fine else 'FAILS'}", *(f"{k} {v:.1e}" for k, v in errors.items()), flush=True)
    if not fine:
        sys.exit(1)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest relative distance of any token; of a gradient, of any sample of the batch. NaN and infinity stay."""
    assert ours.shape == theirs.shape
    distance = np.linalg.norm(ours.astype(np.float64) - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)
    return float(distance.max())


def within(errors: dict[str, float]) -> bool:
    """Whether every error is below its limit, which NaN never is."""
    limits = LIMITS | ({"both in float64": 1e-6} if "both in float64" in errors else {})
    return all(errors[name] < limit for name, limit in limits.items())
