"""A file's sound as 16 kHz mono samples on the file's clock."""

import math

import av
import numpy as np

from data_pipelines.prepare.limits import Limits
from mmdf_jax.audio import SAMPLE_RATE

_GAP = 0.02  # seconds by which sound may miss its time stamp before silence is put in or samples are cut
_CANCELLED = 0.03  # power of the mean of two channels over theirs from which they cancel; 0.5 where they are unlike


class Sound:
    """Gathers 16 kHz samples in stretches, each with its time.

    A new stretch begins at a gap, and where the rate, the channels or the sample format change. Sound of several
    channels is kept as two until all is known: their mean is taken, or the louder one where they cancel.

    span: first and last time of what is wanted, s by the file's stamps; `done` once sound comes after it.
    """

    def __init__(self, stream, limits: Limits, span: tuple[float, float] = (-math.inf, math.inf)) -> None:  # noqa: ANN001
        limits.check_sample_rate(stream.codec_context.sample_rate or 0)
        stream.codec_context.thread_count = 1
        self._limits = limits
        self._since, self._until = span
        self.done = False
        self._stretches: list[tuple[float, int, list[np.ndarray]]] = []  # time, channels, blocks [s c]
        self._resampler: av.AudioResampler | None = None
        self._setup: tuple[str, str, int] = ("", "", 0)  # what the resampler was made for
        self._next = 0.0  # when the coming sample should sound
        self._first: float | None = None
        self.note = ""  # what a user must know of the samples

    def take(self, packet) -> None:  # noqa: ANN001
        for frame in packet.decode():
            time = self._next if frame.time is None else frame.time
            if time >= self._until:
                self.done = True
                return
            if frame.sample_rate and time + frame.samples / frame.sample_rate <= self._since:
                self._next = time + frame.samples / frame.sample_rate
                continue
            self._first = time if self._first is None else self._first
            self._limits.check_seconds(time - self._first)
            self._limits.check_sample_rate(frame.sample_rate)
            setup = (frame.format.name, frame.layout.name, frame.sample_rate)
            missed = self._resampler is None or abs(time - self._next) > _GAP
            if missed or setup != self._setup:
                self._flush()
                self._next = time if missed else self._next
                self._begin(setup, min(frame.layout.nb_channels, 2))
            self._next += frame.samples / frame.sample_rate
            frame.pts = None
            self._keep(self._resampler.resample(frame))

    def _begin(self, setup: tuple[str, str, int], channels: int) -> None:
        self._setup = setup
        layout = "mono" if channels == 1 else "stereo"
        self._resampler = av.AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
        self._stretches.append((self._next, channels, []))

    def _keep(self, frames) -> None:  # noqa: ANN001
        _, channels, blocks = self._stretches[-1]
        blocks.extend(frame.to_ndarray().reshape(-1, channels) for frame in frames)

    def _flush(self) -> None:
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler = None

    def samples(self) -> tuple[float, np.ndarray]:
        """(time of the first sample, samples [s] int16), gaps filled with silence."""
        self._flush()
        parts = [(time, np.concatenate(blocks)) for time, _, blocks in self._stretches if blocks]
        if not parts:
            return 0.0, np.zeros(0, np.int16)
        channel = self._instead_of_mean([block for _, block in parts if block.shape[1] == 2])
        start = min(time for time, _ in parts)
        ends = [round((time - start) * SAMPLE_RATE) + len(block) for time, block in parts]
        track = np.zeros(max(ends), np.int16)
        for end, (_, block) in zip(ends, parts, strict=True):
            track[end - len(block) : end] = _mono(block, channel)
        return start, track

    def _instead_of_mean(self, blocks: list[np.ndarray]) -> int | None:
        """The louder channel where the two of blocks [s 2] cancel, as with a wrongly wired microphone."""
        power = sum((np.square(block, dtype=np.float32).sum(0, dtype=np.float64) for block in blocks), np.zeros(2))
        both = sum(np.square(_mono(block, None), dtype=np.float32).sum(dtype=np.float64) for block in blocks)
        if both >= _CANCELLED * power.mean():
            return None
        louder = int(power.argmax())
        self.note = f"the channels of the sound cancel each other; the {('left', 'right')[louder]} one is taken alone"
        return louder


def _mono(block: np.ndarray, channel: int | None) -> np.ndarray:
    """[s] int16 of a block [s c]: one channel, or the mean."""
    if block.shape[1] == 1:
        return block[:, 0]
    if channel is not None:
        return block[:, channel]
    return ((block[:, 0].astype(np.int32) + block[:, 1]) // 2).astype(np.int16)


def on_clock(start: float, track: np.ndarray, zero: float | None, frames: int, fps: int) -> np.ndarray:
    """The track cut or filled with silence so that sample 0 sounds at `zero`, and cut where the pictures end."""
    if zero is None:
        return track
    shift = round((start - zero) * SAMPLE_RATE)
    track = np.concatenate([np.zeros(shift, np.int16), track]) if shift > 0 else track[-shift:]
    return track[: frames * SAMPLE_RATE // fps]
