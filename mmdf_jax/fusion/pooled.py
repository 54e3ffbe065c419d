"""Fusion without time: each stream's mean, all of them concatenated, and an MLP."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.missing import FillMissing
from mmdf_jax.layers.mlp import gelu
from mmdf_jax.layers.norm import LayerNorm
from mmdf_jax.typing import Array, Dtype, Outputs


class Model(nn.Module):
    """Fuses any number of streams into one vector, blind to time.

    tokens: {stream: [b t … d]}; their mean over time and space is taken.
    present: {stream: [b] bool}. A learned vector stands for an absent stream, and a bit says so.
    Returns `fused [b d]`.

    hidden: width of the MLP's hidden layer. width: of `fused`; 0: the tokens' own.
    """

    hidden: int = 512
    width: int = 0
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: dict[str, Array], present: dict[str, Array], *, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del capture  # nothing here takes memory to keep
        columns = []
        for stream in sorted(tokens):
            x = tokens[stream]
            x = LayerNorm(dtype=self.dtype, name=f"norm_{stream}")(x.reshape(x.shape[0], -1, x.shape[-1]).mean(1))
            bit = present[stream][:, None].astype(x.dtype)
            columns += [FillMissing(name=f"missing_{stream}")(x, present[stream]), bit]
        hidden = gelu(Dense(self.hidden, dtype=self.dtype, name="fc1")(jnp.concatenate(columns, axis=-1)))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        fused = Dense(self.width or x.shape[-1], dtype=self.dtype, name="fc2")(hidden)
        return {"fused": LayerNorm(dtype=self.dtype, name="norm_fused")(fused)}
