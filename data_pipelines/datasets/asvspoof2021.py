"""ASVspoof 2021, logical access and deepfake tracks: evaluation sets, with keys of 8 or 13 columns."""

import pathlib

from absl import logging

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout
from data_pipelines.datasets.asvspoof2019 import KEYS

SUBSETS = ("eval", "progress", "hidden", "all")
_ROWS = {"DF": {"progress": 59325, "eval": 533928, "hidden": 18576}, "LA": {}}


def read(root: str, *, track: str = "DF", subset: str = "eval") -> list[Clip]:
    """The utterances of one track, all of them test; the attack (A07 …) is the method, the codec the compression.

    Args:
      root: the folder with ASVspoof2021_<track>_eval* and the unpacked keys, or one above it.
      track: DF or LA.
      subset: eval (on which results are reported), progress, hidden or all.
    """
    _layout.check("track", track, _ROWS)
    _layout.check("subset", subset, SUBSETS)
    tree = _layout.find("asvspoof2021", root, f"ASVspoof2021_{track}_eval*")
    path = _keys(tree, track)
    sounds = tree.files(*sorted(p.name for p in tree.root.glob(f"ASVspoof2021_{track}_eval*")), suffixes=_layout.AUDIO)
    present = {_layout.stem(relative): relative for relative in sounds}
    clips, listed, counts = [], [], {}
    # By place, never by number of columns: the full keys have 13, those of the first stage 8.
    for place, fields in _layout.read_columns(path, 8):
        speaker, name, codec, _, attack, key, _, part = fields[:8]
        label = _layout.one_of(KEYS, key, "the key", place)
        listed.append(name)
        counts[part] = counts.get(part, 0) + 1
        if name in present and subset in (part, "all"):
            facts = {"split": "test", "identity": speaker, "compression": codec} | ({"method": attack} if label else {})
            clips.append(tree.clip(present[name], label, audio_label=label, **facts))
    _layout.compare("asvspoof2021", path.name, listed, present)
    for part, count in counts.items():
        _layout.tell_count("asvspoof2021", f"rows of {part}", count, _ROWS[track].get(part))
    if subset != "all":
        logging.info("asvspoof2021: of %s, only the subset %s is taken", ", ".join(sorted(counts)), subset)
    expected = {"test": len(listed) if subset == "all" else counts.get(subset, 0)}
    return _layout.finish(tree, clips, expected, lambda clip: clip.split)


def _keys(tree: _layout.Tree, track: str) -> pathlib.Path:
    """The track's trial_metadata.txt; archives unpack to keys/<track>/CM or, of either track, to keys/CM."""
    folders = (f"keys/{track}/CM", "keys/CM", f"*/keys/{track}/CM", "*/keys/CM", f"{track}/CM")
    for path in (path for folder in folders for path in sorted(tree.root.glob(f"{folder}/trial_metadata.txt"))):
        _, fields = next(_layout.read_columns(path, 8), ("", ["", ""]))
        if fields[1].startswith(f"{track}_E_"):
            return path
    raise ValueError(
        f"{tree.root}: no keys of track {track}: looked for trial_metadata.txt in {', '.join(folders)}, found "
        f"{_layout.listing(tree.root)}"
    )
