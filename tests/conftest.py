"""Runs before every test: parses absl flags (grain's worker processes read one), and compiles quickly."""

import os

# Compiling is what most tests wait for. Set before JAX is imported.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from absl import flags

flags.FLAGS.mark_as_parsed()


def pytest_collection_modifyitems(items):
    """Files of whole runs, which ask for time, come first: a long file at the end keeps one worker alone."""
    timeouts = {item: item.get_closest_marker("timeout") for item in items}
    items.sort(key=lambda item: -timeouts[item].args[0] if timeouts[item] else 0)
