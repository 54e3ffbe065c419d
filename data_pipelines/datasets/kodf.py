"""KoDF: Korean speakers, five manipulations told by a digit in the file's name."""

import re

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_METHODS = {"1": "dfl", "2": "dffs", "3": "fsgan", "4": "fo", "5": "audio_driven"}
_EXPECTED = {"real": 62166, "fake": 175776}
_REAL = re.compile(r"([^_]+)_(\d+)")
_FAKE = re.compile(r"([^_]+)_([^_]+)_([1-5])_(\d+)")


def read(root: str) -> list[Clip]:
    """All videos <actor>/<actor>_<number> (real) or <target>/<target>_<source>_<code>_<number> (fake), at any depth.

    root: the dataset's folder. No official split. The dataset's notes at hand do not say whether a fake's sound is
    the speaker's own, so fakes have no audio label.
    """
    tree = _layout.find("kodf", root, "*/*_*.mp4", "*/*/*_*.mp4", "*/*/*/*_*.mp4")
    clips, strange = [], []
    for relative in tree.files():
        name = _layout.stem(relative)
        folder = relative.split("/")[-2] if "/" in relative else ""
        if (match := _FAKE.fullmatch(name)) and match[1] == folder:
            target, source, code, _ = match.groups()
            facts = {"method": _METHODS[code], "identity": target, "donors": (source,) if source != target else ()}
            clips.append(tree.clip(relative, 1, video_label=1, **facts))
        elif (match := _REAL.fullmatch(name)) and match[1] == folder:
            clips.append(tree.clip(relative, 0, video_label=0, audio_label=0, identity=match[1]))
        else:
            strange.append(relative)
    _layout.tell_unused("kodf", "have names of another form, or lie in another folder than their person's,", strange)
    return _layout.finish(tree, clips, _EXPECTED, lambda clip: "fake" if clip.label else "real")
