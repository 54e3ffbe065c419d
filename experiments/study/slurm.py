"""The runs of a study as jobs of Slurm, through submitit (an extra)."""

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from experiments.study.plan import Run
from experiments.study.run import Job, appended, output_of


@dataclasses.dataclass(frozen=True)
class Command:
    """What a job does: the command, its output to the end of a file. Pre-empted, it is queued again as it is."""

    words: tuple[str, ...]
    output: str

    def __call__(self) -> int:
        """Runs it; its exit code."""
        with appended(self.words, pathlib.Path(self.output)) as file:
            return subprocess.run(
                self.words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            ).returncode

    def checkpoint(self, *args: Any) -> Any:
        """What submitit queues in place of a job that was pre-empted or ran out of time: the run resumes by itself."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *args)


class Submitted:
    """A job of a cluster."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def poll(self) -> int | None:
        """The command's exit code, 1 where the cluster has ended the job, None before that."""
        if not self._job.done():
            return None
        return 1 if self._job.exception() else self._job.result()

    def stop(self) -> None:
        """Cancels it: Slurm sends SIGTERM first."""
        self._job.cancel(check=False)  # one that cannot be cancelled must not keep the others from it

    kill = stop


def launcher(folder: pathlib.Path, options: Mapping[str, Any]) -> Callable[[Run], Job]:
    """What submits a run as a job, with submitit's own files in `folder`; OSError where a job cannot be submitted.

    options: submitit's parameters: timeout_min, gpus_per_node, cpus_per_task, slurm_partition, …; and `cluster`,
      "slurm" or, to try it on this machine, "local".

    Raises:
      ValueError: submitit is not installed, there is no such cluster here, or it does not know an option.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise ValueError("--slurm needs submitit, which is not installed: pip install -e '.[slurm]'") from None
    try:
        parameters = {"name": "mmdf_jax", **options}
        executor = submitit.AutoExecutor(folder=folder, cluster=parameters.pop("cluster", "slurm"))
        executor.update_parameters(**parameters)
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise ValueError(f"--slurm: {' '.join(str(error).split())}") from None

    def submit(run: Run) -> Job:
        try:
            return Submitted(executor.submit(Command((sys.executable, *run.words), str(output_of(run)))))
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:  # RuntimeError: submitit's own
            raise OSError(f"--slurm: its job could not be submitted: {' '.join(str(error).split())}") from None

    return submit
