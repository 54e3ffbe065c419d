"""Which parameters of every encoder train, and how fast."""

import importlib

import jax
import pytest

from mmdf_jax import finetune, optim
from mmdf_jax.weights import load

ENCODERS = (
    *("clip", "dinov2", "convnext", "efficientnet", "wav2vec2", "hubert", "spectrogram_cnn", "resnet3d", "cnn_lstm"),
    "temporal_difference",
)
OPTIONS = {"mode": "all", "blocks": 1, "layer_decay": 1.0}


def params_of(name):
    encoder = importlib.import_module(f"mmdf_jax.encoders.{name}")
    variables = load.shapes(encoder.Model(**encoder.VARIANTS["tiny"]), encoder.EXAMPLE)
    return {"encoders_x": variables["params"], "head": {"kernel": jax.ShapeDtypeStruct((3,), "float32")}}


def rates_by_path(params, **options):
    names = jax.tree.leaves(optim.path_names(params))
    return dict(zip(names, jax.tree.leaves(finetune.rates(params, {**OPTIONS, **options})), strict=True))


@pytest.mark.parametrize("name", ENCODERS)
def test_depth_falls_from_the_input_to_the_output(name):
    rates = rates_by_path(params_of(name), layer_decay=0.5)
    assert rates.pop("head/kernel") == 1
    blocks = {path: rate for path, rate in rates.items() if "block" in path}
    count = len({path.partition("block")[2].split("/")[0] + path.partition("block")[0] for path in blocks})
    assert sorted(set(blocks.values())) == [0.5**i for i in range(count, 0, -1)]
    first = ("/stem/", "/patch_embed/", "/conv0/")
    stem = [rate for path, rate in rates.items() if any(part in path for part in first)]
    assert stem and set(stem) == {0.5 ** (count + 1)}


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_and_norms(name):
    params = params_of(name)
    assert set(rates_by_path(params, mode="frozen").values()) == {0.0, 1.0}
    trained = {path for path, rate in rates_by_path(params, mode="norms").items() if rate} - {"head/kernel"}
    assert trained and all("norm" in path and path.endswith(("scale", "bias")) for path in trained)


def test_the_last_blocks_of_a_transformer():
    rates = rates_by_path(params_of("clip"), mode="blocks", blocks=2)
    trained = {path.split("/")[1] for path, rate in rates.items() if rate and path != "head/kernel"}
    assert trained == {"block1", "block2", "post_norm"}


def test_convnexts_downsampling_belongs_to_the_stage_it_leads_to():
    rates = rates_by_path(params_of("convnext"), mode="blocks", blocks=3)
    trained = {path.split("/")[1] for path, rate in rates.items() if rate and path != "head/kernel"}
    assert trained == {
        *("down2", "down2_norm", "down3", "down3_norm", "norm", "stage2_block0", "stage2_block1", "stage3_block0"),
    }


@pytest.mark.parametrize(
    ("options", "message"), [({"mode": "half"}, "expected one of all"), ({"layer_decay": 0.0}, r"in \(0, 1\]")]
)
def test_mistakes_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        rates_by_path(params_of("clip"), **options)
