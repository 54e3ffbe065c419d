"""Checkpoints: what was saved comes back, and anything else is refused by name."""

import gc
import itertools
import json
import multiprocessing
import pathlib
import re
import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import checkpoints
from experiments.checkpoints import Checkpoints

orbax_drops_coroutines = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def state(value=1.0):
    return {"params": {"kernel": jnp.full((64, 64), float(value)), "bias": jnp.arange(3.0)}, "step": jnp.int32(7)}


def abstract(tree):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


@pytest.fixture
def folder(tmp_path):
    saved = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        saved.save("latest", step, state(step), {"best": 0.5, "note": "x"})
    saved.save("best", 2, state(2), {})
    saved.close()
    yield tmp_path
    gc.collect()  # what Orbax drops ends in the test that made it drop that, and in no later one


def test_round_trip_and_what_is_kept(folder):
    saved = Checkpoints(folder)
    assert (saved.step("latest"), saved.step("best")) == (3, 2)
    loaded, info = saved.load("latest", abstract(state()))
    assert info == {"best": 0.5, "note": "x"}
    jax.tree.map(np.testing.assert_array_equal, loaded, state(3))
    assert sorted(path.name for path in (folder / "latest").iterdir()) == ["2", "3"]
    saved.close()


def test_a_relative_folder_is_as_good(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    saved = Checkpoints(pathlib.Path(folder.name))
    monkeypatch.chdir("/")
    assert saved.load("latest", abstract(state()))[1] == {"best": 0.5, "note": "x"}
    saved.close()


def load_damaged(folder):
    """None where the state is what was saved all the same; else the one line that refuses it."""
    saved = Checkpoints(folder)
    try:
        loaded, info = saved.load("latest", abstract(state()))
    except ValueError as error:
        assert "\n" not in str(error) and "elete" not in str(error)
        loaded, _ = saved.load("latest", abstract(state()), step=2)  # only for those who ask
        jax.tree.map(np.testing.assert_array_equal, loaded, state(2))
        return str(error)
    finally:
        saved.close()
    assert info == {"best": 0.5, "note": "x"}
    jax.tree.map(np.testing.assert_array_equal, loaded, state(3))
    return None


def flip(raw, bit):
    return raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :]


@orbax_drops_coroutines
def test_damage_to_any_file_is_harmless_or_refused_in_one_line(folder):
    refused = set()
    for path in sorted(path for path in (folder / "latest" / "3").rglob("*") if path.is_file()):
        raw = path.read_bytes()
        for damaged in (b"", raw[: len(raw) // 2], None, flip(raw, 4 * len(raw) + 1)):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            if message := load_damaged(folder):
                assert re.search(
                    r"latest/3: this checkpoint is damaged: .* from step 2 \(not checked either\)$", message
                )
                refused.add(path.name)
            path.write_bytes(raw)
    assert {"_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"} < refused
    assert load_damaged(folder) is None


@orbax_drops_coroutines
def test_one_flipped_bit_of_info_is_noticed(folder):
    path = folder / "latest" / "3" / "_CHECKPOINT_METADATA"
    raw = path.read_bytes()
    for text in (b'"best": 0.5', b'"note": "x', b"bias"):
        path.write_bytes(flip(raw, 8 * (raw.index(text) + len(text) - 1)))
        assert "_CHECKPOINT_METADATA is not what was saved; whether the arrays are whole" in load_damaged(folder)


@orbax_drops_coroutines
def test_an_array_that_is_not_what_was_saved_is_named(folder):
    path = folder / "latest" / "3" / "_CHECKPOINT_METADATA"
    found = json.loads(path.read_text())
    content = found["custom_metadata"]
    content["arrays"]["['params']['bias']"]["sha256"] = "0" * 64
    content["sha256"] = checkpoints._sha256({name: content[name] for name in ("schema", "info", "arrays")})
    path.write_text(json.dumps(found))
    assert "1 of 3 arrays are not what was saved (['params']['bias']); the others are whole" in load_damaged(folder)


def other(**params):
    return {**state(), "params": {**state()["params"], **params}}


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        (
            other(kernel=jnp.zeros((2, 2))),
            "(['params']['kernel'] expected float32[2, 2], found float32[64, 64])",
        ),
        (other(bias=jnp.zeros(3, jnp.bfloat16)), "(['params']['bias'] expected bfloat16[3], found float32[3])"),
        (other(scale=jnp.zeros(3)), "(missing there: ['params']['scale'])"),
        ({"params": state()["params"]}, "(only there: ['step'])"),
        (
            {**state(), "params": {"encoders_audio": jnp.zeros(1)}},
            "(missing there: ['params']['encoders_audio']; only there: ['params']['bias'], ['params']['kernel'])",
        ),
    ],
)
def test_other_arrays_are_refused_with_a_diff(folder, asked, difference):
    saved = Checkpoints(folder)
    with pytest.raises(ValueError, match="of another model, optimizer or precision") as error:
        saved.load("latest", abstract(asked))
    assert difference in str(error.value) and "damaged" not in str(error.value)
    saved.close()


def test_another_schema_is_refused_by_number(folder, monkeypatch):
    saved = Checkpoints(folder)
    monkeypatch.setattr(checkpoints, "SCHEMA", checkpoints.SCHEMA + 1)
    with pytest.raises(ValueError, match=r"a checkpoint of schema 2; this program reads schema 3") as error:
        saved.load("latest", abstract(state()))
    assert "damaged" not in str(error.value)
    saved.close()


def test_nothing_there(tmp_path):
    saved = Checkpoints(tmp_path)
    assert saved.step("best") is None
    with pytest.raises(FileNotFoundError, match="no checkpoint there"):
        saved.load("best", abstract(state()))
    saved.close()


@orbax_drops_coroutines
def test_too_little_room_is_told_before_anything_is_written(folder, monkeypatch):
    saved = Checkpoints(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(
        OSError, match=r"could not save the checkpoint of step 4: .* are free\. Step 3 is safe"
    ) as error:
        saved.save("latest", 4, state(4), {})
    assert "\n" not in str(error.value)
    saved.close()
    monkeypatch.undo()
    assert Checkpoints(folder).step("latest") == 3


def large():
    return {"kernel": jax.random.normal(jax.random.key(0), (512, 1024))}


@orbax_drops_coroutines
def test_a_write_that_fails_inside_a_save_leaves_the_step_before(folder):
    saved = Checkpoints(folder)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, usual[1]))
    try:
        with pytest.raises(OSError, match=r"step 4: a file is larger than .* Step 3 is safe") as error:
            saved.save("latest", 4, large(), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "\n" not in str(error.value)
    saved.close()
    assert not list(folder.glob("*/*tmp*"))
    assert load_damaged(folder) is None


@orbax_drops_coroutines
@pytest.mark.parametrize("remains", ["nothing", "a file in its place"])
def test_a_folder_that_vanished_is_one_line(folder, remains):
    saved = Checkpoints(folder)
    (folder / "latest").rename(folder / "elsewhere")
    if remains == "a file in its place":
        (folder / "latest").write_text("")
    with pytest.raises(OSError, match=r"could not save the checkpoint of step 4: .*No other step is there") as error:
        saved.save("latest", 4, state(4), {})
    assert "\n" not in str(error.value)
    saved.close()
    (folder / "latest").unlink(missing_ok=True)
    (folder / "elsewhere").rename(folder / "latest")
    assert load_damaged(folder) is None


def save_for_ever(folder, saving):
    saved = Checkpoints(folder)
    tree = large()
    saved.save("latest", 1, tree, {"step": 1})
    saving.set()
    for step in itertools.count(2):
        saved.save("latest", step, tree, {"step": step})


def test_killed_inside_a_save_it_goes_on_from_a_whole_step(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.checkpoints"])
    for delay in (0.005, 0.02, 0.08):
        folder, saving = tmp_path / str(delay), context.Event()
        process = context.Process(target=save_for_ever, args=(folder, saving))
        process.start()
        assert saving.wait(60)
        time.sleep(delay)
        process.kill()
        process.join()
        saved = Checkpoints(folder, clean=True)
        newest = saved.step("latest")
        loaded, info = saved.load("latest", abstract(large()))
        np.testing.assert_array_equal(loaded["kernel"], large()["kernel"])
        assert info == {"step": newest}
        saved.save("latest", newest + 1, large(), {})
        saved.close()
        assert not list(folder.glob("*/*tmp*"))


def test_what_a_killed_save_left_is_cleaned_up_by_training_only(folder):
    (folder / "latest" / "9.orbax-checkpoint-tmp").mkdir()
    for clean in (False, True):
        assert list(folder.glob("latest/*tmp*"))
        saved = Checkpoints(folder, clean=clean)
        assert saved.step("latest") == 3
        saved.close()
    assert not list(folder.glob("latest/*tmp*"))
