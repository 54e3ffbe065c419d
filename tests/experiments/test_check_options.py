"""Options out of range are refused by name before anything runs."""

import pytest

from configs import contrastive
from experiments import check_options
from tests.experiments import micro


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((f"train.{name}", 0, "a whole number of at least 1") for name in ("steps", "log_steps", "eval_steps")),
        ("train.checkpoint_steps", 0, "a whole number of at least 1"),
        ("train.log_steps", 1.5, "a whole number of at least 1"),
        ("train.accumulate", 0, "a whole number of at least 1"),
        ("train.accumulate", 3, "twice it to divide data.batch_size=8"),
        ("train.select", "f1", "a metric that the task validates: auc, accuracy, loss"),
        ("train.dtype", "floaty", "one of float32, bfloat16"),
        ("train.ema", 1.0, "a number of at least 0 and below 1"),
        ("evaluate.batch_size", 0, "a whole number of at least 1"),
        ("evaluate.windows", 0, "a whole number of at least 1"),
        ("data.batch_size", -4, "a whole number of at least 1"),
        ("data.window", 0.0, "a number of at least 0.04"),
        ("data.balance", "both", "one of none, label, method"),
        ("optimizer.learning_rate", 0.0, "a number above 0"),
        ("optimizer.learning_rate", float("nan"), "a number above 0"),
        ("optimizer.warmup_steps", 12, "less than train.steps=12"),
        ("folds", 2, "0 \\(none\\) or a whole number of at least 3"),
    ],
)
def test_an_option_out_of_range_is_refused(name, value, expected):
    config = micro.get_config().to_dict()
    check_options.check(config)
    section, _, key = name.rpartition(".")
    (config[section] if section else config)[key] = value
    with pytest.raises(ValueError, match=f"^config.{name}={value}: expected {expected}"):
        check_options.check(config)


def test_a_loss_that_compares_rows_refuses_micro_batches():
    config = contrastive.get_config().to_dict()
    check_options.check(config)
    config["train"]["accumulate"] = 2
    with pytest.raises(ValueError, match=r"^config.train.accumulate=2: expected 1: the loss compares the rows"):
        check_options.check(config)
