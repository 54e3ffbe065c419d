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

VERSION = 6  # raise whenever the files that some settings give would change
_ROUND = ("face_swap", "voice_clone", "lip_reenactment", "face_swap_voice_clone") * 2 + ("dubbing",)  # in turn
# Streams of random numbers, so that no two purposes ever share one.
_PERSON, _PLAN, _PERFORMANCE, _OTHER_SPEECH, _CAPTURE, _FAKE = range(6)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a corpus: people per split, and clips per person, half of them real."""

    seed: int = 0
    train: int = 24
    val: int = 8
    test: int = 16
    train_clips: int = 14
    eval_clips: int = 10

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
    span: tuple[float, float] | None = None  # of a partial fake, seconds
    duration: float = 0.0

    @property
    def name(self) -> str:
        """Path in the corpus, without suffix."""
        return f"{self.split}/person{self.person:03d}/{self.take:02d}_{self.method}"


def plan(settings: Settings) -> list[Item]:
    """All clips of the corpus. Each take is there twice: real, and as the source of one fake of every person's share.

    Methods go round: each has the same number of fakes, but for dubbing, which no single stream can tell and which has
    half as many. A quarter of each method's are partial. A donor is of the same split, and of the three drawn the
    one with the most similar skin.
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
                start, length = rng.random(), rng.uniform(0.8, 1.6)
                start = 0.1 + start * (duration - length - 0.2)
                span = (round(start, 3), round(start + length, 3)) if made[method] % 4 == 2 else None
                others = rng.permutation([j for j in members if j != i])[:3]
                donor = min(others, key=lambda j: np.abs(np.subtract(people[j].skin, people[i].skin)).sum())
                donor = int(donor) if "face_swap" in method else -1
                items.append(Item(len(items), split, i, take, method, donor, span, duration))
    return items


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

    A fake and its original share the performance, the camera, the loudness and the encoder's settings, so that none of
    these tells them apart; the sensor's noise is each one's own.
    """
    who = person(settings, item.person)
    stage = _rng(settings, _PERFORMANCE, item.person, item.take)
    times = np.arange(round(item.duration * camera.FPS)) / camera.FPS
    place, room = face.scene(stage), voice.draw_room(stage)
    speech = articulation.utterance(item.duration, stage, rate=who.voice.rate, liveliness=who.voice.liveliness)
    motion = geometry.perform(speech, times, stage)
    lens, encoder = camera.draw_camera(stage), camera.draw_encoder(stage)
    rms, crest = 10 ** (stage.uniform(-27, -19) / 20), stage.uniform(4.2, 5.4)
    folds, voice_seed = stage.integers(2**31, size=2)

    def film(actor: identity.Identity, act: geometry.Motion) -> tuple[np.ndarray, np.ndarray]:
        frames = face.render(actor, act, place, np.random.default_rng(folds))
        return frames, geometry.landmarks(actor, act, place.view)

    def speak(track: articulation.Articulation, take: int) -> np.ndarray:
        rng = np.random.default_rng([voice_seed, take])
        return voice.record(voice.synthesize(track, who.voice, rng), room, rng)

    frames, marks = film(who, motion)
    frames = camera.capture(frames, lens, _rng(settings, _CAPTURE, item.number))
    rng = _rng(settings, _FAKE, item.number)
    sound = speak(speech, 0)
    samples = np.arange(len(sound)) / voice.SAMPLE_RATE
    weight = manipulations.ramp(times, item.span, 0.12)
    if "face_swap" in item.method:
        actor = dataclasses.replace(person(settings, item.donor), glasses=who.glasses)
        donor, donor_marks = film(actor, motion)
        frames = manipulations.swap_face(frames, marks, donor, donor_marks, weight, rng)
    if item.method in ("lip_reenactment", "dubbing"):
        other = _rng(settings, _OTHER_SPEECH, item.person, item.take)
        track = articulation.utterance(item.duration, other, rate=who.voice.rate, liveliness=who.voice.liveliness)
        sound = manipulations.splice(sound, speak(track, 1), manipulations.ramp(samples, item.span, 0.04))
        if item.method == "lip_reenactment":
            mouth, mouth_marks = film(who, dataclasses.replace(motion, **track.at(times)))
            frames = manipulations.reenact_lips(frames, marks, mouth, mouth_marks, weight, rng)
            marks[:, 48:] += (mouth_marks - marks)[:, 48:] * weight[:, None, None]
    if "voice_clone" in item.method:
        clone = manipulations.clone_voice(sound, rng)
        sound = manipulations.splice(sound, clone, manipulations.ramp(samples, item.span, 0.04))
    sound = voice.level(sound, rms, crest)
    path = folder / item.name
    np.savez(path.with_suffix(".npz"), landmarks=marks, times=times.astype(np.float32))
    camera.write(path.with_suffix(".mp4"), frames, sound, encoder)


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
