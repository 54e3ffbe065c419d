"""max_over against numpy and, away from ties, against the gradient that JAX derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.layers.pool import max_over


@pytest.mark.parametrize("axis", (1, -1))
def test_equals_max_in_value_and_gradient(axis):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32))
    np.testing.assert_array_equal(max_over(x, axis), np.max(x, axis))
    ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x, axis))))(x) for f in (max_over, jnp.max))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_tie_gives_the_gradient_to_one_place():
    gradient = jax.grad(lambda x: max_over(x, 1).sum())(jnp.array([[2.0, 2.0, 1.0]]))
    np.testing.assert_array_equal(gradient, [[1.0, 0.0, 0.0]])
