"""Cross-modal attention: each stream's tokens look at the other streams' tokens, then one query reads all of them."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.mlp import Mlp
from mmdf_jax.layers.transformer import Attention
from mmdf_jax.typing import Array, Dtype, Outputs


class CrossBlock(nn.Module):
    """One stream's tokens `x [b n d]` attend over the other streams' `context [b m d]`, then an MLP; pre-norm."""

    heads: int
    mlp_hidden: int
    dropout: float
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Array, context: Array, mask: Array, *, train: bool, capture: bool
    ) -> tuple[Array, Array | None]:
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(dtype=self.dtype, name=name)

        dropout = nn.Dropout(self.dropout, deterministic=not train)
        attention = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="attn")
        y, weights = attention(norm("norm1")(x), norm("norm_context")(context), mask, train=train, capture=capture)
        x = x + dropout(y)
        mlp = Mlp(self.mlp_hidden, dropout=self.dropout, dtype=self.dtype, name="mlp")
        return x + dropout(mlp(norm("norm2")(x), train=train)), weights


class Model(nn.Module):
    """Fuses token sequences of any number of streams into one vector.

    tokens: {stream: [b t … d]}, all of one width d, already carrying time and modality embeddings.
    present: {stream: [b] bool}; no token looks at an absent stream, and its own tokens do not count.
    Returns
      `fused [b d]`, and where `capture` names them
      `attention`: {stream: [b t …]}, how much the reading query looks at each token, mean over heads; the sum over
        all streams is 1;
      `cross_attention`: {stream: tuple per layer of [b heads n m]}, n runs over the stream's tokens, m over the other
        streams' in order.
    """

    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 2.0
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: dict[str, Array], present: dict[str, Array], *, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        streams = sorted(tokens)
        grids = {stream: tokens[stream].shape[:-1] for stream in streams}
        b, width = tokens[streams[0]].shape[0], tokens[streams[0]].shape[-1]
        tokens = {stream: tokens[stream].reshape(b, -1, width) for stream in streams}
        masks = {stream: jnp.broadcast_to(present[stream][:, None], tokens[stream].shape[:2]) for stream in streams}
        cross_attention: dict[str, list[Array]] = {stream: [] for stream in streams}
        for layer in range(self.depth if len(streams) > 1 else 0):
            updated = {}
            for stream in streams:
                others = [other for other in streams if other != stream]
                context = jnp.concatenate([tokens[other] for other in others], axis=1)
                mask = jnp.concatenate([masks[other] for other in others], axis=1)[:, None, None, :]
                block = CrossBlock(
                    self.heads,
                    int(width * self.mlp_ratio),
                    self.dropout,
                    self.dtype,
                    name=f"{stream}_{layer}",
                )
                updated[stream], weights = block(
                    tokens[stream], context, mask, train=train, capture="cross_attention" in capture
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
            splits = jnp.split(
                jnp.mean(weights, axis=1)[:, 0], _offsets([tokens[stream].shape[1] for stream in streams]), axis=1
            )
            out["attention"] = {s: part.reshape(grids[s]) for s, part in zip(streams, splits, strict=True)}
        if "cross_attention" in capture:
            out["cross_attention"] = {stream: tuple(weights) for stream, weights in cross_attention.items()}
        return out


def _offsets(lengths: list[int]) -> list[int]:
    """Where to cut a concatenation of pieces of these lengths."""
    return [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)]
