"""Children that crash, hang or eat memory cost their item and nothing else."""

import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from data_pipelines.prepare import child_processes

_CAPS = child_processes.Caps(memory=1 << 30, cpu_seconds=60, wall_seconds=60)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


def outcomes(function, items, **options):
    return [
        value for _, value in sorted(child_processes.run(function, items, **{"caps": _CAPS, "workers": 2} | options))
    ]


def test_results_come_back_with_their_index():
    assert outcomes(math.sqrt, [float(i) ** 2 for i in range(20)]) == [float(i) for i in range(20)]
    assert outcomes(math.sqrt, []) == []


def test_an_exception_is_a_failure_of_its_item():
    good, bad, again = outcomes(math.sqrt, [4.0, -1.0, 9.0], workers=1)
    assert (good, again) == (2.0, 3.0)
    assert (bad.kind, bad.reason.split(":")[0]) == ("error", "ValueError")


def test_a_crash_is_a_failure_of_its_item():
    crashed = outcomes(signal.raise_signal, [signal.SIGSEGV, 0, signal.SIGKILL], workers=1)
    assert [value and value.kind for value in crashed] == ["crash", None, "crash"]
    assert "SIGSEGV" in crashed[0].reason
    assert outcomes(os._exit, [3])[0].reason.endswith("exit code 3")


def test_memory_is_capped():
    small, bomb, after = outcomes(bytes, [10, 4 << 30, 20], workers=1)
    assert (len(small), len(after)) == (10, 20)
    assert bomb.kind == "memory"


def test_wall_time_is_capped():
    start = time.monotonic()
    hang, short = outcomes(time.sleep, [60.0, 0.01], caps=child_processes.Caps(wall_seconds=1.0))
    assert (hang.kind, short) == ("time", None)
    assert time.monotonic() - start < 20


def test_processor_time_is_capped():
    burnt, short = outcomes(
        math.factorial, [10**7, 5], workers=1, caps=child_processes.Caps(cpu_seconds=0.5, wall_seconds=60)
    )
    assert (burnt.kind, short) == ("time", 120)
    assert "processor" in burnt.reason


def _children(pid):
    return [int(path.parent.name) for path in pathlib.Path("/proc").glob("[0-9]*/stat") if _parent(path) == pid]


def _parent(path):
    try:
        return int(path.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_their_parent(how):
    code = (
        "import time; from data_pipelines.prepare import child_processes; "
        "list(child_processes.run(time.sleep, [60.0, 60.0], workers=2))"
    )
    root = pathlib.Path(child_processes.__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    deadline = time.monotonic() + 20
    while len(children := _children(parent.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # let them begin to work
    parent.send_signal(how)
    parent.wait()
    while any(_parent(pathlib.Path(f"/proc/{pid}/stat")) >= 0 for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2
    assert all(_parent(pathlib.Path(f"/proc/{pid}/stat")) < 0 for pid in children)


def test_leaving_early_ends_the_children():
    others = set(_children(os.getpid()))  # of tests before this one
    running = child_processes.run(time.sleep, [0.0, 60.0], workers=2, caps=_CAPS)
    assert next(running) == (0, None)
    children = set(_children(os.getpid())) - others
    running.close()
    assert children
    assert not children & set(_children(os.getpid()))
