"""What the bits of a run depend on besides its config: devices, threads, and the versions of what computes."""

import json
import pathlib
import platform
import resource
from importlib import metadata
from typing import Any

import jax

from data_pipelines.prepare import child_processes
from experiments import files
from experiments.run_directory import flatten, log

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def current(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Device, platform, their numbers and the versions of the packages, of this process."""
    device = jax.devices()[0]
    return {
        "device": cpu_name() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "threads": child_processes.cores(),  # XLA takes as many on a CPU, and torch is given as many
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def cpu_name() -> str:
    """As the system calls the processor."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "CPU"


def describe(found: dict[str, Any]) -> str:
    """One line of it."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{found['device']}, {found['threads']} threads; {versions}"


def log_and_compare(workdir: pathlib.Path) -> None:
    """Logs where a run computes; writes `environment.json`, or warns of what has changed since the run began.

    Raises:
      ValueError: the `environment.json` there is not JSON.
    """
    here, path = current(), workdir / "environment.json"
    log.info(
        "%d %s device(s), %d process(es): %s", here["devices"], here["platform"], here["processes"], describe(here)
    )
    if not path.exists():
        files.write_text(path, json.dumps(here, indent=2) + "\n")
        return
    try:
        before, now = flatten(json.loads(path.read_text())), flatten(here)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); delete it, and it is written anew") from None
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        shown = "; ".join(f"{name}: {before.get(name)} there, {now[name]} now" for name in changed)
        log.warning("this run began elsewhere (%s): it goes on, but its bits will be others", shown)


def memory_gb() -> float:
    """Peak memory of the first device in GB; on a CPU, of this process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
