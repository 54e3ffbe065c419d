"""Two streams, mouth and sound, embedded step by step in one space, where what belongs together lies together.

The networks of SyncNet (Chung and Zisserman 2016) with a softmax's learned scale (Chung, Chung and Kang 2019). Lips and
sound never meet before the cosine, so that every shift of one against the other costs a product.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.time_steps import to_steps, valid_steps
from mmdf_jax.layers.unit import unit
from mmdf_jax.losses import MAX_SCALE
from mmdf_jax.models import sync_baselines
from mmdf_jax.models.encode import encode
from mmdf_jax.typing import Array, Batch, Dtype, Outputs


class Model(nn.Module):
    """Unit vectors of lips and of sound for each 40 ms step.

    encoders: {"mouth": encoder, "audio": encoder}; tokens of another rate than the mouth's are brought to its steps.
    width: d of the common space. scale: of the cosines at the start, an inverse temperature; it is learned.
    baselines: also embeds both streams as the two classic methods do, for comparison (models.sync_baselines).
    border: steps at both ends of the window that count nowhere. What encoders see there is padding, in both streams at
      the same steps: a network would match by place what it cannot match by speech, and call all windows in step.
    frozen: the encoders always run as in evaluation.
    """

    encoders: dict[str, nn.Module]
    width: int = 64
    scale: float = 10.0
    baselines: bool = True
    border: int = 3
    frozen: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool = False, capture: Sequence[str] = ()) -> Outputs:
        """Batch -> named outputs.

        Returns
          `steps {"mouth", "audio": [b t d]}` float32, L2-normalised; `valid [b t]` bool, steps that both streams have;
          `scale []`, at most MAX_SCALE; `baselines {name: (lips [b t d'], sound [b t d'])}`, L2-normalised;
          `embeddings {stream: [b d]}`; `encoders {stream: all that the encoder returns}`; `present {stream: [b] bool}`;
          `similarity [b t t]`, where `capture` names it: cosines of each step of the mouth with each of the sound.
        """
        if set(self.encoders) != {"mouth", "audio"}:
            raise ValueError(
                f"lip_sync: expected encoders of mouth and audio, found {', '.join(sorted(self.encoders))}"
            )
        encoded = {
            stream: encode(encoder, stream, batch, train=train and not self.frozen, capture=capture)
            for stream, encoder in sorted(self.encoders.items())
        }
        t = encoded["mouth"]["tokens"].shape[1]
        steps = {}
        for stream, out in encoded.items():
            x = to_steps(out["tokens"].reshape(*out["tokens"].shape[:2], -1), t)
            x = nn.Dense(self.width, dtype=self.dtype, name=f"project_{stream}")(x)
            steps[stream] = unit(x)
        present = {stream: batch[f"{stream}_mask"] for stream in encoded}
        both = present["mouth"] & present["audio"]
        log_scale = self.param("log_scale", nn.initializers.constant(math.log(self.scale)), (), jnp.float32)
        named = sync_baselines.Baselines(name="classic")(batch, train=train) if self.baselines else {}
        captured = {}
        if "similarity" in capture:
            captured["similarity"] = jnp.einsum("btd,bsd->bts", steps["mouth"], steps["audio"])
        return {
            "steps": steps,
            "valid": both[:, None]
            & valid_steps(batch["mouth_valid"], t)
            & valid_steps(batch["audio_valid"], t)
            & _inner(t, self.border),
            "scale": jnp.minimum(jnp.exp(log_scale), MAX_SCALE),
            "baselines": named,
            "embeddings": {stream: out["pooled"] for stream, out in encoded.items()},
            "encoders": encoded,
            "present": present,
            **captured,
        }


def _inner(t: int, border: int) -> Array:
    """Which of t steps lie at least `border` steps from both ends: [t] bool."""
    return (jnp.arange(t) >= border) & (jnp.arange(t) < t - border)
