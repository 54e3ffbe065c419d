"""A toy encoder: each frame as its few mean pixels, and a level per frame read from them."""

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops


class Model(nn.Module):
    """x [b t h w 3] uint8 -> tokens [b t d], pooled [b d], levels [b t]."""

    cells: int = 4
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, *, valid=None, train=False, capture=()):
        b, t, h, w, c = x.shape
        n = self.cells
        x = x.astype(self.dtype)[:, :, : h // n * n, : w // n * n].reshape(b, t, n, h // n, n, w // n, c)
        tokens = x.mean((3, 5, 6)).reshape(b, t, n * n) / 255
        levels = nn.Dense(1, name="level")(tokens)[..., 0]
        return {"tokens": tokens, "pooled": jnp.mean(tokens, axis=1), "levels": levels}


LAST = ("level",)


def macs(model, shape):
    """The levels' products."""
    return flops.Macs(0, shape[0] * model.cells**2)
