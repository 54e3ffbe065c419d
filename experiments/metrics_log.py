"""Metrics of a run, as they come: `metrics.jsonl` for programs, `tensorboard/` for people."""

import json
import math
import os
import pathlib
from typing import Any

from experiments import files
from experiments.run_directory import log


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a half-written last line, which a killed run leaves, is passed over.

    Raises:
      ValueError: any other line is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not JSON; delete the line or the run") from None
    return rows


class MetricsLog:
    """Writes scalars by step. A run resumed at `step` first drops what was logged after it, so no step stands twice.

    `write` and `sync` raise OSError, one line, where the disk does not take what they write.
    """

    def __init__(self, workdir: pathlib.Path, step: int) -> None:
        import tensorboardX  # its import takes a second that --help should not wait for

        path = workdir / "metrics.jsonl"
        # The evaluation of `step` itself comes after its checkpoint, so the resumed run makes it again.
        kept = [row for row in read(path) if row["step"] < step or (row["step"] == step and not _is_validation(row))]
        files.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = open(path, "a")
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1, flush_secs=30)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One line; values that are not finite are written as null."""
        row = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        try:
            self._file.write(json.dumps({"step": step, **row}) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error
        for name, value in row.items():
            if value is not None:
                self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Forces what was written onto the disk; called before each checkpoint, which must not outlive its metrics."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Closes both files. What a full disk no longer takes is told, and does not hide what ended the run."""
        events = self._board.file_writer.event_writer  # which would try once more, with a traceback, at exit
        for file in (self._file, self._board):
            try:
                file.close()
            except OSError as error:
                log.warning("%s", self._failure(error))
                if file is self._board:
                    events._worker.stop()
                    events._closed = True

    def _failure(self, error: OSError) -> OSError:
        return OSError(
            f"{self._file.name}: the metrics cannot be written ({error.strerror}); the steps that were saved stay; see "
            "to the disk and start the same command again"
        )


def _is_validation(row: dict[str, Any]) -> bool:
    return any(name.startswith("val/") for name in row)
