"""Methods left out: gone from what a detector learns from and is chosen by, never from what it is tested on."""

import dataclasses

import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import left_out
from data_pipelines.prepare.records import IndexRow

METHODS = ("real", "swap", "swap", "clone", "clone_swap")


@dataclasses.dataclass
class Held:
    """Records of one clip of each of METHODS."""

    split: str
    digest: str = "d"

    def __post_init__(self):
        clips = [Clip(f"{self.split}{i}", "", int(method != "real"), method=method) for i, method in enumerate(METHODS)]
        self.index = [IndexRow(clip, "ok", 1, 1.0, 1) for clip in clips]

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        return self.index[i].clip.clip_id


SPLITS = {split: Held(split) for split in ("train", "val", "test")}


def test_the_fakes_of_a_method_are_in_test_alone():
    found = left_out.leave_out(SPLITS, ["swap", "clone_swap"])
    assert found["test"] is SPLITS["test"]
    for split in ("train", "val"):
        assert [row.clip.method for row in found[split].index] == ["real", "clone"]
        assert [found[split][i] for i in range(len(found[split]))] == [f"{split}0", f"{split}3"]
        assert found[split].digest != SPLITS[split].digest
    kept = [[left_out.is_left_out(row.clip, split, ["swap"]) for row in SPLITS[split].index] for split in SPLITS]
    assert kept == [[False, True, True, False, False]] * 2 + [[False] * 5]
    assert left_out.leave_out(SPLITS, ()) == SPLITS


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["swop"], r"no fake is of method 'swop'; known: clone, clone_swap, swap$"),
        (["real"], r"no fake is of method 'real'; known: clone, "),
        (["swap", "clone", "clone_swap"], r"train has no fake of another method than swap, clone, clone_swap"),
    ],
)
def test_what_cannot_be_left_out(methods, message):
    with pytest.raises(ValueError, match=r"^config\.data\.leave_out: " + message):
        left_out.leave_out(SPLITS, methods)
