"""wav2vec 2.0 and HuBERT against transformers' PyTorch models on the same random weights, through the files they save.

The tests use reduced widths. Published sizes, one or several of them (gigabytes, minutes):

    python -m tests.mmdf_jax.encoders.test_audio_parity wav2vec2_base wav2vec2_large_lv60 hubert_base hubert_large

The command compares the spectrogram CNN with its torch twin too; its tests stand in test_spectrogram_cnn.py.
"""

import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from experiments.benchmark import torch_models
from mmdf_jax.encoders import hubert, spectrogram_cnn, wav2vec2
from mmdf_jax.weights.files import WeightsError
from mmdf_jax.weights.load import load_encoder, shapes
from tests.mmdf_jax.encoders import twin

SMALL = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    conv_dim=[16, 16, 24],
    conv_kernel=[10, 3, 2],
    conv_stride=[5, 2, 2],
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)
LARGE = dict(do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
CASES = {
    "wav2vec2": ("Wav2Vec2Model", SMALL),
    "wav2vec2_layer_norm": ("Wav2Vec2Model", {**SMALL, **LARGE, "num_conv_pos_embeddings": 15}),
    "hubert": ("HubertModel", SMALL),
    "hubert_layer_norm": ("HubertModel", {**SMALL, **LARGE, "feat_proj_layer_norm": False}),
}
FULL_LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
FULL = {
    "wav2vec2_base": ("Wav2Vec2Model", {}),
    "wav2vec2_large": ("Wav2Vec2Model", FULL_LARGE),
    "wav2vec2_large_lv60": ("Wav2Vec2Model", {**FULL_LARGE, **LARGE}),
    "hubert_base": ("HubertModel", {}),
    "hubert_large": ("HubertModel", {**FULL_LARGE, **LARGE}),
}
FULL_TWINS = {
    f"spectrogram_cnn_{name}": spectrogram_cnn.Model(**fields)
    for name, fields in spectrogram_cnn.VARIANTS.items()
    if name != "tiny"
}


def build(original: str, config: dict[str, Any]) -> Any:
    """The original with every parameter random, so that nothing cancels or vanishes."""
    kind = "Wav2Vec2Config" if original.startswith("Wav2Vec2") else "HubertConfig"
    settings = getattr(transformers, kind)(**config, attn_implementation="eager")
    return torch_models.randomize(getattr(transformers, original)(settings)).eval()


def per_token(ours: Any, theirs: torch.Tensor) -> float:
    """The largest relative distance of any token."""
    ours, theirs = np.asarray(ours, np.float64), theirs.detach().double().numpy()
    assert ours.shape == theirs.shape
    return float((np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)).max())


def compare(original: str, config: dict[str, Any], lengths: list[list[int]], folder: str) -> dict[str, float]:
    """Largest relative errors; `lengths`: per batch the real samples of each sound, the first of them the longest."""
    theirs = build(original, config)
    theirs.save_pretrained(folder)
    theirs = getattr(theirs, theirs.base_model_prefix, theirs)
    model, variables = load_encoder(folder, normalize=False)
    rng = np.random.default_rng(0)
    errors: dict[str, float] = {}
    for batch in lengths:
        mask = np.arange(max(batch)) < np.array(batch)[:, None]
        x = np.where(mask, rng.normal(0, 0.3, mask.shape), 0).astype(np.float32)
        padded = not mask.all()
        tx = torch.from_numpy(x).requires_grad_()
        out = theirs(
            tx, torch.from_numpy(mask).long() if padded else None, output_hidden_states=True, output_attentions=True
        )
        count = theirs._get_feat_extract_output_lengths(torch.tensor(batch))
        real = torch.arange(out.last_hidden_state.shape[1]) < count[:, None]
        pooled = torch.where(real[..., None], out.last_hidden_state, 0).sum(1) / count[:, None]
        weights = rng.normal(size=pooled.shape).astype(np.float32)
        (pooled * torch.from_numpy(weights)).sum().backward()

        def loss(x, mask=mask if padded else None, weights=weights):
            ours = model.apply(variables, x, valid=mask, capture=("attention",))
            return jnp.vdot(ours["pooled"], weights), ours

        (_, ours), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
        np.testing.assert_array_equal(ours["tokens_mask"], real)
        found = {
            "tokens": per_token(ours["tokens"], out.last_hidden_state),
            "pooled": per_token(ours["pooled"], pooled),
            "layers": max(map(per_token, ours["layers"], out.hidden_states)),
            "attention": max(map(per_token, ours["attention"], out.attentions)),
            "input gradient": per_token(gradient, tx.grad * torch.from_numpy(mask)),  # ours ignores the padding
        }
        errors = {key: max(errors.get(key, 0.0), value) for key, value in found.items()}
    return errors


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_input_gradient(name, tmp_path):
    with jax.default_matmul_precision("highest"):
        lengths = [[900, 400, 777], [600, 600]] if name.startswith("wav2vec2") else [[900, 400, 777]]
        errors = compare(*CASES[name], lengths, str(tmp_path))
    assert errors.pop("input gradient") < 1e-3
    assert max(errors.values()) < 1e-4, errors


@pytest.mark.parametrize(
    ("original", "heads"),
    [
        ("Wav2Vec2ForPreTraining", {"codevector_dim": 16, "proj_codevector_dim": 16}),
        ("HubertForCTC", {"vocab_size": 8}),
        ("Wav2Vec2ForSequenceClassification", {"use_weighted_layer_sum": True}),
    ],
)
def test_heads_are_left_out(original, heads, tmp_path):
    theirs = build(original, {**SMALL, **heads})
    theirs.save_pretrained(tmp_path)
    _, variables = load_encoder(tmp_path)
    kernel = getattr(theirs, theirs.base_model_prefix).feature_projection.projection.weight.detach().numpy().T
    np.testing.assert_array_equal(variables["params"]["feature_projection"]["kernel"], kernel)


def test_older_names_of_the_positional_convolution(tmp_path):
    build(*CASES["hubert"]).save_pretrained(tmp_path)
    _, new = load_encoder(tmp_path)
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    assert "encoder.pos_conv_embed.conv.weight_g" in renamed
    save_file(renamed, tmp_path / "model.safetensors")
    _, old = load_encoder(tmp_path)
    np.testing.assert_array_equal(new["params"]["positions"]["kernel"], old["params"]["positions"]["kernel"])


def test_normalization_is_the_feature_extractors():
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0.2, 0.05, n).astype(np.float32) for n in (500, 320)]
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    theirs = extractor(sounds, sampling_rate=16000, padding=True, return_tensors="np")
    padded = np.stack([np.pad(s, (0, 500 - len(s)), constant_values=9) for s in sounds])
    ours = wav2vec2.standardize(padded, theirs["attention_mask"].astype(bool))
    np.testing.assert_allclose(ours, theirs["input_values"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(wav2vec2.standardize(padded[:1], None), theirs["input_values"][:1], rtol=1e-4, atol=1e-5)


def test_adapters_are_refused(tmp_path):
    build("Wav2Vec2Model", {**SMALL, "add_adapter": True, "output_hidden_size": 32}).save_pretrained(tmp_path)
    with pytest.raises((ValueError, WeightsError), match="add_adapter"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("module", "variant", "parameters"),
    [
        (wav2vec2, "base", 94_370_816),  # 94,371,712 with those dropped or merged
        (wav2vec2, "large", 315_427_840),
        (wav2vec2, "large_lv60", 315_437_568),
        (hubert, "base", 94_370_816),
        (hubert, "large", 315_437_568),
        (hubert, "xlarge", 962_496_000),
    ],
)
def test_published_sizes(module, variant, parameters):
    model = module.Model(**module.VARIANTS[variant])
    x = jax.ShapeDtypeStruct((2, 64000), jnp.int16)
    variables = shapes(model, x)
    count = sum(p.size for p in jax.tree.leaves(variables))
    assert count == parameters
    out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, x)
    assert out["tokens"].shape == (2, 199, model.width)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    if unknown := set(sys.argv[1:]) - {*FULL, *FULL_TWINS}:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join([*FULL, *FULL_TWINS])}")
    for name in sys.argv[1:] or (*FULL, *FULL_TWINS):
        if name in FULL_TWINS:
            twin.main(name, FULL_TWINS[name], [(1, 64000), (1, 25600)], float64=True)
            continue
        with tempfile.TemporaryDirectory() as folder, jax.default_matmul_precision("highest"):
            errors = compare(*FULL[name], [[16000], [24000, 17000]], folder)
        bad = errors["input gradient"] > 1e-3 or max(v for k, v in errors.items() if "grad" not in k) > 1e-4
        print(f"{name:24s} {'FAILS' if bad else 'ok'}", *(f"{k} {v:.1e}" for k, v in errors.items()), flush=True)
        if bad:
            sys.exit(1)
