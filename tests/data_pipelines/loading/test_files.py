"""From media files to batches."""

import logging
import re
import shutil

import numpy as np
import pytest
from in_memory import CONFIG, assert_equal, take

from data_pipelines.clip import Clip
from data_pipelines.prepare import records


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, write_media):
    """Real records: a flash and a click at 2.0 s, in clips of 4 s; the second without sound."""
    folder = tmp_path_factory.mktemp("media")
    made = []
    for name, label, options in (("real", 0, {}), ("fake", 1, {"rate": 0})):
        path = folder / f"{name}.mp4"
        write_media(path, times=np.arange(100) / 25, flash=2.0, click=2.0, seconds=4.0, **options)
        made.append(Clip(name, str(path), label, split="test", method=name))
    crops = records.Crops(face="whole", face_size=32, mouth=False)
    return records.prepare(made, folder / "records", crops=crops, workers=1)


def test_flash_and_click_stay_together_from_file_to_batch(prepared):
    config = CONFIG | {"streams": {"video": {"fps": 25, "size": 32}, "audio": {}}, "balance": "none"}
    source = records.Records(prepared, "test")
    moments = []
    for batch in take(source.train_batches(config | {"augment": ()}, seed=0), 15):
        for row in np.flatnonzero(batch["audio_mask"] & (np.abs(batch["window_start"] - 1.5) < 0.4)):
            flash = np.argmax(batch["video"][row, :, 16, 16, 0] > 128) / 25
            click = np.argmax(np.abs(batch["audio"][row].astype(int)) > 5000) / 16_000
            moments.append((flash, click, 2.0 - batch["window_start"][row]))
    flash, click, want = np.array(moments).T
    assert len(moments) > 3
    np.testing.assert_allclose(flash, want, atol=1e-6)
    np.testing.assert_allclose(click, want, atol=0.01)


def test_real_records_with_workers(prepared):
    source = records.Records(prepared, "test")
    config = CONFIG | {"streams": {"image": {"frames": 2, "size": 16}, "audio": {}}}
    straight = take(source.train_batches(config, seed=1), 3)
    assert_equal(take(source.train_batches(config | {"workers": 1}, seed=1), 3), straight)
    (batch,) = source.eval_batches(config, windows=2)
    np.testing.assert_array_equal(batch["audio_mask"][:4], [True, True, False, False])
    np.testing.assert_array_equal(batch["label"][:4], [0, 0, 1, 1])


def test_damaged_record_files_are_told_by_clip(prepared, tmp_path, caplog):
    folder = tmp_path / "records"
    shutil.copytree(prepared, folder)
    (file,) = folder.glob("clips/*/*.array_record*")
    data = bytearray(file.read_bytes())
    data[1200] ^= 1  # in the first half second of the first clip's sound
    file.write_bytes(data)
    config = CONFIG | {"streams": {"image": {"frames": 2, "size": 16}, "audio": {}}}
    with caplog.at_level(logging.WARNING):
        (batch,) = records.Records(folder, "test").eval_batches(config, windows=2)
    np.testing.assert_array_equal(batch["audio_mask"][:4], [False, True, False, False])  # the second clip has no sound
    assert not batch["audio"][0].any()
    assert batch["image_mask"][:4].all()
    assert [r.getMessage().split(":")[:2] for r in caplog.records] == [["real", " not scored"]]


@pytest.mark.parametrize("kept", (0.3, 0.9))
def test_record_files_cut_short_name_the_file(prepared, tmp_path, kept):
    folder = tmp_path / "records"
    shutil.copytree(prepared, folder)
    (file,) = folder.glob("clips/*/*.array_record*")
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(
        ValueError, match=f"record 0 of split 'test' .*the file {re.escape(file.name)} is damaged or cut"
    ):
        records.Records(folder, "test")[0]["audio"][:]
