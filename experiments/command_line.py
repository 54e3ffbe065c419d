"""What every command does alike: a user's mistake is one line and exit code 1, not a traceback."""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from absl import app, flags

from experiments import standard_streams
from experiments.run_directory import log

logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)  # tells of every backend that is not installed


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags and config overrides; for `app.run(main, flags_parser=…)`."""
    standard_streams.harden()
    if any(argument.lstrip("-").split("=")[0] in ("help", "helpshort", "helpfull", "h") for argument in argv):
        return app.parse_flags_with_usage(argv)
    try:
        return flags.FLAGS(argv)
    except (KeyError, AttributeError) as error:
        sys.exit(f"error: {_unknown_key(argv) or error}")
    except (flags.Error, OSError, ValueError) as error:
        sys.exit(f"error: {_last_error(str(error))}")


def _last_error(text: str) -> str:
    """The message inside a printed traceback (a config file that failed), or the whole text in one line."""
    messages = re.findall(r"^\s*[\w.]*(?:Error|Exception): (.+)$", text, flags=re.MULTILINE)
    return messages[-1] if messages else " ".join(text.split())


def _unknown_key(argv: Sequence[str]) -> str | None:
    """Which `--config.a.b=…` names a key that the config does not have, and which it has there."""
    for argument in argv:
        if not (match := re.fullmatch(r"--?config\.([^=]+)(=.*)?", argument)):
            continue
        source = next((a.partition("=")[2] for a in argv if re.match(r"--?config=", a)), "")
        node: Any = flags.FLAGS["config"].parser.parse(source)
        for i, key in enumerate(parts := match[1].split(".")):
            if not hasattr(node, "keys") or key not in node:
                where = ".".join(["config", *parts[:i]])
                known = ", ".join(sorted(node.keys())) if hasattr(node, "keys") else "none: it is a value"
                return f"--config.{match[1]}: {where} has no key {key!r}; known: {known}"
            node = node[key]
    return None


@contextmanager
def errors() -> Iterator[None]:
    """Turns ValueError and OSError, which carry a message for the user, into that message.

    The traceback goes to the run's log. Any other exception is a defect of the program and keeps its traceback. Ctrl-C
    is no defect: it ends a command with code 130.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        log.debug("failed", exc_info=True)
        raise SystemExit(f"error: {error}") from None
