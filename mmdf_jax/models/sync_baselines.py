"""What synchrony was measured with before networks: mouth opening against loudness, and canonical correlation.

Neither has a trained parameter. Both give two unit vectors for each step, from the five frames around it (0.2 s), so
that a product is a correlation and all that follows is the same as for a network.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers import spectrogram
from mmdf_jax.layers.time_steps import to_steps
from mmdf_jax.layers.unit import unit
from mmdf_jax.typing import Array, Batch

FRAMES = 5  # of 40 ms, SyncNet's unit
PIXELS = 12
MOMENTUM = 0.99
RIDGE = 0.02  # of the mean variance, added to each variance


class Baselines(nn.Module):
    """Batch with mouth and audio -> {"energy": opening against loudness, "cca": …}: (lips, sound) [b t d] each.

    energy: how much darker the middle of the mouth crop is than all of it, against the sound's log energy.
    cca: the first `components` canonical pairs of 12 x 12 pixels and of 40 mel bands over five frames, each without
      its window's mean (Slaney and Covell 2000, FaceSync, with more pairs). Covariances are running means over the
      training batches, kept beside those of BatchNorm; in training they are gathered, and nothing is returned.
    """

    components: int = 16

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool = False) -> dict[str, tuple[Array, Array]]:
        mouth = jax.lax.stop_gradient(batch["mouth"].astype(jnp.float32)) / 255
        audio = jax.lax.stop_gradient(spectrogram.to_float(batch["audio"]).astype(jnp.float32))
        x, y = _pixels(mouth), _bands(audio, mouth.shape[1])
        covariances = {
            name: self.variable("batch_stats", name, jnp.zeros, shape)
            for name, shape in (("xx", x.shape[-1:] * 2), ("yy", y.shape[-1:] * 2), ("xy", (x.shape[-1], y.shape[-1])))
        }
        if train:
            if not self.is_initializing():
                for name, variable in covariances.items():
                    one, other = ({"x": x, "y": y}[letter] for letter in name)
                    new = jnp.einsum("btp,btq->pq", one, other) / (x.shape[0] * x.shape[1])
                    variable.value = MOMENTUM * variable.value + (1 - MOMENTUM) * new
            return {}
        lips, sound = canonical(*(covariances[name].value for name in ("xx", "yy", "xy")), self.components)
        return {
            "energy": (
                unit(_centred(_around(_opening(mouth)))),
                unit(_centred(_around(_energy(audio, mouth.shape[1])))),
            ),
            "cca": (unit(_around(x @ lips)), unit(_around(y @ sound))),
        }


def canonical(xx: Array, yy: Array, xy: Array, components: int) -> tuple[Array, Array]:
    """Projections [p k], [q k] of the first k canonical pairs, from covariances [p p], [q q], [p q].

    Each pair is weighted by the root of its correlation.
    """

    def whitening(c: Array) -> Array:
        values, vectors = jnp.linalg.eigh(c)
        values = jnp.maximum(values, 0) + RIDGE * jnp.trace(c) / len(c) + 1e-12
        return (vectors / jnp.sqrt(values)) @ vectors.T

    a, b = whitening(xx), whitening(yy)
    u, s, vt = jnp.linalg.svd(a @ xy @ b, full_matrices=False)
    root = jnp.sqrt(s[:components])
    return a @ u[:, :components] * root, b @ vt[:components].T * root


def _pixels(mouth: Array) -> Array:
    """Mouth crops [b t h w 1] as [b t 144], without the window's mean."""
    x = jax.image.resize(mouth, (*mouth.shape[:2], PIXELS, PIXELS, 1), "linear")
    x = x.reshape(*x.shape[:2], -1)
    return x - x.mean(1, keepdims=True)


def _bands(audio: Array, t: int) -> Array:
    """Samples [b s] as log-mel [b t 5 * 40] of the five frames around each step, without the window's mean."""
    mel = spectrogram.log_mel(audio, bins=40, n_fft=512, win_length=400, hop=160)
    y = to_steps(mel[:, :-1], t) / 20
    return _around(y - y.mean(1, keepdims=True))


def _opening(mouth: Array) -> Array:
    """[b t 1]: brightness of all of the crop [b t h w 1] over that of its middle, which an open mouth darkens."""
    h, w = mouth.shape[2:4]
    middle = mouth[:, :, 3 * h // 8 : 3 * h // 4, w // 4 : 3 * w // 4].mean((2, 3))
    return mouth.mean((2, 3)) / jnp.maximum(middle, 0.02)


def _energy(audio: Array, t: int) -> Array:
    """Log energy of samples [b s] in t equal steps: [b t 1]."""
    steps = audio[:, : audio.shape[1] // t * t].reshape(len(audio), t, -1)
    return jnp.log((steps**2).mean(-1, keepdims=True) + 1e-8)


def _around(x: Array) -> Array:
    """x [b t c] -> [b t 5 c]: each step with its two neighbours on both sides; the ends repeat."""
    t, reach = x.shape[1], FRAMES // 2
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)), mode="edge")
    return jnp.concatenate([padded[:, i : i + t] for i in range(FRAMES)], axis=-1)


def _centred(x: Array) -> Array:
    return x - x.mean(-1, keepdims=True)
