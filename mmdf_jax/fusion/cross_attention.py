"""Cross-modal attention: each stream's tokens look at the other streams' tokens, then one query reads all of them."""

import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmdf_jax.layers.mlp import Mlp
from mmdf_jax.layers.transformer import Attention
from mmdf_jax.typing import Array, Dtype, Outputs

SLOPES = (0.0, 1.0, 3.0, 10.0)  # per window, where each head's bias by time begins: from everywhere to close by


class CrossBlock(nn.Module):
    """One stream's tokens `x [b n d]` attend over the other streams' `context [b m d]`, then an MLP; pre-norm.

    apart: [n m], how far apart in time the tokens are; None: attention does not know. Each head subtracts it from its
    logits times a slope of its own, which is learned (ALiBi, Press et al. 2022, has fixed ones, over positions).
    """

    heads: int
    mlp_hidden: int
    dropout: float
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Array, context: Array, mask: Array, apart: np.ndarray | None, *, train: bool, capture: bool
    ) -> tuple[Array, Array | None]:
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(dtype=self.dtype, name=name)

        bias = None
        if apart is not None:
            first = np.resize(np.array(SLOPES, np.float32), self.heads)
            bias = -self.param("slopes", lambda _: jnp.array(first))[None, :, None, None] * apart
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        attention = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="attn")
        y, weights = attention(
            norm("norm1")(x), norm("norm_context")(context), mask, bias, train=train, capture=capture
        )
        x = x + dropout(y)
        mlp = Mlp(self.mlp_hidden, dropout=self.dropout, dtype=self.dtype, name="mlp")
        return x + dropout(mlp(norm("norm2")(x), train=train)), weights


class Model(nn.Module):
    """Fuses token sequences of any number of streams into one vector.

    tokens: {stream: [b t … d]}, all of one width d, already carrying time and modality embeddings. Step i of t stands
      for time (i + 0.5) / t of the window.
    present: {stream: [b] bool}; no token looks at an absent stream, and its own tokens do not count.
    Returns
      `fused [b d]`, and where `capture` names them
      `attention`: {stream: [b t …]}, how much the reading query looks at each token, mean over heads; the sum over
        all streams is 1;
      `cross_attention`: {stream: tuple per layer of [b heads n m]}, n and m over the stream's tokens and those of the
        other streams in order.

    time_bias: how near in time two tokens are counts in cross-attention, see CrossBlock; times in parts of the window.
    """

    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 2.0
    dropout: float = 0.0
    time_bias: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: dict[str, Array], present: dict[str, Array], *, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        streams = sorted(tokens)
        grids = {stream: tokens[stream].shape[1:-1] for stream in streams}
        times = {stream: _times(grid) for stream, grid in grids.items()}
        width = tokens[streams[0]].shape[-1]
        tokens = {stream: x.reshape(x.shape[0], -1, width) for stream, x in tokens.items()}
        masks = {stream: jnp.broadcast_to(present[stream][:, None], tokens[stream].shape[:2]) for stream in streams}
        cross_attention: dict[str, list[Array]] = {stream: [] for stream in streams}
        for layer in range(self.depth if len(streams) > 1 else 0):
            updated = {}
            for stream in streams:
                others = [other for other in streams if other != stream]
                context = jnp.concatenate([tokens[other] for other in others], axis=1)
                mask = jnp.concatenate([masks[other] for other in others], axis=1)[:, None, None, :]
                apart = None
                if self.time_bias:
                    apart = np.abs(times[stream][:, None] - np.concatenate([times[other] for other in others]))
                block = CrossBlock(
                    self.heads,
                    int(width * self.mlp_ratio),
                    self.dropout,
                    self.dtype,
                    name=f"{stream}_{layer}",
                )
                updated[stream], weights = block(
                    tokens[stream], context, mask, apart, train=train, capture="cross_attention" in capture
                )
                cross_attention[stream].append(weights)
            tokens = updated

        everything = jnp.concatenate([tokens[stream] for stream in streams], axis=1)
        everything = nn.LayerNorm(dtype=self.dtype, name="norm")(everything)
        mask = jnp.concatenate([masks[stream] for stream in streams], axis=1)[:, None, None, :]
        query = self.param("query", nn.initializers.normal(1.0), (1, 1, width)).astype(self.dtype)
        query = jnp.broadcast_to(query, (everything.shape[0], 1, width))
        fused, weights = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="read")(
            query, everything, mask, train=train, capture="attention" in capture
        )
        out: Outputs = {"fused": nn.LayerNorm(dtype=self.dtype, name="norm_fused")(fused[:, 0])}
        if "attention" in capture:
            ends = list(itertools.accumulate(tokens[stream].shape[1] for stream in streams))
            splits = jnp.split(jnp.mean(weights, axis=1)[:, 0], ends[:-1], axis=1)
            out["attention"] = {
                stream: part.reshape(-1, *grids[stream]) for stream, part in zip(streams, splits, strict=True)
            }
        if "cross_attention" in capture:
            out["cross_attention"] = {stream: tuple(weights) for stream, weights in cross_attention.items()}
        return out


def _times(grid: tuple[int, ...]) -> np.ndarray:
    """When in the window each token of a grid [t …] is: [n] float32 from 0 to 1."""
    steps = (np.arange(grid[0], dtype=np.float32) + 0.5) / grid[0]
    return np.repeat(steps, math.prod(grid[1:]))
