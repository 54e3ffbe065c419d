"""How records lie on disk: what they are known by, their bytes, and the TFDS builder that writes them."""

import bisect
import contextlib
import dataclasses
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import struct
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from data_pipelines.clip import PATHS, Clip
from data_pipelines.record import ARRAYS, IMAGES, Layout, Read

VERSION = 3  # of the contents: raise it when decoding, tracking, cropping or the layout changes what is in the files
NAME = "clips"  # of the builder, and so of the folder with its files


def digest(clips: Sequence[Clip | str], crops: Any) -> str:
    """What the records of these clips (and stamps) with these crops are known by: 64 hex digits, also of VERSION.

    Where the clips' files lie does not matter.
    """
    sha = hashlib.sha256(json.dumps([VERSION, crops.described()], sort_keys=True).encode())
    for clip in clips:
        what = clip if isinstance(clip, str) else dataclasses.astuple(dataclasses.replace(clip, **placeless(clip)))
        sha.update(json.dumps(what).encode())
    return sha.hexdigest()


def placeless(clip: Clip) -> dict[str, str]:
    """The clip's paths as their file names."""
    return {name: os.path.basename(getattr(clip, name)) for name in PATHS}


def pack(record: dict[str, Any]) -> bytes:
    """A record's features (bytes, or lists of bytes) as one string; `unpack` is its inverse."""
    layout = {name: len(v) if isinstance(v, bytes) else [len(x) for x in v] for name, v in record.items()}
    head = json.dumps(layout).encode()
    body = (part for v in record.values() for part in ([v] if isinstance(v, bytes) else v))
    return b"".join([struct.pack("<I", len(head)), head, *body])


def unpack(data: bytes) -> dict[str, Any]:
    """The record that `pack` was given."""
    (length,) = struct.unpack_from("<I", data)
    position = 4 + length
    record: dict[str, Any] = {}
    for name, sizes in json.loads(data[4:position]).items():
        parts = []
        for size in [sizes] if isinstance(sizes, int) else sizes:
            parts.append(data[position : position + size])
            position += size
        record[name] = parts[0] if isinstance(sizes, int) else parts
    return record


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS from telling in the log what it does."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(min(verbosity, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def read(folder: pathlib.Path, split: str) -> Read:
    """The function that reads features of the examples of a split."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordReader
    from tensorflow_datasets.proto import tf_example_pb2

    with quiet():
        shards = tfds.builder_from_directory(next(folder.glob(f"{NAME}/*.*.*"))).info.splits[split].file_instructions
    starts = list(itertools.accumulate((shard.take for shard in shards), initial=0))
    parse = tf_example_pb2.Example.FromString

    @functools.cache
    def opened(shard: int) -> Any:
        # The buffer's size is the most that a range is read in at once, in the calling thread.
        return ArrayRecordReader(shards[shard].filename, options="readahead_buffer_size:16M,max_parallelism:0")

    def examples(first: int, last: int, names: Sequence[str]) -> list[dict[str, Sequence[bytes]]]:
        found: list[bytes] = []
        while first < last:
            shard = bisect.bisect(starts, first) - 1
            start, end = starts[shard], min(last, starts[shard + 1])
            # By range: a list of numbers, as TFDS's data source asks for, takes time for every example of the file.
            try:
                found += opened(shard).read(first - start, end - start)
            except Exception as error:  # array_record raises bare RuntimeError, IndexError and ValueError
                name = pathlib.Path(shards[shard].filename).name
                raise ValueError(f"the file {name} is damaged or cut short: {error}") from error
            first = end
        features = (parse(example).features.feature for example in found)
        return [{name: feature[name].bytes_list.value for name in names} for feature in features]

    return examples


@contextlib.contextmanager
def _in_order() -> Iterator[None]:
    """Same records, same bytes: TFDS lets each process write the features of an example in an order of its own."""
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    usual = ExampleSerializer.serialize_example
    ExampleSerializer.serialize_example = lambda self, example: self.get_tf_example(example).SerializeToString(
        deterministic=True
    )
    try:
        yield
    finally:
        ExampleSerializer.serialize_example = usual


def write(folder: pathlib.Path, splits: dict[str, list[pathlib.Path]]) -> None:
    """Writes the packed records of each split, in the order of their files, through a TFDS builder; see record.Layout.

    Raises OSError when they cannot be written.
    """
    import tensorflow_datasets as tfds

    class Clips(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Face crops, mouth crops and sound of prepared clips, each in several examples; see record.Layout."""

        VERSION = tfds.core.Version(f"{VERSION}.0.0")
        name = NAME
        code_path = None  # a builder of one's own has no checksums or citations lying beside it

        def _info(self) -> tfds.core.DatasetInfo:
            # Arrays are stored as bytes: TFDS would spell audio out as one varint a sample.
            scalars = dict.fromkeys((*ARRAYS, "info"), tfds.features.Text())
            images = {name: tfds.features.Sequence(tfds.features.Text()) for name in IMAGES}
            features = tfds.features.FeaturesDict({**images, **scalars})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, manager: Any) -> dict[str, Iterator]:
            return {name: self._generate_examples(paths) for name, paths in splits.items()}

        def _generate_examples(self, paths: list[pathlib.Path]) -> Iterator[tuple[int, dict[str, Any]]]:
            number = itertools.count()
            for path in paths:
                record = unpack(path.read_bytes().partition(b"\n")[2])  # the first line is not the record's
                for example in Layout.of(record).split(record):
                    yield next(number), example

    tfds.disable_progress_bar()
    builder = Clips(data_dir=folder, file_format="array_record")
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet())
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(_in_order())
            unused = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
            builder.download_and_prepare(download_dir=unused)
    except RuntimeError as error:  # how array_record tells of a full disk
        raise OSError(errno.EIO, str(error).split(";")[0], str(folder)) from error
