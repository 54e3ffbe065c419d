"""Whether a media file is whole, from the sizes that its container declares: no decoding."""

import os
import struct

_BOXES = 100_000  # more top-level boxes than any real file has


def damage(path: str, format_name: str) -> str:
    """What shows that the file was cut, in one line; "" when nothing does.

    MP4: the last top-level box must end where the file ends (ISO/IEC 14496-12, 4.2). RIFF (AVI, WAV): the size in
    the first header. Matroska: the segment's size, where it has one. The other kinds carry no such size.
    """
    checks = {"mov": _boxes, "avi": _riff, "wav": _riff, "matroska": _segment}
    check = checks.get(format_name.split(",")[0])
    if check is None:
        return ""
    with open(path, "rb") as file:
        return check(file, os.fstat(file.fileno()).st_size)


def _boxes(file, size: int) -> str:  # noqa: ANN001
    position = 0
    for _ in range(_BOXES):
        if position == size:
            return ""
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
        position += length
        if position > size:
            return f"the file ends {position - size} bytes before its {kind.decode('latin-1')!r} box does"
    return "too many boxes"


def _riff(file, size: int) -> str:  # noqa: ANN001
    header = file.read(8)
    if len(header) < 8 or header[:4] != b"RIFF":
        return ""
    (length,) = struct.unpack("<I", header[4:])
    missing = length + 8 - size
    if length in (0, 0xFFFFFFFF) or missing <= 1:  # written to a pipe; or without the last padding byte
        return ""
    return f"the file ends {missing} bytes before its RIFF header says"


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
