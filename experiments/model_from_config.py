"""From a config to the model and the task: the one place that reads `config.model`, `config.task` and the precision."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from data_pipelines import batch as batch_lib
from experiments.run_directory import log
from mmdf_jax import finetune, lora, optim
from mmdf_jax.build import build
from mmdf_jax.typing import Array, Batch, Outputs
from mmdf_jax.weights import load

Model = nn.Module | lora.Adapted


def make_model(config: Mapping[str, Any], allow: Sequence[str] = ()) -> Model:
    """The model of `config.model`, computing in `config.train.dtype`, its encoders rematerialised if so configured, and
    as `config.finetune` wants it."""
    spec = _with_dtype(config["model"], config["train"]["dtype"])
    if config["train"]["remat"]:
        spec["encoders"] = {stream: {"remat": True, **encoder} for stream, encoder in spec["encoders"].items()}
    tuning = config["finetune"]
    if tuning["mode"] == "frozen":
        spec = {"frozen": True, **spec}
    model = _as("Model", "model", build(spec, allow=allow))
    return lora.Adapted(model, tuning["rank"], tuning["alpha"]) if tuning["mode"] == "lora" else model


def with_published_fields(config: Mapping[str, Any], allow: Sequence[str] = ()) -> dict[str, Any]:
    """`config`, its encoders of `variant: "published"` with the fields that their weights' config.json says.

    What a run saves is then complete without the weights.

    Raises:
      ValueError: such an encoder has no weights in `config.pretrained`, or its spec sets a field to something else than
        they have; or as `weights.load.published_fields`.
    """
    encoders = dict(config["model"].get("encoders", {}))
    for stream, spec in encoders.items():
        if spec.get("variant") != load.PUBLISHED:
            continue
        weights = config["pretrained"].get(stream) or {"source": ""}
        if not weights["source"]:
            raise ValueError(
                f"config.model.encoders.{stream}.variant={load.PUBLISHED}: set config.pretrained.{stream}.source to "
                "the weights whose config.json says the fields"
            )
        own = {key: value for key, value in spec.items() if key != "variant"}
        build(own, allow=allow)  # imports the encoder, or says what is wrong with its name
        fields = load.published_fields(weights["source"], spec["name"], weights["revision"] or None)
        if other := {key: value for key, value in fields.items() if own.get(key, value) != value}:
            raise ValueError(
                "; ".join(f"config.model.encoders.{stream}.{key}={own[key]}: set it to {v}" for key, v in other.items())
                + f", as config.json of {weights['source']} says"
            )
        encoders[stream] = {**fields, **own}
        log.info("encoders_%s: %s of %s", stream, ", ".join(f"{k}={v}" for k, v in fields.items()), weights["source"])
    return {**config, "model": {**config["model"], "encoders": encoders}}


def make_task(config: Mapping[str, Any], allow: Sequence[str] = ()) -> Any:
    """The task of `config.task`."""
    return _as("Task", "task", build(config["task"], allow=allow))


def make_producer(config: Mapping[str, Any], allow: Sequence[str] = ()) -> Any:
    """What makes the run's score tables in place of a model to train: `config.producer`, None without one."""
    if "producer" not in config:
        return None
    return _as("Producer", "producer", build(config["producer"], allow=allow))


def make_evaluator(config: Mapping[str, Any], allow: Sequence[str] = ()) -> Any:
    """What reports on the score tables of the config's task or producer: an Evaluator of experiments/evaluators."""
    if producer := make_producer(config, allow):
        return _as("Evaluator", "producer", build(producer.evaluator(config), allow=allow))
    return _as("Evaluator", "task", build(make_task(config, allow).evaluator, allow=allow))


def judged_by(config: Mapping[str, Any], allow: Sequence[str] = ()) -> str:
    """The column of the label that a run of this config answers for."""
    return getattr(make_evaluator(config, allow), "judged_by", "label")


def _as(symbol: str, section: str, built: Any) -> Any:
    """What was built, if it is what the config's section is for."""
    if type(built).__name__ != symbol:
        found = f"{type(built).__module__}.{type(built).__name__}"
        raise ValueError(f"config.{section}: expected the name of a file that defines a {symbol}, found {found}")
    return built


def _with_dtype(spec: Any, dtype: str) -> Any:
    """Adds `dtype` to every spec in the tree that does not set its own."""
    if not isinstance(spec, Mapping):
        return spec
    nested = {key: _with_dtype(value, dtype) for key, value in spec.items()}
    return {"dtype": dtype, **nested} if "name" in spec else nested


def init(model: Model, config: Mapping[str, Any], key: Array) -> dict[str, Any]:
    """Fresh variables: `params`, and `batch_stats` where there is BatchNorm. Two rows are enough to know the shapes."""
    variables = model.init(key, batch_lib.zeros(config["data"], 2), train=False)
    return {"batch_stats": {}, **variables}


def init_state(make: Callable[[Any], Any], given: Any, sharding: Any) -> Any:
    """Runs `make(given)`, which initialises parameters or optimizer, on the devices of `sharding`.

    Unoptimised code: hundreds of small random fills are compiled to be run once.
    """
    options = {"xla_backend_optimization_level": "0"} if jax.default_backend() == "cpu" else None
    return jax.jit(make, out_shardings=sharding, compiler_options=options)(given)


def load_pretrained(config: Mapping[str, Any], model: Model, variables: Mapping[str, Any]) -> dict[str, Any]:
    """`variables`, the encoders' replaced by the published weights that `config.pretrained` names (numpy arrays).

    Raises:
      WeightsError: weights missing, damaged, or of another model; one line.
    """
    params, stats = dict(variables["params"]), dict(variables["batch_stats"])
    modules = _encoders(model)
    for stream, spec in config["pretrained"].items():
        if not spec["source"]:
            continue
        if stream not in modules:
            raise ValueError(f"config.pretrained.{stream}: the model's streams are {', '.join(modules)}")
        name = f"encoders_{stream}"
        target = {"params": params[name]} | ({"batch_stats": stats[name]} if name in stats else {})
        loaded, digest = load.load_variables(
            spec["source"],
            modules[stream],
            target,
            revision=spec["revision"] or None,
            digest=spec["digest"] or None,
            drops=spec["drops"],
        )
        log.info("%s: weights of %s, SHA-256 %s", name, spec["source"], digest)
        params[name] = loaded["params"]
        if name in stats:
            stats[name] = loaded["batch_stats"]
    return {**variables, "params": params, "batch_stats": stats}


def _encoders(model: Model) -> Mapping[str, nn.Module]:
    return getattr(model.model if isinstance(model, lora.Adapted) else model, "encoders", {})


def learning_rates(config: Mapping[str, Any], model: Model, params: Any) -> Any:
    """Each parameter's learning-rate multiplier: of `config.optimizer.rules` times that of `config.finetune`.

    Raises:
      ValueError: a rule that matches nothing, an unknown mode, or nothing is left to train.
    """
    ruled = optim.multipliers(params, config["optimizer"]["rules"])
    after = {stream: finetune.last(encoder) for stream, encoder in _encoders(model).items()}
    return jax.tree.map(operator.mul, ruled, finetune.rates(params, config["finetune"], after))


def what_trains(params: Any, rates: Any) -> str:
    """A table of the parameters' top-level parts: how many there are, how many train, and at which rates."""
    lines = [f"{'part':<24}{'parameters':>14}{'trained':>14}   rate"]
    for name in sorted(params):
        leaves = list(zip(jax.tree.leaves(params[name]), jax.tree.leaves(rates[name]), strict=True))
        trained = sorted({rate for _, rate in leaves if rate})
        shown = "–" if not trained else f"{trained[0]:.3g}" + (f" to {trained[-1]:.3g}" if len(trained) > 1 else "")
        counts = (sum(leaf.size for leaf, _ in leaves), sum(leaf.size for leaf, rate in leaves if rate))
        lines.append(f"{name:<24}" + "".join(f"{count:>14,}" for count in counts) + f"   {shown}")
    return "\n".join(lines)


def apply(model: Model, variables: Mapping[str, Any], batch: Batch, capture: Sequence[str] = ()) -> Outputs:
    """The model in evaluation mode; what costs memory to keep only where `capture` names it."""
    return model.apply(dict(variables), batch, train=False, capture=capture)


def count_parameters(params: Any) -> int:
    """How many numbers `params` holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
