"""Small media files and models made on the spot, and a stand-in for the face detector."""

import fractions
import struct

import av
import numpy as np
import pytest

from data_pipelines.prepare import detectors, faces


def _write_media(
    path,
    *,
    times=None,
    images=None,
    size=(64, 64),
    flash=None,
    click=None,
    sound=None,
    seconds=None,
    audio_start=0.0,
    rate=44100,
    layout="mono",
    video_codec="libx264",
    audio_codec="aac",
    bframes=2,
    options=None,
):
    """Writes pictures that show from `times` (s) and a sound; None leaves the stream out.

    images: array per picture [h w 3], by default grey, white from `flash` on; sound: float [s], by default silence with
    a burst at the time `click`. Returns path.
    """
    tick = fractions.Fraction(1, 30000)
    with av.open(f"file:{path}", "w", options=options or {}, format=_format(path)) as container:
        video = audio = None
        if times is not None:
            codec_options = {"bf": str(bframes), "preset": "ultrafast"} if video_codec == "libx264" else {}
            video = container.add_stream(video_codec, rate=30, options=codec_options)
            video.width, video.height = size if images is None else images[0].shape[1::-1]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = video.time_base = tick
        if rate:
            audio = container.add_stream(audio_codec, rate=rate, layout=layout)
            _encode_sound(container, audio, sound, seconds or 3.0, click, audio_start)
        for i, time in enumerate(() if times is None else times):
            if images is None:
                value = 235 if flash is not None and time >= flash - 1e-6 else 40
                image = np.full((size[1], size[0], 3), value, np.uint8)
            else:
                image = images[i]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(video.encode(frame))
        if video:
            container.mux(video.encode())
    return path


def _format(path):
    return {"mkv": "matroska", "m4a": "mp4", "ts": "mpegts"}.get(suffix := str(path).rpartition(".")[2], suffix)


def _encode_sound(container, audio, sound, seconds, click, start):
    rate, channels = audio.codec_context.sample_rate, audio.codec_context.layout.nb_channels
    if sound is None:
        sound = np.zeros(round(seconds * rate))
        if click is not None:
            first, length = round((click - start) * rate), rate // 100
            sound[first : first + length] = 0.9 * np.sin(np.arange(length) * 2 * np.pi * 2000 / rate)
    kind = audio.codec_context.format.name
    sound = np.tile(np.asarray(sound, np.float32), (channels, 1))
    if not kind.startswith("flt"):
        integer = np.int32 if kind.startswith("s32") else np.int16
        values = np.round(sound.astype(np.float64) * np.iinfo(integer).max).astype(integer)
    else:
        values = sound
    chunk = audio.codec_context.frame_size or 1024
    for first in range(0, values.shape[1], chunk):
        block = np.ascontiguousarray(values[:, first : first + chunk])
        block = block if kind.endswith("p") else np.ascontiguousarray(block.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format=kind, layout=audio.codec_context.layout.name)
        frame.sample_rate, frame.time_base = rate, fractions.Fraction(1, rate)
        frame.pts = round(start * rate) + first
        container.mux(audio.encode(frame))
    container.mux(audio.encode())


@pytest.fixture(scope="session")
def write_media():
    """The function that writes a media file."""
    return _write_media


@pytest.fixture(scope="session")
def encode_sound():
    """The function that encodes a sound into a stream."""
    return _encode_sound


def _frontal(x, y, eyes):
    """Landmarks [68 2] of an upright face: middle between the eyes, distance of the outer eye corners."""
    points = np.zeros((68, 2), np.float32)
    points[list(faces.STABLE)] = [(-0.5, 0), (-0.165, 0), (0.165, 0), (0.5, 0), (0, 0.52)]
    points[48:68] = (0, 0.85)
    return points * eyes + (x, y)


@pytest.fixture(scope="session")
def frontal():
    """The function that gives landmarks of an upright face."""
    return _frontal


@pytest.fixture(scope="session")
def talking_clip(write_media, frontal):
    """A function that writes a clip with its landmarks beside it: (folder, name, seconds, seed) -> path."""

    def write(folder, name, seconds=1.0, seed=0):
        rng = np.random.default_rng(seed)
        count = round(25 * seconds)
        base = rng.integers(0, 255, (12, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        path = write_media(
            folder / f"{name}.mp4",
            times=np.arange(count) / 25,
            images=[np.roll(base, i, 1) for i in range(count)],
            sound=rng.normal(size=round(seconds * 16000)) * 0.1,
            rate=16000,
        )
        landmarks = np.stack([frontal(48 + np.sin(i / 5), 40, 28) for i in range(count)])
        np.savez(path.with_suffix(".npz"), landmarks=landmarks, times=np.arange(count) / 25)
        return path

    return write


def _field(number, value):
    """A field of a protocol buffer: int, float, or bytes (strings, messages, packed data)."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _tensor(name, array):
    kind = {"float32": 1, "int64": 7}[array.dtype.name]
    return b"".join(
        [*(_field(1, side) for side in array.shape), _field(2, kind), _field(8, name), _field(9, array.tobytes())]
    )


def _value(name, shape):
    sides = b"".join(_field(1, _field(1, side)) for side in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, sides)))


def _node(kind, inputs, output, **ints):
    attributes = (
        _field(1, name) + b"".join(_field(8, i) for i in value) + _field(20, 7) for name, value in ints.items()
    )
    names = [_field(1, name) for name in inputs] + [_field(2, output), _field(3, output), _field(4, kind)]
    return b"".join(names + [_field(5, attribute) for attribute in attributes])


def _write_yunet(path, heads=("cls", "obj", "bbox", "kps"), side=640, sure=200):
    """Writes an ONNX model with YuNet's input and outputs (onnx.proto of ONNX 1.12; strides 8, 16 and 32).

    It takes a white square of 32 × 32 pixels, in a raster of 32, for the middle of a face 128 pixels wide. sure: the
    brightness that counts as white half the time. Returns path.
    """
    points = (detectors.YuNet._IN_BOX - 0.5) * 4 + 0.5
    biases = {"bbox": np.float32([0.5, 0.5, np.log(4), np.log(4)]), "kps": points.ravel()}
    nodes, constants, outputs = [], [], []
    for head in heads:
        for stride in (8, 16, 32):
            name, count = f"{head}_{stride}", {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}[head]
            white = head in ("cls", "obj") and stride == 32  # sigmoid(0.2 · (mean - sure))
            weight = np.full((count, 3, 1, 1), 0.2 / 3 if white else 0.0, np.float32)
            bias = biases.get(head, np.float32([-0.2 * sure]))
            constants += [_tensor(f"{name}_w", weight), _tensor(f"{name}_b", bias)]
            constants += [_tensor(f"{name}_shape", np.array([1, -1, count]))]
            nodes += [
                _node("AveragePool", ["input"], f"{name}_mean", kernel_shape=[stride] * 2, strides=[stride] * 2),
                _node("Conv", [f"{name}_mean", f"{name}_w", f"{name}_b"], f"{name}_map", kernel_shape=[1, 1]),
                _node("Transpose", [f"{name}_map"], f"{name}_last", perm=[0, 2, 3, 1]),
                _node("Reshape", [f"{name}_last", f"{name}_shape"], f"{name}_flat"),
                _node("Sigmoid" if count == 1 else "Identity", [f"{name}_flat"], name),
            ]
            outputs.append(_value(name, (1, (side // stride) ** 2, count)))
    parts = [(1, node) for node in nodes] + [(2, "yunet")] + [(5, constant) for constant in constants]
    parts += [(11, _value("input", (1, 3, side, side)))] + [(12, output) for output in outputs]
    graph = b"".join(_field(*part) for part in parts)
    path.write_bytes(_field(1, 7) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)))
    return path


@pytest.fixture(scope="session")
def yunet_model():
    """The function that writes a small model in YuNet's format."""
    return _write_yunet
