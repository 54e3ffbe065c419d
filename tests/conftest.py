"""Runs before every test: parses absl flags (grain's worker processes read one), and compiles quickly."""

import os

# Compiling is what most tests wait for. Set before JAX is imported.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from absl import flags

flags.FLAGS.mark_as_parsed()
