"""The kinds of media files that are read, and whether one is whole, from what its container declares: no decoding."""

import os
import struct
from typing import NamedTuple

from data_pipelines.prepare.fragments import Declared


class Kind(NamedTuple):
    """A kind of file: what users call it, FFmpeg's demuxers of it, and the suffixes of its files."""

    name: str
    demuxers: str
    suffixes: str


# What may be opened at all. Without the list a script named clip.mp4 makes FFmpeg open the files that it names.
KINDS = (
    Kind("MP4/MOV/3GP", "mov,mp4,m4a,3gp,3g2,mj2", ".mp4 .m4v .mov .m4a .3gp .3g2"),
    Kind("Matroska/WebM", "matroska,webm", ".mkv .mka .webm"),
    Kind("AVI", "avi", ".avi"),
    Kind("MPEG-PS", "mpeg", ".mpg .mpeg .vob"),
    Kind("MPEG-TS", "mpegts", ".ts .mts .m2ts"),
    Kind("FLV", "flv", ".flv"),
    Kind("WMV/WMA", "asf", ".wmv .wma .asf"),
    Kind("GIF", "gif", ".gif"),
    Kind("WAV", "wav", ".wav"),
    Kind("FLAC", "flac", ".flac"),
    Kind("MP3", "mp3", ".mp3"),
    Kind("Ogg/Opus", "ogg", ".ogg .oga .ogv .opus"),
    Kind("AAC", "aac", ".aac"),
    Kind("AIFF", "aiff", ".aif .aiff .aifc"),
    Kind("NIST sphere", "nistsphere", ".sph .nist"),
)
NAMES = ", ".join(kind.name for kind in KINDS)
DEMUXERS = ",".join(kind.demuxers for kind in KINDS)
SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.suffixes.split())

_BOXES = 100_000  # more top-level boxes than any real file has
_LARGEST = 1 << 26  # bytes of a header; more than any real file has
_SLACK = 0.1  # s that fragments may lack of what the header promises: durations are rounded
_PIPED = 2_000_000_000  # bytes from which a size is what programs write that cannot know it
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")


class Found(NamedTuple):
    """`damage`: what shows that the file was cut; `doubt`: why its container cannot show it. One line each, or ""."""

    damage: str = ""
    doubt: str = ""


def inspect(path: str, format_name: str) -> Found:
    """Whether the file is whole, as far as its container tells.

    MP4: the last top-level box must end where the file ends (ISO/IEC 14496-12, 4.2). Fragments must hold the samples
    that they declare; all of them are there if an index lists them (mfra at the end, sidx before the first) or if they
    last as long as the header says (mehd); without either that is in doubt. RIFF (AVI, WAV) and AIFF: the size in the
    first header. Matroska: the segment's size, where it has one. ASF: its objects' sizes. GIF: its last byte. NIST
    sphere: the number of samples. The others carry no such size.
    """
    checks = {
        "mov": _boxes,
        "avi": _riff,
        "wav": _riff,
        "aiff": _form,
        "matroska": _segment,
        "asf": _objects,
        "gif": _trailer,
        "nistsphere": _sphere,
    }
    check = checks.get(format_name.split(",")[0])
    if check is None:
        return Found()
    with open(path, "rb") as file:
        found = check(file, os.fstat(file.fileno()).st_size)
    return found if isinstance(found, Found) else Found(found)


def _boxes(file, size: int) -> str | Found:  # noqa: ANN001
    position = indexed = last_fragment = data = 0
    ended = False  # with an index of the fragments
    movie = 0, 8  # where its header begins, and how long that is
    declared = Declared()
    for _ in range(_BOXES):
        if position == size:
            return _fragments(declared, data, ended or indexed > last_fragment) if last_fragment else ""
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return f"{size - position} stray bytes at the end of the file"
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack(">Q", header[8:])
        if length == 0:  # reaches to the end of the file
            return ""
        if length < 8:
            return f"box {kind.decode('latin-1')!r} declares {length} bytes"
        if kind == b"moov":
            movie = position, length
        elif kind == b"moof" and position + length <= size:
            try:
                for at, long in ((position, length),) if last_fragment else (movie, (position, length)):
                    file.seek(at + 8)
                    declared.add(file.read(min(long - 8, _LARGEST)))
            except struct.error:
                return f"the header of the fragment at byte {position} is damaged"
            ended, last_fragment = False, position
        elif kind == b"mdat":
            data += length - 8
        elif kind == b"mfra":
            ended = True
        elif kind == b"sidx" and not last_fragment:
            indexed = max(indexed, _indexed(file, position + 8, position + length))
        position += length
        if position > size:
            return f"the file ends {position - size} bytes before its {kind.decode('latin-1')!r} box does"
        if kind == b"sidx" and indexed > size:
            return f"the file ends {indexed - size} bytes before its fragments' index says"
    return "too many boxes"


def _fragments(declared: Declared, data: int, indexed: bool) -> Found:
    """What a file of fragments, with `data` bytes of samples, tells of its end."""
    if (missing := declared.sample_bytes - data) > 0:
        return Found(f"the fragments lack {missing} bytes of the samples that they declare")
    if (missing := declared.whole_seconds - declared.seconds) > _SLACK:
        return Found(f"the fragments end {missing:.2f} s before the header says")
    if indexed or declared.whole_seconds:
        return Found()
    return Found(doubt="fragments without an index or a whole duration: whether more followed cannot be told")


def _indexed(file, start: int, end: int) -> int:  # noqa: ANN001
    """Where the fragments end that a segment index lists (ISO/IEC 14496-12, 8.16.3)."""
    file.seek(start)
    data = file.read(min(end - start, 12 * 65536 + 32))
    at = 20 if data[:1] == b"\0" else 28  # after identity, time scale, first time and offset
    if len(data) < at + 4:
        return 0
    offset = int.from_bytes(data[at - 4 : at] if at == 20 else data[at - 8 : at], "big")
    (count,) = struct.unpack(">H", data[at + 2 : at + 4])
    sizes = (int.from_bytes(data[at + 4 + 12 * i :][:4], "big") & 0x7FFFFFFF for i in range(count))
    return end + offset + sum(sizes)


def _riff(file, size: int) -> str:  # noqa: ANN001
    return _declared(file, size, b"RIFF", "<I")


def _form(file, size: int) -> str:  # noqa: ANN001
    return _declared(file, size, b"FORM", ">I")


def _declared(file, size: int, name: bytes, order: str) -> str:  # noqa: ANN001
    header = file.read(8)
    if len(header) < 8 or header[:4] != name:
        return ""
    (length,) = struct.unpack(order, header[4:])
    missing = length + 8 - size
    if length == 0 or length >= _PIPED or missing <= 1:  # written to a pipe; or without the last padding byte
        return ""
    return f"the file ends {missing} bytes before its {name.decode()} header says"


def _objects(file, size: int) -> str:  # noqa: ANN001
    """ASF's top-level objects: 16 bytes of name, 8 of size; the data's is 0 where it was written to a pipe."""
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(24)
        length = int.from_bytes(header[16:], "little")
        if header[:16] == _ASF_DATA and length < 24:
            return ""
        if len(header) < 24 or length < 24:
            return f"{size - position} stray bytes at the end of the file"
        position += length
    return f"the file ends {position - size} bytes before its last object does" if position > size else ""


def _trailer(file, size: int) -> str:  # noqa: ANN001
    file.seek(max(0, size - 64))
    return "" if file.read().rstrip(b"\0").endswith(b";") else "the file ends before its trailer"


def _sphere(file, size: int) -> str:  # noqa: ANN001
    """NIST sphere: text lines `name -type value`, in a header of the size in its second line."""
    lines = file.read(1024).split(b"\n")
    fields = {words[0]: words[2] for line in lines[2:] if len(words := line.split()) == 3}
    counts = [fields.get(name, b"") for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if not (lines[1].strip().isdigit() and all(map(bytes.isdigit, counts))) or b"shorten" in fields.get(
        b"sample_coding", b""
    ):
        return ""
    samples, channels, width = map(int, counts)
    missing = int(lines[1]) + samples * channels * width - size
    return f"the file ends {missing} bytes before its header says" if missing > 0 else ""


def _segment(file, size: int) -> str:  # noqa: ANN001
    head = file.read(64)
    if head[:4] != b"\x1a\x45\xdf\xa3":
        return ""
    position, length = _element_size(head, 4)
    position += length
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return ""
    position, length = _element_size(head, position + 4)
    missing = position + length - size
    return f"the file ends {missing} bytes before its segment does" if length and missing > 0 else ""


def _element_size(data: bytes, position: int) -> tuple[int, int]:
    """(position after the size, size) of an EBML element; size 0 where it is unknown."""
    if position >= len(data) or data[position] == 0:
        return position, 0
    width = 9 - data[position].bit_length()
    value = int.from_bytes(data[position : position + width], "big") & ((1 << 7 * width) - 1)
    return position + width, 0 if value == (1 << 7 * width) - 1 else value
