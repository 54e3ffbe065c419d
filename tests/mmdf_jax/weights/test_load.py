"""Weight loading: every way in, and every way a checkpoint can be wrong."""

import json
import pathlib
import pickle
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy
from flax import serialization, traverse_util

from mmdf_jax.encoders import clip
from mmdf_jax.weights import files, load
from mmdf_jax.weights.files import WeightsError
from mmdf_jax.weights.load import convert, load_encoder
from mmdf_jax.weights.rules import dense, same, weight_norm

CONFIG = dict(
    model_type="clip_vision_model",
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=16,
    patch_size=8,
)


def tensors() -> dict[str, np.ndarray]:
    """A CLIP vision tower under its published names."""
    rng = np.random.default_rng(0)
    shapes = {
        "embeddings.class_embedding": (16,),
        "embeddings.patch_embedding.weight": (16, 3, 8, 8),
        "embeddings.position_embedding.weight": (5, 16),
    }
    for name in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{name}.weight": (16,), f"{name}.bias": (16,)}
    for i in range(2):
        layer = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{layer}.self_attn.{name}.weight": (16, 16), f"{layer}.self_attn.{name}.bias": (16,)}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{name}.weight": (16,), f"{layer}.{name}.bias": (16,)}
        shapes |= {f"{layer}.mlp.fc1.weight": (24, 16), f"{layer}.mlp.fc1.bias": (24,)}
        shapes |= {f"{layer}.mlp.fc2.weight": (16, 24), f"{layer}.mlp.fc2.bias": (16,)}
    return {f"vision_model.{k}": rng.standard_normal(v).astype(np.float32) for k, v in shapes.items()}


def folder(path: pathlib.Path, arrays: dict[str, np.ndarray] | None = None, **config) -> pathlib.Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **config}))
    if arrays is not None:
        safetensors.numpy.save_file(arrays, path / "model.safetensors")
    return path


def flat(tree) -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for k, v in traverse_util.flatten_dict(tree, sep="/").items()}


def test_safetensors(tmp_path):
    source = tensors()
    model, variables = load_encoder(folder(tmp_path, source), dtype=jnp.bfloat16, remat=True)
    assert (model.width, model.depth, model.dtype, model.remat) == (16, 2, jnp.bfloat16, True)
    params = flat(variables["params"])
    name = "vision_model.encoder.layers.1.self_attn.k_proj"
    np.testing.assert_array_equal(params["block1/attn/key/kernel"], source[f"{name}.weight"].T)
    np.testing.assert_array_equal(
        params["patch_embed/kernel"], source["vision_model.embeddings.patch_embedding.weight"].transpose(2, 3, 1, 0)
    )
    assert all(v.dtype == np.float32 for v in params.values())
    assert all(isinstance(v, jax.Array) for v in jax.tree.leaves(variables))


def test_text_tower_is_a_declared_drop(tmp_path):
    extra = {"text_model.embeddings.token_embedding.weight": np.ones((3, 4), np.float32), "logit_scale": np.ones(1)}
    expected = load_encoder(folder(tmp_path / "a", tensors()))[1]
    config = dict(model_type="clip", vision_config=CONFIG, projection_dim=4)
    extra["visual_projection.weight"] = np.ones((4, 16), np.float32)
    model, variables = load_encoder(folder(tmp_path / "b", {**tensors(), **extra}, **config))
    assert model.projection == 4
    assert variables["params"].pop("projection")["kernel"].shape == (16, 4)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    _, variables = load_encoder(tmp_path / "b", projection=0)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_half_precision_files_become_fp32(tmp_path):
    for kind in (np.float16, ml_dtypes.bfloat16):
        arrays = {k: v.astype(kind) for k, v in tensors().items()}
        if kind is np.float16:
            safetensors.numpy.save_file(arrays, folder(tmp_path) / "model.safetensors")
        else:
            safetensors.flax.save_file(jax.tree.map(jnp.asarray, arrays), folder(tmp_path) / "model.safetensors")
        params = flat(load_encoder(tmp_path)[1]["params"])
        assert params["class_token"].dtype == np.float32
        np.testing.assert_array_equal(
            params["class_token"], arrays["vision_model.embeddings.class_embedding"].astype(np.float32)
        )


def test_shards(tmp_path):
    arrays = tensors()
    expected = load_encoder(folder(tmp_path / "whole", arrays))[1]
    path = folder(tmp_path / "shards")
    where = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(arrays)}
    for file in set(where.values()):
        safetensors.numpy.save_file({k: v for k, v in arrays.items() if where[k] == file}, path / file)
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    jax.tree.map(np.testing.assert_array_equal, load_encoder(path)[1], expected)

    (path / file).unlink()
    with pytest.raises(WeightsError, match=f"{file} is missing"):
        load_encoder(path)
    index.write_text(json.dumps({"weight_map": {"a": "../whole/model.safetensors"}}))
    with pytest.raises(WeightsError, match="not the plain name"):
        load_encoder(path)


def test_flax_msgpack(tmp_path):
    """The layout of transformers' former Flax models: kernel, scale and embedding, channels last."""
    arrays = tensors()
    expected = load_encoder(folder(tmp_path / "a", arrays))[1]
    tree = {}
    for name, x in arrays.items():
        parent, leaf = name.rsplit(".", 1)
        if leaf == "weight":
            leaf = "embedding" if "position" in name else "scale" if x.ndim == 1 else "kernel"
            x = x.transpose(*range(2, x.ndim), 1, 0) if leaf == "kernel" else x
        tree[(*parent.split("."), leaf)] = x
    path = folder(tmp_path / "b") / "flax_model.msgpack"
    path.write_bytes(serialization.msgpack_serialize(traverse_util.unflatten_dict(tree)))
    jax.tree.map(np.testing.assert_array_equal, load_encoder(path.parent)[1], expected)

    whole = path.read_bytes()
    for damaged in (whole[:-20], b"", b"\xdd\xff\xff\xff\xff", b"\xc7\xff\x01", b"\x81\xa1a\xa1b"):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match="not a whole Flax msgpack"):
            load_encoder(path.parent)


def test_state_dictionary_with_a_minimal_config(tmp_path, monkeypatch):
    """A folder made by hand: tensors in the original's names, and model_type alone."""
    monkeypatch.setattr(clip, "from_config", lambda config: clip_fields)
    clip_fields = dict(patch=8, width=16, depth=2, heads=2, mlp_hidden=24, image_size=16)
    folder(tmp_path, tensors())
    (tmp_path / "config.json").write_text('{"model_type": "clip_vision_model"}')
    assert load_encoder(tmp_path)[0].width == 16


def test_missing_extra_and_misshapen_in_one_error(tmp_path):
    arrays = tensors()
    del arrays["vision_model.pre_layrnorm.bias"]
    arrays["vision_model.encoder.layers.9.mlp.fc1.weight"] = np.ones(3, np.float32)
    arrays["unheard.of"] = np.ones(3, np.float32)
    arrays["vision_model.post_layernorm.bias"] = np.ones(17, np.float32)
    arrays["vision_model.embeddings.patch_embedding.weight"] = np.ones(3, np.float32)
    with pytest.raises(WeightsError) as e:
        load_encoder(folder(tmp_path, arrays))
    message = str(e.value)
    assert "\n" not in message
    assert "the file lacks (1): params/pre_norm/bias" in message
    assert "the model lacks (2): unheard.of, vision_model.encoder.layers.9.mlp.fc1.weight" in message
    assert "params/post_norm/bias: expected (16,), found (17,)" in message
    assert "do not fit (2)" in message and "patch_embed/kernel" in message


def test_missing_tensor(tmp_path):
    arrays = tensors()
    del arrays["vision_model.embeddings.class_embedding"]
    with pytest.raises(WeightsError, match=r"the file lacks \(1\): params/class_token$"):
        load_encoder(folder(tmp_path, arrays))


def test_extra_tensor(tmp_path):
    arrays = {**tensors(), "vision_model.head.weight": np.ones(2, np.float32)}
    with pytest.raises(WeightsError, match=r"the model lacks \(1\): vision_model.head.weight$"):
        load_encoder(folder(tmp_path, arrays))


def test_wrong_shape(tmp_path):
    with pytest.raises(WeightsError, match=r"block0/mlp/fc1/kernel: expected \(16, 25\), found \(16, 24\)"):
        load_encoder(folder(tmp_path, tensors(), intermediate_size=25))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite(tmp_path, value):
    arrays = tensors()
    arrays["vision_model.encoder.layers.0.mlp.fc1.weight"][3, 2] = value
    with pytest.raises(WeightsError, match="block0/mlp/fc1/kernel: holds NaN or infinity"):
        load_encoder(folder(tmp_path, arrays))


def test_filled_twice():
    rules = (("a", "params/w", same), ("b", "params/w", same))
    with pytest.raises(WeightsError, match="b -> params/w: filled twice"):
        convert({"a": np.ones(1), "b": np.ones(1)}, rules, (), {"params": {"w": np.ones(1)}})


def test_several_tensors_make_one_variable():
    rng = np.random.default_rng(0)
    g, v = rng.random((1, 1, 4)), rng.standard_normal((6, 3, 4))
    rules = (((r"conv(\d)\.weight_g", r"conv\1.weight_v"), r"params/conv\1/kernel", weight_norm),)
    target = {"params": {"conv0": {"kernel": np.ones((4, 3, 6))}}}
    kernel = convert({"conv0.weight_g": g, "conv0.weight_v": v}, rules, (), target)["params"]["conv0"]["kernel"]
    expected = v / np.linalg.norm(v, axis=(0, 1)) * g
    np.testing.assert_allclose(kernel, expected.transpose(2, 1, 0), rtol=1e-6)
    with pytest.raises(
        WeightsError, match=r"file lacks \(1\): params/conv0/kernel; .*model lacks \(1\): conv0.weight_g"
    ):
        convert({"conv0.weight_g": g}, rules, (), target)


class Canary:
    """Makes a file when unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "weights.npy", "model.safetensors"])
def test_pickles_are_refused_unopened(tmp_path, name):
    canary = tmp_path / "canary"
    path = folder(tmp_path / "model") / name
    path.write_bytes(pickle.dumps(Canary(canary)))
    reason = "not a whole safetensors file" if name == "model.safetensors" else "is a pickle, which may run any code"
    with pytest.raises(WeightsError, match=reason) as e:
        load_encoder(path.parent)
    assert "save_file" in str(e.value)
    if not name.endswith(".safetensors"):
        with pytest.raises(WeightsError, match="is a pickle"):
            load_encoder(path)
    assert not canary.exists()


def test_safetensors_beside_a_pickle_is_used(tmp_path):
    (folder(tmp_path, tensors()) / "pytorch_model.bin").write_bytes(b"never opened")
    load_encoder(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, -1, -1000])
def test_truncated_safetensors(tmp_path, keep):
    path = folder(tmp_path, tensors()) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"model.safetensors is not a whole safetensors file"):
        load_encoder(tmp_path)


def test_hostile_safetensors_header(tmp_path):
    path = folder(tmp_path) / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    for size in (len(header), 2**62):
        path.write_bytes(size.to_bytes(8, "little") + header + b"1234")
        with pytest.raises(WeightsError, match="not a whole safetensors file"):
            load_encoder(tmp_path)


def test_unknown_model_type(tmp_path):
    with pytest.raises(WeightsError, match=r"unknown model_type 'llama' in config.json; known are clip, "):
        load_encoder(folder(tmp_path, tensors(), model_type="llama"))


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"model_type": "clip_vision_model", "hidden_size": "x"}'])
def test_bad_config(tmp_path, text):
    (folder(tmp_path, tensors()) / "config.json").write_text(text)
    with pytest.raises(ValueError) as e:
        load_encoder(tmp_path)
    assert "\n" not in str(e.value)


def test_no_config_no_weights_no_folder(tmp_path):
    (folder(tmp_path, tensors()) / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"no config.json.*model_type"):
        load_encoder(tmp_path)
    with pytest.raises(WeightsError, match=r"neither model.safetensors nor flax_model.msgpack"):
        load_encoder(folder(tmp_path / "empty"))
    for path in (tmp_path / "nowhere", tmp_path / "model.safetensors", "a/b/c", "./x"):
        with pytest.raises(FileNotFoundError, match="expected a folder"):
            load_encoder(path)


def test_digest(tmp_path):
    path = folder(tmp_path, tensors()) / "model.safetensors"
    digest = files.sha256([path])
    load_encoder(tmp_path, digest=digest.upper())
    with pytest.raises(WeightsError, match=f"SHA-256 of the weights is {digest}, expected 0123"):
        load_encoder(tmp_path, digest="0123")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The hub as seen without a network, with its cache in a temporary folder."""
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_no_network(offline):
    with pytest.raises(WeightsError, match=r"not in the cache and huggingface.co cannot be reached") as e:
        load_encoder("someone/something")
    assert "\n" not in str(e.value)


def test_offline_from_the_cache(offline, tmp_path):
    snapshot = offline / "models--someone--something" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    shutil.copytree(folder(tmp_path / "a", tensors()), snapshot, dirs_exist_ok=True)
    assert load_encoder("someone/something")[0].width == 16
    assert load_encoder("someone/something", revision="0" * 40)[0].width == 16
    with pytest.raises(WeightsError, match="cannot be reached"):
        load_encoder("someone/something", revision="1" * 40)


def test_hub_errors(monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    for error, message in (
        (errors.RepositoryNotFoundError, "neither a folder here nor a repository"),
        (errors.RevisionNotFoundError, "no revision 'v9'"),
        (errors.GatedRepoError, "asks for its terms to be accepted"),
    ):

        def fail(*args, error=error, **kwargs):
            raise error.__new__(error)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(WeightsError, match=message):
            load_encoder("someone/something", revision="v9")


def test_dense_transposes():
    assert dense(np.ones((2, 3))).shape == (3, 2)


def small_clip(**fields):
    return clip.Model(**{**clip.from_config(CONFIG), **fields})


def test_variables_for_a_model_that_exists(tmp_path):
    source = folder(tmp_path, tensors())
    model = small_clip(drop_path=0.1)
    target = load.shapes(model, clip.EXAMPLE)
    variables, digest = load.load_variables(source, model, target)
    expected = flat(load_encoder(source)[1])
    assert flat(variables).keys() == expected.keys()
    assert all(np.array_equal(value, expected[name]) for name, value in flat(variables).items())
    assert digest == files.sha256([tmp_path / "model.safetensors"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"act": "gelu"}, "act='gelu' here, 'quick_gelu' there"), ({"depth": 3}, "depth=3 here, 2 there")],
)
def test_a_model_of_another_kind_is_refused(tmp_path, fields, message):
    source, model = folder(tmp_path, tensors()), small_clip(**fields)
    with pytest.raises(WeightsError, match=message):
        load.load_variables(source, model, load.shapes(model, clip.EXAMPLE))


def test_another_encoder_is_refused(tmp_path):
    source = folder(tmp_path, tensors())
    from mmdf_jax.encoders import convnext

    with pytest.raises(WeightsError, match=r"holds a clip_vision_model, which .*mmdf_jax.encoders.convnext is not"):
        load.load_variables(source, convnext.Model(), {})
