"""The prediction files that the package avdeepfake1m and the 1M-Deepfakes challenge read (ControlNet/AV-Deepfake1M).

`prediction.json` for localisation: {the video's `file` in the metadata: [[score, start, end], …]} in seconds, so that
the program is told 1 frame a second. Every list has a proposal, because the program fails on an empty one: where the
detector found none, one of a score below all others, long after the clip's end. `prediction.txt` for detection: a line
`file;score` per video, with P(fake).
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from experiments import files
from experiments.run_directory import log
from experiments.score_table import ScoreRow
from experiments.submissions import lavdf

PARTS = ("train", "val", "test", "testA", "testB")  # folders that the metadata's `file` does not name
UNKNOWN = 0.5  # what a clip without a score gets, for the program wants one of each


@dataclasses.dataclass(frozen=True)
class Submission:
    """Writes `prediction.json` and, where the table has scores, `prediction.txt`."""

    def write(self, rows: Sequence[ScoreRow], folder: pathlib.Path) -> list[pathlib.Path]:
        """Writes the files of the score table `rows` into `folder`, and returns their paths.

        Raises:
          ValueError: the table has no segments; see `lavdf.proposals`.
        """
        found = {_file(name): found for name, found in lavdf.proposals(rows, fps=1, least=1).items()}
        paths = [folder / "prediction.json"]
        files.write_text(paths[0], json.dumps(found))
        if any(row.scored for row in rows):
            unknown = sum(not row.scored for row in rows)
            if unknown:
                log.warning("prediction.txt: %d clips without a score stand there with %g", unknown, UNKNOWN)
            lines = [f"{_file(lavdf.file_of(row))};{row.score if row.scored else UNKNOWN!r}\n" for row in rows]
            paths.append(folder / "prediction.txt")
            files.write_text(paths[1], "".join(lines))
        return paths


def _file(relative: str) -> str:
    part, _, below = relative.partition("/")
    return below if part in PARTS and below else relative
