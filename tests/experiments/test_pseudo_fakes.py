"""Real clips alone, `pseudo_fakes` on: every split gets fakes of its own people, and training batches are balanced."""

import importlib
import json

import numpy as np
import pytest
import scipy.io.wavfile

from data_pipelines.clip import SPLITS, Clip, write_manifest
from experiments import experiment, prepare


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two sounds each of ten people, all real."""
    folder = tmp_path_factory.mktemp("reals")
    rng = np.random.default_rng(0)
    clips = []
    for i in range(20):
        sound = 3000 * rng.normal(size=20_000) * np.abs(np.sin(np.arange(20_000) / 900))
        scipy.io.wavfile.write(folder / f"{i}.wav", 16_000, sound.astype(np.int16))
        clips.append(Clip(f"c{i}", str(folder / f"{i}.wav"), 0, identity=f"p{i // 2}", method="real"))
    write_manifest(folder / "manifest.csv", clips)
    return folder / "manifest.csv"


def config_for(manifest, out, arg):
    config = importlib.import_module("configs.cross_attn").get_config(f"data=folder{arg}")
    config.data.manifest, config.data.out = str(manifest), str(out)
    config.data.streams = {"audio": {}}
    config.data.window = 0.8
    return json.loads(json.dumps(config.to_dict()))  # as a run's config.json gives it back


def test_every_split_has_fakes_of_its_own_people(manifest, tmp_path):
    config = config_for(manifest, tmp_path / "records", ",pseudo_fakes=true")
    splits = experiment.open_splits(config, prepare.ensure(config["data"], workers=2))
    people = {}
    for split in SPLITS:
        clips = [row.clip for row in splits[split].index]
        assert {clip.method for clip in clips} == {"real", "pseudo_vocoded"} and {clip.split for clip in clips} == {
            split
        }
        assert sum(clip.label for clip in clips) * 2 == len(clips)
        people[split] = {clip.identity for clip in clips}
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 10
    with splits["train"].train_batches(config["data"], seed=0) as batches:
        batch = next(batches)
    fake = np.array([splits["train"].index[i].clip.label for i in batch["clip_index"]])
    assert fake.sum() == 8 and (batch["label"] <= fake).all() and batch["label"].sum() >= 4
    evaluated = list(splits["test"].eval_batches(config["data"], windows=2))
    again = list(splits["test"].eval_batches(config["data"], windows=2))
    for one, other in zip(evaluated, again, strict=True):
        np.testing.assert_array_equal(one["audio"], other["audio"])


def test_without_it_nothing_is_added(manifest, tmp_path):
    config = config_for(manifest, tmp_path / "records", "")
    splits = experiment.open_splits(config, prepare.ensure(config["data"], workers=2))
    assert all(row.clip.label == 0 for split in SPLITS for row in splits[split].index)
    with pytest.raises(ValueError, match="found no fake one"):
        splits["train"].train_batches(config["data"], seed=0)
