"""How a checkpoint's tensors become our parameters: the tables that encoders write, and their tensor operations.

An encoder file describes its checkpoints with five names:

    MODEL_TYPES   the `model_type`s of a Hugging Face config.json that this file's Model is.
    RULES         ordered (source, target, transform). `source` is a regular expression for the full name of a tensor in
                  the checkpoint, in PyTorch's naming; `target` is the path of our variable from its collection on,
                  'params/block\\1/attn/query/kernel', with the expression's groups; `transform` is one of the functions
                  below (`dense`, `conv`, ...), numpy in, numpy out. A tensor that two rules match feeds two variables.
                  When several tensors make one variable, `source` is a tuple: the expression, then the names of the
                  others with the expression's groups; `transform` receives them in that order.
    DROPS         regular expressions of tensors that are left out on purpose: text towers, heads, counters.
    EXAMPLE       jax.ShapeDtypeStruct of the smallest input that initialises the model.
    from_config(config: dict) -> dict    a Hugging Face config.json to the fields of Model.
"""

from collections.abc import Callable

import numpy as np

Rule = tuple[str | tuple[str, ...], str, Callable[..., np.ndarray]]


def same(x: np.ndarray) -> np.ndarray:
    return x


def dense(x: np.ndarray) -> np.ndarray:
    """Linear weight [out in] -> Dense kernel [in out]."""
    return x.T


def conv(x: np.ndarray) -> np.ndarray:
    """Convolution weight [out in *window] -> kernel [*window in out], of any rank, grouped and depthwise too."""
    return x.transpose(*range(2, x.ndim), 1, 0)


def pointwise(x: np.ndarray) -> np.ndarray:
    """1x1 convolution weight [out in 1 ... 1] -> Dense kernel [in out]."""
    if x.shape[2:] != (1,) * (x.ndim - 2):
        raise ValueError(f"expected a 1x1 convolution, found {x.shape}")
    return x.reshape(x.shape[:2]).T


def flat(x: np.ndarray) -> np.ndarray:
    """A vector stored with leading axes of length 1, [1 1 d] -> [d]."""
    return x.reshape(x.shape[-1])


def squeeze(x: np.ndarray) -> np.ndarray:
    """The same without its first axis, which has length 1."""
    return x.squeeze(0)


def first_half(x: np.ndarray) -> np.ndarray:
    """The first half along the output axis: dense [2 out, in] -> [in out], or a bias [2 out] -> [out]."""
    return np.split(x, 2)[0].T


def second_half(x: np.ndarray) -> np.ndarray:
    """The second half, as `first_half`."""
    return np.split(x, 2)[1].T


def weight_norm(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """torch's weight normalisation g v / |v| merged into a `conv` kernel; |v| over the axes where g has length 1."""
    axes = tuple(i for i, n in enumerate(g.shape) if n == 1 and v.shape[i] > 1)
    v = v.astype(np.float64)
    return conv((g * v / np.sqrt((v * v).sum(axes, keepdims=True))).astype(np.float32))
