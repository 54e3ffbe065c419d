"""ASVspoof 2019, logical access: synthetic and converted speech, with official train, dev and eval parts."""

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

KEYS = {"bonafide": 0, "spoof": 1}
_PROTOCOLS = "ASVspoof2019_LA_cm_protocols"
_PARTS = {"train": ("train.trn", "train"), "dev": ("dev.trl", "val"), "eval": ("eval.trl", "test")}


def read(root: str) -> list[Clip]:
    """The utterances of the countermeasure protocols; dev is val, eval is test, the system (A01 …) is the method.

    root: the folder LA with ASVspoof2019_LA_cm_protocols, or one above it.
    """
    tree = _layout.find("asvspoof2019", root, _PROTOCOLS)
    clips, expected = [], {}
    for part, (name, split) in _PARTS.items():
        path = tree.root / _PROTOCOLS / f"ASVspoof2019.LA.cm.{name}.txt"
        present = {_layout.stem(p): p for p in tree.files(f"ASVspoof2019_LA_{part}", suffixes=_layout.AUDIO)}
        rows = list(_layout.read_columns(path, 5)) if path.is_file() else []
        if not rows:
            found = _layout.listing(path.parent)
            raise ValueError(f"{path}: there is no such protocol, or it is empty; found {found}")
        for place, (speaker, name, _, system, key, *_) in rows:
            label = _layout.one_of(KEYS, key, "the key", place)
            if name in present:
                facts = {"split": split, "identity": speaker} | ({"method": system} if label else {})
                clips.append(tree.clip(present[name], label, audio_label=label, **facts))
        _layout.compare("asvspoof2019", path.name, (fields[1] for _, fields in rows), present)
        expected[split] = len(rows)
    return _layout.finish(tree, clips, expected, lambda clip: clip.split)
