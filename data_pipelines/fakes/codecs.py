"""Sound and pictures through a lossy codec and back, in memory and in step with what went in."""

import fractions

import av
import cv2
import numpy as np

from mmdf_jax.audio import SAMPLE_RATE

# Name -> FFmpeg's encoder and the rate at which it works: what phones, the web and telephones do to a voice.
AUDIO_CODECS = {
    "aac": ("aac", 16_000),
    "mp3": ("libmp3lame", 16_000),
    "opus": ("libopus", 16_000),
    "mulaw": ("pcm_mulaw", 8_000),
}
_SLACK = 4096  # samples by which a decoder's output may come late


def audio_round_trip(samples: np.ndarray, codec: str, bit_rate: int) -> np.ndarray:
    """What is left of samples [s] int16 at 16 kHz after encoding at `bit_rate` bits/s: as long, and not delayed.

    codec: one of AUDIO_CODECS; mulaw is 8 kHz telephony at 64 kbit/s whatever the rate asked for. Digital silence and
    fewer than 160 samples come back as they are. ValueError for an unknown codec.
    """
    if codec not in AUDIO_CODECS:
        raise ValueError(f"codec: expected one of {', '.join(AUDIO_CODECS)}, found {codec!r}")
    if len(samples) < 160 or not samples.any():
        return samples
    name, rate = AUDIO_CODECS[codec]
    encoder = av.CodecContext.create(name, "w")
    encoder.sample_rate, encoder.layout, encoder.bit_rate = rate, "mono", bit_rate
    encoder.format = {"libopus": "s16", "pcm_mulaw": "s16", "libmp3lame": "s16p"}.get(name, "fltp")
    encoder.time_base = fractions.Fraction(1, rate)
    encoder.open()
    to_codec = av.AudioResampler(encoder.format, "mono", rate, frame_size=encoder.frame_size or None)
    # Silence behind, so that the last of the sound gets out of the codec's delay.
    frame = av.AudioFrame.from_ndarray(np.pad(samples, (0, _SLACK))[None], format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    packets = []
    for chunk in (*to_codec.resample(frame), *to_codec.resample(None)):
        packets += encoder.encode(chunk)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create({"libopus": "libopus", "libmp3lame": "mp3"}.get(name, name), "r")
    decoder.extradata = encoder.extradata
    decoder.sample_rate, decoder.layout = rate, "mono"
    back = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    chunks = [out for packet in packets for decoded in decoder.decode(packet) for out in back.resample(decoded)]
    chunks += [out for decoded in decoder.decode(None) for out in back.resample(decoded)]
    chunks += back.resample(None)
    decoded = np.concatenate([chunk.to_ndarray()[0] for chunk in chunks])
    late = _delay(samples, decoded)
    decoded = np.pad(decoded, (max(0, -late), len(samples) + _SLACK))[max(0, late) :]
    return decoded[: len(samples)].astype(np.int16)


def _delay(samples: np.ndarray, decoded: np.ndarray) -> int:
    """By how many samples `decoded` comes late: the peak of the cross-correlation, up to _SLACK either way."""
    length = len(samples) + len(decoded)
    spectrum = np.fft.rfft(decoded.astype(np.float64), length) * np.conj(
        np.fft.rfft(samples.astype(np.float64), length)
    )
    correlation = np.fft.irfft(spectrum, length)
    lags = np.concatenate([np.arange(min(_SLACK, len(decoded))), np.arange(-min(_SLACK, len(samples)), 0)])
    return int(lags[np.argmax(correlation[lags])])


def video_round_trip(frames: np.ndarray, crf: int, *, fps: int = 25, still: bool = False) -> np.ndarray:
    """What is left of frames [t h w 3] or [t h w 1] uint8 after H.264 at quality `crf` (0 best to 51).

    still: the frames do not follow one another closely, and are coded each by itself. Chroma is halved (4:2:0).
    """
    t, height, width, channels = frames.shape
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = padded.shape[1:3]
    encoder.pix_fmt, encoder.time_base = "gray" if channels == 1 else "yuv420p", fractions.Fraction(1, fps)
    # The outcome must not depend on the machine: one thread, and no macroblock tree, which differs from call to call.
    encoder.options = {
        "crf": str(crf),
        "preset": "veryfast",
        "threads": "1",
        "mbtree": "0",
        "g": "1" if still else "250",
    }
    packets = []
    for i, image in enumerate(padded):
        planes = image[..., 0] if channels == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format=encoder.pix_fmt)
        frame.pts, frame.time_base = i, encoder.time_base
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = encoder.extradata
    decoder.thread_count = 1
    shown = [frame.to_ndarray() for packet in (*packets, None) for frame in decoder.decode(packet)]
    if len(shown) != t:
        raise RuntimeError(f"H.264 gave {len(shown)} of {t} frames back")
    if channels == 3:
        shown = [cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420) for planes in shown]
    return np.ascontiguousarray(np.stack(shown)[:, :height, :width]).reshape(frames.shape)
