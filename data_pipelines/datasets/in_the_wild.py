"""In-the-Wild: real and faked speech of public figures, gathered online; a test set."""

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_LABELS = {"bona-fide": 0, "bonafide": 0, "spoof": 1}
_EXPECTED = {"test": 31779}


def read(root: str) -> list[Clip]:
    """The utterances of meta.csv, all of them test. root: its folder (release_in_the_wild), or one above it."""
    tree = _layout.find("in_the_wild", root, "meta.csv")
    present = set(tree.files(suffixes=_layout.AUDIO))
    clips, listed = [], []
    for place, row in _layout.read_table(tree.root / "meta.csv", "file", "speaker", "label"):
        label = _layout.one_of(_LABELS, row["label"], "label", place)
        listed.append(row["file"])
        if row["file"] in present:
            clips.append(tree.clip(row["file"], label, audio_label=label, split="test", identity=row["speaker"]))
    _layout.compare("in_the_wild", "meta.csv", listed, present)
    return _layout.finish(tree, clips, _EXPECTED, lambda clip: clip.split)
