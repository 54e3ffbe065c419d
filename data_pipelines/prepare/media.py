"""Safe decoding of a media file: pictures at 25 a second and 16 kHz mono sound on one clock."""

import contextlib
import dataclasses
import math
import os
import pathlib
from typing import Any

import av
import numpy as np

from data_pipelines.prepare import containers, frame_folder, pictures, sound
from data_pipelines.prepare.clock import Clock
from data_pipelines.prepare.limits import LIMITS as LIMITS
from data_pipelines.prepare.limits import Limits as Limits
from data_pipelines.prepare.limits import Refused
from data_pipelines.prepare.pictures import FPS as FPS
from data_pipelines.prepare.pictures import OnFrame
from mmdf_jax.audio import SAMPLE_RATE as SAMPLE_RATE

_OPTIONS = {"format_whitelist": containers.DEMUXERS, "protocol_whitelist": "file"}
_BEFORE = 0.5  # s by which sound may begin before the picture that a file is entered at
_AFTER = 10.0  # s by which the streams of a file may lie apart in it
DECODER = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


@dataclasses.dataclass(frozen=True)
class Media:
    """What a file held.

    Time 0 of the common clock is the first picture's presentation time, or the first sample's where there is no
    picture. Picture i is the one shown at i/25 s, sample j sounds at j/16000 s.

    `status`: ok, no_audio, no_video, truncated (something was decoded, but not all), undecodable, missing or
    too_large; `reason`: one line on what is wrong, missing, or was decided; "" when there is nothing to tell.
    """

    status: str
    reason: str = ""
    frames: int = 0  # pictures at 25 a second
    audio: np.ndarray | None = None  # [s] int16
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0  # the source's average
    codecs: str = ""


def read(
    path: str | pathlib.Path,
    *,
    on_frame: OnFrame | None = None,
    long_side: int = 0,
    pixels: str = "bgr24",
    audio: bool = True,
    fps: float = FPS,
    limits: Limits = LIMITS,
    span: tuple[float, float] | None = None,
) -> Media:
    """Decodes a file, and never raises because of what is in it (but for a MemoryError).

    Args:
      path: a local file; never taken for a URL, whatever its name. Or a folder of frames (see frame_folder.py).
      on_frame: called with (i, source presentation time in seconds, picture [h w 3] uint8) for i = 0, 1, 2 ... in
        order, upright, with square pixels and all of one size: the largest picture's, the others fitted in with bars.
        The same array comes again where the source is slower than 25 a second. Where a picture is larger than the
        first one the file is read twice, and on_frame is called again from i = 0. None: pictures are not decoded.
      long_side: shrink pictures to at most this many pixels on their longer side; 0 keeps their size.
      pixels: bgr24 or rgb24.
      audio: whether sound is decoded.
      fps: pictures a second of a folder of frames; files tell it themselves.
      span: of a file, only what is shown and heard from the first to the second of these seconds, counted from its
        beginning; the file as a whole may then be longer than `limits` allow. Time 0 is then the span's beginning.
    """
    name = os.path.abspath(os.fspath(path))
    into = {"on_frame": on_frame, "limits": limits, "long_side": long_side, "pixels": pixels}
    if span is not None and not os.path.isdir(name):
        into["span"] = span
    try:
        if os.path.isdir(name):
            shown, media = _read_folder(name, into, audio, fps)
            return media if _is_final(shown) else _read_folder(name, into | {"canvas": shown.largest}, audio, fps)[1]
        size = os.stat(name).st_size
        if not os.path.isfile(name):
            return Media("missing", "not a regular file")
        if size == 0:
            return Media("undecodable", "the file is empty")
        limits.check_bytes(size)
        shown, media = _read_file(name, into, audio)
        return media if _is_final(shown) else _read_file(name, into | {"canvas": shown.largest}, audio)[1]
    except PermissionError:
        return Media("missing", "permission denied")
    except Refused as error:
        return Media("too_large", str(error))
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        return Media("undecodable", f"not a media file of a kind that is read ({error.strerror}): {containers.NAMES}")
    except OSError as error:
        return Media("missing", error.strerror or "cannot be read")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a file's container declares, without decoding. seconds: by its packets where it does not say; streams: a
    line each."""

    container: str = ""
    seconds: float = 0.0
    streams: tuple[str, ...] = ()


def facts(path: str | pathlib.Path, fps: float = FPS) -> Facts:
    """What a file, or a folder of frames of `fps` a second, declares; nothing where it cannot be opened (`read` says
    why)."""
    name = os.path.abspath(os.fspath(path))
    try:
        if os.path.isdir(name):
            count = len(frame_folder.files(name))
            return Facts("folder of pictures", count / fps, (f"{count} pictures",))
        if not os.path.isfile(name):
            return Facts()
        with av.open(f"file:{name}", options=_OPTIONS) as container:
            seconds = (container.duration or 0) / av.time_base or _span_of_packets(container)
            return Facts(container.format.long_name, seconds, tuple(map(_stream, container.streams)))
    except (av.error.FFmpegError, OSError, ValueError):
        return Facts()


def _span_of_packets(container) -> float:  # noqa: ANN001
    """s from the first packet's stamp to the last one's end: a live recording declares no duration."""
    first, last = math.inf, -math.inf
    with contextlib.suppress(av.error.FFmpegError):  # damaged from there on
        for packet in container.demux():
            if packet.pts is not None and packet.time_base:
                first = min(first, float(packet.pts * packet.time_base))
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return max(0.0, last - first)


def _stream(stream) -> str:  # noqa: ANN001
    context = stream.codec_context
    words = [stream.type, context.name if context else ""]
    if stream.type == "video" and context:
        words += [f"{context.width}x{context.height}", f"{float(stream.average_rate or 0):.5g} pictures/s"]
    if stream.type == "audio" and context:
        words += [f"{context.sample_rate} Hz", f"{context.channels} channel(s)"]
    return " ".join(filter(None, words))


def _is_final(shown: pictures.Pictures | None) -> bool:
    return shown is None or shown.largest == shown.canvas


def _read_folder(folder: str, into: dict[str, Any], audio: bool, fps: float) -> tuple[pictures.Pictures | None, Media]:
    shown = pictures.Pictures(**into) if into["on_frame"] else None
    count, codecs, damage = frame_folder.show(folder, shown, fps, into["limits"])
    if not count:
        return None, Media("missing", "a folder without pictures (JPEG, PNG)")
    has_video = shown is None or shown.count > 0
    absent = {
        "video": None if has_video else "nothing of the video can be decoded",
        "audio": "no audio" if audio else None,
    }
    status, reason = _verdict(absent, damage, shown.note if shown else "")
    if shown is None:
        return None, Media(status, reason, codecs=codecs, frame_rate=float(fps))
    return shown, Media(status, reason, shown.count, None, shown.width, shown.height, float(fps), codecs)


def _read_file(name: str, into: dict[str, Any], audio: bool) -> tuple[pictures.Pictures | None, Media]:
    with av.open(f"file:{name}", options=_OPTIONS) as container:
        return _read(container, name, into, audio)


def _read(container, name: str, into: dict[str, Any], audio: bool) -> tuple[pictures.Pictures | None, Media]:  # noqa: ANN001
    streams, limits = container.streams, into["limits"]
    if len(streams) > limits.streams:
        raise Refused(f"{len(streams)} streams, limit {limits.streams}")
    whole = "span" not in into
    if whole:
        limits.check_seconds((container.duration or 0) / av.time_base)
    video, heard = _main(streams.video), streams.best("audio") if streams.audio else None
    if video:
        limits.check_pixels(video.codec_context.width, video.codec_context.height)
        video.codec_context.options = {"max_pixels": str(limits.pixels)}  # a later header may say something else
        video.codec_context.thread_count = 1
    first, last = (-math.inf, math.inf) if whole else _go_to(container, video or heard, into["span"])
    into = into | {"span": (first, last)}
    shown = pictures.Pictures(**into, aspect=video.sample_aspect_ratio) if video and into["on_frame"] else None
    samples = sound.Sound(heard, limits, (first, last)) if heard and audio else None
    stopped = _decode(container, {video: shown, heard: samples}, last)
    found = containers.inspect(name, container.format.name)
    damage = found.damage or stopped
    if shown:
        shown.finish()
        damage = damage or shown.fault(video.frames if whole and container.format.name.startswith("mov") else 0)
    has_video = bool(video) and (shown is None or shown.count > 0)
    start, track = samples.samples() if samples else (0.0, np.zeros(0, np.int16))
    if has_video and shown:
        track = sound.on_clock(start, track, shown.start, shown.count, FPS)
    elif not whole:
        track = sound.on_clock(start, track, first, round((last - first) * FPS), FPS)
    absent = {
        kind: None if has else f"nothing of the {kind} can be decoded" if stream else f"no {kind}"
        for kind, stream, has in (("video", video, has_video), ("audio", heard, len(track) > 0 or not audio))
    }
    status, reason = _verdict(absent, damage, shown.note if shown else "", samples.note if samples else "", found.doubt)
    return shown, Media(
        status,
        reason,
        frames=shown.count if shown else 0,
        audio=track if len(track) else None,
        width=shown.width if shown and has_video else 0,
        height=shown.height if shown and has_video else 0,
        frame_rate=float(video.average_rate or 0) if has_video else 0.0,
        codecs="+".join(stream.codec_context.name for stream in (video, heard) if stream),
    )


def _main(videos):  # noqa: ANN001
    """The stream that players show: the default one, of several the largest; None without one. Covers do not count."""
    disposition = av.stream.Disposition
    stills = disposition.attached_pic | disposition.timed_thumbnails | disposition.still_image
    films = [stream for stream in videos if not stream.disposition & stills]
    return max(
        films,
        key=lambda film: (
            bool(film.disposition & disposition.default),
            film.codec_context.width * film.codec_context.height,
        ),
        default=None,
    )


def _go_to(container, first, span: tuple[float, float]) -> tuple[float, float]:  # noqa: ANN001
    """Moves to the last place before a span from which can be decoded, and gives the span by the file's own stamps.

    first: the stream whose beginning is time 0.
    """
    begin = (container.start_time or 0) / av.time_base
    if first is not None and first.start_time is not None:
        begin = float(first.start_time * first.time_base)
    if span[0] > 0:
        with contextlib.suppress(av.error.FFmpegError):  # a kind that cannot be moved in is read from its beginning
            container.seek(int((begin + max(0.0, span[0] - _BEFORE)) * av.time_base))
    return begin + span[0], begin + span[1]


def _decode(container, readers, last: float = math.inf) -> str:  # noqa: ANN001
    """Hands the packets of {stream: reader} to their readers; returns what went wrong, "" if nothing.

    last: s by the file's stamps after which nothing is wanted.
    """
    damage = ""
    chosen = {stream.index: reader for stream, reader in readers.items() if stream and reader}
    clock = Clock()
    try:
        for packet in container.demux([container.streams[index] for index in chosen]) if chosen else ():
            if packet.stream.index not in chosen:
                continue
            clock.straighten(packet)
            if chosen[packet.stream.index].done:
                late = packet.dts is not None and float(packet.dts * packet.time_base) > last + _AFTER
                if late or all(reader.done for reader in chosen.values()):
                    break
                continue
            try:
                chosen[packet.stream.index].take(packet)
            except (av.error.FFmpegError, ValueError) as error:
                damage = damage or _stopped(packet.stream.type, error)
                del chosen[packet.stream.index]  # the other stream goes on
    except av.error.FFmpegError as error:
        damage = damage or _stopped("file", error)
    return damage


def _stopped(what: str, error: Exception) -> str:
    if isinstance(error, MemoryError):
        raise error  # the guard's to tell
    return f"decoding of the {what} stopped ({getattr(error, 'strerror', None) or error})"


def _verdict(absent: dict[str, str | None], damage: str, *notes: str) -> tuple[str, str]:
    """Status and reason. absent: why there is no video and no audio, None where there is."""
    reason = "; ".join(filter(None, (damage, *notes, *absent.values())))
    if all(absent.values()):
        return "undecodable", reason
    if damage or any(why and why.startswith("nothing") for why in absent.values()):
        return "truncated", reason
    return "no_video" if absent["video"] else "no_audio" if absent["audio"] else "ok", reason
