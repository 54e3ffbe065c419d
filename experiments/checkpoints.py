"""Checkpoints of a run, `latest` and `best`: written by Orbax, verified on load by a SHA-256 of all that they hold."""

import errno
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

SCHEMA = 2  # of what lies beside the arrays: raise it when an older program could not read the new form, or the reverse
Which = Literal["latest", "best"]
_KEEP = {"latest": 2, "best": 1}
_SHOWN = 3  # names of each kind in a message
_REASONS = {
    errno.ENOSPC: "no space left on the device",
    errno.EFBIG: "a file is larger than this process may write",
    errno.EACCES: "permission denied",
    errno.EROFS: "the file system is read-only",
}


class Checkpoints:
    """`<folder>/latest/<step>` and `<folder>/best/<step>`.

    A save is atomic: a process killed half-way leaves the previous step in place. Orbax itself does not notice a
    flipped bit in a stored array; the digests do.

    clean: removes what killed saves have left; for the run that trains there alone, since it would also remove what
    another is about to save.
    """

    def __init__(self, folder: pathlib.Path, *, clean: bool = False) -> None:
        self._folder = pathlib.Path(os.path.abspath(folder))  # Orbax takes no other
        self._managers = {which: self._open(which, clean) for which in _KEEP}
        self._failed = False

    def _open(self, which: Which, clean: bool) -> ocp.training.Checkpointer:
        try:
            return ocp.training.Checkpointer(
                self._folder / which,
                preservation_policy=ocp.training.preservation_policies.LatestN(_KEEP[which]),
                cleanup_tmp_directories=clean,
            )
        except OSError as error:
            raise OSError(f"{self._folder / which}: cannot be opened as a folder ({_cause(error)})") from error

    def step(self, which: Which) -> int | None:
        """The newest stored step, or None.

        As the folder shows it: Orbax passes over a step whose files are gone, and a run would go back unasked.
        """
        folder = self._folder / which
        return max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=None)

    def save(self, which: Which, step: int, state: Any, info: dict[str, Any]) -> None:
        """Stores `state` (a tree of arrays) and `info` (plain data) for `step`; returns when all is on disk.

        Not in the background: an error then belongs to the step that could not be saved.

        Raises:
          OSError: it could not be written (a full disk, say).
        """
        needed = 1.2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20  # with names, and room for the log
        content = {"schema": SCHEMA, "info": info, "arrays": describe(state)}
        try:
            # Without the folder, Orbax would make it anew, perhaps in the place of a disk that is gone; and where it
            # can make none, its threads wait for minutes.
            tempfile.TemporaryDirectory(dir=self._folder / which).cleanup()
            free = shutil.disk_usage(self._folder / which).free
            if free >= needed:
                self._managers[which].save(
                    step, state, force=True, overwrite=True, custom_metadata={**content, "sha256": _sha256(content)}
                )
        except Exception as error:
            raise self._failure(step, _cause(error)) from error
        if free < needed:
            raise self._failure(step, f"{needed / 2**20:.1f} MiB are needed and {free / 2**20:.1f} MiB are free")

    def load(self, which: Which, abstract_state: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The state of `step` (default: the newest) placed as `abstract_state` says, and its info.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it is of another schema, or of a model or optimizer with other arrays (the message lists what
            differs); or it is damaged (the message says what is known to be).
        """
        step = self.step(which) if step is None else step
        if step is None:
            raise FileNotFoundError(f"{self._folder / which}: no checkpoint there; train first")
        where = self._folder / which / str(step)
        content = self._content(which, step, where)
        if unlike := difference(abstract_state, content["arrays"]):
            raise ValueError(
                f"{where}: this checkpoint is of another model, optimizer or precision than the config asks for "
                f"({unlike}); use the config that it was written with, or another --workdir"
            )
        try:
            state = self._managers[which].load(step, abstract_state)
        except Exception as error:
            raise self._damaged(
                which, step, f"it cannot be read ({_cause(error)}); what else is whole was not checked"
            ) from None
        if wrong := changed(state, content["arrays"]):
            raise self._damaged(which, step, wrong)
        return state, content["info"]

    def digest(self, which: Which) -> str:
        """The digest (see `digest`) of the newest step's arrays, as they were recorded when they were saved.

        Raises:
          FileNotFoundError, ValueError: as `load`; the arrays themselves are not read.
        """
        return digest(self.content(which)["arrays"])

    def _content(self, which: Which, step: int, where: pathlib.Path) -> dict[str, Any]:
        """What was saved beside the arrays, once its digest is seen to be right."""
        unknown = "whether the arrays are whole was not checked"
        path = where / "_CHECKPOINT_METADATA"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))["custom_metadata"]
            schema = content.get("schema")
        except FileNotFoundError:
            raise self._damaged(which, step, f"{path.name} is missing; {unknown}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(which, step, f"{path.name} cannot be read ({_cause(error)}); {unknown}") from None
        expected = content.pop("sha256", None)
        if schema == SCHEMA and expected == _sha256(content):
            return content
        if isinstance(schema, int) and schema != SCHEMA and expected == _sha256(content):
            raise ValueError(
                f"{where}: a checkpoint of schema {schema}; this program reads schema {SCHEMA}. Use the version of the "
                "program that wrote it, or another --workdir"
            )
        if "schema" not in content:
            raise ValueError(
                f"{where}: a checkpoint without a schema; this program reads schema {SCHEMA}. It was written by an "
                "earlier version or another program; use that, or another --workdir"
            )
        raise self._damaged(which, step, f"{path.name} is not what was saved; {unknown}")

    def content(self, which: Which) -> dict[str, Any]:
        """What the newest step says of itself: `info`, and `arrays` as `describe` gives them. Errors as `digest`."""
        if (step := self.step(which)) is None:
            raise FileNotFoundError(f"{self._folder / which}: no checkpoint there; train first")
        return self._content(which, step, self._folder / which / str(step))

    def close(self) -> None:
        """Ends Orbax's threads; after a failed save, only lets go."""
        if not self._failed:
            for manager in self._managers.values():
                manager.close()

    def _damaged(self, which: Which, step: int, what: str) -> ValueError:
        folder = self._folder / which
        others = sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal() and path.name != str(step))
        back = f"move {step} out of {folder}, and the same command goes on from"
        advice = f"{back} step {others[-1]} (not checked either)" if others else "there is no other step"
        return ValueError(f"{folder / str(step)}: this checkpoint is damaged: {what}. To go back, {advice}")

    def _failure(self, step: int, cause: str) -> OSError:
        self._failed = True
        for leftover in self._folder.glob("*/*orbax-checkpoint-tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        kept = self.step("latest")
        return OSError(
            f"{self._folder}: could not save the checkpoint of step {step}: {cause}. "
            + (f"Step {kept} is safe" if kept is not None else "No other step is there")
            + "; see to the disk and start the same command again"
        )


def describe(state: Any) -> dict[str, dict[str, Any]]:
    """{path: dtype, shape and the SHA-256 of the bytes} of every array in `state`."""

    def sha256(leaf: Any) -> str:
        return hashlib.sha256(np.ascontiguousarray(np.asarray(leaf)).tobytes()).hexdigest()

    return {name: {**_described(leaf), "sha256": sha256(leaf)} for name, leaf in _named(state)}


def changed(state: Any, saved: Mapping[str, Any]) -> str:
    """Which arrays of `state` are not what `describe` said of them when they were saved, in words; "" if all are."""
    found = describe(state)
    if wrong := sorted(name for name in saved if saved[name] != found[name]):
        return f"{len(wrong)} of {len(saved)} arrays are not what was saved ({some(wrong)}); the others are whole"
    return ""


def digest(arrays: Mapping[str, Any]) -> str:
    """One SHA-256 for arrays that `describe` has described: it names a model's parameters wherever they are stored."""
    return _sha256(arrays)


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _described(leaf: Any) -> dict[str, Any]:
    return {"dtype": np.dtype(leaf.dtype).name, "shape": list(leaf.shape)}


def difference(abstract_state: Any, found: Mapping[str, Any]) -> str:
    """What differs between the arrays that are asked for and those of a checkpoint, "" if nothing does."""
    wanted = {name: _described(leaf) for name, leaf in _named(abstract_state)}

    def kind(array: Mapping[str, Any]) -> str:
        return f"{array['dtype']}{array['shape']}"

    other = [
        f"{name} expected {kind(wanted[name])}, found {kind(found[name])}"
        for name in sorted({*wanted} & {*found})
        if kind(wanted[name]) != kind(found[name])
    ]
    missing, extra = sorted({*wanted} - {*found}), sorted({*found} - {*wanted})
    parts = [
        some(other),
        "missing there: " * bool(missing) + some(missing),
        "only there: " * bool(extra) + some(extra),
    ]
    return "; ".join(filter(None, parts))


def some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _cause(error: BaseException) -> str:
    """The reason in a few words; Orbax wraps it in other errors, and TensorStore in hundreds of lines."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    text, number = str(error), getattr(error, "errno", None)
    for code, reason in _REASONS.items():
        if code == number or os.strerror(code) in text:
            return reason
    if "RESOURCE_EXHAUSTED" in text:
        return _REASONS[errno.ENOSPC]
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:200]
