"""Camera: hand, lens, sensor and encoders that every clip passes through, drawn without regard to the label."""

import dataclasses
import os
import pathlib

import av
import cv2
import numpy as np

from data_pipelines.fakes import codecs
from mmdf_jax.audio import SAMPLE_RATE

FPS = 25
_NOISE_TILE = 224
_MEMORY = 0.8  # of what wanders from frame to frame: its autocorrelation at one frame


@dataclasses.dataclass(frozen=True)
class Camera:
    """blur: lens, pixels; noise: sensor, grey levels; light: of the scene, 1 is bright; gain, white: slow drift of
    exposure and colour over the clip; flicker: relative, of the brightness; shake: pixels; gamma: tone; held: share of
    the pictures that are not new but held from before."""

    blur: float
    noise: float
    gain: float = 0.0
    white: float = 0.0
    gamma: float = 1.0
    light: float = 1.0
    flicker: float = 0.0
    shake: float = 0.0
    held: float = 0.0


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Targets in bit/s: encoding to a rate, not to a quality, keeps the file's size from telling of its content.

    earlier_crf, earlier_rate: quality of an H.264 and bit/s of an AAC pass that came before; 0 for none.
    """

    preset: str
    video_rate: int
    audio_rate: int
    keyframe: int  # frames
    earlier_crf: int = 0
    earlier_rate: int = 0


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera in the hands of somebody, anywhere from a studio to a dark room."""
    dark = rng.random() < 0.3
    return Camera(
        blur=rng.uniform(0.45, 1.0),
        noise=rng.uniform(4.0, 8.0) if dark else rng.uniform(1.0, 5.0),
        gain=rng.uniform(0, 0.06),
        white=rng.uniform(0, 0.012),
        gamma=rng.uniform(0.85, 1.2),
        light=rng.uniform(0.4, 0.75) if dark else rng.uniform(0.85, 1.05),
        flicker=rng.uniform(0, 0.012),
        shake=rng.uniform(0, 0.8),
        held=rng.uniform(0.03, 0.15) if rng.random() < 0.35 else 0.0,
    )


def draw_encoder(rng: np.random.Generator) -> Encoder:
    """Random encoder settings, spread over a factor of three; a third of the pictures and of the sounds were encoded
    before."""
    rate = round(np.exp(rng.uniform(np.log(160e3), np.log(480e3))))
    preset = str(rng.choice(["ultrafast", "superfast"]))
    audio_rate, keyframe = int(rng.choice([48000, 64000, 96000])), int(rng.choice([12, 25, 50, 250]))
    crf = int(rng.integers(20, 32)) if rng.random() < 1 / 3 else 0
    earlier = int(rng.choice([24000, 32000, 48000])) if rng.random() < 1 / 3 else 0
    return Encoder(preset, rate, audio_rate, keyframe, crf, earlier)


def wander(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """A stationary first-order autoregression over the first axis, of standard deviation `sigma` throughout."""
    walk = rng.standard_normal(shape)
    for i in range(1, len(walk)):
        walk[i] = _MEMORY * walk[i - 1] + np.sqrt(1 - _MEMORY**2) * walk[i]
    return sigma * walk


def shown(t: int, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Number of the picture `[t]` that each moment shows: its own, or for 1 to 3 frames in a row one held from before.

    The sound runs on.
    """
    number, i = np.arange(t), 1
    while i < t:
        if rng.random() < camera.held / 2:
            count = int(rng.integers(1, 4))
            number[i : i + count] = number[i - 1]
            i += count
        i += 1
    return number


def shake(frames: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Frames `[t h w 3]` uint8 moved by `shifts [t 2]` pixels (x, y), as a hand-held camera moves them."""
    size = frames.shape[2], frames.shape[1]
    moved = (np.float32([[1, 0, x], [0, 1, y]]) for x, y in shifts)
    return np.stack(
        [
            cv2.warpAffine(frame, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            for frame, move in zip(frames, moved, strict=True)
        ]
    )


def expose(frames: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Frames `[t h w 3]` uint8 as the lens and the exposure give them: blur, tone, light, drift and flicker."""
    t = len(frames)
    drift = np.cumsum(rng.standard_normal((t, 4)), 0) / np.sqrt(t)
    gains = (1 + camera.gain * drift[:, :1] + wander((t, 1), camera.flicker, rng)) * (1 + camera.white * drift[:, 1:])
    tone = 255 * camera.light * (np.arange(256) / 255) ** camera.gamma
    out = np.empty_like(frames)
    for i in range(t):
        table = np.clip(tone[:, None] * gains[i] + 0.5, 0, 255).astype(np.uint8)[None]
        cv2.LUT(cv2.GaussianBlur(frames[i], (5, 5), camera.blur), table, out[i])
    return out


def add_noise(
    frames: np.ndarray, camera: Camera, number: np.ndarray, rng: np.random.Generator, amount: np.ndarray | None = None
) -> np.ndarray:
    """Frames `[t h w 3]` uint8 with the sensor's noise; a held picture (see `shown`) has the same noise again.

    amount: how much of it each pixel gets `[t h w]` float32; None: all of it.
    """
    t, h, w, _ = frames.shape
    noise = camera.noise * rng.standard_normal((_NOISE_TILE, _NOISE_TILE, 3), np.float32)
    corners = rng.integers(0, [_NOISE_TILE - h + 1, _NOISE_TILE - w + 1], (t, 2))[number]
    out = np.empty_like(frames)
    for i, (y, x) in enumerate(corners):
        grain = noise[y : y + h, x : x + w]
        if amount is not None:
            grain = grain * amount[i][..., None]
        cv2.add(frames[i], grain, out[i], dtype=cv2.CV_8U)
    return out


def write(path: pathlib.Path, frames: np.ndarray, sound: np.ndarray, encoder: Encoder) -> None:
    """Writes an mp4 (H.264 + AAC) of frames `[t h w 3]` uint8 at FPS and sound `[s]` float32 at 16 kHz.

    The file appears whole or not at all. One encoder thread, so that the same input gives the same bytes on every
    machine with the same libraries.
    """
    if encoder.earlier_crf:
        frames = codecs.video_round_trip(frames, encoder.earlier_crf, fps=FPS)
    if encoder.earlier_rate:
        coded = np.clip(np.rint(32767 * sound), -32768, 32767).astype(np.int16)
        sound = codecs.audio_round_trip(coded, "aac", encoder.earlier_rate).astype(np.float32) / 32767
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


def write_mask(path: pathlib.Path, mask: np.ndarray) -> None:
    """Writes a film of what was blended, `[t h w]` uint8 from 0 to 255, as pictures of the same size and times."""
    partial = path.with_suffix(".mask_partial")
    with av.open(str(partial), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.height, video.width, video.pix_fmt = *mask.shape[1:], "yuv420p"
        video.codec_context.thread_count = 1
        video.options = {"preset": "ultrafast", "crf": "12", "x264-params": "threads=1"}
        for i, image in enumerate(mask):
            frame = av.VideoFrame.from_ndarray(cv2.cvtColor(cv2.merge([image] * 3), cv2.COLOR_RGB2YUV_I420), "yuv420p")
            frame.pts = i
            container.mux(video.encode(frame))
        container.mux(video.encode())
    os.replace(partial, path)
