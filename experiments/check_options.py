"""Options that are out of range, refused before anything is prepared or trained."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from data_pipelines.loading import loader, sampling
from data_pipelines.loading.windows import FPS
from experiments import model_from_config
from experiments.run_directory import flatten

Range = tuple[str, Callable[[Any], bool]]  # in words, and as a test


def _whole(least: int) -> Range:
    return f"a whole number of at least {least}", lambda value: type(value) is int and value >= least


def _number(low: float, high: float = math.inf, *, above: bool = False) -> Range:
    words = f"a number above {low:g}" if above else f"a number of at least {low:g}"
    return (
        words + (f" and below {high:g}" if high < math.inf else ""),
        lambda value: isinstance(value, int | float) and (low < value if above else low <= value) and value < high,
    )


def _one_of(*known: str) -> Range:
    return "one of " + ", ".join(known), lambda value: value in known


RANGES: dict[str, Range] = {
    "folds": ("0 (none) or a whole number of at least 3", lambda value: value == 0 or _whole(3)[1](value)),
    "fold": _whole(0),
    "data.window": _number(1 / FPS),  # s
    "data.batch_size": _whole(1),
    "data.leave_out": (
        "a list of methods' names",
        lambda value: isinstance(value, list | tuple) and all(isinstance(method, str) for method in value),
    ),
    "data.balance": _one_of(*sampling.BALANCES),
    "data.workers": _whole(0),
    "data.threads": _whole(0),
    "data.prefetch": _whole(1),
    "train.steps": _whole(1),
    "train.log_steps": _whole(1),
    "train.eval_steps": _whole(1),
    "train.checkpoint_steps": _whole(1),
    "train.patience": _whole(0),
    "train.dtype": _one_of("float32", "bfloat16", "float16"),
    "train.accumulate": _whole(1),
    "train.ema": _number(0, 1),
    "optimizer.learning_rate": _number(0, above=True),
    "optimizer.weight_decay": _number(0),
    "optimizer.warmup_steps": _whole(0),
    "optimizer.clip": _number(0),
    "optimizer.alternate.spatial": _whole(0),
    "optimizer.alternate.temporal": _whole(0),
    "finetune.blocks": _whole(0),
    "finetune.layer_decay": _number(0, above=True),
    "finetune.rank": _whole(1),
    "evaluate.windows": _whole(1),
    "evaluate.stride": _number(0),  # s
    "evaluate.batch_size": _whole(1),
    "evaluate.bootstrap": _whole(0),
}


def check(config: Mapping[str, Any], allow: Sequence[str] = ()) -> None:
    """Looks at each option by itself, then at those that must fit together.

    Raises:
      ValueError: `config.<name>=<value>: expected …`.
    """
    options = flatten(config)
    for name, (words, fits) in RANGES.items():
        if name in options and not fits(options[name]):
            raise _refusal(name, options[name], words)
    if producer := model_from_config.make_producer(config, allow):
        producer.check(config, allow)
        return
    loader.Settings.of({**config["data"], "stride": config["evaluate"].get("stride", 0.0)})
    steps, accumulate = options["train.steps"], options["train.accumulate"]
    if (warmup := options["optimizer.warmup_steps"]) >= steps:
        raise _refusal("optimizer.warmup_steps", warmup, f"less than train.steps={steps}")
    if accumulate > 1 and options["data.batch_size"] % (2 * accumulate):
        raise _refusal(
            "train.accumulate",
            accumulate,
            f"twice it to divide data.batch_size={options['data.batch_size']}, for micro-batches of real-fake pairs",
        )
    for name in ("data.batch_size", "evaluate.batch_size"):
        if options[name] % jax.device_count():
            raise _refusal(name, options[name], f"a multiple of the {jax.device_count()} devices")
    task = model_from_config.make_task(config, allow)
    if accumulate > 1 and getattr(task, "compares_rows", False):
        raise _refusal(
            "train.accumulate", accumulate, "1: the loss compares the rows of a batch, and micro-batches have fewer"
        )
    known = task.directions
    if options["train.select"] not in known:
        raise _refusal("train.select", options["train.select"], f"a metric that the task validates: {', '.join(known)}")


def _refusal(name: str, value: Any, words: str) -> ValueError:
    return ValueError(f"config.{name}={value}: expected {words}")
