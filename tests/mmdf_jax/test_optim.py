"""Optimizer: schedule, freezing, layer-wise rates and decay, against closed forms and torch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from mmdf_jax import optim

PARAMS = {
    "encoder": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)},
    "head": {"kernel": jnp.full((2, 1), 2.0), "bias": jnp.zeros(1)},
}


def step(transformation, params, gradients, state=None):
    state = transformation.init(params) if state is None else state
    updates, state = transformation.update(gradients, state, params)
    return optax.apply_updates(params, updates), state


def test_schedule_warms_up_then_follows_half_a_cosine():
    rate = optim.schedule(learning_rate=1.0, steps=100, warmup_steps=10)
    np.testing.assert_allclose([rate(i) for i in range(10)], np.arange(1, 11) / 10, rtol=1e-6)
    t = (np.arange(10, 100) - 9) / 91
    np.testing.assert_allclose([rate(i) for i in range(10, 100)], 0.5 * (1 + np.cos(np.pi * t)), atol=1e-6)
    assert rate(0) > 0
    flat = optim.schedule(learning_rate=1.0, steps=10)
    assert flat(0) == 1.0


def test_warm_up_must_be_shorter_than_the_run():
    with pytest.raises(ValueError, match=r"config.optimizer.warmup_steps=10 must lie in \[0, steps=10\)"):
        optim.schedule(learning_rate=1.0, steps=10, warmup_steps=10)


@pytest.mark.parametrize(("packed", "large"), [(False, 0), (True, optim._LARGE), (True, 4)])
def test_adamw_with_clipping_equals_torch(packed, large, monkeypatch):
    monkeypatch.setattr(optim, "_LARGE", large)
    rng = np.random.default_rng(0)
    config = {"learning_rate": 0.1, "weight_decay": 0.1, "clip": 0.5, "packed": packed}
    transformation, rate = optim.make(config, PARAMS, 1000)
    flat, tree = jax.tree.flatten(PARAMS)
    tensors = [torch.nn.Parameter(torch.tensor(np.asarray(leaf))) for leaf in flat]
    reference = torch.optim.AdamW(
        [{"params": [t], "weight_decay": 0.1 if t.ndim > 1 else 0.0} for t in tensors], lr=0.1
    )
    params, state = PARAMS, None
    for i in range(5):
        gradients = [rng.normal(size=leaf.shape).astype(np.float32) for leaf in flat]
        params, state = step(transformation, params, jax.tree.unflatten(tree, gradients), state)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(tensors, 0.5)
        for group in reference.param_groups:
            group["lr"] = float(rate(i))
        reference.step()
    for leaf, tensor in zip(jax.tree.leaves(params), tensors, strict=True):
        np.testing.assert_allclose(leaf, tensor.detach().numpy(), rtol=2e-5)


def test_rules_freeze_and_scale_by_path():
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    config = {"learning_rate": 0.1, "rules": [("encoder/.*kernel", 0.0), ("encoder", 0.5)]}
    transformation, _ = optim.make(config, PARAMS, 10)
    params, _ = step(transformation, PARAMS, gradients)
    np.testing.assert_array_equal(params["encoder"]["kernel"], PARAMS["encoder"]["kernel"])
    np.testing.assert_allclose(PARAMS["encoder"]["bias"] - params["encoder"]["bias"], 0.05, rtol=1e-5)
    np.testing.assert_allclose(PARAMS["head"]["kernel"] - params["head"]["kernel"], 0.1, rtol=1e-5)


def test_frozen_gradients_do_not_count_in_the_clipped_norm():
    huge = {
        "encoder": jax.tree.map(lambda x: x * 1e6, PARAMS["encoder"]),
        "head": {"kernel": jnp.full((2, 1), 1e-3), "bias": jnp.zeros(1)},
    }
    chain, _ = optim.make({"learning_rate": 1.0, "clip": 1.0, "rules": [("encoder", 0.0)]}, PARAMS, 10)
    _, state = step(chain, PARAMS, huge)
    (moment,) = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (2, 1) and (leaf > 1e-6).all()]
    np.testing.assert_allclose(moment, 0.1 * 1e-3, rtol=1e-5)  # not scaled down by the clip


def test_the_state_is_a_tree_like_the_parameters():
    state = optim.make({"learning_rate": 0.1}, PARAMS, 10)[0].init(PARAMS)
    assert jax.tree.structure(optax.tree.get(state, "mu")) == jax.tree.structure(PARAMS)


def test_a_packed_state_has_few_leaves_and_frozen_ones_none():
    config = {"learning_rate": 0.1, "packed": True, "rules": [("encoder", 0.0)]}
    state = optim.make(config, PARAMS, 10)[0].init(PARAMS)
    vector, row = optax.tree.get(state, "mu")
    assert (vector.shape, row.shape) == ((1,), (1, 2))


@pytest.mark.parametrize("name", ("sgd", "lion", "adafactor"))
def test_any_optimizer_of_optax(name):
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    params, _ = step(optim.make({"name": name, "learning_rate": 0.1}, PARAMS, 10)[0], PARAMS, gradients)
    assert all((after < before).all() for after, before in zip(*map(jax.tree.leaves, (params, PARAMS)), strict=True))


def test_options_reach_the_optimizer():
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    config = {"name": "sgd", "learning_rate": 0.1, "options": {"momentum": 0.9}}
    chain, _ = optim.make(config, PARAMS, 1_000)
    params, state = step(chain, PARAMS, gradients)
    again, _ = step(chain, params, gradients, state)
    np.testing.assert_allclose(params["head"]["bias"] - again["head"]["bias"], 0.19, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "adamv"}, "config.optimizer.name='adamv': optax has no such optimizer"),
        ({"name": "global_norm"}, "optax has no such optimizer"),
        ({"options": {"beta": 1}}, "config.optimizer.options: optax.adamw takes no 'beta'; it takes learning_rate, b1"),
    ],
)
def test_unknown_optimizers_and_options_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        optim.make({"learning_rate": 1.0, **config}, PARAMS, 10)


def test_frozen_parameters_take_no_optimizer_memory():
    frozen, _ = optim.make({"learning_rate": 1.0, "rules": [("encoder", 0.0)]}, PARAMS, 10)
    everything, _ = optim.make({"learning_rate": 1.0}, PARAMS, 10)
    count = lambda t: sum(leaf.size for leaf in jax.tree.leaves(t.init(PARAMS)))  # noqa: E731
    assert count(everything) - count(frozen) == 2 * (6 + 2)


@pytest.mark.parametrize(
    ("rules", "message"),
    [([("encodr", 0.0)], "'encodr' matches no parameter"), ([("", 0.0)], "freeze every parameter")],
)
def test_rules_that_cannot_be_meant_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        optim.make({"learning_rate": 1.0, "rules": rules}, PARAMS, 10)


KERNELS = {
    "space": {"kernel": jnp.ones((1, 3, 3, 2, 2))},
    "time": {"kernel": jnp.ones((3, 1, 1, 2, 2)), "bias": jnp.ones(2)},
    "point": {"kernel": jnp.ones((1, 1, 1, 2, 2))},
    "full": {"kernel": jnp.ones((3, 3, 3, 2, 2))},
    "head": {"kernel": jnp.ones((2, 1))},
}


def test_kernels_are_spatial_or_temporal_by_shape():
    kinds = optim.kinds_of_kernels(KERNELS)
    flat = {name: kind["kernel"] for name, kind in kinds.items()}
    assert flat == {"space": "spatial", "time": "temporal", "point": "both", "full": "both", "head": "both"}
    assert kinds["time"]["bias"] == "both"


@pytest.mark.parametrize("packed", [False, True])
def test_alternating_moves_the_right_leaves_in_one_program(packed):
    config = {"learning_rate": 0.1, "packed": packed, "weight_decay": 0.1, "alternate": {"spatial": 1, "temporal": 2}}
    transformation, _ = optim.make(config, KERNELS, 100)
    compiled = []

    @jax.jit
    def move(params, state):
        compiled.append(1)
        updates, state = transformation.update(jax.tree.map(jnp.ones_like, params), state, params)
        return optax.apply_updates(params, updates), state

    params, state, moved = KERNELS, transformation.init(KERNELS), []
    for _ in range(6):
        after, state = move(params, state)
        changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), after, params)
        moved.append((changed["space"]["kernel"], changed["time"]["kernel"]))
        assert all(changed[name]["kernel"] for name in ("point", "full", "head")) and changed["time"]["bias"]
        params = after
    assert moved == [(True, False), (False, True), (False, True)] * 2
    assert len(compiled) == 1


def test_resting_gradients_stay_out_of_the_moments():
    transformation = optim.alternated(optax.scale_by_adam(), optim.kinds_of_kernels(KERNELS), spatial=1, temporal=20)
    _, state = transformation.update(jax.tree.map(jnp.ones_like, KERNELS), transformation.init(KERNELS), KERNELS)
    assert not np.any(state["inner"].mu["time"]["kernel"]) and np.all(state["inner"].mu["space"]["kernel"] > 0)


def test_alternating_needs_both_kinds_and_whole_turns():
    config = {"learning_rate": 0.1, "alternate": {"spatial": 0, "temporal": 0}}
    assert isinstance(optim.make(config, PARAMS, 10)[0], optax.GradientTransformation)
    with pytest.raises(ValueError, match="the model has no spatial kernel to alternate with"):
        optim.make(config | {"alternate": {"spatial": 1, "temporal": 20}}, PARAMS, 10)
    with pytest.raises(ValueError, match="expected 1 step or more of each, found 0 and 20"):
        optim.make(config | {"alternate": {"spatial": 0, "temporal": 20}}, KERNELS, 10)
