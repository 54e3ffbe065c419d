"""Measures the data side: records to batches beside the bare decode and a torch DataLoader, and files to records.

Clocks: one process alone is timed by its processor time, which other programs of the machine hardly change and which
counts every thread, so that rates are per core; several processes by the clock on the wall.
"""

import contextlib
import cProfile
import dataclasses
import functools
import importlib.util
import itertools
import json
import pathlib
import pstats
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import cv2
import numpy as np

from data_pipelines import cache, clip
from data_pipelines.datasets import talking_heads
from data_pipelines.loading import windows
from data_pipelines.prepare import extract, record_files, records
from experiments.benchmark.timing import Spread

WINDOW = 1.6  # s
FACES = (64, 224)  # pixels of the face crops that are made where no records are given
CORPUS = {"train": 2, "val": 2, "test": 2, "train_clips": 4, "eval_clips": 2}
STAGES = {
    "media": "decode",
    "containers": "decode",
    "tracking": "faces",
    "detectors": "faces",
    "speaker": "faces",
    "faces": "crops",
}
BATCH = 16
BATCHES = 4  # each contender makes this many in a round
PREFETCH = 2  # a worker process keeps this many batches ready
WORKERS = 2

Streams = Mapping[str, Mapping[str, Any]]


def report(what: str, folder: str, rounds: int, batch: int, file: str, about: Mapping[str, Any]) -> None:
    """Prints and writes what the command measures: `what` is loader or prepare.

    about: the machine; file: for all of it as JSON, "" for none.

    Raises FileNotFoundError, ValueError: see given_or_made, measure_loader and measure_prepare.
    """
    if file:
        pathlib.Path(file).touch()
    _one_thread()
    packages = ("numpy", "opencv-python-headless", "grain", "av", *(("torch",) if has_torch() else ()))
    versions = {**about["versions"], **{name: metadata.version(name) for name in packages}}
    about = {**about, "versions": versions}
    print(f"{about['device']}, one thread; {', '.join(f'{name} {v}' for name, v in versions.items())}")
    print(f"{about['command']}\n")
    rows = []
    for place in given_or_made(folder):
        measured = (
            [measure_prepare(place)]
            if what == "prepare"
            else (measure_loader(place, *cut, rounds=rounds, batch=batch) for cut in cuts(place).items())
        )
        for row in measured:
            rows.append(row)
            print((_prepare_line if what == "prepare" else _loader_line)(row), flush=True)
            if file:
                pathlib.Path(file).write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def _loader_line(row: Mapping[str, Any]) -> str:
    rates = " ".join(f"{name} {rate['median']:.4g}/s," for name, rate in row["windows_per_second"].items())
    over = ", ".join(f"{name} {_spread(s)}" for name, s in row.get("over_decode", {}).items())
    ratios = ", ".join(f"{name} {_spread(s)}" for name, s in row["ratio"].items())
    return (
        f"{row['name']}: {row['images_per_window']:.3g} images a window\n  {rates[:-1]}\n"
        f"  time ÷ bare decode: {over or '—'}; rate ÷ {ratios or '—'}"
    )


def _prepare_line(row: Mapping[str, Any]) -> str:
    shares = ", ".join(f"{name} {share:.0%}" for name, share in row["shares"].items())
    return (
        f"{row['name']}: {row['clips']} clips of {row['seconds_of_video'] / row['clips']:.1f} s\n"
        f"  {row['clips_per_minute']:.1f} clips/min, {row['frames_per_second']:.0f} frames/s; {shares}"
    )


def _spread(values: Mapping[str, float]) -> str:
    return "{median:.2f} [{low:.2f} {high:.2f}]".format(**values)


def given_or_made(folder: str) -> list[pathlib.Path]:
    """Folders of records: the given one, or talking heads with faces of several sizes, made in the cache."""
    if folder:
        records.read_header(folder)
        return [pathlib.Path(folder)]
    clips = talking_heads.read(**CORPUS)
    places = [(size, cache.root() / "records" / f"benchmark-{size}") for size in FACES]
    return [records.prepare(clips, place, crops=records.Crops(face_size=size)) for size, place in places]


def cuts(folder: pathlib.Path) -> dict[str, Streams]:
    """What is cut from the records in turn: few images, the same resized, a dense video, everything."""
    crops = records.read_header(folder)["crops"]
    size = crops["face_size"]
    image, video = {"frames": 4, "size": size}, {"fps": 12.5, "size": size // 2}
    mouth = {"mouth": {"fps": 25.0, "size": crops["mouth_size"]}} if crops["mouth"] else {}
    return {
        f"4 images of {size}": {"image": image},
        f"4 images, {size} to {size * 7 // 8}": {"image": {**image, "size": size * 7 // 8}},
        f"video of {size // 2}": {"video": video},
        "all streams": {"image": image, "video": video, **mouth, "audio": {}},
    }


# Records to batches


class Clips:
    """A dataset as users write it for a torch DataLoader: windows of records by number, which torch stacks."""

    def __init__(self, source: Any, streams: Streams, windows_: Sequence[tuple[int, float]]) -> None:
        """windows_: row of the record and start in s of each."""
        self.source, self.streams, self.windows = source, streams, windows_

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row, start = self.windows[i]
        record, clip = self.source[row], self.source.index[row].clip
        item: dict[str, Any] = {"clip_index": row, "window_start": np.float32(start), "mask": True}
        item["label"], item["video_label"], item["audio_label"] = labels(clip, start)
        for stream, options in self.streams.items():
            if stream == "audio":
                count, first = round(WINDOW * windows.SAMPLE_RATE), round(start * windows.SAMPLE_RATE)
                samples = record["audio"][first : first + count]
                item[stream], item["audio_mask"] = np.pad(samples, (0, count - len(samples))), len(samples) > 0
                middles = (np.arange(round(WINDOW * windows.FPS)) + 0.5) / windows.FPS
                item["audio_valid"] = middles * windows.SAMPLE_RATE < len(samples)
                continue
            images = record["mouth" if stream == "mouth" else "frames"]
            item[stream] = np.stack(
                [
                    windows.decode(images[n], options["size"], grey=stream == "mouth", what="image")
                    for n in numbers(stream, options, start, len(images))
                ]
            )
            item[f"{stream}_mask"] = True
            within = np.array(numbers(stream, options, start, 1 << 30)) < len(images)
            item[f"{stream}_valid"] = within & (record["found"][numbers(stream, options, start, len(images))] > 0)
        return item


def places_of(batch: Mapping[str, np.ndarray]) -> list[tuple[int, float]]:
    """Row and start of each window of a loader's batch; the start as it was before float32, on the grid of frames."""
    starts = np.round(batch["window_start"].astype(np.float64) * windows.FPS) / windows.FPS
    return list(zip(batch["clip_index"].tolist(), starts.tolist(), strict=True))


def labels(clip: Any, start: float) -> tuple[int, int, int]:
    """Of the window: overall, of the video, of the audio."""

    def fake(spans: Sequence[tuple[float, float]]) -> bool:
        least = windows.LABELLED_OVERLAP - 1e-6
        return any(min(last, start + WINDOW) - max(first, start) >= least for first, last in spans)

    spans = (*clip.video_segments, *clip.audio_segments)
    video = int(fake(clip.video_segments)) if clip.video_label == 1 and clip.video_segments else clip.video_label
    audio = int(fake(clip.audio_segments)) if clip.audio_label == 1 and clip.audio_segments else clip.audio_label
    return int(1 in (video, audio) or fake(spans)) if spans else clip.label, video, audio


def numbers(stream: str, options: Mapping[str, Any], start: float, frames: int) -> list[int]:
    """Numbers of the frames that show a window's stream, out of a clip's `frames`."""
    count = options["frames"] if stream == "image" else round(WINDOW * options["fps"])
    step = WINDOW / count if stream == "image" else 1 / options["fps"]
    return [min(int((start + (i + 0.5) * step) * windows.FPS + 1e-6), frames - 1) for i in range(count)]


def measure_loader(folder: pathlib.Path, title: str, streams: Streams, *, rounds: int, batch: int) -> dict[str, Any]:
    """One row: windows per second of the loader and of others on the same windows, and how they compare.

    Contenders: `ours`; `decode`, the images alone, each once, out of memory, at their stored size; `read`, their bytes
    alone; `torch`, a DataLoader over the same records; all with one thread. `ours, n workers` and `torch, n workers`
    likewise.

    Raises:
      ValueError: the loader's arrays are not equal to those of torch, so that nothing was timed.
    """
    split = records.read_index(folder)[0][0]
    source = records.Records(folder, split)
    batch = batch or BATCH
    config = {"window": WINDOW, "streams": streams, "batch_size": batch, "balance": "none", "prefetch": PREFETCH}

    def ours(workers: int = 0) -> Iterator[dict[str, np.ndarray]]:
        return source.train_batches(config | {"workers": workers, "threads": 0 if not workers else 1}, seed=0)

    with ours() as batches:
        first = [next(batches) for _ in range(BATCHES)]
    places = [place for b in first for place in places_of(b)]
    clips = Clips(source, streams, places)
    theirs = has_torch() and data_loader(clips, batch)
    if theirs:
        check_equal(first, theirs)

    def images() -> Iterator[tuple[Callable[[], bytes], int]]:
        for row, start in places:
            record = source[row]
            shown = {}  # a frame counts once, also if image and video both show it
            for stream, options in streams.items():
                if stream != "audio":
                    name = "mouth" if stream == "mouth" else "frames"
                    shown |= {(name, n): None for n in numbers(stream, options, start, len(record[name])) if n >= 0}
            for name, number in shown:
                grey = cv2.IMREAD_GRAYSCALE if name == "mouth" else cv2.IMREAD_COLOR_RGB
                yield (lambda stored=record[name], n=number: stored[n]), grey

    encoded = [(np.frombuffer(get(), np.uint8), grey) for get, grey in images()]
    contenders = {"ours": lambda: _times(ours(), BATCHES)}
    if encoded:
        contenders["decode"] = lambda: _once(functools.partial(_decode, encoded))
        contenders["read"] = lambda: _once(lambda: [get() for get, _ in images()])
    if theirs:
        contenders["torch"] = lambda: _times(iter(theirs), BATCHES)
    seconds = _alone(contenders, rounds)
    several = {f"ours, {WORKERS} workers": lambda: ours(WORKERS)}
    if theirs:
        several[f"torch, {WORKERS} workers"] = lambda: iter(data_loader(clips, batch, WORKERS))
    seconds |= _together(several, rounds)
    rates = {name: len(places) / values for name, values in seconds.items()}
    row = {
        "name": f"{folder.name}: {title}",
        "streams": {name: dict(options) for name, options in streams.items()},
        "batch": batch,
        "images_per_window": len(encoded) / len(places),
        "bytes_per_image": sum(len(data) for data, _ in encoded) / max(1, len(encoded)),
        "windows_per_second": {name: dataclasses.asdict(Spread.of(values)) for name, values in rates.items()},
        "ratio": {
            name: dataclasses.asdict(Spread.of(rates[name.replace("torch", "ours")] / rates[name]))
            for name in rates
            if name.startswith("torch")
        },
    }
    if encoded:
        row["over_decode"] = {
            name: dataclasses.asdict(Spread.of(seconds[name] / seconds["decode"]))
            for name in ("ours", "torch")
            if name in seconds
        }
    return row


def check_equal(ours: Sequence[Mapping[str, np.ndarray]], theirs: Any) -> None:
    """Raises ValueError where the batches differ."""
    for own, other in zip(ours, theirs, strict=True):
        for name in own.keys() | other.keys():
            if name not in own or name not in other or not np.array_equal(own[name], np.asarray(other[name])):
                raise ValueError(f"the loader and torch differ in {name}: nothing was timed")


def has_torch() -> bool:
    """Whether there is anything to compare with."""
    return importlib.util.find_spec("torch") is not None


def data_loader(clips: Clips, batch: int, workers: int = 0) -> Any:
    """torch's DataLoader over the clips once, or, with worker processes, over and over."""
    from torch.utils import data

    if not workers:
        return data.DataLoader(clips, batch)
    options = {"num_workers": workers, "prefetch_factor": PREFETCH, "multiprocessing_context": "spawn"}
    return data.DataLoader(clips, batch, sampler=_Forever(len(clips)), worker_init_fn=_one_thread, **options)


def _one_thread(worker: int = 0) -> None:
    cv2.setNumThreads(1)
    if has_torch():
        import torch

        torch.set_num_threads(1)


def _decode(encoded: Sequence[tuple[np.ndarray, int]]) -> None:
    for data, flag in encoded:
        cv2.imdecode(data, flag)


class _Forever:
    """The numbers below a length in order, over and over."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return itertools.cycle(range(self.length))


@contextlib.contextmanager
def _times(batches: Iterator[Any], count: int) -> Iterator[Callable[[], None]]:
    """A function that makes a given number of batches."""

    def make() -> None:
        for _ in range(count):
            next(batches)

    yield make
    if hasattr(batches, "close"):
        batches.close()


@contextlib.contextmanager
def _once(work: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    yield work


def _alone(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """Processor seconds [rounds] of each, taking turns in an order that is reversed from round to round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(-1, rounds):  # the first warms up
        for name in list(contenders)[:: 1 if i % 2 else -1]:
            with contenders[name]() as work:
                begin = time.process_time()
                work()
                seconds[name].append(time.process_time() - begin)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def _together(contenders: Mapping[str, Callable[[], Iterator[Any]]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds [rounds] for BATCHES batches of each, whose worker processes keep running between its turns."""
    ready = (PREFETCH + 1) * WORKERS + 1  # so many batches may be ready when a turn begins
    enough = 3 * BATCHES
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    running = {name: start() for name, start in contenders.items()}
    try:
        for i in range(-1, rounds):
            for name in list(contenders)[:: 1 if i % 2 else -1]:
                for _ in range(ready):
                    next(running[name])
                begin = time.perf_counter()
                for _ in range(enough):
                    next(running[name])
                seconds[name].append((time.perf_counter() - begin) * BATCHES / enough)
    finally:
        for batches in running.values():
            if hasattr(batches, "close"):  # torch's iterators end with the last reference to them
                batches.close()
    return {name: np.array(values[1:]) for name, values in seconds.items()}


# Files to records


def measure_prepare(folder: pathlib.Path, *, most: int = 4) -> dict[str, Any]:
    """One row: clips per minute on one core, of the files that the records were made of, and what takes the time.

    Faces are looked for, also where the dataset knows them. `shares`: decode (of sound and pictures, twice, for faces
    are looked for first), faces (finding and following them), crops, encode, write, and the rest.

    Raises:
      FileNotFoundError: the files are not there any more.
    """
    fields = records.read_header(folder)["crops"]
    crops = records.Crops(**{f.name: fields[f.name] for f in dataclasses.fields(records.Crops) if f.name in fields})
    clips = [dataclasses.replace(c, landmarks_path="") for c in clip.read_manifest(folder / "manifest.csv")][:most]
    for c in clips:
        if not pathlib.Path(c.path).exists():
            raise FileNotFoundError(f"{c.path}: the file that {folder} was made of is not there any more")
    extract.extract(extract.Job(clips[0], crops))  # loads the detector
    profile = cProfile.Profile(time.process_time)
    begin = time.process_time()
    outcomes = [profile.runcall(extract.extract, extract.Job(c, crops)) for c in clips]
    extracted = time.process_time()
    with _scratch(folder) as scratch:
        paths = [scratch / str(i) for i in range(len(outcomes))]
        for path, outcome in zip(paths, outcomes, strict=True):
            if outcome.record:
                path.write_bytes(b"\n" + record_files.pack(outcome.record))
        record_files.write(scratch, {"train": [path for path in paths if path.exists()]})
    total = time.process_time() - begin
    shares = stages(profile) | {"write": time.process_time() - extracted}
    frames = sum(outcome.frames for outcome in outcomes)
    scale = 1 / sum(shares.values())
    return {
        "name": folder.name,
        "crops": fields,
        "clips": len(clips),
        "statuses": {status: sum(o.status == status for o in outcomes) for status in {o.status for o in outcomes}},
        "seconds_of_video": frames / windows.FPS,
        "clips_per_minute": 60 * len(clips) / total,
        "frames_per_second": frames / total,
        "shares": {name: seconds * scale for name, seconds in shares.items()},
    }


@contextlib.contextmanager
def _scratch(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder on the same disk."""
    import tempfile

    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        yield pathlib.Path(name)


def stages(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds by stage: the time inside each function by its module, what is not ours by the module that calls it."""
    package = str(pathlib.Path(extract.__file__).parent)
    seconds = dict.fromkeys((*STAGES.values(), "encode", "rest"), 0.0)

    def stage(function: tuple[str, int, str]) -> str | None:
        path = pathlib.Path(function[0])
        return STAGES.get(path.stem, "rest") if str(path.parent) == package else None

    for function, (_, _, own, _, callers) in pstats.Stats(profile).stats.items():
        if "imencode" in function[2]:
            seconds["encode"] += own
        elif own_stage := stage(function):
            seconds[own_stage] += own
        else:
            told = 0.0
            for caller, (_, _, part, _) in callers.items():
                seconds[stage(caller) or "rest"] += part
                told += part
            seconds["rest"] += own - told
    return seconds
