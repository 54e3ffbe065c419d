"""Devices and processes: one mesh axis 'data' over all of them; batches are split, state is copied."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def initialize(coordinator: str = "", processes: int = 0, process_id: int = -1, *, auto: bool = False) -> None:
    """Joins the other processes; must run before anything asks for devices.

    By hand: the address host:port of process 0, how many processes, and which one this is. `auto`: asks Slurm, Open
    MPI, Kubernetes or the cloud's metadata. Neither: one process.

    Raises:
      ValueError: only some of the three are given.
    """
    if auto:
        jax.distributed.initialize()
    elif coordinator or processes or process_id >= 0:
        if not (coordinator and processes and process_id >= 0):
            raise ValueError("--coordinator, --processes and --process_id go together")
        jax.distributed.initialize(coordinator, processes, process_id)


@contextlib.contextmanager
def ends_alone() -> Iterator[None]:
    """A process of several that fails says why and ends at once, so that the others notice.

    Otherwise JAX waits at exit, for minutes, for processes that are gone or themselves wait for this one.
    """
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.code, str) or jax.process_count() == 1:
            raise
        print(end.code, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)


def make_mesh() -> Mesh:
    """All devices along 'data'. Auto axes: the default, Explicit, breaks linen's dropout and LSTM."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows -> global arrays, split by their first axis over all devices.

    Raises:
      ValueError: the rows do not divide evenly over this process's devices.
    """
    rows, devices = len(batch["mask"]), jax.local_device_count()
    if rows % devices:
        raise ValueError(
            f"config: a batch of {rows} rows per process does not divide over {devices} devices; "
            "choose data.batch_size and evaluate.batch_size as multiples of the number of devices"
        )
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def micro_batches(batch: Any, n: int) -> Any:
    """Arrays [b …] as n micro-batches [n b/n …], dealt out by pairs of neighbours.

    A pair holds a real and a fake clip (data_pipelines.loading.sampling), so that no micro-batch is of one class only.
    Each device's rows fall evenly into the micro-batches, and none has to travel.

    Raises:
      ValueError: the rows of a device do not divide into n micro-batches of pairs.
    """
    rows, devices = len(batch["mask"]), jax.device_count()
    if rows % (2 * n * devices):
        raise ValueError(
            f"config.train.accumulate={n}: {rows} rows over {devices} devices do not divide into {n} micro-batches of "
            f"whole pairs; choose data.batch_size as a multiple of {2 * n * devices}"
        )
    return jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(-1, n, 2, *x.shape[1:]), 1, 0).reshape(n, -1, *x.shape[1:]), batch
    )


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """The same host values on every device of every process."""
    sharding = replicated(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def is_primary() -> bool:
    """True on the one process that writes files and speaks."""
    return jax.process_index() == 0


def process_count() -> int:
    """How many processes train together."""
    return jax.process_count()


def barrier(name: str) -> None:
    """Waits for every process to come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def put_key(key: jax.Array, mesh: Mesh) -> jax.Array:
    """A random key on every device."""
    return jax.random.wrap_key_data(put_replicated(jax.random.key_data(key), mesh), impl=jax.random.key_impl(key))
