"""The model that judges every step: what its branches see, what they may not see, and its heads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.batch import zeros
from mmdf_jax.build import build
from mmdf_jax.models import temporal_statistics
from mmdf_jax.models.temporal_consistency import INPUTS, Seen

DATA = {"streams": {"video": {"fps": 25.0, "size": 16}}, "window": 0.4}
SPEC = {
    "name": "mmdf_jax.models.temporal_consistency",
    "encoders": {
        "flow": {
            "name": "mmdf_jax.encoders.lip_resnet",
            "variant": "motion_tiny",
            "width": 4,
            "stage_sizes": (1,),
            "strides": ((1, 2, 2),),
            "temporal": (3,),
        },
        "differences": {
            "name": "mmdf_jax.encoders.temporal_difference",
            "variant": "tiny_differences",
            "width": 4,
            "stage_sizes": (1,),
            "strides": (2, 2),
        },
        "ftcn": {
            "name": "mmdf_jax.encoders.ftcn",
            "variant": "tiny",
            "width": 4,
            "widths": (8,),
            "stage_sizes": (1,),
            "pools": (1, 1),
            "heads": 2,
            "mlp_hidden": 8,
        },
    },
    "branches": ("flow", "differences", "ftcn", "statistics"),
    "width": 8,
    "kernel": 3,
}


@pytest.fixture(scope="module")
def batch():
    batch = zeros(DATA, 2)
    batch["video"] = np.random.default_rng(0).integers(0, 256, batch["video"].shape, np.uint8)
    return batch


@pytest.fixture(scope="module")
def fitted(batch):
    model = build(SPEC)
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), batch)
    return model, variables, jax.jit(lambda batch: model.apply(variables, batch))


def still(batch):
    return np.repeat(batch["video"][:, :1], batch["video"].shape[1], 1)


def test_every_branch_judges_every_step(fitted, batch):
    _, _, apply = fitted
    out = apply(batch)
    assert out["frame_logits"].shape == (2, 10) and out["logits"].shape == (2,)
    assert out["logits"].dtype == jnp.float32
    assert set(out["branch_logits"]) == set(SPEC["branches"]) and set(out["baseline_logits"]) == {"statistics"}
    assert out["statistics"].shape == (2, len(temporal_statistics.NAMES))
    assert {name: of["tokens"].shape[:2] for name, of in out["encoders"].items()} == dict.fromkeys(
        ("flow", "differences", "ftcn"), (2, 10)
    )


@pytest.mark.parametrize("branches", [("flow",), ("differences",), ("ftcn",), ("statistics",)])
def test_one_branch_alone_has_the_parameters_of_no_other(branches, batch):
    model = build({**SPEC, "branches": branches})
    out, variables = jax.eval_shape(lambda b: model.init_with_output(jax.random.key(0), b), batch)
    assert out["frame_logits"].shape == (2, 10) and out["branch_logits"] == {}
    owned = {name.removeprefix("encoders_") for name in variables["params"] if name.startswith("encoders_")}
    assert owned == set(branches) - {"statistics"}


@functools.partial(jax.jit, static_argnums=1)
def looks(film, flow_size=0):
    """What each branch sees of a film that is valid throughout, and the statistics of it."""
    seen = Seen(film, jnp.ones(film.shape[:2], bool), flow_size)
    own = {"flow field": seen.flow, "small": seen.small, "grey": seen.grey, "statistics": seen.statistics()}
    return {name: look(seen) for name, look in INPUTS.items()} | own


def test_of_a_still_the_branches_see_nothing(batch):
    moving, seen = looks(batch["video"], 8), looks(still(batch), 8)
    assert not np.any(seen["flow"]) and not np.any(seen["differences"])
    assert np.any(moving["flow"]) and np.any(moving["differences"])
    shapes = {"flow": (8, 8, 3), "differences": (16, 16, 2), "changes": (16, 16, 3)}
    shapes |= dict.fromkeys(("ftcn", "frames"), (16, 16, 3))
    assert {name: moving[name].shape[2:] for name in INPUTS} == shapes
    assert moving["flow field"].shape == (2, 9, 8, 8, 2)
    np.testing.assert_allclose(moving["small"], 255 * moving["grey"].reshape(2, 10, 8, 2, 8, 2).mean((3, 5)), rtol=1e-4)


def test_a_gain_of_every_frame_changes_no_difference():
    rng = np.random.default_rng(1)
    film = rng.random((2, 10, 16, 16, 3), np.float32) / 2
    gains = rng.uniform(0.5, 2, (2, 10, 1, 1, 1)).astype(np.float32)
    before, after = (looks(x, 8)["differences"] for x in (film, film * gains))
    np.testing.assert_allclose(after, before, atol=1e-3)


def test_flow_passes_a_gradient_only_if_told_to():
    film = np.random.default_rng(0).random((1, 2, 8, 8, 1), np.float32)
    valid = np.ones((1, 2), bool)

    def gradient(told):
        return jax.jit(jax.grad(lambda x: (Seen(x, valid, 0, told).motion() ** 2).sum()))(film)

    assert not np.any(gradient(False)) and np.isfinite(gradient(True)).all() and np.any(gradient(True))


def test_what_is_not_valid_changes_nothing(fitted, batch):
    _, _, apply = fitted
    valid = np.arange(10) < np.array([10, 6])[:, None]
    changed = batch["video"].copy()
    changed[1, 6:] = 0
    before = apply({**batch, "video_valid": valid})
    after = apply({**batch, "video_valid": valid, "video": changed})
    np.testing.assert_allclose(after["logits"], before["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["frame_logits"][1, :6], before["frame_logits"][1, :6], rtol=1e-4, atol=1e-5)
    absent = apply({**batch, "video_mask": np.array([True, False])})
    assert np.isfinite(absent["logits"]).all() and not absent["frame_valid"][1].any()


def test_the_baseline_shares_no_parameter_with_the_detector(fitted, batch):
    model, variables, _ = fitted

    def gradients(output):
        def loss(params):
            out = model.apply({**variables, "params": params}, batch)
            return (out["baseline_logits"]["statistics"] if output == "baseline" else out["logits"]).sum()

        found = jax.jit(jax.grad(loss))(variables["params"])
        return {name for name, part in found.items() if any(np.any(leaf) for leaf in jax.tree.leaves(part))}

    assert gradients("baseline") == {"baseline_statistics"}
    assert "baseline_statistics" not in gradients("detector")


def test_a_branch_without_an_encoder_is_named(batch):
    for branches in ((), ("flow", "sound")):
        with pytest.raises(ValueError, match=r"config.model.branches=.*expected some of .*flow.*statistics"):
            build({**SPEC, "branches": branches}).init(jax.random.key(0), batch)
    odd = {**SPEC, "encoders": {"odd": SPEC["encoders"]["flow"]}, "branches": ("odd",)}
    with pytest.raises(ValueError, match="no branch 'odd'; known: flow, differences"):
        build(odd).init(jax.random.key(0), batch)


def test_statistics_say_what_they_are_called():
    rng = np.random.default_rng(0)
    base = np.repeat(rng.random((1, 1, 32, 32), np.float32) * 0.2 + 0.4, 12, 1)
    y, x = (np.mgrid[:32, :32] + 0.5) / 32
    inner = np.float32(np.hypot((y - 0.5) / 0.3, (x - 0.5) / 0.24) <= 1)

    def of(grey):
        found = np.asarray(looks(grey[..., None], 16)["statistics"])[0]
        return dict(zip(temporal_statistics.NAMES, found.tolist(), strict=True))

    steady = of(base)
    whole = of(base * (1 + rng.normal(0, 0.02, (1, 12, 1, 1))).astype(np.float32))
    patch = of(base * (1 + inner * rng.normal(0, 0.02, (1, 12, 1, 1))).astype(np.float32))
    assert all(np.isfinite(list(one.values())).all() for one in (steady, whole, patch))
    assert whole["flicker"] > steady["flicker"] + 3 and patch["inner flicker"] > whole["inner flicker"] + 3
    assert np.isfinite(of(np.zeros_like(base))["sharpness spread"])
