"""Low-rank matrices change nothing at first, and then exactly what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmdf_jax import lora
from mmdf_jax.encoders import clip
from mmdf_jax.models import unimodal


class Plain(nn.Module):
    @nn.compact
    def __call__(self, batch, *, train=False):
        return nn.Dense(1)(batch)


@pytest.fixture(scope="module")
def setup():
    encoder = clip.Model(patch=8, width=12, depth=2, heads=2, mlp_hidden=16, image_size=16)
    model = unimodal.Model({"image": encoder})
    image = np.random.default_rng(0).integers(0, 255, (2, 1, 16, 16, 3)).astype(np.uint8)
    batch = {"image": image, "image_mask": np.ones(2, bool)}
    adapted = lora.Adapted(model, rank=3, alpha=6.0)
    return model, adapted, batch, jax.jit(lambda: adapted.init(jax.random.key(0), batch, train=False))()


def test_at_first_nothing_changes(setup):
    model, adapted, batch, variables = setup
    plain = jax.jit(lambda: model.init(jax.random.key(0), batch, train=False))()
    np.testing.assert_array_equal(adapted.apply(variables, batch)["logits"], model.apply(plain, batch)["logits"])


def test_the_product_is_added_to_queries_and_values(setup):
    model, adapted, batch, variables = setup
    filled = jax.tree.map(lambda x: x, variables)
    block = filled["params"]["lora"]["encoders_image"]["block1"]["attn"]
    assert sorted(block) == ["query", "value"] and block["query"]["kernel"]["a"].shape == (12, 3)
    block["value"]["kernel"]["b"] = jnp.ones((3, 12))
    kernel = variables["params"]["encoders_image"]["block1"]["attn"]["value"]["kernel"]
    by_hand = jax.tree.map(lambda x: x, {"params": {k: v for k, v in variables["params"].items() if k != "lora"}})
    by_hand["params"]["encoders_image"]["block1"]["attn"]["value"]["kernel"] = kernel + 2.0 * (
        block["value"]["kernel"]["a"] @ jnp.ones((3, 12))
    )
    expected = model.apply(by_hand, batch)["logits"]
    np.testing.assert_allclose(adapted.apply(filled, batch)["logits"], expected, rtol=1e-5)
    assert not np.allclose(expected, adapted.apply(variables, batch)["logits"])


def test_a_model_without_attention_is_refused():
    with pytest.raises(ValueError, match="no attention"):
        lora.Adapted(Plain()).init(jax.random.key(0), jnp.ones((1, 2)))
