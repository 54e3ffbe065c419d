"""Cached features train and score as the encoders would; a cache is never read for anything else."""

import functools

import jax
import numpy as np
import pytest

from data_pipelines.prepare.records import Records, Selection
from experiments import features, model_from_config, prepare
from tests.experiments import micro


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMDF_JAX_CACHE", str(folder))
        config = micro.get_config().to_dict()
        config["data"] |= {"augment": (), "threads": 1}
        config["finetune"] |= {"mode": "frozen", "cache": True}
        records = prepare.ensure(config["data"])
        splits = {split: Records(records, split) for split in ("train", "val")}
        model = model_from_config.make_model(config)
        init = functools.partial(model_from_config.init, model, config)
        variables = model_from_config.init_state(init, jax.random.key(0), None)
        yield config, model, variables, splits, features.ensure(config, model, variables, splits), folder


def test_scores_from_features_are_those_from_files(setup):
    config, model, variables, splits, cached, _ = setup
    data = {**config["data"], "batch_size": 8}
    with splits["val"].eval_batches(data, windows=2) as batches:
        raw = list(batches)
    short = list(cached["val"].eval_batches(data, windows=2))
    assert len(raw) == len(short)
    for a, b in zip(raw, short, strict=True):
        for name in ("label", "video_label", "audio_label", "clip_index", "mask", "image_mask"):
            np.testing.assert_array_equal(a[name][a["mask"]], b[name][a["mask"]])
        expected, found = (model_from_config.apply(model, variables, batch)["logits"] for batch in (a, b))
        np.testing.assert_allclose(found[a["mask"]], expected[a["mask"]], atol=1e-5)


def test_training_batches_follow_the_loaders_order_and_can_start_anywhere(setup):
    config, _, _, splits, cached, _ = setup
    place = {"process_index": 0, "process_count": 1}
    stream = cached["train"].train_batches(config["data"], seed=3, start_step=0, **place)
    first = [next(stream) for _ in range(4)]
    third = next(cached["train"].train_batches(config["data"], seed=3, start_step=2, **place))
    jax.tree.map(np.testing.assert_array_equal, first[2], third)
    with splits["train"].train_batches(config["data"], seed=3) as batches:
        np.testing.assert_array_equal(next(batches)["clip_index"], first[0]["clip_index"])
    half = next(cached["train"].train_batches(config["data"], seed=3, start_step=0, process_index=1, process_count=2))
    np.testing.assert_array_equal(half["clip_index"], first[0]["clip_index"][4:])


def test_two_runs_that_compute_the_same_features_at_once_both_go_on(setup):
    config, model, variables, splits, _, folder = setup
    there = folder / "features" / features._key(config, variables, splits["val"])
    before = {path.name: path.stat().st_ino for path in there.iterdir()}
    features._compute(config, model, variables, splits["val"], there)  # the other run was faster
    assert {path.name: path.stat().st_ino for path in there.iterdir()} == before
    assert sorted(path.name for path in there.parent.iterdir() if "." in path.name) == []


def test_other_weights_clips_or_windows_are_another_cache(setup):
    config, _, variables, splits, _, folder = setup
    key = functools.partial(features._key, config, variables, splits["val"])
    assert (folder / "features" / key()).is_dir()
    changed = jax.tree.map(lambda x: x, variables)
    changed["params"]["encoders_audio"]["bins"]["bias"] = variables["params"]["encoders_audio"]["bins"]["bias"] + 1e-6
    others = {
        key(),
        features._key(config, changed, splits["val"]),
        features._key(config, variables, splits["train"]),
        features._key(config, variables, Selection(splits["val"], [0, 1])),
        features._key({**config, "evaluate": {**config["evaluate"], "windows": 3}}, variables, splits["val"]),
        features._key({**config, "data": {**config["data"], "window": 0.4}}, variables, splits["val"]),
    }
    assert len(others) == 6


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("finetune", {"mode": "all"}, "needs config.finetune.mode=frozen"),
        ("data", {"augment": ({},)}, "augmented"),
        ("model", {"encoders": {"flow": {}}}, "the encoder 'flow' reads no stream"),
    ],
)
def test_what_cannot_be_cached_is_told(setup, section, value, message):
    config, model, variables, splits, *_ = setup
    with pytest.raises(ValueError, match=message):
        features.ensure({**config, section: {**config[section], **value}}, model, variables, splits)
