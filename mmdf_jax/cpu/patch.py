"""A convolution whose stride is its kernel's size, as reshape and matrix product."""

from mmdf_jax.typing import Array


def patchify_matmul(x: Array, kernel: Array) -> Array:
    """A convolution whose stride is its kernel's size, as reshape and matrix product.

    x [b h w c], kernel [p q c d]; returns [b h//p w//q d]. Rows and columns beyond the last full patch are left
    out. XLA's CPU gradient of the plain convolution is an order of magnitude slower.
    """
    b, h, w, c = x.shape
    p, q, _, d = kernel.shape
    x = x[:, : h // p * p, : w // q * q].reshape(b, h // p, p, w // q, q, c)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // p, w // q, p * q * c)
    return x @ kernel.reshape(p * q * c, d)
