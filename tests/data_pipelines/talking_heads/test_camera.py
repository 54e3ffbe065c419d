"""Camera and encoder: the file has the format, keeps picture and sound in step, and does not depend on the run."""

import av
import cv2
import numpy as np
import pytest

from data_pipelines.talking_heads import camera


def _decode(path):
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.average_rate == camera.FPS and audio.rate == 16000 and audio.channels == 1
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video)])
    with av.open(str(path)) as container:
        pieces = list(container.decode(audio=0))
    start = pieces[0].pts * pieces[0].time_base
    return frames, np.concatenate([piece.to_ndarray()[0] for piece in pieces]), float(start)


def test_flash_and_click_stay_together(tmp_path):
    frames = np.full((50, 160, 160, 3), 60, np.uint8)
    frames[30] = 220
    sound = 0.001 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    sound[19200:19216] = 0.8  # 1.2 s, like frame 30
    path = tmp_path / "clip.mp4"
    camera.write(path, frames, sound, camera.Encoder("superfast", 300000, 64000, 25))
    decoded, heard, start = _decode(path)
    assert decoded.shape == frames.shape and np.argmax(decoded.mean((1, 2, 3))) == 30
    assert start + np.argmax(np.abs(heard)) / 16000 == pytest.approx(1.2005, abs=0.002)
    assert len(heard) / 16000 + start == pytest.approx(2.0, abs=0.07)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_same_input_same_bytes(tmp_path):
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 255, (10, 160, 160, 3), np.uint8)
    sound = 0.1 * rng.standard_normal(6400).astype(np.float32)
    encoder = camera.draw_encoder(rng)
    for name in ("a.mp4", "b.mp4"):
        camera.write(tmp_path / name, frames, sound, encoder)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_an_earlier_pass_leaves_its_trace_and_no_delay(tmp_path):
    rng = np.random.default_rng(2)
    picture = cv2.resize(rng.integers(0, 255, (20, 20, 1), np.uint8), (160, 160), interpolation=cv2.INTER_CUBIC)
    frames = np.repeat(np.repeat(picture[None, ..., None], 3, -1), 12, 0)
    frames[6:] = frames[6:][:, ::-1]
    sound = 0.1 * rng.standard_normal(7680).astype(np.float32)
    files = []
    for crf, rate in ((0, 0), (28, 24000)):
        path = tmp_path / f"{crf}.mp4"
        camera.write(path, frames, sound, camera.Encoder("superfast", 10**7, 96000, 25, crf, rate))
        files.append(_decode(path))
    (once, heard, _), (twice, heard_twice, _) = files
    assert np.abs(twice.astype(int) - frames).mean() > 1.3 * np.abs(once.astype(int) - frames).mean()
    assert np.argmax(np.abs(np.diff(twice.astype(int), axis=0)).mean((1, 2, 3))) == 5
    echo = np.correlate(heard_twice[2000:6000], heard[2000:6000], "full")
    assert abs(int(np.argmax(echo)) - 3999) <= 1


def test_noise_is_the_sensors_and_held_pictures_keep_theirs():
    flat, lens = np.full((12, 160, 160, 3), 128, np.uint8), camera.Camera(0.5, 3.0)
    number = np.array([0, 1, 1, 1, 4, 5, 6, 7, 8, 9, 10, 11])
    amount = np.ones((12, 160, 160), np.float32)
    amount[:, :80] = 0.5
    out = camera.add_noise(flat, lens, number, np.random.default_rng(0), amount)
    assert out.dtype == np.uint8 and out.mean() == pytest.approx(128, abs=0.3)
    assert out[:, 80:].std() == pytest.approx(3.0, rel=0.03) and out[:, :80].std() == pytest.approx(1.53, rel=0.05)
    assert np.array_equal(out[1], out[3]) and not np.array_equal(out[0], out[1])


def test_exposure_keeps_a_flat_picture_flat_and_dims_it():
    flat = np.full((12, 160, 160, 3), 128, np.uint8)
    assert np.array_equal(camera.expose(flat, camera.Camera(0.5, 0.0), np.random.default_rng(0)), flat)
    dark = camera.expose(flat, camera.Camera(0.5, 0.0, light=0.5, flicker=0.01), np.random.default_rng(0))
    level = dark.mean((1, 2, 3))
    assert level.mean() == pytest.approx(64, abs=1.5) and 0.1 < level.std() < 1.5 and dark.std((1, 2, 3)).max() == 0


def test_what_wanders_is_slow_and_of_its_size():
    walk = camera.wander((4000, 3), 0.01, np.random.default_rng(0))
    assert walk.std(0) == pytest.approx([0.01] * 3, rel=0.1) and walk[0].std() < 0.05
    assert np.corrcoef(walk[1:, 0], walk[:-1, 0])[0, 1] == pytest.approx(0.8, abs=0.04)


def test_pictures_are_held_for_one_to_three_frames():
    number = camera.shown(4000, camera.Camera(0.5, 0.0, held=0.2), np.random.default_rng(0))
    held = number < np.arange(4000)
    assert 0.1 < held.mean() < 0.25 and (np.diff(number) >= 0).all() and number[0] == 0
    runs = np.diff(np.flatnonzero(np.diff(np.r_[0, held, 0])))[::2]
    assert set(runs) <= {1, 2, 3, 4, 5, 6} and (number[~held] == np.arange(4000)[~held]).all()
    assert np.array_equal(camera.shown(50, camera.Camera(0.5, 0.0), np.random.default_rng(0)), np.arange(50))


def test_a_shaken_picture_is_where_its_shift_says():
    frames = np.zeros((2, 160, 160, 3), np.uint8)
    frames[:, 80, 60] = 200
    moved = camera.shake(frames, np.array([[3.0, -2.0], [0.5, 0.0]]))
    assert moved[0, 78, 63, 0] == 200 and moved[1, 80, 60:62, 0] == pytest.approx([100, 100], abs=2)


def test_a_mask_film_comes_back(tmp_path):
    mask = np.zeros((5, 160, 160), np.uint8)
    mask[2:, 40:90, 50:110] = 255
    camera.write_mask(tmp_path / "mask.mp4", mask)
    with av.open(str(tmp_path / "mask.mp4")) as container:
        back = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.abs(back.astype(int) - mask[..., None]).mean() < 1 and back.shape == (5, 160, 160, 3)
