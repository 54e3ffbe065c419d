"""LAV-DF: short spans of face, voice or both replaced, with the spans."""

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_SPLITS = {"train": "train", "dev": "val", "test": "test"}
_EXPECTED = {"train": 78703, "val": 31501, "test": 26100}
METHODS = {(0, 0): "real", (1, 0): "visual_modified", (0, 1): "audio_modified", (1, 1): "both_modified"}
_LISTS = ("metadata.json", "metadata.min.json")


def read(root: str) -> list[Clip]:
    """All videos of metadata.json (or metadata.min.json), with the official splits; dev is val.

    root: the folder with the list and train, dev and test, or one above it.
    """
    tree = _layout.find("lav_df", root, *_LISTS)
    path = next(tree.root / name for name in _LISTS if (tree.root / name).is_file())
    entries = _layout.read_json(path, list)
    present = set(tree.files(*_SPLITS))
    clips = []
    for entry in entries:
        place = f"{path}, {entry.get('file') if isinstance(entry, dict) else entry}"
        try:
            relative, spans = entry["file"], _layout.segments(entry["fake_periods"], place)
            split = _layout.one_of(_SPLITS, entry["split"], "split", place)
            label = int(entry["n_fakes"] > 0)
            video, audio = (label * int(entry[f"modify_{stream}"] is True) for stream in ("video", "audio"))
            if label > video + audio:
                raise ValueError(f"{place}: n_fakes is {entry['n_fakes']}, but neither stream is modified")
        except (KeyError, TypeError) as error:
            raise ValueError(f"{place}: not an entry of LAV-DF ({type(error).__name__}: {error})") from None
        if relative not in present:
            continue
        original = entry.get("original")
        clips.append(
            tree.clip(
                relative,
                label,
                split=split,
                video_label=video,
                audio_label=audio,
                method=METHODS[video, audio],
                video_segments=spans if video else (),
                audio_segments=spans if audio else (),
                original=tree.clip_id(original) if original and label else "",
            )
        )
    _layout.compare("lav_df", path.name, (entry["file"] for entry in entries), present)
    return _layout.finish(tree, clips, _EXPECTED, lambda clip: clip.split)
