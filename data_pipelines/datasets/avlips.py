"""AVLips: lips re-made for speech; the sound lies in files of its own."""

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_FOLDERS = {"0_real": 0, "1_fake": 1}


def read(root: str) -> list[Clip]:
    """The videos of 0_real and 1_fake, each with its sound from wav/<folder>/ where there is one; no official split.

    root: the folder AVLips, or one above it. The dataset names no people and does not say whether a fake's sound is
    untouched, so fakes have no audio label.
    """
    tree = _layout.find("avlips", root, *_FOLDERS)
    clips, videos = [], tree.files(*_FOLDERS)
    sounds = {path[:-4]: path for path in tree.files(*(f"wav/{name}" for name in _FOLDERS), suffixes=(".wav",))}
    for relative in videos:
        label = _FOLDERS[relative.partition("/")[0]]
        sound = sounds.get("wav/" + relative.rpartition(".")[0], "")
        facts = {"video_label": label, "audio_label": -1 if label else 0}
        clips.append(tree.clip(relative, label, audio_path=tree.path(sound) if sound else "", **facts))
    _layout.tell_count("avlips", "sounds", sum(bool(clip.audio_path) for clip in clips), len(videos))
    return _layout.finish(tree, clips, {}, lambda clip: clip.clip_id.split("/")[1])
