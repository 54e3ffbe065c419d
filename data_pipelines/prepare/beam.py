"""Preparing clips on Apache Beam: the same guarded extraction as on one machine, spread over many."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tqdm

from data_pipelines.prepare import child_processes, extract, records

_BATCH = 8  # clips that share a child process, which takes about a second to start
_INTERVAL = 2.0  # seconds between looks at how far the workers are


def runner(name: str, options: Mapping[str, Any]) -> records.Runner:
    """What `records.prepare` takes as its `runner` to make the records on Beam.

    Args:
      name: `direct` (on this machine), or any runner that Beam knows, such as DataflowRunner, FlinkRunner, SparkRunner.
      options: Beam's pipeline options by name. Unknown ones are the runner's to judge.

    Each Beam worker starts `workers` children (0: one). All of them have this package installed, and under the same
    paths as this machine the clips' files, YuNet's if it is used, and the folder `OUT.partial`, where they write.

    Raises ValueError, one clear line, if Beam is not installed or has no such runner, or an option is missing.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(f"--runner={name} needs Apache Beam: pip install 'mmdf_jax[beam]' ({error})") from None

    wanted = "FnApiRunner" if name == "direct" else name  # DirectRunner would download another runner first

    def run(jobs: Sequence[records.SpoolJob], workers: int, caps: child_processes.Caps) -> None:
        if not jobs:
            return
        with _errors_in_one_line(name):
            pipeline = beam.Pipeline(wanted, options=PipelineOptions.from_dictionary(dict(options)))
            _ = (
                pipeline
                | beam.Create([(str(path), job) for path, job in jobs])
                | beam.Reshuffle()  # so that the clips are dealt out to all workers
                | beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
                | beam.FlatMap(_extract, workers or 1, caps)
            )
            with _progress([path for path, _ in jobs]):
                pipeline.run().wait_until_finish()

    with _errors_in_one_line(name):
        beam.Pipeline(wanted, options=PipelineOptions.from_dictionary(dict(options)))  # mistakes show before any work
    return run


def _extract(batch: Sequence[tuple[str, extract.Job]], workers: int, caps: child_processes.Caps) -> Iterator[str]:
    """On a worker: makes the spool files of some jobs, and gives their paths."""
    paths = [pathlib.Path(path) for path, _ in batch]
    if not paths[0].parent.is_dir():
        raise FileNotFoundError(f"a worker does not see {paths[0].parent}: --out must lie where all workers can write")
    batch[0][1].crops.described()  # raises where this worker lacks the detector's file
    with contextlib.closing(
        child_processes.run(extract.extract, [job for _, job in batch], workers=workers, caps=caps)
    ) as outcomes:
        for i, outcome in outcomes:
            records.spool(paths[i], outcome)
            yield str(paths[i])


@contextlib.contextmanager
def _errors_in_one_line(name: str) -> Iterator[None]:
    """Whatever Beam raises, in one line."""
    try:
        yield
    except Exception as error:  # every runner has its own kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # Beam ends the traces of workers with the error itself; its own complaints are short.
        raise ValueError(f"--runner={name}: {lines[-1] if len(lines) > 10 else ' '.join(lines)}") from error


@contextlib.contextmanager
def _progress(paths: Sequence[pathlib.Path]) -> Iterator[None]:
    """A bar that counts the spool files as they appear, whoever writes them."""
    names, ended = {path.name for path in paths}, threading.Event()

    def watch() -> None:
        with tqdm.tqdm(total=len(paths), desc="preparing clips", unit="clip") as bar:
            over = False
            while not over:
                over = ended.wait(_INTERVAL)
                bar.update(len(names.intersection(os.listdir(paths[0].parent))) - bar.n)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
