"""The lip front end: what a token sees, padding, and sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.encoders import lip_resnet

TINY = lip_resnet.Model(**lip_resnet.VARIANTS["tiny"])


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(0).integers(0, 256, (2, 12, 32, 32, 1), np.uint8)


@pytest.fixture(scope="module")
def variables(clips):
    return jax.jit(TINY.init)(jax.random.key(0), clips)


def test_a_token_sees_five_frames_and_no_more(clips, variables):
    before = TINY.apply(variables, clips)["tokens"]
    assert before.shape == (2, 12, 96)
    changed = clips.copy()
    changed[:, 6] = 255 - changed[:, 6]
    moved = np.abs(TINY.apply(variables, changed)["tokens"] - before).max((0, 2)) > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(moved), [4, 5, 6, 7, 8])


def test_padding_changes_nothing(clips, variables):
    valid = np.ones((2, 12), bool)
    valid[0, 9:] = False
    out = TINY.apply(variables, clips, valid=valid)
    changed = clips.copy()
    changed[0, 9:] = 7
    again = TINY.apply(variables, changed, valid=valid)
    np.testing.assert_array_equal(out["pooled"], again["pooled"])
    np.testing.assert_array_equal(out["tokens_mask"], valid)
    np.testing.assert_allclose(out["pooled"][0], out["tokens"][0, :9].mean(0), rtol=1e-5, atol=1e-6)
    whole = TINY.apply(variables, clips)["pooled"]
    np.testing.assert_allclose(out["pooled"][1], whole[1], rtol=1e-5, atol=1e-6)


def test_convolutions_over_time_widen_what_a_token_sees():
    model = lip_resnet.Model(width=8, stage_sizes=(1,), strides=((1, 2, 2),), stem_kernel=(5, 3, 3), temporal=(3, 5))
    clip = np.zeros((1, 24, 16, 16, 1), np.float32)
    variables = model.init(jax.random.key(0), clip)
    other = clip.copy()
    other[:, 12] = 1
    moved = np.abs(model.apply(variables, other)["tokens"] - model.apply(variables, clip)["tokens"]).max((0, 2))
    assert set(np.flatnonzero(moved > 1e-7)) == set(range(12 - 2 - 1 - 2, 12 + 2 + 1 + 2 + 1))


def test_the_base_network_is_a_resnet_18_of_its_known_size():
    shapes = jax.eval_shape(lip_resnet.Model().init, jax.random.key(0), jnp.zeros((1, 5, 88, 88, 1), jnp.uint8))
    # ResNet-18 without its stem and classifier has 11,166,976 parameters, norms included; its stem here is 3-D.
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    stage1 = 64 * 64 + 2 * 64  # a skip that the original lacks, for the first stage takes the place of the pool
    assert count == 11_166_976 + 5 * 49 * 64 + 2 * 64 + stage1


def test_strides_and_stages_must_agree(clips):
    with pytest.raises(ValueError, match="2 stages need as many strides"):
        lip_resnet.Model(stage_sizes=(1, 1)).init(jax.random.key(0), clips)


def test_changes_are_seen_and_the_exposure_is_not():
    model = lip_resnet.Model(**{**lip_resnet.VARIANTS["changes_tiny"], "width": 4})
    rng = np.random.default_rng(1)
    film = np.repeat(rng.uniform(0.2, 0.5, (1, 1, 16, 16, 3)), 6, axis=1).astype(np.float32)
    moving = film.copy()
    moving[:, 3:] = rng.uniform(0.2, 0.5, (1, 1, 16, 16, 3))
    variables = jax.jit(model.init)(jax.random.key(0), film)
    tokens = jax.jit(lambda x: model.apply(variables, x)["tokens"])
    gains = np.linspace(0.8, 1.3, 6, dtype=np.float32)[:, None, None, None]
    np.testing.assert_allclose(tokens(film * gains), tokens(film), atol=1e-4)
    assert np.abs(tokens(moving) - tokens(film)).max() > 1e-2
