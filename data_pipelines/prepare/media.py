"""Safe decoding of a media file: pictures at 25 a second and 16 kHz mono sound on one clock."""

import dataclasses
import fractions
import os
import pathlib
import re
import types
from collections.abc import Callable

import av
import numpy as np

from data_pipelines.prepare import containers

FPS = 25
SAMPLE_RATE = 16000
DECODER = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"

# What may be opened at all. Without the list a script named clip.mp4 makes FFmpeg open the files that it names.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,flac,mp3,ogg"
_PICTURES = frozenset((".png", ".jpg", ".jpeg", ""))  # VidTIMIT's have no suffix
_GAP = 0.02  # seconds by which sound may miss its time stamp before silence is put in or samples are cut

OnFrame = Callable[[int, float, np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may ask for. A file beyond one of them is `too_large` and is not decoded (further)."""

    bytes: int = 4 << 30
    pixels: int = 4096 * 2304
    seconds: float = 900.0
    sample_rate: int = 192_000
    streams: int = 32


LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Media:
    """What a file held.

    Time 0 of the common clock is the first picture's presentation time, or the first sample's where there is no
    picture. Picture i is the one shown at i/25 s, sample j sounds at j/16000 s.

    `status`: ok, no_audio, no_video, truncated (something was decoded, but not all), undecodable, missing or
    too_large; `reason`: one line, "" when ok.
    """

    status: str
    reason: str = ""
    frames: int = 0  # pictures at 25 a second
    audio: np.ndarray | None = None  # [s] int16
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0  # the source's average
    codecs: str = ""


class _Refused(Exception):
    """A limit was passed; carries the reason."""


def read(
    path: str | pathlib.Path,
    *,
    on_frame: OnFrame | None = None,
    long_side: int = 0,
    pixels: str = "bgr24",
    audio: bool = True,
    limits: Limits = LIMITS,
) -> Media:
    """Decodes a file, and never raises because of what is in it (but for a MemoryError).

    Args:
      path: a local file; never taken for a URL, whatever its name. Or a folder of JPEG or PNG pictures without sound,
        shown 25 a second in the order of the last number in their names.
      on_frame: called with (i, source presentation time in seconds, picture [h w 3] uint8) for i = 0, 1, 2 ... in
        order, upright and with square pixels. The same array comes again where the source is slower than 25 a
        second. None: pictures are not decoded.
      long_side: shrink pictures to at most this many pixels on their longer side; 0 keeps their size.
      pixels: bgr24 or rgb24.
      audio: whether sound is decoded.
    """
    name = os.path.abspath(os.fspath(path))
    try:
        if os.path.isdir(name):
            return _read_folder(name, on_frame, long_side, pixels, audio, limits)
        size = os.stat(name).st_size
    except OSError as error:
        return Media("missing", error.strerror or "cannot be read")
    except _Refused as error:
        return Media("too_large", str(error))
    if not os.path.isfile(name):
        return Media("missing", "not a regular file")
    if size == 0:
        return Media("undecodable", "the file is empty")
    if size > limits.bytes:
        return Media("too_large", f"{size >> 20} MiB, limit {limits.bytes >> 20} MiB")
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    try:
        with av.open(f"file:{name}", options=options) as container:
            return _read(container, name, on_frame, long_side, pixels, audio, limits)
    except PermissionError:
        return Media("missing", "permission denied")
    except _Refused as error:
        return Media("too_large", str(error))
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        return Media("undecodable", f"not a media file of a known kind ({error.strerror})")


def _read(container, name, on_frame, long_side, pixels, audio, limits) -> Media:  # noqa: ANN001
    streams = container.streams
    if len(streams) > limits.streams:
        raise _Refused(f"{len(streams)} streams, limit {limits.streams}")
    if container.duration and container.duration > limits.seconds * av.time_base:
        raise _Refused(f"{container.duration / av.time_base:.0f} s, limit {limits.seconds:g} s")
    video = next((stream for stream in streams.video if not _is_cover(stream)), None)
    sound = streams.best("audio") if streams.audio else None
    pictures = video and _Pictures(video, on_frame, long_side, pixels, limits)
    samples = sound and _Sound(sound, limits)
    damage = containers.damage(name, container.format.name)
    chosen = {video and video.index: on_frame and pictures, sound and sound.index: audio and samples}
    chosen = {index: reader for index, reader in chosen.items() if index is not None and reader}
    try:
        for packet in container.demux([streams[index] for index in chosen]) if chosen else ():
            reader = chosen.get(packet.stream.index)
            try:
                if reader:
                    reader.take(packet)
            except (av.error.FFmpegError, ValueError) as error:
                damage = damage or _stopped(packet.stream.type, error)
                del chosen[packet.stream.index]  # the other stream goes on
    except av.error.FFmpegError as error:
        damage = damage or _stopped("file", error)
    if on_frame and pictures:
        pictures.finish()
        damage = damage or pictures.fault(container.format.name.startswith("mov"))
    has_video = bool(pictures) and (on_frame is None or pictures.count > 0)
    sound_read = samples.samples() if audio and samples else None
    has_audio = sound_read is not None and len(sound_read[1]) > 0
    start = pictures.start if has_video and on_frame else None
    count = pictures.count if has_video else 0
    track = _on_clock(*sound_read, start, count) if has_audio else None
    has_audio = has_audio and len(track) > 0
    status, reason = _verdict(has_video, has_audio or not audio, damage, video, sound)
    return Media(
        status,
        reason,
        frames=count,
        audio=track if has_audio else None,
        width=pictures.width if has_video else 0,
        height=pictures.height if has_video else 0,
        frame_rate=float(video.average_rate or 0) if has_video else 0.0,
        codecs="+".join(stream.codec_context.name for stream in (video, sound) if stream),
    )


def _stopped(what: str, error: Exception) -> str:
    if isinstance(error, MemoryError):
        raise error  # the guard's to tell
    return f"decoding of the {what} stopped ({getattr(error, 'strerror', None) or error})"


def pictures(folder: str | pathlib.Path) -> list[str]:
    """Paths of a folder's pictures by the last number in their names; hidden files and other kinds left out."""
    with os.scandir(folder) as entries:
        found = [
            entry
            for entry in entries
            if entry.name[0] != "." and os.path.splitext(entry.name)[1].lower() in _PICTURES and entry.is_file()
        ]
    numbers = {entry.name: re.findall(r"\d+", os.path.splitext(entry.name)[0]) for entry in found}
    found.sort(key=lambda entry: (int(numbers[entry.name][-1]) if numbers[entry.name] else -1, entry.name))
    return [entry.path for entry in found]


def _read_folder(folder, on_frame, long_side, pixels, audio, limits) -> Media:  # noqa: ANN001
    """One that cannot be decoded is replaced by the picture before it, so that the others keep their times."""
    paths = pictures(folder)
    if not paths:
        return Media("missing", "a folder without pictures (JPEG, PNG)")
    if len(paths) > limits.seconds * FPS:
        raise _Refused(f"{len(paths)} pictures, limit {limits.seconds * FPS:g}")
    if (size := sum(os.stat(path).st_size for path in paths)) > limits.bytes:
        raise _Refused(f"{size >> 20} MiB, limit {limits.bytes >> 20} MiB")
    stream = types.SimpleNamespace(
        codec_context=types.SimpleNamespace(width=0, height=0), sample_aspect_ratio=None, average_rate=FPS
    )
    shown, damaged, kinds = _Pictures(stream, on_frame, long_side, pixels, limits), 0, set()
    for i, path in enumerate(paths if on_frame else ()):
        try:
            kind, frame = _still(path, limits)
        except av.error.FFmpegError:
            damaged += 1
            continue
        frame.pts, frame.time_base = i if kinds else 0, fractions.Fraction(1, FPS)
        kinds.add(kind)
        shown.show(frame)
    shown.finish()
    damage = f"{damaged} of {len(paths)} pictures cannot be decoded" if damaged else ""
    has_video = shown.count > 0 or on_frame is None
    status, reason = _verdict(has_video, not audio, damage, stream, None)
    return Media(status, reason, shown.count, None, shown.width, shown.height, float(FPS), "+".join(sorted(kinds)))


def _still(path, limits):  # noqa: ANN001
    """(codec, frame) of a picture file. FFmpegError if it is none."""
    with open(path, "rb") as file:
        data = file.read()
    kind = "png" if data.startswith(b"\x89PNG") else "mjpeg"
    context = av.CodecContext.create(kind, "r")
    context.options = {"max_pixels": str(limits.pixels)}
    context.thread_count = 1
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    if not frames:
        raise av.error.InvalidDataError(1, "no picture in the file")
    return kind, frames[0]


def _verdict(has_video, has_audio, damage, video, sound) -> tuple[str, str]:  # noqa: ANN001
    absent = [
        f"no {kind}" if stream is None else f"nothing of the {kind} can be decoded"
        for kind, stream, has in (("video", video, has_video), ("audio", sound, has_audio))
        if not has
    ]
    reason = "; ".join(filter(None, (damage, *absent)))
    if not has_video and not has_audio:
        return "undecodable", reason
    if damage or (video and not has_video) or (sound and not has_audio):
        return "truncated", reason
    return ("ok", "") if not absent else ("no_video" if not has_video else "no_audio", reason)


class _Pictures:
    """Hands on the picture that is shown at each 25th of a second."""

    def __init__(self, stream, on_frame, long_side, pixels, limits) -> None:  # noqa: ANN001
        context = stream.codec_context
        self._stream, self._on_frame, self._pixels, self._limits = stream, on_frame, pixels, limits
        if context.width * context.height > limits.pixels:
            raise _Refused(f"{context.width}x{context.height} pixels, limit {limits.pixels}")
        context.options = {"max_pixels": str(limits.pixels)}  # a later header may say something else
        context.thread_count = 1
        self._long_side = long_side
        self.width = self.height = self.count = self._packets = self._damaged = 0
        self.start: float | None = None
        self._shape: tuple[int, int] = (0, 0)  # width and height to convert to, before turning
        self._shown: tuple[float, np.ndarray] | None = None
        self._last_duration = 1 / FPS
        self._reformatter = av.video.reformatter.VideoReformatter()  # one: it keeps its tables between frames

    def take(self, packet) -> None:  # noqa: ANN001
        self._packets += packet.size > 0
        for frame in packet.decode():
            self._damaged += frame.is_corrupt
            self.show(frame)

    def show(self, frame) -> None:  # noqa: ANN001
        if frame.time is None:
            if self._shown is None:
                time = 0.0
            else:
                time = self._shown[0] + self._last_duration
        else:
            time = frame.time
        if self.start is None:
            self.start = time
            self._measure(frame)
        elif self._shown is not None and time <= self._shown[0]:
            return  # stamps that run backwards: the earlier picture stays
        if time - self.start > self._limits.seconds:
            raise _Refused(f"more than the limit of {self._limits.seconds:g} s")
        self._emit(time)
        self._last_duration = (
            float(frame.duration * frame.time_base) if frame.duration and frame.time_base else self._last_duration
        )
        self._shown = (time, frame)

    def _emit(self, until: float) -> None:
        """The picture on show stands at every 25th of a second before `until`."""
        if self._shown is None:
            return
        time, frame = self._shown
        image = None
        while self.start + self.count / FPS < until - 1e-4:
            if image is None:
                image = self._convert(frame)
            self._on_frame(self.count, time, image)
            self.count += 1

    def _measure(self, frame) -> None:  # noqa: ANN001
        aspect = self._stream.sample_aspect_ratio or fractions.Fraction(1)
        width, height = frame.width, frame.height
        if aspect != 1 and fractions.Fraction(1, 4) <= aspect <= 4:
            width = max(1, round(width * aspect))
        if width * height > self._limits.pixels:
            raise _Refused(f"{width}x{height} pixels, limit {self._limits.pixels}")
        if self._long_side and max(width, height) > self._long_side:
            scale = self._long_side / max(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        self._shape = (width, height)
        turned = frame.rotation % 180 == 90
        self.width, self.height = (height, width) if turned else (width, height)

    def _convert(self, frame) -> np.ndarray:  # noqa: ANN001
        width, height = self._shape  # also where the size changes on the way
        image = self._reformatter.reformat(frame, width, height, self._pixels, threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns))  # rows come padded from FFmpeg

    def finish(self) -> None:
        """The last picture stays for its own duration, and one picture is shown whatever its duration."""
        if self._shown is not None:
            self._emit(max(self._shown[0] + self._last_duration, self.start + 0.5 / FPS))

    def fault(self, counted: bool) -> str:
        """What is wrong with the pictures; "" if nothing. counted: the header's number of pictures is exact."""
        expected = self._stream.frames
        if counted and self._packets < expected:
            return f"{self._packets} of {expected} pictures are in the file"
        return f"{self._damaged} of {self._packets} pictures are damaged" if self._damaged else ""


class _Sound:
    """Gathers 16 kHz mono samples in stretches, each with its time."""

    def __init__(self, stream, limits) -> None:  # noqa: ANN001
        context = stream.codec_context
        if (context.sample_rate or 0) > limits.sample_rate:
            raise _Refused(f"{context.sample_rate} samples a second, limit {limits.sample_rate}")
        context.thread_count = 1
        self._limits = limits
        self._stretches: list[tuple[float, list[np.ndarray]]] = []
        self._resampler: av.AudioResampler | None = None
        self._next = 0.0  # when the coming sample should sound
        self._first: float | None = None

    def take(self, packet) -> None:  # noqa: ANN001
        for frame in packet.decode():
            time = self._next if frame.time is None else frame.time
            self._first = time if self._first is None else self._first
            if time - self._first > self._limits.seconds:
                raise _Refused(f"more than the limit of {self._limits.seconds:g} s")
            if self._resampler is None or abs(time - self._next) > _GAP:
                self._flush()
                self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
                self._stretches.append((time, []))
                self._next = time
            self._next += frame.samples / frame.sample_rate
            frame.pts = None
            self._keep(self._resampler.resample(frame))

    def _keep(self, frames) -> None:  # noqa: ANN001
        self._stretches[-1][1].extend(frame.to_ndarray()[0] for frame in frames)

    def _flush(self) -> None:
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler = None

    def samples(self) -> tuple[float, np.ndarray]:
        """(time of the first sample, samples [s] int16), gaps filled with silence."""
        self._flush()
        parts = [(time, np.concatenate(blocks)) for time, blocks in self._stretches if blocks]
        if not parts:
            return 0.0, np.zeros(0, np.int16)
        start = min(time for time, _ in parts)
        ends = [round((time - start) * SAMPLE_RATE) + len(block) for time, block in parts]
        track = np.zeros(max(ends), np.int16)
        for end, (_, block) in zip(ends, parts, strict=True):
            track[end - len(block) : end] = block
        return start, track


def _on_clock(start: float, track: np.ndarray, zero: float | None, frames: int) -> np.ndarray:
    """The track cut or filled with silence so that sample 0 sounds at `zero`, and cut where the pictures end."""
    if zero is None:
        return track
    shift = round((start - zero) * SAMPLE_RATE)
    track = np.concatenate([np.zeros(shift, np.int16), track]) if shift > 0 else track[-shift:]
    return track[: frames * SAMPLE_RATE // FPS]


def _is_cover(stream) -> bool:  # noqa: ANN001
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
