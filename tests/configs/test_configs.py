"""Every config is built and stepped, and its full size passes eval_shape."""

import functools
import importlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from data_pipelines import batch as batch_lib
from experiments import model_from_config
from mmdf_jax import optim

FOLDER = pathlib.Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py") if path.stem != "common")


# Every encoder that a config offers, by the argument that asks for it. What reads score tables only has no model.
CASES = [
    (name, f"encoder={encoder}" if encoder else "")
    for name in NAMES
    if "model" in importlib.import_module(f"configs.{name}").get_config()
    for encoder in getattr(importlib.import_module(f"configs.{name}"), "ENCODERS", {"": None})
]


def get(name, arg=""):
    return importlib.import_module(f"configs.{name}").get_config(arg).to_dict()


def random_batch(config):
    batch = batch_lib.zeros(config["data"], 2)
    rng = np.random.default_rng(0)
    for stream in config["data"]["streams"]:
        info = np.iinfo(batch[stream].dtype)
        batch[stream] = rng.integers(info.min, info.max, batch[stream].shape, batch[stream].dtype)
    batch["label"] = batch["video_label"] = batch["audio_label"] = np.array([0, 1], np.int32)
    return batch


def filled(variables, rng):
    """Variables of these shapes as initializers leave them, more or less: theirs take as long to compile as a step."""

    def fill(path, leaf):
        if leaf.ndim > 1:
            return (rng.standard_normal(leaf.shape) / np.sqrt(leaf.size / leaf.shape[-1])).astype(leaf.dtype)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, variables)


def take_steps(config, count):
    """The losses of `count` training steps on one random batch."""
    model, task = model_from_config.make_model(config), model_from_config.make_task(config)
    batch = random_batch(config)
    variables = filled(
        jax.eval_shape(functools.partial(model_from_config.init, model, config), jax.random.key(0)),
        np.random.default_rng(1),
    )
    settings = {**config["optimizer"], "learning_rate": 1e-3, "warmup_steps": 0}
    rates = model_from_config.learning_rates(config, model, variables["params"])
    optimizer, _ = optim.make(settings, variables["params"], 10, rates)

    # Code that runs four times is compiled quickly.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": "0"})
    def step(variables, state):
        def loss_fn(params):
            outputs, updated = model.apply(
                {**variables, "params": params},
                batch,
                train=True,
                rngs={"dropout": jax.random.key(1)},
                mutable=["batch_stats"],
            )
            return task.loss(outputs, batch)[0], updated

        (loss, updated), gradients = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
        updates, state = optimizer.update(gradients, state, variables["params"])
        params = optax.apply_updates(variables["params"], updates)
        return {**variables, **updated, "params": params}, state, loss, optax.tree.norm(gradients)

    state, losses = optimizer.init(variables["params"]), []
    for _ in range(count):
        variables, state, loss, norm = step(variables, state)
        assert jnp.isfinite(loss) and jnp.isfinite(norm) and norm > 0
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize(("name", "arg"), CASES)
def test_the_tiny_config_takes_training_steps_that_lower_the_loss(name, arg):
    config = get(name, arg)
    if name == "early_fusion":  # its encoders are those of cross_attn: two of them are enough
        for stream in ("mouth", "video"):
            del config["model"]["encoders"][stream], config["data"]["streams"][stream]
    losses = take_steps(config, 4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("name", "arg"), CASES)
def test_the_full_size_config_has_the_right_shapes(name, arg):
    config = get(name, f"{arg},size=base")
    model, task = model_from_config.make_model(config), model_from_config.make_task(config)

    def run(key):
        variables = model_from_config.init(model, config, key)
        batch = batch_lib.zeros(config["data"], 2)
        outputs = model_from_config.apply(model, variables, batch)
        return variables["params"], outputs, task.outputs(outputs, batch)

    params, outputs, scores = jax.eval_shape(run, jax.random.key(0))
    assert scores["score"].shape == (2,)
    assert outputs.get("logits", scores["score"]).dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) > 4e6


@pytest.mark.parametrize("size", common.SIZES)
def test_fusions_are_compared_at_equal_parameters(size):
    def count(name, arg=""):
        config = get(name, f"size={size}{arg}")
        init = functools.partial(model_from_config.init, model_from_config.make_model(config), config)
        return model_from_config.count_parameters(jax.eval_shape(init, jax.random.key(0))["params"])

    attention = count("cross_attn")
    for fusion in ("early", "pooled"):
        assert count("early_fusion", f",fusion={fusion}") == pytest.approx(attention, rel=0.01)


@pytest.mark.parametrize("name", ["audio", "image", "video"])
def test_a_shallow_one_of_full_width_takes_a_step(name):
    config = get(name, "size=base")
    for stream, spec in config["model"]["encoders"].items():
        spec |= getattr(importlib.import_module(spec["name"]), "SHALLOW", {})
        size = {"audio": {}, "image": {"frames": 1, "size": 64}, "video": {"fps": 2.5, "size": 64}}[stream]
        config["data"]["streams"] = {stream: size}
    config["data"]["window"] = 0.8
    take_steps(config, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_config_is_plain_data(name):
    config = get(name)
    assert json.loads(json.dumps(config)) == json.loads(json.dumps(get(name)))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_argument_lists_the_known_ones(name):
    said = ": this config has none" if name == "analysis" else " is not one of .*data=talking_heads.*size=tiny"
    with pytest.raises(ValueError, match=f"config argument 'encodr=x'{said}"):
        get(name, "encodr=x")


def test_arguments_are_typed():
    args = common.parse_args("a=3,b=x,c=false", a=1, b="", c=True, d=0.5)
    assert args.to_dict() == {"a": 3, "b": "x", "c": False, "d": 0.5, "pseudo_fakes": False}
    with pytest.raises(ValueError, match="argument fusion='late' is not one of early, pooled"):
        get("early_fusion", "fusion=late")
    for arg, message in (
        ("a=x", "expected a value of type int"),
        ("c=2", "of type bool"),
        ("a", "not one of"),
        ("a=1,a=2", "twice"),
        ("size=huge", "not one of tiny, base"),
    ):
        with pytest.raises(ValueError, match=message):
            common.parse_args(arg, a=1, b="", c=True, size="tiny")


def test_the_hierarchical_config_has_one_vocabulary_and_short_pseudo_fakes():
    config = importlib.import_module("configs.hierarchical").get_config("pseudo_fakes=true")
    config.data.targets.method.vocabulary = ("real", "a", ("b", "c"))
    plain = config.to_dict()
    assert plain["task"]["vocabulary"] == plain["model"]["vocabulary"] == ("real", "a", ("b", "c"))
    assert {(spec["partial"], spec["span"]) for spec in plain["data"]["pseudo_fakes"]} == {(0.75, (0.2, 0.8))}
