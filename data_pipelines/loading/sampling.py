"""Which record stands at which place of the endless training stream: pure functions of the seed, without any state."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

BALANCES = ("none", "label", "method", "real", "video_label")
_PERMUTATION, _EXAMPLE = 0, 1  # what a random stream is for: part of its key


class _Key(np.random.bit_generator.ISeedSequence):
    """A generator's key as it is. Given as Philox's `key`, numpy would first seed it from the system's entropy."""

    def __init__(self, *words: int) -> None:
        self._words = np.array(words, np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """The key; Philox asks for two words of 64 bits."""
        return self._words


def _philox(purpose: int, seed: int, *place: int) -> np.random.Philox:
    """A random stream of its own for every (purpose, seed, place), place being at most three integers >= 0."""
    counter = [0, *place] + [0] * (3 - len(place))  # word 0 counts the draws, so streams cannot run into each other
    return np.random.Philox(_Key(seed, purpose), counter=np.array(counter, np.uint64))


def example_rng(seed: int, example: int, part: int = 0, attempt: int = 0) -> np.random.Generator:
    """The generator for one `part` (the window, the first transform, ...) of one example of the training stream."""
    return np.random.Generator(_philox(_EXAMPLE, seed, part, attempt, example))


@functools.lru_cache(maxsize=256)
def permutation(seed: int, epoch: int, class_: int, size: int) -> np.ndarray:
    """A random order `[size] int` of a class's records, drawn anew for every epoch of that class.

    Sorts raw Philox output, which numpy promises never to change; of `Generator.permutation` it does not.
    """
    order = np.argsort(_philox(_PERMUTATION, seed, class_, epoch).random_raw(size), kind="stable")
    order.flags.writeable = False  # shared by all callers
    return order


@dataclasses.dataclass(frozen=True)
class Order:
    """The endless training stream: example number i -> row of a record.

    Places alternate between class 0 and the others; the others take turns. So any run of 2(n-1) places holds n-1
    examples of class 0 and one of each of the others, and a batch of any size is balanced to within one example.
    Every record of a class comes up once before one comes up again.
    """

    seed: int
    classes: tuple[np.ndarray, ...]  # rows of each class's records: real first, then the kinds of fakes

    def row(self, example: int, skip: int = 0) -> int:
        """The record for this place, or the one that follows `skip` places later among those of its class."""
        class_, count = self._place(example)
        rows = self.classes[class_]
        epoch, position = divmod(count + skip, len(rows))
        return int(rows[permutation(self.seed, epoch, class_, len(rows))[position]])

    def _place(self, example: int) -> tuple[int, int]:
        """-> the class at this place of the stream, and how many of that class come before."""
        if len(self.classes) == 1:
            return 0, example
        turn, is_fake = divmod(example, 2)
        if not is_fake:
            return 0, turn
        count, kind = divmod(turn, len(self.classes) - 1)
        return 1 + kind, count


def training_order(clips: Sequence[Any], rows: Sequence[int], *, balance: str, seed: int) -> Order:
    """The order in which training visits the records.

    Args:
      clips: a Clip per record.
      rows: the records to train on (indices into clips).
      balance: `none`: as they come. `label`: half real, half fake. `method`: half real, the fakes evenly over
        their methods. `real`: real clips alone. `video_label`: half with a real picture, whatever they sound like, half
        with a fake one, evenly over the methods; the clip's label where that of its picture is unknown. But with
        `none`, clips of unknown label are left out.
      seed: an integer in [0, 2**64).

    Raises:
      ValueError: unknown balance, negative seed, or no record of a class that the balance needs.
    """
    if balance not in BALANCES:
        raise ValueError(f"data.balance: expected one of {', '.join(BALANCES)}, found {balance!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected an integer from 0 to 2**64 - 1, found {seed}")
    if not len(rows):
        raise ValueError(
            "no record to train on: of the streams that data.streams asks for, no clip has any. "
            "Look at the status column of index.csv, or ask for other streams"
        )
    if balance == "none":
        return Order(seed, (np.asarray(rows),))

    def label(clip: Any) -> int:
        return clip.video_label if balance == "video_label" and clip.video_label >= 0 else clip.label

    real = [r for r in rows if label(clips[r]) == 0]
    if balance == "real":
        if not real:
            raise ValueError(f"data.balance=real: expected real clips, found none among {len(rows)} records")
        return Order(seed, (np.asarray(real),))
    fakes: dict[str, list[int]] = {}
    for r in rows:
        if label(clips[r]) == 1:
            fakes.setdefault("" if balance == "label" else clips[r].method, []).append(r)
    if not real or not fakes:
        missing, way_out = ("real", "") if not real else ("fake", ", or pseudo_fakes=true, which makes fakes of them")
        raise ValueError(
            f"data.balance={balance}: expected real and fake clips, found no {missing} one among {len(rows)} records. "
            f"Use data.balance=none{way_out}"
        )
    return Order(seed, (np.asarray(real), *(np.asarray(fakes[m]) for m in sorted(fakes))))
