"""One clip's record as a Source without a file: for a user's own files, which are looked at once."""

import hashlib
from collections.abc import Sequence
from typing import Any

from data_pipelines.clip import Clip
from data_pipelines.loading.loader import Loaded
from data_pipelines.prepare.extract import Outcome
from data_pipelines.prepare.records import IndexRow
from data_pipelines.record import Layout, Record


class InMemory(Loaded):
    """The record of one outcome, read like records of a folder.

    Raises:
      ValueError: the outcome has no record.
    """

    def __init__(self, clip: Clip, outcome: Outcome) -> None:
        if outcome.record is None:
            raise ValueError(f"{clip.clip_id}: no record ({outcome.status})")
        layout = Layout.of(outcome.record)
        self.index = [
            IndexRow(clip, outcome.status, outcome.frames, outcome.duration, outcome.audio_samples, layout=layout)
        ]
        self.digest = hashlib.sha256(outcome.record["info"]).hexdigest()
        self._examples = [
            {name: value if isinstance(value, list) else [value] for name, value in example.items()}
            for example in layout.split(outcome.record)
        ]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> Record:
        if i:
            raise IndexError(f"record {i} of 1")
        return Record(self.index[0].layout, self._read)

    def _read(self, first: int, last: int, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{name: example[name] for name in names} for example in self._examples[first:last]]
