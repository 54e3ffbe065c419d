"""Checkpoints: what was saved comes back, and anything else is refused by name."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.checkpoints import Checkpoints


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
    return tmp_path


def test_round_trip_and_what_is_kept(folder):
    saved = Checkpoints(folder)
    assert (saved.step("latest"), saved.step("best")) == (3, 2)
    loaded, info = saved.load("latest", abstract(state()))
    assert info == {"best": 0.5, "note": "x"}
    jax.tree.map(np.testing.assert_array_equal, loaded, state(3))
    assert sorted(path.name for path in (folder / "latest").iterdir()) == ["2", "3"]
    saved.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax drops its coroutines
def test_one_flipped_bit_is_noticed(folder):
    data = max((folder / "latest" / "3").rglob("d/*"), key=lambda path: path.stat().st_size)
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 1
    data.write_bytes(raw)
    saved = Checkpoints(folder)
    with pytest.raises(ValueError, match=r"latest/3: (\d+ of \d+ arrays are not|this checkpoint cannot)"):
        saved.load("latest", abstract(state()))
    loaded, _ = saved.load("latest", abstract(state()), step=2)
    assert loaded["params"]["kernel"][0, 0] == 2
    saved.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_another_shape_or_dtype_is_refused(folder):
    saved = Checkpoints(folder)
    other = {**state(), "params": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(3)}}
    with pytest.raises(ValueError, match="latest/3"):
        saved.load("latest", abstract(other))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state())
    with pytest.raises(ValueError, match="arrays are not what was saved"):
        saved.load("latest", abstract(half))
    saved.close()


def test_nothing_there(tmp_path):
    saved = Checkpoints(tmp_path)
    assert saved.step("best") is None
    with pytest.raises(FileNotFoundError, match="no checkpoint there"):
        saved.load("best", abstract(state()))
    saved.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_one_line_and_the_step_before_is_safe(folder, monkeypatch):
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


def test_what_a_killed_save_left_is_cleaned_up_by_training_only(folder):
    (folder / "latest" / "9.orbax-checkpoint-tmp").mkdir()
    for clean in (False, True):
        assert list(folder.glob("latest/*tmp*"))
        saved = Checkpoints(folder, clean=clean)
        assert saved.step("latest") == 3
        saved.close()
    assert not list(folder.glob("latest/*tmp*"))
