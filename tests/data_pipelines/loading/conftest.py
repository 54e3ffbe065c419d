"""Lets tests, and the processes that they start, import `in_memory`; batches of it."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from in_memory import CONFIG, RECORDS, take


@pytest.fixture(scope="session")
def straight():
    """The first batches of CONFIG, seed 3, made in this process."""
    return take(RECORDS.train_batches(CONFIG, seed=3), 8)
