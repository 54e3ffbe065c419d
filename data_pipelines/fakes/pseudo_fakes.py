"""Pseudo-fakes: real clips made into fakes as they are read, so that real clips alone train and test a detector.

`PseudoFakes(records, kinds)` reads like records: first the rows that were there, then each real clip once more for
every kind that suits it, as `<clip_id>#<kind>`, with the kind's labels, spans and method `pseudo_<kind>`. Row i is
always the same; training asks for another draw of it at each visit.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
from absl import logging

from data_pipelines.fakes import codecs, self_blending, vocoding
from data_pipelines.loading import windows
from data_pipelines.loading.loader import Loaded
from data_pipelines.loading.windows import FPS, SAMPLE_RATE
from data_pipelines.prepare import faces
from data_pipelines.prepare.extract import MASK_SIZE
from data_pipelines.record import IMAGES
from data_pipelines.source import Source
from mmdf_jax.build import build

SAMPLES = SAMPLE_RATE // FPS  # of sound, that a frame lasts
_RAMP = 160  # samples over which spliced sound is cross-faded

Range = tuple[float, float]  # drawn uniformly from low to high
Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a real clip is made into a fake. `partial`: the share of the clips of which only a time span is fake, and
    `span`: how long that is, s.

    Raises:
      ValueError: partial outside [0, 1], a range whose low end is above its high end, or a span that is none.
    """

    partial: float = 0.25
    span: Range = (0.8, 1.6)

    name: ClassVar[str] = ""
    fakes: ClassVar[frozenset[str]] = frozenset()  # "video", "audio": the streams that are fake; none: they disagree
    needs_partner: ClassVar[bool] = False  # another clip of the same person

    def __post_init__(self) -> None:
        if not 0 <= self.partial <= 1:
            raise ValueError(f"{type(self).__name__}.partial: expected 0 to 1, found {self.partial}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is Range and (len(value) != 2 or value[0] > value[1]):
                raise ValueError(f"{type(self).__name__}.{field.name}: expected (low, high), found {value}")
        if not self.span[0] > 0:
            raise ValueError(f"{type(self).__name__}.span: expected more than 0 s, found {self.span}")

    def shows(self, streams: Sequence[str]) -> bool:
        """Whether all that it changes is among the streams that a detector looks at."""
        seen = {"audio" if stream == "audio" else "video" for stream in streams}
        return seen >= (self.fakes or {"video", "audio"})

    def suits(self, row: Any) -> bool:
        """Whether the clip (records.IndexRow) has what is needed."""
        needs_picture, needs_sound = "audio" not in self.fakes or len(self.fakes) > 1, self.fakes != {"video"}
        return (row.frames > 0 or not needs_picture) and (row.audio_samples > 0 or not needs_sound)

    def lengths(self, row: Any, partner: Any) -> tuple[int, int]:
        """Frames and samples of the fake, by the clip's and its partner's index rows."""
        del partner
        return row.frames, row.audio_samples

    def make(self, record: Record, span: Range | None, partner: Record | None, rng: np.random.Generator) -> Record:
        """The fake; `span` in seconds of it, None: all."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SelfBlended(Kind):
    """The face blended into itself; fields as in self_blending.draw. Needs aligned face crops."""

    shift: float = 0.04
    scale: float = 0.04
    colour: float = 0.2
    detail: Range = (1.5, 4.0)
    feather: Range = (0.02, 0.12)
    ratio: Range = (0.6, 1.0)

    name: ClassVar[str] = "self_blended"
    fakes: ClassVar[frozenset[str]] = frozenset({"video"})

    def make(self, record: Record, span: Range | None, partner: Record | None, rng: np.random.Generator) -> Record:
        fields = ("shift", "scale", "colour", "detail", "feather", "ratio")
        blend = self_blending.draw(rng, **{name: getattr(self, name) for name in fields})
        margin = record["crops"]["margin"]
        face = _Blended(record["frames"], blend, span, lambda size: faces.face_map(size, margin), grey=False)
        mouth = _Blended(record["mouth"], blend, span, faces.mouth_map, grey=True)
        mask = _Mask(len(record["frames"]), blend.weight((MASK_SIZE,) * 2, faces.face_map(MASK_SIZE, margin)), span)
        return _changed(record, frames=face, mouth=mouth, mask=mask)


@dataclasses.dataclass(frozen=True)
class Vocoded(Kind):
    """The voice through a mel spectrogram of `bands` bands and back with an invented phase; see vocoding.py."""

    bands: Range = (48, 96)
    iterations: Range = (1, 4)

    name: ClassVar[str] = "vocoded"
    fakes: ClassVar[frozenset[str]] = frozenset({"audio"})

    def make(self, record: Record, span: Range | None, partner: Record | None, rng: np.random.Generator) -> Record:
        bands, iterations = (round(rng.uniform(*limits)) for limits in (self.bands, self.iterations))
        return _spliced(record, vocoding.phase_loss(record["audio"][:], bands, iterations, rng), span)


@dataclasses.dataclass(frozen=True)
class SelfBlendedVocoded(SelfBlended, Vocoded):
    """Face and voice both, in one span if partial."""

    name: ClassVar[str] = "self_blended_vocoded"
    fakes: ClassVar[frozenset[str]] = frozenset({"video", "audio"})

    def make(self, record: Record, span: Range | None, partner: Record | None, rng: np.random.Generator) -> Record:
        return Vocoded.make(self, SelfBlended.make(self, record, span, partner, rng), span, partner, rng)


@dataclasses.dataclass(frozen=True)
class Recoded(Kind):
    """The voice through a codec at a low rate (codecs.audio_round_trip), as neural codecs lose detail.

    A real voice may have been through the same codec: a detector of this kind alone would call telephone calls fake.
    """

    codecs: tuple[str, ...] = ("aac", "mp3", "opus")
    bit_rate: Range = (8_000, 24_000)

    name: ClassVar[str] = "recoded"
    fakes: ClassVar[frozenset[str]] = frozenset({"audio"})

    def make(self, record: Record, span: Range | None, partner: Record | None, rng: np.random.Generator) -> Record:
        codec, rate = self.codecs[rng.integers(len(self.codecs))], round(rng.uniform(*self.bit_rate))
        return _spliced(record, codecs.audio_round_trip(record["audio"][:], codec, rate), span)


@dataclasses.dataclass(frozen=True)
class Shifted(Kind):
    """Sound moved against the pictures by `seconds`, either way; the ends that have no counterpart are cut off."""

    seconds: Range = (0.2, 0.6)

    name: ClassVar[str] = "shifted"

    def lengths(self, row: Any, partner: Any) -> tuple[int, int]:
        kept = max(0, _common_frames(row) - round(self.seconds[1] * FPS))
        return kept, kept * SAMPLES

    def make(self, record: Record, span: Range | None, partner: Record | None, rng: np.random.Generator) -> Record:
        slack = round(self.seconds[1] * FPS)
        apart = min(slack, round(rng.uniform(*self.seconds) * FPS))
        first, later = int(rng.integers(slack - apart + 1)), bool(rng.integers(2))
        picture, sound = (first, first + apart) if later else (first + apart, first)
        kept = min(len(record["frames"]), len(record["audio"]) // SAMPLES) - slack
        out = _cut(record, picture, kept)
        return _spliced(out, record["audio"][sound * SAMPLES : (sound + kept) * SAMPLES], span)


@dataclasses.dataclass(frozen=True)
class Dubbed(Kind):
    """The sound of another clip of the same person, equally loud."""

    name: ClassVar[str] = "dubbed"
    needs_partner: ClassVar[bool] = True

    def lengths(self, row: Any, partner: Any) -> tuple[int, int]:
        kept = min(_common_frames(row), partner.audio_samples // SAMPLES)
        return kept, kept * SAMPLES

    def make(self, record: Record, span: Range | None, partner: Record | None, rng: np.random.Generator) -> Record:
        common = min(len(record["frames"]), len(record["audio"]) // SAMPLES)
        kept = min(common, len(partner["audio"]) // SAMPLES)
        out = _cut(record, int(rng.integers(common - kept + 1)), kept)
        start = int(rng.integers(len(partner["audio"]) - kept * SAMPLES + 1))
        other = partner["audio"][start : start + kept * SAMPLES].astype(np.float64)
        level = np.sqrt(np.mean(out["audio"].astype(np.float64) ** 2) / max(np.mean(other**2), 1e-9))
        return _spliced(out, other * min(level, 32767 / max(np.abs(other).max(), 1.0)), span)


def add(records: Source, data: Mapping[str, Any], *, training: bool) -> Source:
    """The records with the pseudo-fakes that a config's `data.pseudo_fakes` asks for, as a list of specs
    such as `{'name': 'data_pipelines.fakes.pseudo_fakes.SelfBlended', 'partial': 0.5}`.

    Kinds that change what is not among `data.streams` are left out. For evaluation they come only where there is no
    fake.

    Raises:
      ValueError: a bad spec, or kinds of which none suits any of the clips.
    """
    specs = data.get("pseudo_fakes") or ()
    if not specs or (not training and any(row.clip.label == 1 for row in records.index)):
        return records
    kinds = [build(spec) for spec in specs]
    return PseudoFakes(records, [k for k in kinds if k.shows(list(data["streams"]))], window=data["window"])


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which record becomes which kind of fake, with whose sound."""

    row: int
    kind: Kind
    partner: int = -1


class PseudoFakes(Loaded):
    """Records and, after them, the fakes made of their real clips. Picklable if the records are.

    Args:
      records: any Source.
      kinds: each at most once.
      window: seconds; a clip is left whole that a kind would cut shorter than this.
      seed: decides what is drawn for row i.

    Raises:
      ValueError: a kind twice, or not one fake can be made.
    """

    def __init__(self, records: Source, kinds: Sequence[Kind], *, window: float = 0.0, seed: int = 0) -> None:
        if twice := [name for name, n in collections.Counter(kind.name for kind in kinds).items() if n > 1]:
            raise ValueError(f"data.pseudo_fakes: {twice[0]} is asked for twice")
        self.records, self.seed = records, seed
        # What these records are known by, as Records.digest is.
        asked = f"{records.digest} {kinds} {window} {seed}"
        self.digest = hashlib.sha256(asked.encode()).hexdigest()
        self.index = list(records.index)
        self._plans: list[_Plan] = []
        people = collections.defaultdict(list)
        for i, row in enumerate(records.index):
            if row.clip.label == 0 and row.clip.identity and row.audio_samples:
                people[row.clip.dataset, row.clip.identity].append(i)
        aligned = self._has_face_crops()
        for each in kinds:
            before = len(self._plans)
            for i, row in enumerate(records.index):
                if row.clip.label == 0 and each.suits(row) and (aligned or "video" not in each.fakes):
                    self._add(i, row, each, people[row.clip.dataset, row.clip.identity], window)
            if len(self._plans) == before:
                logging.warning("pseudo-fakes: no real clip suits %s, which is left out", each.name)
        if not self._plans:
            raise ValueError(
                "data.pseudo_fakes: of the kinds asked for none can be made of any real clip: look at data.streams, "
                "and at frames, audio_samples and label in the records' index.csv"
            )

    def _has_face_crops(self) -> bool:
        row = next((i for i, row in enumerate(self.records.index) if row.frames), None)
        return row is not None and self.records[row]["crops"]["face"] == "face"

    def _add(self, i: int, row: Any, each: Kind, same_person: Sequence[int], window: float) -> None:
        """Adds the row of one fake, unless too little of the clip would be left."""
        clip_id = f"{row.clip.clip_id}#{each.name}"
        rng = self._rng(clip_id)
        partner = -1
        if each.needs_partner:
            others = [j for j in same_person if j != i]
            if not others:
                return
            partner = others[rng.integers(len(others))]
        frames, samples = each.lengths(row, self.records.index[partner] if partner >= 0 else None)
        if frames < row.frames and frames < min(window * FPS, _common_frames(row)):
            return
        duration = frames / FPS if frames else samples / SAMPLE_RATE
        span = None
        if rng.random() < each.partial and duration > 1.5 * each.span[0]:
            length = min(rng.uniform(*each.span), 0.8 * duration)
            start = rng.uniform(0, duration - length)
            span = (round(start, 2), round(start + length, 2))
        spans = (span,) if span else ()
        clip = dataclasses.replace(
            row.clip,
            clip_id=clip_id,
            label=1,
            video_label=int("video" in each.fakes) if row.frames else -1,
            audio_label=int("audio" in each.fakes) if row.audio_samples else -1,
            method=f"pseudo_{each.name}",
            video_segments=spans if "video" in each.fakes else (),
            audio_segments=spans if each.fakes != {"video"} else (),
            original=row.clip.clip_id,
        )
        self.index.append(dataclasses.replace(row, clip=clip, frames=frames, audio_samples=samples, duration=duration))
        self._plans.append(_Plan(i, each, partner))

    def _rng(self, clip_id: str) -> np.random.Generator:
        digest = hashlib.sha256(clip_id.encode(errors="surrogateescape")).digest()
        return np.random.default_rng([self.seed, *np.frombuffer(digest[:16], "<u4").tolist()])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Record:
        return self.draw(i, self._rng(self.index[i].clip.clip_id + "#drawn"))

    def draw(self, i: int, rng: np.random.Generator) -> Record:
        """Record i; of a fake, what `rng` draws. Lengths and spans are those of the index, whatever is drawn."""
        if not 0 <= i < len(self.index):
            raise IndexError(f"record {i} of {len(self.index)}")
        if i < len(self.records):
            return self.records.draw(i, rng)
        plan, clip = self._plans[i - len(self.records)], self.index[i].clip
        partner = self.records[plan.partner] if plan.partner >= 0 else None
        spans = clip.video_segments or clip.audio_segments
        made = plan.kind.make(self.records[plan.row], spans[0] if spans else None, partner, rng)
        return _changed(made, clip=clip)


# What kinds are made with


class _Blended(Sequence[bytes]):
    """Encoded pictures, blended one by one as they are asked for; PNG, which adds no trace of its own."""

    def __init__(
        self,
        images: Sequence[bytes],
        blend: self_blending.Blend,
        span: Range | None,
        crop: Callable[[int], np.ndarray],
        *,
        grey: bool,
    ) -> None:
        self._images, self._blend, self._span, self._crop, self._grey = images, blend, span, crop, grey

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> bytes:
        data = self._images[i]
        if not _is_inside(i, self._span):
            return data
        image = windows.decode(data, 0, grey=self._grey, what=f"image {i}")
        mixed = self._blend(image, self._crop(image.shape[0]), i)
        mixed = mixed if self._grey else cv2.cvtColor(mixed, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".png", mixed, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


class _Mask(Sequence[bytes]):
    """PNGs of what was blended: the same for every frame in the span, and nothing outside."""

    def __init__(self, count: int, weight: np.ndarray, span: Range | None) -> None:
        self._count, self._span = count, span
        masks = (np.zeros_like(weight), weight)
        self._pictures = [cv2.imencode(".png", np.rint(255 * mask).astype(np.uint8))[1].tobytes() for mask in masks]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> bytes:
        if not 0 <= i < self._count:
            raise IndexError(f"mask {i} of {self._count}")
        return self._pictures[_is_inside(i, self._span)]


def _is_inside(i: int, span: Range | None) -> bool:
    """Whether frame i shows the middle of its time within the span."""
    return span is None or span[0] <= (i + 0.5) / FPS < span[1]


def _common_frames(row: Any) -> int:
    """Frames of a clip during which there is sound too."""
    return min(row.frames, row.audio_samples // SAMPLES)


def _changed(record: Record, **features: Any) -> Record:
    """The record with other features; what nobody asks for stays unread."""
    return collections.ChainMap(features, record)


class _Part(Sequence[bytes]):
    """Some pictures in a row."""

    def __init__(self, images: Sequence[bytes], first: int, count: int) -> None:
        self._images, self._first, self._count = images, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> bytes:
        if not 0 <= i < self._count:
            raise IndexError(f"image {i} of {self._count}")
        return self._images[self._first + i]


def _cut(record: Record, first: int, frames: int) -> Record:
    """The record from frame `first` on, that many frames long."""
    pictures = {name: _Part(record[name], first, frames if len(record[name]) else 0) for name in IMAGES}
    arrays = {name: record[name][first : first + frames] for name in ("boxes", "times", "found")}
    return _changed(record, **pictures, **arrays, audio=record["audio"][first * SAMPLES : (first + frames) * SAMPLES])


def _spliced(record: Record, other: np.ndarray, span: Range | None) -> Record:
    """The record with sound `other [s]` in the span, or throughout."""
    weight = 1.0
    if span:
        time = np.arange(len(other)) - np.array(span)[:, None] * SAMPLE_RATE
        weight = np.clip(np.minimum(time[0], -time[1]) / _RAMP + 0.5, 0, 1)
    own = record["audio"][: len(other)].astype(np.float64)
    mixed = own + (other - own) * weight
    return _changed(record, audio=np.clip(np.rint(mixed), -32768, 32767).astype(np.int16))
