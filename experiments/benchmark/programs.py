"""What is timed: forward pass and training step of a model, compiled by XLA, and of its PyTorch original.

The training step is forward pass, backward pass through every parameter and an AdamW update: optax's for an encoder,
torch's fused one for its original, the project's own for a config. The loss of an encoder is the mean squared distance
of its pooled output to fixed random numbers. Nothing is dropped out of an encoder.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments.benchmark.timing import Run
from mmdf_jax import flops, optim
from mmdf_jax.typing import Array

LEARNING_RATE, WEIGHT_DECAY = 1e-5, 0.05
AGREEMENT = 1e-4  # largest relative distance of the outputs in fp32


@dataclasses.dataclass(frozen=True)
class Program:
    """Two runs, and what XLA said when it compiled them (nan for torch)."""

    forward: Run
    step: Run
    compile_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    memory_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)


def encoder(model: nn.Module, variables: Mapping[str, Any], x: Array, target: Array) -> Program:
    """Forward pass (tokens and pooled) and training step of an encoder on a batch x; target: like pooled [b d]."""

    def forward(variables: Any, x: Array) -> Any:
        out = model.apply(variables, x, train=False)
        return out["tokens"], out["pooled"]

    def loss(params: Any, stats: Any, x: Array, target: Array) -> tuple[Array, Any]:
        out, updated = model.apply({"params": params, **stats}, x, train=True, mutable=list(stats))
        return jnp.mean((out["pooled"].astype(jnp.float32) - target) ** 2), dict(updated)

    optimizer = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    return _compile(forward, loss, variables, optimizer, (x,), (x, target))


def detector(
    model: nn.Module, task: Any, optimizer: Mapping[str, Any], variables: Mapping[str, Any], batch: Mapping[str, Array]
) -> Program:
    """Scores, and training step, of the model, the task and the optimizer of a config on a batch."""

    def forward(variables: Any, batch: Any) -> Any:
        return task.outputs(model.apply(variables, batch, train=False), batch)

    def loss(params: Any, stats: Any, batch: Any) -> tuple[Array, Any]:
        key = jax.random.key(0)
        out, updated = model.apply(
            {"params": params, **stats}, batch, train=True, rngs={"dropout": key}, mutable=list(stats)
        )
        return task.loss(out, batch)[0], {**stats, **updated}

    optimizer, _ = optim.make(optimizer, variables["params"], 1_000)
    return _compile(forward, loss, variables, optimizer, (batch,), (batch,))


def _compile(
    forward: Callable[..., Any],
    loss: Callable[..., Any],
    variables: Any,
    optimizer: optax.GradientTransformation,
    inputs: tuple,
    step_inputs: tuple,
) -> Program:
    variables = jax.tree.map(jnp.asarray, dict(variables))
    stats = {name: tree for name, tree in variables.items() if name != "params"}

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, *inputs: Any) -> tuple[Any, Array]:
        params, stats, opt_state = state
        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params, stats, *inputs)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), stats, opt_state), value

    inputs, step_inputs = jax.device_put((inputs, step_inputs))
    state = jax.tree.map(jnp.array, (variables["params"], stats, optimizer.init(variables["params"])))
    compiled, seconds, memory = {}, {}, {}
    for name, function, arguments in (
        ("forward", jax.jit(forward), (variables, *inputs)),
        ("step", step, (state, *step_inputs)),
    ):
        start = time.perf_counter()
        compiled[name] = function.lower(*arguments).compile()
        seconds[name] = time.perf_counter() - start
        memory[name] = _memory(compiled[name])

    def run_forward(times: int) -> None:
        for _ in range(times):
            out = compiled["forward"](variables, *inputs)
        jax.block_until_ready(out)

    def run_step(times: int) -> None:
        nonlocal state
        for _ in range(times):
            state, value = compiled["step"](state, *step_inputs)
        jax.block_until_ready((state, value))

    return Program(run_forward, run_step, seconds, memory)


def _memory(compiled: Any) -> int:
    """Bytes that a compiled program holds at once: arguments, results, and what it needs in between."""
    plan = compiled.memory_analysis()
    return plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes


def torch_encoder(original: Any, x: Any, target: np.ndarray, *, dtype: str, compiled: bool, threads: int) -> Program:
    """Forward pass and step of an original and its input (`torch_models.prepare`), eager or through torch.compile."""
    import torch

    from experiments.benchmark import torch_models

    torch.set_num_threads(threads)
    on_gpu = jax.default_backend() == "gpu"
    if on_gpu and not torch.cuda.is_available():
        raise ValueError("--reference: JAX runs on a GPU, but this torch cannot use one; install torch with CUDA")
    device = "cuda" if on_gpu else "cpu"
    original, x, target = original.to(device), x.to(device), torch.from_numpy(target).to(device)
    optimizer = torch.optim.AdamW(original.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    if on_gpu:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")  # as XLA multiplies float32 on a GPU

    def cast() -> Any:
        return contextlib.nullcontext() if dtype == "float32" else torch.autocast(device, getattr(torch, dtype))

    def outputs(x: Any) -> Any:
        with cast():
            return torch_models.outputs(original, x)

    def loss(x: Any) -> Any:
        return ((outputs(x)["pooled"].float() - target) ** 2).mean()

    if compiled:
        outputs, loss = torch.compile(outputs), torch.compile(loss)

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def run_forward(times: int) -> None:
        original.eval()
        with torch.inference_mode():
            for _ in range(times):
                outputs(x)
        wait()

    def run_step(times: int) -> None:
        original.train()
        for _ in range(times):
            optimizer.zero_grad(set_to_none=True)
            loss(x).backward()
            optimizer.step()
        wait()

    return Program(run_forward, run_step)


def check_agreement(model: nn.Module, variables: Mapping[str, Any], original: Any, x: Array) -> dict[str, float]:
    """Largest relative distance of any token and of any pooled vector, ours to the original's, both in fp32.

    Raises ValueError above AGREEMENT: timing two programs that compute different things would mean nothing.
    """
    import torch

    from experiments.benchmark import torch_models

    with torch.inference_mode():
        theirs = torch_models.outputs(original.eval(), torch_models.prepare(model, x))
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(model.clone(dtype=jnp.float32).apply, static_argnames="train")(variables, x, train=False)
    distances = {}
    for name, expected in theirs.items():
        expected = expected.numpy()
        found = np.asarray(ours[name]).reshape(len(expected), -1, expected.shape[-1])
        expected = expected.reshape(len(expected), -1, expected.shape[-1])[:, -found.shape[1] :]  # patches come last
        error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
        distances[name] = float(error.max())
    if not np.max(list(distances.values())) < AGREEMENT:  # NaN is refused too
        worst = ", ".join(f"{name} {value:.1e}" for name, value in distances.items())
        raise ValueError(
            f"outputs differ from the original's by a relative {worst}, more than {AGREEMENT:.0e}: nothing was timed"
        )
    return distances


def encoder_macs(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> flops.Macs | None:
    """Multiply-adds of a detector's encoders on one sample of these streams; None where the file of one counts none, or
    where they read what the model makes of the streams.

    The encoders are all but a few percent of a detector.
    """
    total = flops.Macs(0, 0)
    if not set(getattr(model, "encoders", {})) <= set(shapes):
        return None
    try:
        for stream, encoder in getattr(model, "encoders", {}).items():
            shape = shapes[stream]
            many, shape = (shape[0], shape[1:]) if stream == "image" else (1, shape)
            total += flops.macs(encoder, shape) * many
    except NotImplementedError:
        return None
    return total if total.forward else None
