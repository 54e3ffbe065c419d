"""Corpus: plans a talking-head dataset, makes its files on all cores, and keeps it; whole or not at all.

The plan is a function of the settings, every clip a function of the settings and its place in the plan: neither the
number of workers nor an interruption changes a byte. Run as a program, this module is one worker: it reads clip numbers
from standard input, so that it starts light, whatever the program that wants the corpus has imported.
"""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Iterator

import cv2
import numpy as np

from data_pipelines.talking_heads import articulation, camera, face, geometry, identity, manipulations, voice

VERSION = 7  # raise whenever the files that some settings give would change
# The methods in turn: the four that manipulate a stream three times, each dubbing twice.
_FOUR = ("face_swap", "voice_clone", "lip_reenactment", "face_swap_voice_clone")
_ROUND = (*_FOUR, "dubbing", *_FOUR, "dubbing_other_voice", *_FOUR, "dubbing", "dubbing_other_voice")
_GAP = 0.25  # s, at least, between two fake spans
# Streams of random numbers, so that no two purposes ever share one.
_PERSON, _PLAN, _PERFORMANCE, _OTHER_SPEECH, _CAPTURE, _FAKE = range(6)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a corpus: people per split, and clips per person, half of them real."""

    seed: int = 0
    train: int = 24
    val: int = 8
    test: int = 24
    train_clips: int = 14
    eval_clips: int = 16

    def __post_init__(self) -> None:
        for name in ("train_clips", "eval_clips"):
            if getattr(self, name) < 2 or getattr(self, name) % 2:
                raise ValueError(f"talking_heads: {name} must be an even number >= 2, got {getattr(self, name)}")
        for name in ("train", "val", "test"):
            if getattr(self, name) < 2:
                raise ValueError(
                    f"talking_heads: {name} must be >= 2 people, for swaps need a donor; got {getattr(self, name)}"
                )

    @property
    def digest(self) -> str:
        """Names the corpus: differs wherever the files would."""
        text = json.dumps([VERSION, dataclasses.asdict(self)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Item:
    """One clip to make. person and donor count all people of the corpus; take counts a person's performances."""

    number: int
    split: str
    person: int
    take: int
    method: str = "real"
    donor: int = -1
    spans: tuple[tuple[float, float], ...] = ()  # of a partial fake, seconds
    duration: float = 0.0

    @property
    def name(self) -> str:
        """Path in the corpus, without suffix."""
        return f"{self.split}/person{self.person:03d}/{self.take:02d}_{self.method}"


def plan(settings: Settings) -> list[Item]:
    """All clips of the corpus. Each take is there twice: real, and as the source of one fake of every person's share.

    Methods go round: each has the same number of fakes, but for the two kinds of dubbing, which no single stream can
    tell and which have two thirds as many. Five ninths of each method's are partial (see `_spans`). A donor is of the
    same split: for a face, of the three drawn the one with the most similar skin; for a voice, the one with the
    nearest pitch.
    """
    people = [person(settings, i) for i in range(settings.train + settings.val + settings.test)]
    items: list[Item] = []
    first = 0
    for split in ("train", "val", "test"):
        members = range(first, first + getattr(settings, split))
        takes = (settings.train_clips if split == "train" else settings.eval_clips) // 2
        first = members.stop
        made = {method: 0 for method in manipulations.METHODS}
        for i in members:
            for take in range(takes):
                rng = _rng(settings, _PLAN, i, take)
                duration = round(rng.uniform(2.2, 3.0) * camera.FPS) / camera.FPS
                items.append(Item(len(items), split, i, take, duration=duration))
                method = _ROUND[sum(made.values()) % len(_ROUND)]
                made[method] += 1
                turn = made[method] % 9
                spans = _spans(turn // 2, duration, rng) if turn % 2 == 0 else ()
                others = rng.permutation([j for j in members if j != i])
                donor = -1
                if "face_swap" in method:
                    donor = min(others[:3], key=lambda j: np.abs(np.subtract(people[j].skin, people[i].skin)).sum())
                elif method == "dubbing_other_voice":
                    donor = min(others, key=lambda j: abs(np.log(people[j].voice.f0 / people[i].voice.f0)))
                items.append(Item(len(items), split, i, take, method, int(donor), spans, duration))
    return items


def _spans(kind: int, duration: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Where a partial fake is fake, in seconds: of five kinds, 3 is a short span, 4 several, all others a long one."""
    if kind == 4:
        count = int(rng.integers(2, 4))
        lengths = rng.uniform(0.2, 0.8 if count == 2 else 0.5, count)
    else:
        lengths = rng.uniform(*((0.2, 0.8) if kind == 3 else (0.8, 1.6)), 1)
    free = duration - 0.2 - lengths.sum() - _GAP * (len(lengths) - 1)
    gaps = np.diff(np.sort(rng.uniform(0, free, len(lengths))), prepend=0)
    starts = 0.1 + np.cumsum(gaps) + np.concatenate([[0], np.cumsum(lengths[:-1] + _GAP)])
    ends = starts + lengths
    return tuple((round(float(start), 3), round(float(end), 3)) for start, end in zip(starts, ends, strict=True))


def person(settings: Settings, number: int) -> identity.Identity:
    """The corpus's person of that number."""
    return identity.draw(_rng(settings, _PERSON, number), f"person{number:03d}")


def ensure(settings: Settings, root: pathlib.Path, workers: int = 0) -> pathlib.Path:
    """The folder of the corpus under root, made if it is not there; workers = 0 uses all cores.

    A folder of the final name is always whole: files are made in a folder `….partial`, renamed at the end. An
    interrupted corpus is taken up where it stopped. While one process makes it, others wait.
    """
    folder = root / f"talking_heads-{settings.digest}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_suffix(".lock"), folder):
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            _make(settings, partial, workers or len(os.sched_getaffinity(0)))
            partial.rename(folder)
    return folder


@contextlib.contextmanager
def _lock(path: pathlib.Path, what: pathlib.Path) -> Iterator[None]:
    """Holds the lock file; the kernel frees it when its owner dies."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that makes {what}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(settings: Settings, folder: pathlib.Path, workers: int) -> None:
    from tqdm import tqdm

    items = plan(settings)
    todo = [item for item in items if not (folder / f"{item.name}.mp4").is_file()]
    for item in todo:
        (folder / item.name).parent.mkdir(parents=True, exist_ok=True)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for item in todo:
        waiting.put(item.number)
    command = [sys.executable, "-m", __name__, str(folder), json.dumps(dataclasses.asdict(settings))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=len(items), initial=len(items) - len(todo), desc="making talking heads", unit="clip")
        )
        processes = []
        for _ in range(min(workers, len(todo))):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            stack.callback(_end, process)
            processes.append(process)

        def feed(process: subprocess.Popen) -> None:
            while True:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                with contextlib.suppress(BrokenPipeError):
                    print(number, file=process.stdin, flush=True)
                if process.stdout.readline().strip() != str(number):
                    raise RuntimeError(f"talking_heads: a worker died at clip {items[number].name}; its error is above")
                bar.update()

        with concurrent.futures.ThreadPoolExecutor(max(1, len(processes))) as pool:
            running = [pool.submit(feed, process) for process in processes]
            try:
                for future in concurrent.futures.as_completed(running):
                    future.result()
            except BaseException:
                for process in processes:
                    process.kill()
                raise


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.stdin.close()
    process.stdout.close()
    process.wait()


def make_clip(settings: Settings, item: Item, folder: pathlib.Path) -> None:
    """Writes `<name>.npz` (landmarks `[t 68 2]` float32 pixels, times `[t]` s) and then `<name>.mp4`.

    Of a fake picture also `<name>_mask.mp4`, where it was blended. A fake and its original share the performance, the
    camera, the room, the loudness and the encoder's settings, so that none of these tells them apart; the sensor's
    noise is each one's own. What a camera or a channel does to the pictures moves the landmarks too, and never the
    sound.
    """
    who = person(settings, item.person)
    stage = _rng(settings, _PERFORMANCE, item.person, item.take)
    times = np.arange(round(item.duration * camera.FPS)) / camera.FPS
    place, room = face.scene(stage), voice.draw_room(stage)
    speech = articulation.utterance(item.duration, stage, rate=who.voice.rate, liveliness=who.voice.liveliness)
    motion = geometry.perform(speech, times, stage)
    lens, encoder = camera.draw_camera(stage), camera.draw_encoder(stage)
    rms, crest = 10 ** (stage.uniform(-27, -19) / 20), stage.uniform(4.2, 5.4)
    folds, voice_seed, light_seed = stage.integers(2**31, size=3)
    shifts = camera.wander((len(times), 2), lens.shake, stage)
    number = camera.shown(len(times), lens, stage)

    def film(actor: identity.Identity, act: geometry.Motion) -> tuple[np.ndarray, np.ndarray]:
        frames = face.render(actor, act, place, np.random.default_rng(folds))
        frames = camera.expose(camera.shake(frames, shifts), lens, np.random.default_rng(light_seed))
        marks = geometry.landmarks(actor, act, place.view) + shifts[:, None].astype(np.float32)
        return frames[number], marks[number]

    def speak(speaker: identity.Voice, track: articulation.Articulation, take: int) -> np.ndarray:
        rng = np.random.default_rng([voice_seed, take])
        return voice.record(voice.synthesize(track, speaker, rng), room, rng)

    frames, marks = film(who, motion)
    rng = _rng(settings, _FAKE, item.number)
    sound = speak(who.voice, speech, 0)
    samples = np.arange(len(sound)) / voice.SAMPLE_RATE
    weight = manipulations.ramp(times, item.spans, 0.12)
    heard = manipulations.ramp(samples, item.spans, 0.04)
    mask = None
    if "face_swap" in item.method:
        actor = dataclasses.replace(person(settings, item.donor), glasses=who.glasses)
        frames, mask = manipulations.swap_face(frames, marks, *film(actor, motion), weight, number, rng)
    if item.method in ("lip_reenactment", "dubbing", "dubbing_other_voice"):
        speaker = who.voice
        if item.method == "dubbing_other_voice":
            speaker = dataclasses.replace(person(settings, item.donor).voice, f0=who.voice.f0)
        other = _rng(settings, _OTHER_SPEECH, item.person, item.take)
        track = articulation.utterance(item.duration, other, rate=speaker.rate, liveliness=speaker.liveliness)
        sound = manipulations.splice(sound, speak(speaker, track, 1), heard)
        if item.method == "lip_reenactment":
            mouth, mouth_marks = film(who, dataclasses.replace(motion, **track.at(times)))
            frames, mask = manipulations.reenact_lips(frames, marks, mouth, mouth_marks, weight, number, rng)
            marks[:, 48:] += (mouth_marks - marks)[:, 48:] * weight[:, None, None]
    if "voice_clone" in item.method:
        sound = manipulations.splice(sound, manipulations.clone_voice(sound, rng), heard)
    amount = None
    if mask is not None:
        amount = 1 - np.float32(1 - rng.uniform(*manipulations.NOISE)) * (mask / np.float32(255))
    frames = camera.add_noise(frames, lens, number, _rng(settings, _CAPTURE, item.number), amount)
    path = folder / item.name
    np.savez(path.with_suffix(".npz"), landmarks=marks, times=times.astype(np.float32))
    if mask is not None:
        camera.write_mask(mask_path(folder, item), mask)
    camera.write(path.with_suffix(".mp4"), frames, voice.level(sound, rms, crest), encoder)


def mask_path(folder: pathlib.Path, item: Item) -> pathlib.Path:
    """Where the film of what was blended lies."""
    return folder / f"{item.name}_mask.mp4"


def _rng(settings: Settings, *stream: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, *stream])


def _work(folder: str, settings: str) -> None:
    """Makes the clips whose numbers come in on standard input and answers each; ends when its parent does."""
    cv2.setNumThreads(1)
    chosen = Settings(**json.loads(settings))
    items = plan(chosen)
    for line in sys.stdin:
        make_clip(chosen, items[int(line)], pathlib.Path(folder))
        print(line.strip(), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _work(*sys.argv[1:])
