"""Runs before every test: parses absl flags (grain's worker processes read one)."""

from absl import flags

flags.FLAGS.mark_as_parsed()
