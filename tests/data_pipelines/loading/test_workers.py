"""Worker processes: what becomes of them and of their memory."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from in_memory import CONFIG, RECORDS


def test_batches_of_a_worker_are_the_same_and_stay_valid_while_jax_holds_them(straight):
    import jax

    with RECORDS.train_batches(CONFIG | {"workers": 1}, seed=3) as batches:
        held = [jax.device_put(next(batches)) for _ in range(8)]
    del batches
    for a, b in zip(straight, held, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


WINDOW = 0.44  # s: the sound of a batch has a size that no other process's shared memory is likely to have
SCRIPT = """
    import sys, time
    sys.path[:0] = [{root!r}, {here!r}]
    from in_memory import CONFIG, RECORDS
    from data_pipelines.loading import loader

    if __name__ == "__main__":
        batches = RECORDS.train_batches(CONFIG | {{"workers": {workers}, "window": {window}}}, seed=0)
        for k, batch in enumerate(batches):
            print(k, flush=True)
            time.sleep(0.2)
"""


@pytest.fixture
def training(tmp_path, request):
    """A process that trains for ever with `request.param` workers, after its first batches."""
    script = tmp_path / "training.py"
    here = str(pathlib.Path(__file__).parent)
    text = SCRIPT.format(root=str(pathlib.Path(__file__).parents[3]), here=here, window=WINDOW, workers=request.param)
    script.write_text(textwrap.dedent(text))
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while process.stdout.readline().strip() != "4":
            assert process.poll() is None, process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def descendants(pid):
    """Process ids of all living descendants."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] != "Z":
                children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        todo += (mine := children.get(todo.pop(), []))
        found += mine
    return found


def command(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def shared_memory():
    """The shared memory that holds a batch's sound."""
    size = CONFIG["batch_size"] * round(WINDOW * 16_000) * 2
    return {f for f in pathlib.Path("/dev/shm").iterdir() if f.is_file() and f.stat().st_size == size}


@pytest.fixture
def earlier():
    """What others hold or have left: a worker killed before Python's tracker knows of its segment leaves it."""
    return shared_memory()


needs_proc = pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


@needs_proc
@pytest.mark.parametrize("training", [1], indirect=True)
def test_killed_worker_ends_the_run_with_one_line(training):
    worker = next(p for p in descendants(training.pid) if "spawn_main" in command(p))
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    _, err = training.communicate(timeout=20)
    assert training.returncode == 1 and time.monotonic() - began < 10
    assert "LoaderError: a loader worker process died with exit code -9: killed" in err


@needs_proc
@pytest.mark.parametrize("training", [2], indirect=True)
def test_killed_parent_leaves_no_worker_and_no_shared_memory(earlier, training):
    children = descendants(training.pid)
    assert sum("spawn_main" in command(p) for p in children) == 2
    segments = shared_memory() - earlier
    assert segments
    training.kill()
    began = time.monotonic()
    while any(pathlib.Path(f"/proc/{p}").exists() for p in children) and time.monotonic() - began < 10:
        time.sleep(0.1)
    assert not [p for p in children if pathlib.Path(f"/proc/{p}").exists()]
    assert not [s for s in segments if s.exists()]
