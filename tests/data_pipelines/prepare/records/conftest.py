"""Lets tests import `prepared_clips`; five clips with their landmarks, and their records."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from prepared_clips import CROPS, clip_of

from data_pipelines.prepare import records


@pytest.fixture(scope="session")
def clips(tmp_path_factory, talking_clip):
    folder = tmp_path_factory.mktemp("clips")
    names = [("a", "train"), ("b", "val"), ("c", "train"), ("d", "test"), ("e", "train")]
    return [
        clip_of(talking_clip(folder, name, 1.0 + 0.2 * i, i), i % 2, split=split, identity=name)
        for i, (name, split) in enumerate(names)
    ]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, clips):
    return records.prepare(clips, tmp_path_factory.mktemp("out") / "records", crops=CROPS, workers=2)
