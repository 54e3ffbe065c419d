"""Early fusion: all streams' features on common time steps, and one network over their concatenation."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.missing import FillMissing
from mmdf_jax.layers.norm import LayerNorm
from mmdf_jax.layers.time_steps import to_steps
from mmdf_jax.layers.transformer import Attention, Block
from mmdf_jax.typing import Array, Dtype, Outputs


class Model(nn.Module):
    """Fuses any number of streams into one vector by a transformer over time.

    tokens: {stream: [b t … d]}, t equal steps of the window, all carrying time embeddings. What lies between t and d is
      space; its mean is taken.
    present: {stream: [b] bool}. A learned vector stands for an absent stream, and a bit says so.
    Returns `fused [b d]`.

    steps: common time steps of the window. A stream of more is averaged over them, one of fewer is interpolated.
    width: of each stream before they are concatenated, and of the joint network; 0: the tokens' own.
    depth, heads, mlp_ratio, dropout: of the joint transformer.
    """

    steps: int = 16
    width: int = 0
    depth: int = 4
    heads: int = 8
    mlp_ratio: float = 4.0
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: dict[str, Array], present: dict[str, Array], *, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del capture  # nothing here takes memory to keep
        streams = sorted(tokens)
        d = tokens[streams[0]].shape[-1]
        width = self.width or d
        columns = []
        for stream in streams:
            x = tokens[stream]
            x = to_steps(x.reshape(*x.shape[:2], -1, d).mean(2), self.steps)
            x = Dense(width, dtype=self.dtype, name=stream)(LayerNorm(dtype=self.dtype, name=f"norm_{stream}")(x))
            bit = jnp.broadcast_to(present[stream][:, None, None], (*x.shape[:2], 1)).astype(x.dtype)
            columns += [FillMissing(name=f"missing_{stream}")(x, present[stream]), bit]
        x = Dense(width, dtype=self.dtype, name="join")(jnp.concatenate(columns, axis=-1))
        for i in range(self.depth):
            block = Block(
                self.heads,
                int(width * self.mlp_ratio),
                dropout=self.dropout,
                attention_dropout=self.dropout,
                dtype=self.dtype,
                name=f"block{i}",
            )
            x, _ = block(x, train=train)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        query = self.param("query", nn.initializers.normal(1.0), (1, 1, width)).astype(self.dtype)
        query = jnp.broadcast_to(query, (x.shape[0], 1, width))
        fused, _ = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="read")(query, x, train=train)
        return {"fused": LayerNorm(dtype=self.dtype, name="norm_fused")(fused[:, 0])}
