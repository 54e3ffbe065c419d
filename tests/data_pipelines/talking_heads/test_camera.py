"""Camera and encoder: the file has the format, keeps picture and sound in step, and does not depend on the run."""

import av
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


def test_capture_adds_its_noise_and_nothing_else():
    flat = np.full((12, 160, 160, 3), 128, np.uint8)
    out = camera.capture(flat, camera.Camera(0.5, 3.0, 0.0, 0.0, 1.0), np.random.default_rng(0))
    assert (
        out.dtype == np.uint8
        and out.std() == pytest.approx(3.0, rel=0.03)
        and out.mean() == pytest.approx(128, abs=0.3)
    )
    assert abs(np.corrcoef(out[0].ravel(), out[1].ravel())[0, 1]) < 0.02 or not np.array_equal(out[0], out[1])
    clean = camera.capture(flat, camera.Camera(0.5, 0.0, 0.0, 0.0, 1.0), np.random.default_rng(0))
    assert np.array_equal(clean, flat)
