"""Camera: the lens, sensor and encoder that every clip passes through, drawn without regard to the label."""

import dataclasses
import os
import pathlib

import av
import cv2
import numpy as np

from mmdf_jax.audio import SAMPLE_RATE

FPS = 25
_NOISE_TILE = 224


@dataclasses.dataclass(frozen=True)
class Camera:
    """blur: lens, pixels; noise: sensor, grey levels; gain, white: slow drift of exposure and colour; gamma: tone."""

    blur: float
    noise: float
    gain: float
    white: float
    gamma: float


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Targets in bit/s: encoding to a rate, not to a quality, keeps the file's size from telling of its content."""

    preset: str
    video_rate: int
    audio_rate: int
    keyframe: int  # frames


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera."""
    return Camera(
        rng.uniform(0.45, 0.75),
        rng.uniform(1.0, 4.5),
        rng.uniform(0, 0.02),
        rng.uniform(0, 0.012),
        rng.uniform(0.85, 1.2),
    )


def draw_encoder(rng: np.random.Generator) -> Encoder:
    """Random encoder settings, spread over a factor of three."""
    rate = round(np.exp(rng.uniform(np.log(160e3), np.log(480e3))))
    preset = str(rng.choice(["ultrafast", "superfast"]))
    return Encoder(preset, rate, int(rng.choice([48000, 64000, 96000])), int(rng.choice([12, 25, 50, 250])))


def capture(frames: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Frames `[t h w 3]` uint8 as the camera delivers them: blur, tone, drifting gain and white balance, noise."""
    t, h, w, _ = frames.shape
    noise = camera.noise * rng.standard_normal((_NOISE_TILE, _NOISE_TILE, 3), np.float32)
    drift = np.cumsum(rng.standard_normal((t, 4)), 0) / np.sqrt(t)
    gains = (1 + camera.gain * drift[:, :1]) * (1 + camera.white * drift[:, 1:])
    corners = rng.integers(0, [_NOISE_TILE - h + 1, _NOISE_TILE - w + 1], (t, 2))
    tone = 255 * (np.arange(256) / 255) ** camera.gamma
    out = np.empty_like(frames)
    for i, (y, x) in enumerate(corners):
        table = np.clip(tone[:, None] * gains[i] + 0.5, 0, 255).astype(np.uint8)[None]
        image = cv2.LUT(cv2.GaussianBlur(frames[i], (5, 5), camera.blur), table)
        cv2.add(image, noise[y : y + h, x : x + w], out[i], dtype=cv2.CV_8U)
    return out


def write(path: pathlib.Path, frames: np.ndarray, sound: np.ndarray, encoder: Encoder) -> None:
    """Writes an mp4 (H.264 + AAC) of frames `[t h w 3]` uint8 at FPS and sound `[s]` float32 at 16 kHz.

    The file appears whole or not at all. One encoder thread, so that the same input gives the same bytes on every
    machine with the same libraries.
    """
    partial = path.with_suffix(".partial")
    with av.open(str(partial), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.bit_rate = encoder.video_rate
        video.codec_context.thread_count = 1
        video.codec_context.gop_size = encoder.keyframe
        limit = str(encoder.video_rate)
        video.options = {"preset": encoder.preset, "maxrate": limit, "bufsize": limit, "x264-params": "threads=1"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = encoder.audio_rate
        audio.options = {"aac_coder": "fast"}
        audio.codec_context.thread_count = 1
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), "yuv420p")
            frame.pts = i
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for start in range(0, len(sound), 1024):
            piece = np.ascontiguousarray(sound[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    os.replace(partial, path)
