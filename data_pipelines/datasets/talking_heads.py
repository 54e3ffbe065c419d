"""The embedded dataset: a procedural talking-head corpus, made on first use and read like any other."""

import pathlib

from data_pipelines import cache
from data_pipelines.clip import Clip
from data_pipelines.talking_heads import corpus

_FAKE_VIDEO = ("face_swap", "lip_reenactment", "face_swap_voice_clone")
_FAKE_AUDIO = ("voice_clone", "face_swap_voice_clone")
_DUBBED = ("dubbing", "dubbing_other_voice")


def read(
    root: str = "",
    *,
    seed: int = 0,
    train: int = 24,
    val: int = 8,
    test: int = 24,
    train_clips: int = 14,
    eval_clips: int = 16,
    workers: int = 0,
) -> list[Clip]:
    """Clips of the corpus with these numbers of people per split and clips per person, half of them real.

    root: the folder that holds corpora, by default the cache folder; the corpus is made there if it is missing, by
    `workers` processes (0: one per core). Raises ValueError for sizes that no corpus can have.
    """
    settings = corpus.Settings(seed, train, val, test, train_clips, eval_clips)
    folder = corpus.ensure(settings, pathlib.Path(root) if root else cache.root(), workers)
    return [_clip(item, folder) for item in corpus.plan(settings)]


def _clip(item: corpus.Item, folder: pathlib.Path) -> Clip:
    """What the plan knows of a clip.

    In both kinds of dubbing each stream is real by itself (labels 0); the audio_segments of a
    partial one say where the sound was replaced.
    """
    fake_video, fake_audio = item.method in _FAKE_VIDEO, item.method in _FAKE_AUDIO
    original = f"{item.split}/person{item.person:03d}/{item.take:02d}_real"
    return Clip(
        clip_id=f"talking_heads/{item.name}",
        path=str(folder / f"{item.name}.mp4"),
        label=int(item.method != "real"),
        landmarks_path=str(folder / f"{item.name}.npz"),
        mask_path=str(corpus.mask_path(folder, item)) if fake_video else "",
        dataset="talking_heads",
        split=item.split,
        video_label=int(fake_video),
        audio_label=int(fake_audio),
        method=item.method,
        identity=f"person{item.person:03d}",
        donors=(f"person{item.donor:03d}",) if item.donor >= 0 else (),
        video_segments=item.spans if fake_video else (),
        audio_segments=item.spans if fake_audio or item.method in _DUBBED else (),
        original=f"talking_heads/{original}" if item.method != "real" else "",
    )
