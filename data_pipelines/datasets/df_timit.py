"""DeepfakeTIMIT: faces swapped between 16 pairs of VidTIMIT's people, in two qualities; the sound is never fake."""

import dataclasses
import pathlib
import re

from absl import logging

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

QUALITIES = ("higher_quality", "lower_quality")
_EXPECTED = dict.fromkeys(QUALITIES, 320)
_NAME = re.compile(r"(?P<sentence>\w+)-video-(?P<source>\w+)")
_SENTENCE = re.compile(r"s[aix]\d+")  # VidTIMIT's other recordings are of turning heads


def read(root: str, *, vidtimit: str = "") -> list[Clip]:
    """Fakes, and the reals where VidTIMIT is given; no official split.

    Args:
      root: the folder with higher_quality and lower_quality, or one above it. The quality is the method.
      vidtimit: VidTIMIT's folder, with <person>/video/<sentence>/ (a folder of pictures) and
        <person>/audio/<sentence>.wav.
    """
    tree = _layout.find("df_timit", root, *QUALITIES)
    clips, strange = [], []
    for relative in tree.files(*QUALITIES):
        quality, person, *_ = relative.split("/")
        match = _NAME.fullmatch(_layout.stem(relative))
        if relative.count("/") != 2 or not match:
            strange.append(relative)
            continue
        sound = f"{quality}/{person}/{match['sentence']}.wav"
        facts = {"method": quality, "identity": person, "donors": (match["source"],)}
        original = f"df_timit/VidTIMIT/{person}/video/{match['sentence']}"
        clips.append(_clip(tree, relative, 1, sound, original=original, **facts))
    _layout.tell_unused("df_timit", "have names of another form", strange)
    if vidtimit:
        reals = dataclasses.replace(_layout.find("VidTIMIT", vidtimit, "*/video/*"), dataset="df_timit")
        clips += _reals(dataclasses.replace(reals, prefix="VidTIMIT/"))
    else:
        logging.warning("df_timit: no reals: give the option vidtimit=DIR")
    return _layout.finish(tree, clips, _EXPECTED)


def _reals(tree: _layout.Tree) -> list[Clip]:
    folders = sorted(path.relative_to(tree.root).as_posix() for path in tree.root.glob("*/video/*") if path.is_dir())
    clips = []
    for relative in filter(lambda folder: _SENTENCE.fullmatch(folder.rpartition("/")[2]), folders):
        person, _, sentence = relative.split("/")
        clips.append(_clip(tree, relative, 0, f"{person}/audio/{sentence}.wav", identity=person))
    logging.info("df_timit: %d of %d sequences of VidTIMIT are sentences", len(clips), len(folders))
    return clips


def _clip(tree: _layout.Tree, relative: str, label: int, sound: str, **fields) -> Clip:
    path = tree.path(sound) if pathlib.Path(tree.path(sound)).is_file() else ""
    return tree.clip(relative, label, audio_path=path, video_label=label, audio_label=0, **fields)
