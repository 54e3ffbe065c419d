"""One stream's encoder and a head on its pooled vector."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.models.encode import encode
from mmdf_jax.typing import Batch, Dtype, Outputs


class Model(nn.Module):
    """A detector that sees one stream of a clip.

    encoders: {stream: encoder}, exactly one of image, video, mouth, audio (data_pipelines.batch).
    dropout: on the pooled vector before the head.
    frozen: the encoders always run as in evaluation: no dropout, running statistics.
    """

    encoders: dict[str, nn.Module]
    dropout: float = 0.0
    frozen: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool = False, capture: Sequence[str] = ()) -> Outputs:
        """Batch -> named outputs.

        Returns
          `logits [b]`: log-odds of fake; `stream_logits`: {} (the logits are the stream's own);
          `embeddings {stream: [b d]}`; `encoders {stream: all that the encoder returns}`;
          `present {stream: [b] bool}`: whether the batch really has the stream.
        """
        (stream,) = self.encoders
        encoded = encode(self.encoders[stream], stream, batch, train=train and not self.frozen, capture=capture)
        x = nn.Dropout(self.dropout, deterministic=not train)(encoded["pooled"])
        logits = nn.Dense(1, dtype=jnp.float32, name="head")(x.astype(jnp.float32))[:, 0]
        return {
            "logits": logits,
            "stream_logits": {},
            "embeddings": {stream: encoded["pooled"]},
            "encoders": {stream: encoded},
            "present": {stream: batch[f"{stream}_mask"]},
        }
