"""Published weights into a run's parameters, low-rank matrices beside them, and the table of what trains."""

import functools
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from configs import image
from experiments import model_from_config
from mmdf_jax.weights.files import WeightsError

SIZE = {"width": 16, "depth": 1, "heads": 2, "mlp_hidden": 24, "patch": 16, "image_size": 64}


@pytest.fixture
def source(tmp_path):
    """A CLIP vision tower in its published form."""
    rng = np.random.default_rng(0)
    layer = "vision_model.encoder.layers.0"
    shapes = {
        "vision_model.embeddings.class_embedding": (16,),
        "vision_model.embeddings.patch_embedding.weight": (16, 3, 16, 16),
        "vision_model.embeddings.position_embedding.weight": (17, 16),
        f"{layer}.mlp.fc1.weight": (24, 16),
        f"{layer}.mlp.fc1.bias": (24,),
        f"{layer}.mlp.fc2.weight": (16, 24),
        f"{layer}.mlp.fc2.bias": (16,),
    }
    for name in ("vision_model.pre_layrnorm", "vision_model.post_layernorm", f"{layer}.layer_norm1"):
        shapes |= {f"{name}.weight": (16,), f"{name}.bias": (16,)}
    shapes |= {f"{layer}.layer_norm2.weight": (16,), f"{layer}.layer_norm2.bias": (16,)}
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= {f"{layer}.self_attn.{name}.weight": (16, 16), f"{layer}.self_attn.{name}.bias": (16,)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    config = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path, tensors


def config_of(folder, mode="all", **changes):
    config = image.get_config(f"encoder=clip,finetune={mode}").to_dict()
    config["model"]["encoders"]["image"] |= SIZE | changes
    config["pretrained"]["image"]["source"] = str(folder)
    return config


def variables_of(config):
    model = model_from_config.make_model(config)
    variables = model_from_config.init_state(
        functools.partial(model_from_config.init, model, config), jax.random.key(0), None
    )
    return model, variables


@pytest.mark.parametrize("mode", ("all", "lora"))
def test_the_encoder_gets_the_weights_and_the_head_stays(source, mode):
    folder, tensors = source
    config = config_of(folder, mode)
    model, variables = variables_of(config)
    loaded = model_from_config.load_pretrained(config, model, variables)
    np.testing.assert_array_equal(
        loaded["params"]["encoders_image"]["block0"]["attn"]["query"]["kernel"],
        tensors["vision_model.encoder.layers.0.self_attn.q_proj.weight"].T,
    )
    np.testing.assert_array_equal(loaded["params"]["head"]["kernel"], variables["params"]["head"]["kernel"])
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)


def test_weights_of_another_size_are_refused(source):
    config = config_of(source[0], width=24)
    with pytest.raises(WeightsError, match="width=24 here, 16 there"):
        model_from_config.load_pretrained(config, *variables_of(config))


def test_the_published_variant_is_what_config_json_says(source):
    folder, _ = source
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_act": "gelu", "layer_norm_eps": 1e-3}))
    config = image.get_config("encoder=clip").to_dict()
    config["model"]["encoders"]["image"] |= {"variant": "published", "patch": 16}
    with pytest.raises(ValueError, match=r"set config\.pretrained\.image\.source"):
        model_from_config.with_published_fields(config)
    config["pretrained"]["image"]["source"] = str(folder)
    config["model"]["encoders"]["image"]["patch"] = 8
    with pytest.raises(
        ValueError, match=r"^config\.model\.encoders\.image\.patch=8: set it to 16, as config\.json of "
    ):
        model_from_config.with_published_fields(config)
    config["model"]["encoders"]["image"]["patch"] = 16
    config = model_from_config.with_published_fields(config)
    assert "variant" not in config["model"]["encoders"]["image"]
    model, variables = variables_of(config)
    encoder = model.encoders["image"]
    assert (encoder.act, encoder.eps, encoder.width) == ("gelu", 1e-3, 16)
    model_from_config.load_pretrained(config, model, variables)
    config["model"]["encoders"]["image"]["act"] = "quick_gelu"
    with pytest.raises(WeightsError, match=r"act='quick_gelu' here, 'gelu' there; .*variant=published"):
        model_from_config.load_pretrained(config, *variables_of(config))


def test_a_stream_that_is_not_there_is_refused(source):
    config = config_of(source[0])
    config["pretrained"]["audio"] = config["pretrained"]["image"]
    with pytest.raises(ValueError, match=r"config.pretrained.audio: the model's streams are image"):
        model_from_config.load_pretrained(config, *variables_of(config))


def test_the_table_says_what_trains():
    config = config_of("", "lora")
    model, variables = variables_of(config)
    rates = model_from_config.learning_rates(config, model, variables["params"])
    rows = [line.split() for line in model_from_config.what_trains(variables["params"], rates).splitlines()]
    assert [row[0] for row in rows] == ["part", "encoders_image", "head", "lora"]
    assert rows[1][2:] == ["0", "–"] and rows[2][1:] == ["17", "17", "1"]
    assert rows[3][1] == rows[3][2] == str(2 * 2 * 16 * 8)
