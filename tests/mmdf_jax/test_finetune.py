"""Which parameters of every encoder train, and how fast."""

import importlib
import pkgutil
import re

import jax
import pytest

from mmdf_jax import encoders, finetune, optim
from mmdf_jax.weights import load

ENCODERS = [module.name for module in pkgutil.iter_modules(encoders.__path__)]
OPTIONS = {"mode": "all", "blocks": 1, "layer_decay": 1.0}


def rates_of(name, **options):
    """{path: rate} of the encoder and of a head beside it."""
    module = importlib.import_module(f"mmdf_jax.encoders.{name}")
    model = module.Model(**module.VARIANTS["tiny"])
    variables = load.shapes(model, module.EXAMPLE)
    params = {"encoders_x": variables["params"], "head": {"kernel": jax.ShapeDtypeStruct((3,), "float32")}}
    rates = finetune.rates(params, {**OPTIONS, **options}, {"x": finetune.last(model)})
    return dict(zip(jax.tree.leaves(optim.path_names(params)), jax.tree.leaves(rates), strict=True))


@pytest.mark.parametrize("name", ENCODERS)
def test_depth_falls_from_the_input_to_the_output(name):
    rates = rates_of(name, layer_decay=0.5)
    assert rates.pop("head/kernel") == 1
    blocks = {path: rate for path, rate in rates.items() if "block" in path}
    count = len({path.partition("block")[2].split("/")[0] + path.partition("block")[0] for path in blocks})
    assert sorted(set(blocks.values())) == [0.5**i for i in range(count, 0, -1)]
    first = ("/stem/", "/patch_embed/", "/conv0/")
    stem = [rate for path, rate in rates.items() if any(part in path for part in first)]
    assert stem and set(stem) == {0.5 ** (count + 1)}


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_and_norms(name):
    assert set(rates_of(name, mode="frozen").values()) == {0.0, 1.0}
    trained = {path for path, rate in rates_of(name, mode="norms").items() if rate} - {"head/kernel"}
    assert trained and all("norm" in path and path.endswith(("scale", "bias")) for path in trained)


def test_the_last_blocks_of_a_transformer():
    rates = rates_of("clip", mode="blocks", blocks=2)
    trained = {path.split("/")[1] for path, rate in rates.items() if rate and path != "head/kernel"}
    assert trained == {"block1", "block2", "post_norm"}


def test_convnexts_downsampling_belongs_to_the_stage_it_leads_to():
    rates = rates_of("convnext", mode="blocks", blocks=3)
    trained = {path.split("/")[1] for path, rate in rates.items() if rate and path != "head/kernel"}
    assert trained == {
        *("down2", "down2_norm", "down3", "down3_norm", "norm", "stage2_block0", "stage2_block1", "stage3_block0"),
    }


@pytest.mark.parametrize("name", ENCODERS)
def test_every_expression_of_what_comes_last_matches(name):
    """One that matches nothing would name a layer that has another name by now."""
    last = [path.removeprefix("encoders_x/") for path, rate in rates_of(name, layer_decay=0.5).items() if rate == 1]
    patterns = getattr(importlib.import_module(f"mmdf_jax.encoders.{name}"), "LAST", ())
    assert {pattern for pattern in patterns if not any(re.match(pattern, path) for path in last)} <= {"projection"}
    assert not any("block" in path or "stem" in path for path in last)


def test_an_encoder_within_another_says_what_comes_last_in_it():
    rates = rates_of("cnn_lstm", mode="blocks", blocks=0)
    trained = {path.rpartition("/")[0] for path, rate in rates.items() if rate and path != "head/kernel"}
    assert {path for path in trained if "lstm" not in path} == {"encoders_x/encoder/norm"}
    assert "encoders_x/lstm0/input" in trained


@pytest.mark.parametrize(
    ("options", "message"), [({"mode": "half"}, "expected one of all"), ({"layer_decay": 0.0}, r"in \(0, 1\]")]
)
def test_mistakes_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        rates_of("clip", **options)
