"""Checkpoints of a run, `latest` and `best`: written by Orbax, verified on load by a SHA-256 of every array."""

import errno
import hashlib
import pathlib
import shutil
from typing import Any, Literal

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

Which = Literal["latest", "best"]
_KEEP = {"latest": 2, "best": 1}


class Checkpoints:
    """`<folder>/latest/<step>` and `<folder>/best/<step>`.

    A save is atomic: a process killed half-way leaves the previous step in place. Orbax itself does not notice a
    flipped bit in a stored array; the digests do.

    clean: removes what killed saves have left; for the run that trains there alone, since it would also remove what
    another is about to save.
    """

    def __init__(self, folder: pathlib.Path, *, clean: bool = False) -> None:
        self._folder = folder
        self._managers = {which: self._open(which, clean) for which in _KEEP}
        self._failed = False

    def _open(self, which: Which, clean: bool) -> ocp.training.Checkpointer:
        return ocp.training.Checkpointer(
            self._folder / which,
            preservation_policy=ocp.training.preservation_policies.LatestN(_KEEP[which]),
            cleanup_tmp_directories=clean,
        )

    def step(self, which: Which) -> int | None:
        """The newest stored step, or None."""
        latest = self._managers[which].latest
        return None if latest is None else latest.step

    def save(self, which: Which, step: int, state: Any, info: dict[str, Any]) -> None:
        """Stores `state` (a tree of arrays) and `info` (plain data) for `step`; returns when all is on disk.

        Not in the background: an error then belongs to the step that could not be saved.

        Raises:
          OSError: it could not be written (a full disk, say).
        """
        needed = 1.2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20  # with names, and room for the log
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise self._failure(step, f"{needed / 2**20:.1f} MiB are needed and {free / 2**20:.1f} MiB are free")
        try:
            self._managers[which].save(
                step, state, force=True, overwrite=True, custom_metadata={**info, "sha256": digests(state)}
            )
        except Exception as error:
            raise self._failure(step, _cause(error)) from error

    def load(self, which: Which, abstract_state: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The state of `step` (default: the newest) placed as `abstract_state` says, and its info.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it is damaged, or was written by a model or optimizer of another shape or dtype.
        """
        step = self.step(which) if step is None else step
        where = self._folder / which / str(step)
        if step is None:
            raise FileNotFoundError(f"{self._folder / which}: no checkpoint there; train first")
        manager = self._managers[which]
        try:
            info = dict(manager.metadata(step).custom_metadata or {})
            state = manager.load(step, abstract_state)
        except Exception as error:
            raise ValueError(
                f"{where}: this checkpoint cannot be read ({_cause(error)}); delete that folder to go back to the "
                "step before it"
            ) from error
        expected = info.pop("sha256", None)
        if expected is None:
            raise ValueError(f"{where}: this checkpoint has no digests; it was not written by this program")
        found = digests(state)
        wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        if wrong:
            raise ValueError(
                f"{where}: {len(wrong)} of {len(expected)} arrays are not what was saved (first: {wrong[0]}); the "
                "file is damaged. Delete that folder to go back to the step before it"
            )
        return state, info

    def close(self) -> None:
        """Ends Orbax's threads; after a failed save, only lets go."""
        if not self._failed:
            for manager in self._managers.values():
                manager.close()

    def _failure(self, step: int, cause: str) -> OSError:
        self._failed = True
        for leftover in self._folder.glob("*/*orbax-checkpoint-tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        kept = self.step("latest")
        return OSError(
            f"{self._folder}: could not save the checkpoint of step {step}: {cause}. "
            + (f"Step {kept} is safe" if kept is not None else "Nothing was saved before")
            + "; make room and start the same command again"
        )


def digests(state: Any) -> dict[str, str]:
    """{path: SHA-256 of dtype, shape and bytes} of every array in `state`."""

    def digest(leaf: Any) -> str:
        array = np.asarray(leaf)
        header = f"{array.dtype.name}{array.shape}".encode()
        return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()

    return {jax.tree_util.keystr(path): digest(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _cause(error: BaseException) -> str:
    """The reason in a few words; TensorStore wraps them in hundreds of lines."""
    text = str(error)
    if "No space left" in text or "RESOURCE_EXHAUSTED" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return "no space left on the device"
    if "Permission denied" in text or getattr(error, "errno", None) == errno.EACCES:
        return "permission denied"
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:200]
