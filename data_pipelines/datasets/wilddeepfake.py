"""WildDeepfake: face sequences from videos found online, as folders of pictures."""

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_PARTS = {"real_train": (0, "train"), "fake_train": (1, "train"), "real_test": (0, "test"), "fake_test": (1, "test")}
_EXPECTED = {"real_train": 3805 - 396, "fake_train": 3509 - 410, "real_test": 396, "fake_test": 410}


def read(root: str) -> list[Clip]:
    """All sequences, each a folder of numbered pictures; the archive stands for the person, whom all of it may show.

    root: the folder with real_train, fake_train, real_test and fake_test (or `real train`, as the archives come), or
    one above it. The pictures are shown 25 a second: the dataset does not say how fast they were taken.
    """
    spellings = [spelling for part in _PARTS for spelling in (part, part.replace("_", " "))]
    tree = _layout.find("wilddeepfake", root, *spellings)
    clips = []
    for spelling in spellings:
        part = spelling.replace(" ", "_")
        label, split = _PARTS[part]
        for folder in tree.sequences(spelling):
            relative = part + folder[len(part) :]
            archive = "/".join(relative.split("/")[:2])
            clips.append(tree.clip(relative, label, file=folder, split=split, video_label=label, identity=archive))
    packed = tree.files(*spellings, suffixes=(".tar", ".gz", ".tgz", ".zip"))
    _layout.tell_unused("wilddeepfake", "are archives, each to be unpacked into a folder of its name,", packed)
    return _layout.finish(tree, clips, _EXPECTED, lambda clip: clip.clip_id.split("/")[1])
