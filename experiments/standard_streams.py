"""Standard output and error that a run outlives: readers that go away, locales without the table's characters."""

import codecs
import logging
import os
import sys
from typing import TextIO

_PLAIN = str.maketrans("─–—−│·×…", "----|.x.")  # what tables and messages are drawn with, for any locale


def harden() -> None:
    """Makes both streams such that writing to them never raises; what cannot be shown is replaced or dropped."""
    codecs.register_error("plain", _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Lasting):
            stream.reconfigure(errors="plain")
            setattr(sys, name, _Lasting(stream))


def _plain(error: UnicodeError) -> tuple[str, int]:
    text = error.object[error.start : error.end].translate(_PLAIN)
    return "".join(c if c.isascii() else "?" for c in text), error.end


class _Lasting:
    """A text stream that goes on into nothing once its reader is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or drops the text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._let_go(error)
            return len(text)

    def flush(self) -> None:
        """Flushes, or drops what was still to be written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        # The descriptor itself, so that what is buffered, other libraries and child processes find a place as well.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        logging.getLogger("mmdf_jax").warning(
            "%s can no longer be written to (%s): the run goes on without it", self._stream.name, error.strerror
        )

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
