"""DeeperForensics-1.0: actors' faces on FaceForensics++ videos; those videos, not the actors', are the real class."""

import dataclasses
import re

from absl import logging

from data_pipelines.clip import SPLITS, Clip
from data_pipelines.datasets import _layout
from data_pipelines.datasets import faceforensics as ff

_VARIANTS = (
    *("end_to_end", *(f"end_to_end_level_{i}" for i in range(1, 6)), "end_to_end_random_level"),
    *(*(f"end_to_end_mix_{i}_distortions" for i in (2, 3, 4)), "reenact_postprocess"),
)
_EXPECTED = 1000  # of each variant, and of reals
_REALS = "original_sequences/youtube/c23/videos"
_NAME = re.compile(r"(\d{3})_([MW]\d{3})")


def read(root: str, *, faceforensics: str = "") -> list[Clip]:
    """Fakes of all variants, and the reals where FaceForensics++ is given.

    Args:
      root: the folder with manipulated_videos and lists, or one above it.
      faceforensics: FaceForensics++'s folder: its c23 originals are the reals. source_videos never are.

    The official lists name fakes; a real goes where the fake of the same three digits goes. A variant's distortion is
    the clip's compression (level_3, mix_2_distortions).
    """
    tree = _layout.find("deeperforensics", root, "manipulated_videos")
    split = _splits(tree)
    clips, strange, present = [], [], []
    for relative in tree.files("manipulated_videos"):
        variant, match = relative.split("/")[1], _NAME.fullmatch(_layout.stem(relative))
        if variant not in _VARIANTS or not match:
            strange.append(relative)
            continue
        present.append(match[0])
        method, distortion = ("end_to_end", variant[11:]) if variant.startswith("end") else (variant, "")
        clips.append(
            tree.clip(
                relative,
                1,
                split=split.get(match[0], ""),
                video_label=1,
                method=method,
                identity=match[1],
                donors=(match[2],),
                compression=distortion,
                original=f"deeperforensics/{_REALS}/{match[1]}.mp4",
            )
        )
    _layout.tell_unused("deeperforensics", "are of no known variant", strange)
    _layout.tell_missing("deeperforensics", "lists/splits", split, present)
    clips += _reals(faceforensics, {name[:3]: part for name, part in split.items()})
    expected = {"real": _EXPECTED, **dict.fromkeys(_VARIANTS, _EXPECTED)}
    return _layout.finish(tree, clips, expected, _part)


def _reals(root: str, split: dict[str, str]) -> list[Clip]:
    if not root:
        logging.warning("deeperforensics: no reals: give the option faceforensics=DIR; source_videos are not the reals")
        return []
    return [
        dataclasses.replace(
            clip,
            clip_id=f"deeperforensics/{_REALS}/{clip.identity}.mp4",
            dataset="deeperforensics",
            compression="",
            split=split.get(clip.identity, ""),
        )
        for clip in ff.read(root, compression="c23", methods=())
    ]


def _splits(tree: _layout.Tree) -> dict[str, str]:
    """Fake's name without suffix -> split."""
    split = {}
    for part in SPLITS:
        path = tree.root / "lists" / "splits" / f"{part}.txt"
        if not path.is_file():
            raise ValueError(f"{path}: there is no such list; found {_layout.listing(tree.root)}")
        split |= {_layout.stem(fields[0]): part for _, fields in _layout.read_columns(path, 1)}
    return split


def _part(clip: Clip) -> str:
    return "real" if clip.label == 0 else clip.clip_id.split("/")[2]
