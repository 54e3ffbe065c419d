"""Long short-term memory (Hochreiter and Schmidhuber 1997) over padded sequences."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.typing import Array, Dtype


class LSTM(nn.Module):
    """One layer over time, x [b t c] to the hidden state after each step, [b t hidden].

    mask: [b t] bool; at a False step the state stays as it is, so that padding on either side changes nothing.
    reverse: from the last step to the first (outputs stay in the order of x).
    The input's part of the gates is one matrix product for all steps; only the state's part runs step by step. Gates
    lie in torch's order: input, forget, cell, output.
    """

    hidden: int
    reverse: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        inputs = nn.Dense(4 * self.hidden, bias_init=_forget_nothing, dtype=self.dtype, name="input")(x)
        kernel = self.param("kernel", nn.initializers.orthogonal(), (self.hidden, 4 * self.hidden)).astype(self.dtype)
        mask = jnp.ones(x.shape[:2], bool) if mask is None else mask

        def step(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            h, c = state
            gates, real = now
            i, f, g, o = jnp.split(gates + h.astype(self.dtype) @ kernel, 4, axis=-1)
            new_c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            new_h = jax.nn.sigmoid(o) * jnp.tanh(new_c)
            state = jnp.where(real[:, None], new_h, h), jnp.where(real[:, None], new_c, c)
            return state, state[0]

        zero = jnp.zeros((x.shape[0], self.hidden), jnp.float32)  # the state stays fp32
        _, h = jax.lax.scan(
            step, (zero, zero), (inputs.swapaxes(0, 1), mask.T), reverse=self.reverse, unroll=min(4, x.shape[1])
        )
        return h.swapaxes(0, 1).astype(self.dtype)


def _forget_nothing(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Bias 1 on the forget gate, 0 elsewhere (Jozefowicz et al. 2015)."""
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype).at[hidden : 2 * hidden].set(1)
