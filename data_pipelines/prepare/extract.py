"""One clip to one record: decode, follow the face, cut out face and mouth, encode. Runs in a guarded child."""

import dataclasses
import functools
import hashlib
import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from data_pipelines.clip import Clip
from data_pipelines.prepare import detectors, faces, frame_folder, media, speaker, tracking

FACES = ("face", "whole")
CODECS = ("jpeg", "png", "webp")
# Statuses of clips whose record holds less than it should; the others are ok, or simply lack a stream.
BAD = ("no_face", "truncated", "undecodable", "missing", "too_large", "crashed", "timeout", "error")
_JPEG_444 = 0x111111  # no chroma subsampling: colour fringes are evidence
_LONG_SIDE = 640  # pixels at which faces are looked for
MASK_SIZE = 32  # pixels: as fine as a localisation is judged
_LOST = 25  # frames without the face that are interpolated without a word
_LONG = 50  # frames in which somebody beside the speaker must be seen to be followed too


@dataclasses.dataclass(frozen=True)
class Crops:
    """What is cut out of the pictures, and how it is stored.

    `quality` is that of JPEG and WebP (101: lossless WebP). `min_found`: share of its shots' frames in which the face
    must be seen; below it the clip is `no_face` and keeps its sound alone. `yunet`: path of YuNet's ONNX file, to find
    faces with it; "" for dlib (see detectors.py). `max_seconds`: a longer clip is `too_large`.
    """

    face: str = "face"  # face: aligned and followed; whole: the whole picture, padded to a square
    face_size: int = 112
    margin: float = 0.3
    codec: str = "jpeg"
    quality: int = 95
    mouth: bool = True
    mouth_size: int = 96
    min_found: float = 0.5
    yunet: str = ""
    max_seconds: float = media.LIMITS.seconds

    def __post_init__(self) -> None:
        for name, value, known in (("face", self.face, FACES), ("codec", self.codec, CODECS)):
            if value not in known:
                raise ValueError(f"crops.{name} is {value!r}, expected one of {', '.join(known)}")
        for name, value, low, high in (
            ("face_size", self.face_size, 8, 2048),
            ("mouth_size", self.mouth_size, 8, 512),
            ("margin", self.margin, 0, 4),
            ("quality", self.quality, 1, 101),
            ("min_found", self.min_found, 0, 1),
            ("max_seconds", self.max_seconds, 0.04, 86_400),
        ):
            if not low <= value <= high:
                raise ValueError(f"crops.{name} is {value}, expected {low} to {high}")

    @property
    def face_side(self) -> float:
        """Side of the face itself in a face crop, pixels."""
        return self.face_size / (1 + self.margin)

    def described(self) -> dict[str, Any]:
        """The fields as records know them: the detector's file by the SHA-256 of what is in it, not by its place.

        Raises FileNotFoundError or ValueError if that is no file of YuNet's.
        """
        return dataclasses.asdict(self) | {"yunet": _checked(self.yunet) if self.yunet else ""}


CROPS = Crops()


@functools.cache
def _checked(yunet: str) -> str:
    """SHA-256 of a file that YuNet can be loaded from."""
    detectors.check(yunet)
    return sha256(yunet)


@dataclasses.dataclass(frozen=True)
class Job:
    """What a child is given.

    span: of a long file, only these seconds; the source's digest is then left out. people: at most so many of those
    who are seen are followed. shown: about so many whole pictures are kept, small ones.
    """

    clip: Clip
    crops: Crops
    span: tuple[float, float] | None = None
    people: int = 1
    shown: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a clip. `record`: the features as they are stored, or None."""

    status: str
    reason: str = ""
    frames: int = 0
    found: int = 0  # frames in which the face was seen
    face_size: float = 0.0  # median side of the face square in source pixels
    duration: float = 0.0  # s
    audio_samples: int = 0
    speaker: str = ""  # why this face: given, only, largest or sound (see speaker.Choice); "" without one
    record: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Picture:
    """A whole picture of a clip, as a JPEG, with the number of its frame; scale: its pixels per pixel of the source."""

    frame: int
    jpeg: bytes
    scale: float


@dataclasses.dataclass(frozen=True)
class Seen:
    """All that is seen and heard in a clip.

    outcomes: of whose face is followed first, as by `extract`; then of other people who are seen for long, the largest
    first. source: what the file is, without its sound. faces: how many people were told apart.
    """

    outcomes: tuple[Outcome, ...]
    source: media.Media = dataclasses.field(default_factory=lambda: media.Media(""))
    faces: int = 0
    pictures: tuple[Picture, ...] = ()


def extract(job: Job) -> Outcome:
    """The record of a clip; every fault of the file is a status, never an exception."""
    return see(job).outcomes[0]


def see(job: Job) -> Seen:
    """The records of the people in a clip; every fault of the file is a status, never an exception."""
    cv2.setNumThreads(1)  # the cores are shared out by clip
    clip, crops = job.clip, job.crops
    limits = dataclasses.replace(media.LIMITS, seconds=crops.max_seconds)
    album = _Album(job.shown)
    try:
        choices, faces_seen, heard = _speakers(job, limits, album)
    except ValueError as error:
        return Seen((Outcome("error", str(error)),))
    if heard is not None and heard.status in ("undecodable", "missing", "too_large"):
        return Seen((Outcome(heard.status, heard.reason),), _silent(heard))
    cutters = [_Cutter(crops, choice.track) for choice in choices]
    if not cutters and not (_wants_faces(crops) and crops.face == "face"):
        cutters = [_Cutter(crops, None)]

    def take(i: int, time: float, image: np.ndarray) -> None:
        for cutter in cutters:
            cutter.take(i, time, image)
        if heard is None:
            album.take(i, image)

    if not cutters and heard is not None:
        source = heard
    else:
        source = media.read(
            clip.path,
            on_frame=take if cutters else None,
            audio=heard is None,
            fps=clip.fps,
            limits=limits,
            span=job.span,
        )
    sound = (heard or source) if not clip.audio_path else media.read(clip.audio_path, limits=limits, span=job.span)
    each = itertools.zip_longest(cutters or [None], choices)
    outcomes = [_outcome(job, source, heard or source, sound, cutter, choice) for cutter, choice in each]
    outcomes[0] = _with_mask(outcomes[0], job, cutters, source, limits)
    others = [outcome for outcome in outcomes[1:] if outcome.frames]
    return Seen((outcomes[0], *others), _silent(source), faces_seen, album.pictures(source.width))


def _silent(source: media.Media) -> media.Media:
    return dataclasses.replace(source, audio=None)


def _with_mask(
    outcome: Outcome, job: Job, cutters: Sequence["_Cutter"], source: media.Media, limits: media.Limits
) -> Outcome:
    """The outcome with what the clip's mask film shows, where it has one."""
    clip = job.clip
    if clip.mask_path and outcome.frames:
        cutter = cutters[0]
        mask, fault = _mask(clip, cutter, source, limits)
        outcome = dataclasses.replace(
            outcome,
            reason="; ".join(filter(None, (outcome.reason, fault))),
            record=outcome.record | {"mask": mask},
        )
    return outcome


def _mask(clip: Clip, cutter: "_Cutter", source: media.Media, limits: media.Limits) -> tuple[list[bytes], str]:
    """Grey PNGs of the mask film, cut out as the face is; or none, and one line on what is wrong with that film."""
    cut: list[bytes] = []
    maps = cutter.face_maps(MASK_SIZE)

    def take(i: int, time: float, image: np.ndarray) -> None:
        del time
        if i == 0:
            cut.clear()
        small = faces.crop(cv2.extractChannel(image, 1), maps[min(i, len(maps) - 1)], MASK_SIZE, cv2.BORDER_CONSTANT)
        cut.append(cv2.imencode(".png", small)[1].tobytes())

    film = media.read(clip.mask_path, on_frame=take, audio=False, fps=clip.fps, limits=limits)
    if not film.frames:
        return [], f"the mask film {clip.mask_path} is {film.status}: {film.reason}"
    for what, has, wanted in (
        ("pixels", (film.width, film.height), (source.width, source.height)),
        ("pictures", (film.frames,), (len(cutter.frames),)),
    ):
        if has != wanted:
            found, expected = ("x".join(map(str, size)) for size in (has, wanted))
            return (
                [],
                f"the mask film {clip.mask_path} has {found} {what}, expected {expected} as its clip; it is left out",
            )
    return cut, ""


def _wants_faces(crops: Crops) -> bool:
    return crops.face == "face" or crops.mouth


def _speakers(job: Job, limits: media.Limits, album: "_Album") -> tuple[list[speaker.Choice], int, media.Media | None]:
    """Whose faces are followed, how many people were found, and what the search for them read of the file (None when
    nothing had to be searched)."""
    clip, crops = job.clip, job.crops
    if not _wants_faces(crops):
        return [], 0, None
    if clip.landmarks_path:
        return [speaker.Choice(faces.given(clip.landmarks_path), "given")], 1, None
    tracker = tracking.Tracker(functools.partial(detectors.detector, crops.yunet))

    def take(i: int, time: float, image: np.ndarray) -> None:
        tracker.take(i, time, image)
        album.take(i, image, rgb=True)

    seen = media.read(
        clip.path, on_frame=take, long_side=_LONG_SIDE, pixels="rgb24", fps=clip.fps, limits=limits, span=job.span
    )
    tracks = tracker.finish(seen.width)
    if not tracks:
        return [], 0, seen
    sound = seen.audio
    if clip.audio_path and len(tracks) > 1:
        sound = media.read(clip.audio_path, limits=limits, span=job.span).audio
    first = speaker.choose(tracks, sound)
    others = [track for track in tracks if track is not first.track and track.found.sum() >= _LONG]
    return [first, *(speaker.Choice(track, "other") for track in others[: job.people - 1])], len(tracks), seen


class _Album:
    """Keeps about `count` small pictures of those that it is shown, evenly spread, however many come."""

    def __init__(self, count: int) -> None:
        self._count, self._step = count, 1
        self._kept: list[tuple[int, bytes, int]] = []  # number, JPEG, width

    def take(self, i: int, image: np.ndarray, *, rgb: bool = False) -> None:
        """Picture i [h w 3], BGR or RGB."""
        if i == 0:
            self._kept, self._step = [], 1
        if not self._count or i % self._step:
            return
        scale = min(1.0, _LONG_SIDE / max(image.shape[:2]))
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR) if rgb else small
        self._kept.append((i, cv2.imencode(".jpg", small)[1].tobytes(), size[0]))
        if len(self._kept) > self._count:
            self._step *= 2
            self._kept = [each for each in self._kept if each[0] % self._step == 0]

    def pictures(self, width: int) -> tuple[Picture, ...]:
        """What was kept, of a source so wide."""
        return tuple(Picture(i, jpeg, own / max(width, 1)) for i, jpeg, own in self._kept)


class _Cutter:
    """Cuts and encodes frame by frame as they are decoded."""

    def __init__(self, crops: Crops, track: faces.Track | None) -> None:
        self._crops, self._track = crops, track
        self.frames: list[bytes] = []
        self.mouth: list[bytes] = []
        self.times: list[float] = []
        self._face_maps = self._mouth_maps = None
        self._size = 0, 0
        self._suffix, self._options = _encoding(crops)

    def take(self, i: int, time: float, image: np.ndarray) -> None:
        crops = self._crops
        if i == 0:  # also once more, where a later picture turned out larger
            self.frames, self.mouth, self.times = [], [], []
            self._plan(image.shape[1], image.shape[0])
        self.times.append(time)
        row = min(i, len(self._face_maps) - 1)
        border = cv2.BORDER_REPLICATE if crops.face == "face" else cv2.BORDER_CONSTANT
        self.frames.append(self._encode(faces.crop(image, self._face_maps[row], crops.face_size, border)))
        if self._mouth_maps is not None:
            grey = faces.crop(image, self._mouth_maps[row], crops.mouth_size)
            self.mouth.append(self._encode(cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY)))

    def _plan(self, width: int, height: int) -> None:
        self._size = width, height
        self._face_maps = self.face_maps(self._crops.face_size)
        if self._crops.mouth and self._track is not None:
            self._mouth_maps = faces.mouth_transforms(self._track.scaled(width), self._crops.mouth_size)

    def face_maps(self, size: int) -> np.ndarray:
        """Maps [t 2 3] from the picture to what a face crop shows, at size × size pixels."""
        width, height = self._size
        if self._crops.face == "whole":
            return faces.whole_transforms(width, height, size)
        return faces.face_transforms(self._track.scaled(width), size, self._crops.margin)

    def _encode(self, image: np.ndarray) -> bytes:
        return cv2.imencode(self._suffix, image, self._options)[1].tobytes()

    def boxes(self) -> np.ndarray:
        """[t 4] float32, source pixels."""
        rows = np.minimum(np.arange(len(self.frames)), len(self._face_maps) - 1)
        return faces.boxes(self._face_maps[rows], self._crops.face_size)

    def found(self) -> np.ndarray:
        """[t] uint8."""
        count = len(self.frames)
        if self._track is None:
            return np.full(count, self._crops.face == "whole", np.uint8)
        found = np.zeros(count, np.uint8)
        known = self._track.found[:count]
        found[: len(known)] = known
        return found


def _encoding(crops: Crops) -> tuple[str, list[int]]:
    if crops.codec == "png":
        return ".png", [cv2.IMWRITE_PNG_COMPRESSION, 4]
    if crops.codec == "webp":
        return ".webp", [cv2.IMWRITE_WEBP_QUALITY, crops.quality]
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _JPEG_444]
    return ".jpg", [cv2.IMWRITE_JPEG_QUALITY, min(crops.quality, 100), *sampling]


def _outcome(
    job: Job,
    source: media.Media,
    first: media.Media,
    sound: media.Media,
    cutter: _Cutter | None,
    choice: speaker.Choice | None,
) -> Outcome:
    """Puts record, status and reason together. `first`: the read that looked at all streams."""
    crops = job.crops
    audio = np.zeros(0, np.int16) if sound.audio is None else sound.audio
    audio = _moved(audio, job.clip.audio_offset)
    count = len(cutter.frames) if cutter else 0
    if cutter and (job.clip.audio_path or job.clip.audio_offset):
        audio = audio[: count * media.SAMPLE_RATE // media.FPS]
    boxes, found = np.zeros((0, 4), np.float32), np.zeros(0, np.uint8)
    times = np.zeros(0, np.float32)
    status, reason = first.status, first.reason
    if job.clip.audio_path:
        status, reason = _joined(source, sound)
    if count:
        boxes, found, times = cutter.boxes(), cutter.found(), np.float32(cutter.times)
    shots = np.split(found, choice.track.cuts if choice else ())
    shown = [shot for shot in shots if shot.any()]
    if len(shots) > 1:
        one = f"cut into {len(shots)} shots; a face is followed in {len(shown)} of them"
        reason = "; ".join(filter(None, (reason, one)))
    looked_for = _wants_faces(crops) and first.frames > 0
    share = float(np.concatenate(shown).mean()) if shown else 0.0
    if looked_for and crops.face == "face" and share < crops.min_found:
        seen = f"a face in {int(found.sum())} of {count} frames only" if count else "no face found"
        status = status if status == "truncated" else "no_face"
        reason = "; ".join(filter(None, (seen, reason)))
        cutter, count, boxes, found, times = None, 0, boxes[:0], found[:0], times[:0]
    elif looked_for and count and (gap := faces.longest_gap(found > 0)) > _LOST:
        reason = "; ".join(filter(None, (reason, f"no face for {gap / media.FPS:.1f} s")))
    duration = count / media.FPS if count else len(audio) / media.SAMPLE_RATE
    outcome = Outcome(
        status,
        reason,
        frames=count,
        found=int(found.sum()),
        face_size=float(np.median(boxes[:, 2] - boxes[:, 0])) / (1 + crops.margin) if count else 0.0,
        duration=duration,
        audio_samples=len(audio),
        speaker=choice.by if count and choice else "",
    )
    if not count and not len(audio):
        return outcome
    info = {
        "clip": dataclasses.asdict(job.clip),
        "status": status,
        "audio_present": int(len(audio) > 0),
        "video_present": int(count > 0),
        "source_sha256": "" if job.span else sha256(job.clip.path),
        "decoder": media.DECODER,
        "codecs": first.codecs,
        "source_size": [source.width, source.height],
        "crops": crops.described(),
        "detector": _detector(job) if looked_for else "",
        "speaker": outcome.speaker,
        "speaker_correlation": choice.correlation if count and choice else None,
    }
    record = {
        "frames": cutter.frames if count else [],
        "mouth": cutter.mouth if count else [],
        "boxes": boxes.tobytes(),
        "times": times.tobytes(),
        "found": found.tobytes(),
        "audio": audio.tobytes(),
        "info": json.dumps(info).encode(),
    }
    return dataclasses.replace(outcome, record=record)


def _moved(audio: np.ndarray, late: float) -> np.ndarray:
    """Samples [s] played `late` s earlier: the first are dropped, or silence comes before them."""
    samples = round(late * media.SAMPLE_RATE)
    return np.concatenate([np.zeros(max(0, -samples), audio.dtype), audio[max(0, samples) :]]) if len(audio) else audio


def _detector(job: Job) -> str:
    """What found the faces: a detector's name, or `landmarks` that the dataset brings along."""
    return "landmarks" if job.clip.landmarks_path else detectors.detector(job.crops.yunet).name


def _joined(picture: media.Media, sound: media.Media) -> tuple[str, str]:
    """Status and reason of a clip whose picture and sound are two files."""
    reasons = [] if picture.status in ("ok", "no_audio") else [picture.reason]
    if sound.audio is None:
        reasons.append(f"the sound file is {sound.status}: {sound.reason}")
    elif sound.status == "truncated":
        reasons.append(sound.reason)
    if "truncated" in (picture.status, sound.status):
        return "truncated", "; ".join(reasons)
    if sound.audio is None:
        return "no_audio", "; ".join(reasons)
    return ("no_video" if not picture.frames else "ok"), "; ".join(reasons)


def sha256(path: str | pathlib.Path) -> str:
    """Hex digest of a file's bytes, or of a folder of frames (see frame_folder.py)."""
    if pathlib.Path(path).is_dir():
        return frame_folder.sha256(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
