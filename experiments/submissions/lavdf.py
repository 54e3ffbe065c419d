"""The prediction file that LAV-DF's metrics.py reads (ControlNet/LAV-DF): segments of every clip in frames.

One JSON object, {the clip's `file` in metadata.json: [[score, start, end], …]}, with times in frames at 25 a second.
The program takes proposals in the order of the file, so that they stand by falling score, and it fails on a clip with
fewer proposals than its largest N (100): each clip is filled up with segments of a score below all others, long after
any clip's end, where they change no number.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from experiments import files, score_table
from experiments.score_table import ScoreRow
from mmdf_jax.segments import ranked

FPS = 25  # which the program divides by, whatever the video has
NOWHERE = 1e5  # s, beyond any clip
BELOW = -1.0  # a score below all others


@dataclasses.dataclass(frozen=True)
class Submission:
    """Writes `lavdf.json`; least: proposals that each clip has at least."""

    least: int = 100

    def write(self, rows: Sequence[ScoreRow], folder: pathlib.Path) -> list[pathlib.Path]:
        """Writes the file of the score table `rows` into `folder`, and returns its path.

        Raises:
          ValueError: the table has no segments; see `proposals`.
        """
        path = folder / "lavdf.json"
        files.write_text(path, json.dumps(proposals(rows, fps=FPS, least=self.least)))
        return [path]


def proposals(rows: Sequence[ScoreRow], *, fps: float, least: int) -> dict[str, list[list[float]]]:
    """{file: [[score, start, end], …]} by falling score, at least `least` of each clip, times in 1 / fps seconds.

    Raises:
      ValueError: no row has segments, or a cell holds something else; two clips are of one file.
    """
    if not any("segments" in row.extra for row in rows):
        raise ValueError(
            "the score table has no column `segments`, [[start, end, score], …] in clip seconds: only a detector that "
            "says when a clip is fake has one, such as a run of configs/hierarchical.py"
        )
    found: dict[str, list[list[float]]] = {}
    for row in rows:
        segments = score_table.segments(row)
        if len(segments) and segments.shape[1] != 3:
            raise ValueError(f"clip {row.clip_id!r}, column segments: expected [start, end, score], found spans only")
        if file_of(row) in found:
            raise ValueError(
                f"two clips of the score table are of the file {file_of(row)!r}; submit one dataset's alone"
            )
        best = [[score, start * fps, end * fps] for start, end, score in ranked(segments.reshape(-1, 3)).tolist()]
        filler = [[BELOW, NOWHERE * fps, (NOWHERE + 1) * fps]]
        found[file_of(row)] = best + filler * (least - len(best))
    return found


def file_of(row: ScoreRow) -> str:
    """The clip's file below its dataset's folder, `test/000001.mp4`: the clip_id without the dataset."""
    return row.clip_id.removeprefix(f"{row.dataset}/")
