"""Records in memory, for tests of the loader, and what is done with its batches."""

import dataclasses
import functools

import cv2
import numpy as np

from data_pipelines.clip import Clip
from data_pipelines.loading.loader import Loaded

FLIP = {"name": "data_pipelines.loading.transforms.HorizontalFlip", "p": 0.5}
CONFIG = {
    "window": 1.0,
    "streams": {
        "image": {"frames": 4, "size": 16},
        "video": {"fps": 12.5, "size": 12},
        "mouth": {"fps": 25, "size": 16},
        "audio": {},
    },
    "batch_size": 8,
    "augment": (FLIP, {"name": "data_pipelines.loading.transforms.Noise"}),
}


@dataclasses.dataclass(frozen=True)
class Row:
    clip: Clip
    frames: int
    audio_samples: int
    status: str = "ok"
    duration: float = 0.0


class FakeRecords(Loaded):
    """Records in memory. Frame i of clip c has red i, green c; sample j of the sound is j // 16 (so in ms)."""

    def __init__(self, clips, frames=50, audio=True, size=16, unreadable=(), undecodable=()):
        lengths = frames if isinstance(frames, (list, tuple)) else [frames] * len(clips)
        samples = [(n or 50) * 640 if audio else 0 for n in lengths]
        self.index = [Row(c, n, s) for c, n, s in zip(clips, lengths, samples, strict=True)]
        self.size, self.unreadable, self.undecodable = size, unreadable, undecodable
        self.reads = []
        self.found = [np.ones(n, np.uint8) for n in lengths]
        self.masks = {}  # of clip i: a grey PNG per frame

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        self.reads.append(i)
        if i in self.unreadable:
            raise ValueError("hash of the chunk\ndoes not match")
        row = self.index[i]
        frames = [png(self.size, f, i) for f in range(row.frames)]
        return {
            "frames": [b"no image"] * len(frames) if i in self.undecodable else frames,
            "mouth": [png(self.size, f, i, grey=True) for f in range(row.frames)],
            "audio": (np.arange(row.audio_samples) // 16).astype(np.int16),
            "found": self.found[i],
            "mask": self.masks.get(i, []),
            "audio_present": int(row.audio_samples > 0),
            "video_present": int(row.frames > 0),
        }


@functools.cache
def png(size, frame, clip, grey=False):
    image = np.full((size, size, 3), (7, clip, frame), np.uint8)  # BGR
    image[:, 0] = 255  # so that a mirror image differs
    return cv2.imencode(".png", image[..., 2] if grey else image)[1].tobytes()


def clips(reals, **fakes):
    made = [Clip(f"real{i}", "", 0, video_label=0, audio_label=0, method="real") for i in range(reals)]
    for method, n in fakes.items():
        made += [Clip(f"{method}{i}", "", 1, video_label=1, audio_label=0, method=method) for i in range(n)]
    return made


RECORDS = FakeRecords(clips(5, swap=3, voice=4))


def take(batches, n):
    with batches:
        return [next(batches) for _ in range(n)]


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
