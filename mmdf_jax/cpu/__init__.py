"""Fast twins of layers for XLA's CPU backend, and the one switch that chooses them. README.md has reasons and figures.

A layer asks `enabled()` when it is traced, and takes its twin or its plain form; a compiled program has no choice left.
`jax.jit` keeps what it traced, so the switch must stand when a function is first traced. The safe way is to decorate
what is jitted, `jax.jit(cpu.forms(False)(step))`: each decorated function is traced anew, under its own choice,
wherever it is called. `with cpu.forms(False): ...` serves for what is traced inside and was not jitted before.

Twins are `jax.custom_vjp`: they have gradients, but no forward mode (`jax.jvp`, `jax.hessian`), and most need a batch
of known size. For those, and for export to another platform, take the plain forms.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_enabled: contextvars.ContextVar[bool | None] = contextvars.ContextVar("cpu_forms", default=None)


def enabled() -> bool:
    """Whether layers traced now take their CPU twins: what `forms` says, else whether JAX computes on a CPU."""
    chosen = _enabled.get()
    return jax.default_backend() == "cpu" if chosen is None else chosen


@contextlib.contextmanager
def forms(enabled: bool) -> Iterator[None]:
    """Within it, or within the function that it decorates, layers are traced with (or without) their CPU twins."""
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)
