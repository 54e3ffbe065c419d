"""A folder of extracted frames as one clip: its pictures in the order of their numbers."""

import fractions
import hashlib
import os
import pathlib
import re

import av

from data_pipelines.prepare import pictures
from data_pipelines.prepare.limits import Limits

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ""))  # VidTIMIT's have no suffix
_UPRIGHT = (  # of EXIF's orientations 1 to 8
    pictures.Turn(),
    pictures.Turn(flip_x=True),
    pictures.Turn(flip_x=True, flip_y=True),
    pictures.Turn(flip_y=True),
    pictures.Turn(transpose=True),
    pictures.Turn(transpose=True, flip_x=True),
    pictures.Turn(transpose=True, flip_x=True, flip_y=True),
    pictures.Turn(transpose=True, flip_y=True),
)
_ORIENTATION = 0x0112


def files(folder: str | pathlib.Path) -> list[str]:
    """Paths of the pictures by the last number in their names; hidden files and other kinds left out."""
    with os.scandir(folder) as entries:
        found = [
            entry
            for entry in entries
            if entry.name[0] != "." and os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file()
        ]
    numbers = {entry.name: re.findall(r"\d+", os.path.splitext(entry.name)[0]) for entry in found}
    found.sort(key=lambda entry: (int(numbers[entry.name][-1]) if numbers[entry.name] else -1, entry.name))
    return [entry.path for entry in found]


def stamp(folder: str | pathlib.Path) -> tuple[int, int]:
    """(bytes, time of the last change in ns) of the pictures, and of the folder itself: one gone changes that."""
    stats = [os.stat(path) for path in files(folder)]
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in [os.stat(folder), *stats])


def sha256(folder: str | pathlib.Path) -> str:
    """Hex digest of the pictures' names, sizes and bytes, in order."""
    digest = hashlib.sha256()
    for path in files(folder):
        name = os.fsencode(os.path.basename(path))
        digest.update(b"%d %s %d\n" % (len(name), name, os.stat(path).st_size))
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def show(folder: str, shown: pictures.Pictures | None, fps: float, limits: Limits) -> tuple[int, str, str]:
    """Decodes the pictures, `fps` a second, into `shown` (None: none is decoded).

    One that cannot be decoded is replaced by the picture before it, so that the others keep their times.
    Returns the number of pictures, their codecs, and what is wrong with them ("" if nothing). Raises Refused.
    """
    paths = files(folder)
    limits.check_seconds(len(paths) / fps)
    limits.check_bytes(sum(os.stat(path).st_size for path in paths))
    damaged, kinds = 0, set()
    step = fractions.Fraction(1) / fractions.Fraction(fps).limit_denominator(1001)
    for i, path in enumerate(paths if shown else ()):
        try:
            kind, frame, turn = still(path, limits)
        except av.error.FFmpegError:
            damaged += 1
            continue
        frame.pts, frame.time_base, frame.duration = i if kinds else 0, step, 1
        kinds.add(kind)
        shown.show(frame, turn)
    if shown:
        shown.finish()
    return len(paths), "+".join(sorted(kinds)), f"{damaged} of {len(paths)} pictures cannot be decoded" * bool(damaged)


def still(path: str, limits: Limits) -> tuple[str, av.VideoFrame, pictures.Turn]:
    """(codec, frame, how it is made upright) of a JPEG or PNG file. FFmpegError if it is none."""
    with open(path, "rb") as file:
        data = file.read()
    kind = "png" if data.startswith(b"\x89PNG") else "mjpeg"
    context = av.CodecContext.create(kind, "r")
    context.options = {"max_pixels": str(limits.pixels)}
    context.thread_count = 1
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    if not frames:
        raise av.error.InvalidDataError(1, "no picture in the file")
    return kind, frames[0], _UPRIGHT[orientation(data) - 1]


def orientation(data: bytes) -> int:
    """EXIF's orientation of a JPEG or PNG file, 1 to 8; 1 where there is none (EXIF 2.32, 4.6.4 and 4.7.2).

    Read here because PyAV shows no side data of a picture that has EXIF.
    """
    mark = b"eXIf" if data.startswith(b"\x89PNG") else b"Exif\0\0"
    start = data.find(mark, 0, 1 << 16) + len(mark)
    tiff = data[start : start + (1 << 16)]
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if start < len(mark) or order is None:
        return 1
    number = lambda at, size: int.from_bytes(tiff[at : at + size], order)  # noqa: E731
    entries = number(4, 4)
    for at in range(entries + 2, entries + 2 + 12 * min(number(entries, 2), 1000), 12):
        if number(at, 2) == _ORIENTATION:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
