"""Datasets in their real layouts, made of empty files."""

import logging

import pytest


class Fixture:
    """A dataset's folder, and what its reader told."""

    def __init__(self, root, caplog):
        self.root, self._caplog = root, caplog

    def add(self, *names, text=""):
        """Files with these relative paths."""
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def read(self, reader, root="", **options):
        """Clips by relative path (clip_id without the dataset); each exists, once."""
        # absl's logger by name too: a command that ran before may have quietened it
        with self._caplog.at_level(logging.INFO), self._caplog.at_level(logging.INFO, logger="absl"):
            clips = reader.read(str(self.root / root), **options)
        by_name = {clip.clip_id.partition("/")[2]: clip for clip in clips}
        assert len(by_name) == len(clips) == len({clip.path for clip in clips})
        return by_name

    @property
    def told(self):
        """All that was logged."""
        return "\n".join(record.getMessage() for record in self._caplog.records)

    def fails(self, reader, words, root="", **options):
        """Asserts that the reader raises one line with these words."""
        with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
            reader.read(str(self.root / root), **options)
        assert "\n" not in str(error.value)


@pytest.fixture
def tree(tmp_path, caplog):
    """An empty dataset folder."""
    return Fixture(tmp_path, caplog)


@pytest.fixture
def fields():
    """A function: the named fields of a clip."""
    return lambda clip, *names: tuple(getattr(clip, name) for name in names)
