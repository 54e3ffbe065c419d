"""PolyGlotFake: speech put into other languages with a cloned voice and lips to match; both streams are fake."""

import re

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_LANGUAGES = "ar|en|es|fr|ja|ru|zh"
_REAL = re.compile(rf"(?:{_LANGUAGES})_\d+")
_FAKE = re.compile(rf"((?:{_LANGUAGES})_\d+)_to_(?:{_LANGUAGES})_(.+)")
_MARKS = tuple(f"{depth}{name}_[0-9]*.mp4" for depth in ("", "*/", "*/*/") for name in _LANGUAGES.split("|"))
_EXPECTED = {"real": 766, "fake": 14472}


def read(root: str) -> list[Clip]:
    """All videos named <lang>_<n> (real) or <lang>_<n>_to_<lang>_<speech synthesis> (fake), at any depth.

    root: the dataset's folder. No official split; the source clip stands for the person. Videos that
    real_json_files/<lang>.json lists are compared with those on disk.
    """
    tree = _layout.find("polyglotfake", root, "real_json_files", *_MARKS)
    reals, fakes, strange = {}, [], []
    for relative in tree.files():
        name = _layout.stem(relative)
        if _REAL.fullmatch(name) and name not in reals:
            reals[name] = tree.clip(relative, 0, video_label=0, audio_label=0, identity=name)
        elif match := _FAKE.fullmatch(name):
            fakes.append((relative, *match.groups()))
        else:
            strange.append(relative)
    clips = [*reals.values()]
    for relative, source, method in fakes:
        original = reals[source].clip_id if source in reals else f"polyglotfake/{source}"
        facts = {"method": method, "identity": source, "original": original}
        clips.append(tree.clip(relative, 1, video_label=1, audio_label=1, **facts))
    _layout.tell_unused("polyglotfake", "have names of another form, or one that was there already,", strange)
    if lists := sorted(tree.root.glob("real_json_files/*.json")):
        listed = [_layout.stem(str(name)) for path in lists for name in _names(path)]
        _layout.tell_missing("polyglotfake", "real_json_files", listed, reals)
    return _layout.finish(tree, clips, _EXPECTED, lambda clip: "fake" if clip.label else "real")


def _names(path) -> list[str]:  # noqa: ANN001
    """File names of a language's list, {"videos": [{"filename": …}]}."""
    try:
        return [video["filename"] for video in _layout.read_json(path, dict)["videos"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected videos with a filename each ({type(error).__name__}: {error})") from None
