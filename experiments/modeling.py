"""From a config to the model and the task: the one place that reads `config.model`, `config.task` and the precision."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from data_pipelines import batch as batch_lib
from mmdf_jax.build import build
from mmdf_jax.typing import Array, Batch, Outputs


def make_model(config: Mapping[str, Any], allow: Sequence[str] = ()) -> nn.Module:
    """The model of `config.model`, computing in `config.train.dtype`, its encoders rematerialised if so configured."""
    spec = _with_dtype(config["model"], config["train"]["dtype"])
    if config["train"]["remat"]:
        spec["encoders"] = {stream: {"remat": True, **encoder} for stream, encoder in spec["encoders"].items()}
    return build(spec, allow=allow)


def make_task(config: Mapping[str, Any], allow: Sequence[str] = ()) -> Any:
    """The task of `config.task`."""
    return build(config["task"], "Task", allow=allow)


def _with_dtype(spec: Any, dtype: str) -> Any:
    """Adds `dtype` to every spec in the tree that does not set its own."""
    if not isinstance(spec, Mapping):
        return spec
    nested = {key: _with_dtype(value, dtype) for key, value in spec.items()}
    return {"dtype": dtype, **nested} if "name" in spec else nested


def init(model: nn.Module, config: Mapping[str, Any], key: Array) -> dict[str, Any]:
    """Fresh variables: `params`, and `batch_stats` where there is BatchNorm. Two rows are enough to know the shapes."""
    variables = model.init(key, batch_lib.zeros(config["data"], 2), train=False)
    return {"batch_stats": {}, **variables}


def init_state(make: Callable[[Array], Any], key: Array, sharding: Any) -> Any:
    """Runs `make(key)`, which initialises parameters, on the devices of `sharding`.

    Unoptimised code: hundreds of small random fills are compiled to be run once.
    """
    options = {"xla_backend_optimization_level": "0"} if jax.default_backend() == "cpu" else None
    return jax.jit(make, out_shardings=sharding, compiler_options=options)(key)


def apply(model: nn.Module, variables: Mapping[str, Any], batch: Batch) -> Outputs:
    """The model in evaluation mode."""
    return model.apply(dict(variables), batch, train=False)


def count_parameters(params: Any) -> int:
    """How many numbers `params` holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
