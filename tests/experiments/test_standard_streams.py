"""What is written outlives its reader, and a locale that lacks its characters."""

import os
import subprocess
import sys

SCRIPT = """
import logging, pathlib, sys
from experiments import run_directory, standard_streams
standard_streams.harden()
run_directory.start_log(pathlib.Path(sys.argv[1]), primary=True)
from absl import logging as absl_logging
from tqdm import tqdm
absl_logging.warning('clip a: skipped')
run_directory.log.info('─ a – b · é ☃')
for _ in tqdm(range(2000), mininterval=0):
    run_directory.log.info('x' * 100)
run_directory.log.info('the end')
"""


def start(tmp_path, **environment):
    line = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    return subprocess.Popen(line, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_reader_that_goes_away_ends_nothing(tmp_path):
    process = start(tmp_path)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    written = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "can no longer be written to (Broken pipe): the run goes on without it" in written
    assert written.rstrip().endswith("the end") and "Error" not in written


def test_another_locale_shows_what_it_can_and_one_logger_has_all(tmp_path):
    out, _ = start(tmp_path, PYTHONIOENCODING="iso-8859-1").communicate(timeout=60)
    assert "- a - b · é ?" in out.decode("iso-8859-1") and b"Error" not in out
    written = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "─ a – b · é ☃" in written and "WARNING clip a: skipped" in written
    assert out.decode("iso-8859-1").count("clip a: skipped") == 1
