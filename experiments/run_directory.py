"""A run's directory: who may write to it, the config that made it, and its log."""

import csv
import fcntl
import functools
import hashlib
import json
import logging
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from absl import logging as absl_logging

from experiments import files

# Settings that change how fast a run goes, never what comes out: a resumed run may change them.
FREE = (
    *("data.workers", "data.threads", "data.prefetch", "data.root", "data.manifest", "data.out", "train.log_steps"),
    *("override.data.root", "override.data.manifest", "override.data.out"),  # of a fusion's members
)

MEMBERS = "members.json"  # of a fusion: the score tables that it has fused, by digest

log = logging.getLogger("mmdf_jax")


def default_workdir(config_flag: str) -> pathlib.Path:
    """`configs/cross_attn.py:size=base` -> `runs/cross_attn-size=base`."""
    path, _, args = config_flag.partition(":")
    name = pathlib.Path(path).stem + (f"-{args}" if args else "")
    return pathlib.Path("runs") / re.sub(r"[^\w=.,-]", "_", name)


def create(workdir: pathlib.Path) -> pathlib.Path:
    """Makes the directory and proves that it can be written to.

    Raises:
      OSError: it cannot be made or written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            return workdir.resolve()
    except OSError as error:
        raise OSError(
            f"--workdir={workdir}: cannot be written to ({error.strerror}); choose another with --workdir"
        ) from None


@contextmanager
def lock(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the directory for this process; the system lets go of it however the process ends.

    Raises:
      ValueError: another process holds it.
    """
    with open(workdir / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"{workdir}: another process is writing to this run; wait for it, or choose another --workdir"
            ) from None
        yield


def write_or_compare_config(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Writes `config.json`, or checks that the one there is the same but for FREE settings.

    Raises:
      ValueError: the directory belongs to another config; the message lists what differs.
    """
    path = workdir / "config.json"
    wanted = flatten(json.loads(json.dumps(config)))
    if path.exists():
        saved = flatten(read_config(workdir))
        names = sorted(name for name in {*saved, *wanted} if name not in FREE and saved.get(name) != wanted.get(name))
        if names:
            shown = "; ".join(f"{name}: {saved.get(name)!r} there, {wanted.get(name)!r} now" for name in names[:5])
            more = f"; and {len(names) - 5} more" if len(names) > 5 else ""
            raise ValueError(
                f"{workdir}: this run was started with another config ({shown}{more}); choose another --workdir"
            )
    else:
        files.write_text(path, json.dumps(config, indent=2) + "\n")


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
    """The config of a run, as data.

    Raises:
      FileNotFoundError: this is no run directory.  ValueError: its config.json is not JSON.
    """
    path = workdir / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{workdir}: no config.json there; give the directory of a run") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def read_results(workdir: pathlib.Path) -> dict[str, str]:
    """The row of a finished run's results.csv, cells as they stand there.

    Raises:
      FileNotFoundError: the run is not finished.  ValueError: it is not a table of one row.
    """
    path = workdir / "results.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except FileNotFoundError:
        raise FileNotFoundError(f"{workdir}: no results.csv: the run is not finished; start it again") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV table in UTF-8 ({error})") from None
    if len(rows) != 1:
        raise ValueError(f"{path}: expected one row, found {len(rows)}")
    return rows[0]


def is_finished(workdir: pathlib.Path) -> bool:
    """Whether the run is done: its results.csv, written last, is there; and a fusion is of its members' tables of now.

    Raises:
      ValueError: as `changed_members`.
    """
    return (workdir / "results.csv").is_file() and not changed_members(workdir)


def note_members(workdir: pathlib.Path, tables: Mapping[str, pathlib.Path]) -> None:
    """Writes the digests of what a fusion fuses. tables: {member: the folder of its val.csv and test.csv}."""
    content = {
        name: {"scores": os.path.relpath(folder.resolve(), workdir.resolve()), "sha256": _digest_of_tables(folder)}
        for name, folder in tables.items()
    }
    files.write_text(workdir / MEMBERS, json.dumps(content, indent=1) + "\n")


def changed_members(workdir: pathlib.Path) -> list[str]:
    """The members of a fusion whose score tables are not those that it has fused, because they were trained again, say.

    Tables that are gone have not changed. Empty for a run that fuses nothing or has not noted what it fuses.

    Raises:
      ValueError: its members.json is not what `note_members` wrote.
    """
    path = workdir / MEMBERS
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        now = {name: _digest_of_tables(workdir / one["scores"]) for name, one in noted.items()}
        return [name for name, digest in now.items() if digest not in ("", noted[name]["sha256"])]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: damaged; delete it and results.csv beside it, and start the run again") from None


def _digest_of_tables(folder: pathlib.Path) -> str:
    """SHA-256 of validation's and test's score tables together; "" where one is missing."""
    tables = [folder / f"{split}.csv" for split in ("val", "test")]
    if not all(table.is_file() for table in tables):
        return ""
    return "-".join(_sha256(table, table.stat().st_mtime_ns, table.stat().st_size) for table in tables)


@functools.lru_cache(maxsize=512)
def _sha256(path: pathlib.Path, mtime_ns: int, size: int) -> str:
    """Of a file's bytes; read again only when the file has changed, since a study asks often."""
    del mtime_ns, size
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists stay whole."""
    if isinstance(tree, Mapping) and tree:
        return {
            name: leaf
            for key, value in tree.items()
            for name, leaf in flatten(value, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: tree}


def start_log(workdir: pathlib.Path | None, *, primary: bool) -> None:
    """Messages go to the terminal and, with times, to `log.txt`; only the primary process speaks.

    So does what the data side warns of, which it tells absl's logger.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax tells of every step it takes
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in log.handlers:
        handler.close()
    log.handlers.clear()
    if not primary:
        log.addHandler(logging.NullHandler())
        return
    terminal = logging.StreamHandler(sys.stdout)
    terminal.setLevel(logging.INFO)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(terminal)
    if workdir is not None:
        file = logging.FileHandler(workdir / "log.txt", encoding="utf-8")
        file.setLevel(logging.DEBUG)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.setLevel(logging.DEBUG)
        log.addHandler(file)
    absl = absl_logging.get_absl_logger()
    absl.propagate, absl.handlers = False, list(log.handlers)
