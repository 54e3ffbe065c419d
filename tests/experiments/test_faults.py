"""The training loop under faults: signals, disks, devices, numbers and loaders that fail.

Real runs of a small model over records in memory, in this process: what they leave on the disk, and what they say.
"""

import contextlib
import os
import resource
import signal
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from configs import video
from experiments import checkpoints, command_line, distributed, metrics_log, train
from experiments.step_metrics import NonFiniteError
from experiments.termination import Termination
from mmdf_jax.models import unimodal
from mmdf_jax.tasks import detection
from tests.data_pipelines.loading.in_memory import FakeRecords, clips

TRAINING, VALIDATION = FakeRecords(clips(12, voice=12)), FakeRecords(clips(2, voice=2))
FAULT = 3  # the step that fails; every step before it is saved
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Orbax drops coroutines
    pytest.mark.filterwarnings("ignore:Sharding info not provided"),
]


@pytest.fixture(scope="module")
def config():
    config = video.get_config()
    config.data.update({"window": 0.8, "batch_size": 4, "balance": "none", "augment": (), "threads": 0})
    config.data.streams = {"video": {"fps": 5.0, "size": 16}}
    config.model.encoders = {"video": {"name": "tests.experiments.toys.thumbnails"}}
    config.pretrained = {}
    config.train.update({"steps": 4, "log_steps": 1, "checkpoint_steps": 1, "eval_steps": 4})
    config.optimizer.warmup_steps = 1
    config.evaluate.update({"windows": 1, "batch_size": 4})
    return config.to_dict()


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """The runs compile the same programs; most of their time would go into that."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("xla")),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def run(config, workdir, training=TRAINING):
    """As the command does: a fault is a SystemExit with one line, a signal one with 128 + its number."""
    with command_line.errors(), Termination() as termination:
        return train.train(config, workdir, {"train": training, "val": VALIDATION}, termination, ["tests.experiments"])


def fails(config, workdir, training=TRAINING):
    """The one line that the run ends with, whose exit code is therefore 1."""
    with pytest.raises(SystemExit) as end:
        run(config, workdir, training)
    assert isinstance(end.value.code, str) and end.value.code.startswith("error: ") and "\n" not in end.value.code
    return end.value.code


def saved(workdir, which="latest"):
    """{step: digests of all arrays} of the checkpoints there, all finite and as they were written."""
    found = {}
    for folder in (workdir / "checkpoints" / which).glob("*"):
        assert folder.name.isdecimal(), folder  # nothing half written is left
        content = checkpoints.Checkpoints(workdir / "checkpoints")._content(which, int(folder.name), folder)
        arrays = ocp.load(folder)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(arrays))
        digests = [
            sorted(leaf["sha256"] for leaf in all_.values())
            for all_ in (content["arrays"], checkpoints.describe(arrays))
        ]
        assert digests[0] == digests[1]
        found[int(folder.name)] = content["arrays"]
    return found


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    """The checkpoints of an undisturbed run, of every step."""
    workdir = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "_KEEP", {"latest": 4, "best": 1})
        run(config, workdir)
    return saved(workdir)


def before_save(monkeypatch, do, which="latest", step=FAULT):
    """Calls `do` when Orbax is about to write the checkpoint of `step`."""
    save = ocp.training.Checkpointer.save

    def patched(self, number, *args, **options):
        if number == step and str(self.directory).endswith(which):
            do()
        return save(self, number, *args, **options)

    monkeypatch.setattr(ocp.training.Checkpointer, "save", patched)


def kill(times=1, number=signal.SIGTERM):
    for _ in range(times):
        os.kill(os.getpid(), number)


# ---------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("which", "number", "times"),
    [("latest", signal.SIGINT, 2), ("best", signal.SIGTERM, 1)],
)
def test_a_signal_in_a_save_lets_it_end(config, straight, tmp_path, monkeypatch, which, number, times):
    at = 2 if which == "best" else FAULT
    config = {**config, "train": {**config["train"], "eval_steps": 2}}
    before_save(monkeypatch, lambda: kill(times, number), which, at)
    with pytest.raises(SystemExit) as end:
        run(config, tmp_path)
    assert end.value.code == 128 + number
    assert max(found := saved(tmp_path)) == at + 1 and found[at + 1] == straight[at + 1]  # the next step ends the run


def test_two_signals_while_the_step_compiles_lose_nothing(config, straight, tmp_path, monkeypatch):
    loss = detection.Task.loss

    def traced(self, outputs, batch):
        kill(times=2)
        return loss(self, outputs, batch)

    monkeypatch.setattr(detection.Task, "loss", traced)
    with pytest.raises(SystemExit) as end:
        run(config, tmp_path)
    assert end.value.code == 143 and list(saved(tmp_path)) == [1]
    monkeypatch.undo()
    run(config, tmp_path)
    assert saved(tmp_path)[4] == straight[4]


# ------------------------------------------------------------------------------------------------------------ disks


def test_a_write_that_fails_in_a_run_leaves_the_steps_before(config, straight, tmp_path, monkeypatch, capsys):
    # capsys: stderr is memory, for the limit holds for the file as well into which pytest captures it.
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    before_save(monkeypatch, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, usual[1])))
    try:
        line = fails(config, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert f"could not save the checkpoint of step {FAULT}: a file is larger than this process may write" in line
    assert f"Step {FAULT - 1} is safe" in line
    assert saved(tmp_path) == {step: straight[step] for step in (1, 2)}
    monkeypatch.undo()
    run(config, tmp_path)
    assert saved(tmp_path)[4] == straight[4]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 MiB; only root may mount one."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("no right to mount a disk")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_disk_that_fills_up_in_a_save_leaves_the_steps_before(config, straight, small_disk, monkeypatch):
    def fill():
        with contextlib.suppress(OSError), open(small_disk / "other", "wb", buffering=0) as file:
            while True:
                file.write(bytes(2**12))

    before_save(monkeypatch, fill)
    line = fails(config, small_disk)
    assert (
        f"could not save the checkpoint of step {FAULT}: no space left on the device. Step {FAULT - 1} is safe" in line
    )
    assert saved(small_disk) == {step: straight[step] for step in (1, 2)}
    (small_disk / "other").unlink()
    monkeypatch.undo()
    run(config, small_disk)
    assert saved(small_disk)[4] == straight[4]


@pytest.mark.parametrize("gone", ["checkpoints/latest", "."])
def test_a_folder_that_vanishes_in_a_run_is_one_line(config, straight, tmp_path, monkeypatch, gone):
    workdir = tmp_path / "run"
    workdir.mkdir()
    add = train.StepMetrics.add

    def vanish(self, step, *args):
        if step == FAULT:
            (workdir / gone).rename(tmp_path / "elsewhere")
        return add(self, step, *args)

    monkeypatch.setattr(train.StepMetrics, "add", vanish)
    line = fails(config, workdir)
    assert f"could not save the checkpoint of step {FAULT}: " in line and "see to the disk" in line
    (tmp_path / "elsewhere").rename(workdir / gone)
    assert saved(workdir) == {step: straight[step] for step in (1, 2)}


def test_a_folder_that_becomes_read_only_is_one_line(config, tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o700)
    folder = tmp_path / "checkpoints" / "latest"
    add = train.StepMetrics.add
    monkeypatch.setattr(
        train.StepMetrics, "add", lambda self, step, *a: (step == FAULT and folder.chmod(0o500), add(self, step, *a))
    )
    try:
        assert "permission denied" in (line := fails(config, tmp_path)) and f"Step {FAULT - 1} is safe" in line
    finally:
        folder.chmod(0o700)
    assert sorted(saved(tmp_path)) == [1, 2]


# ------------------------------------------------------------------------------------------------- devices, numbers


def clip_of_step(config, step):
    """A clip, its second row, that the batch of `step` is the first to hold."""
    with TRAINING.train_batches(config["data"], seed=config["seed"]) as batches:
        rows = [next(batches)["clip_index"] for _ in range(step)]
    assert rows[-1][1] not in np.concatenate(rows[:-1])
    return int(rows[-1][1]), [TRAINING.index[i].clip.clip_id for i in rows[-1]]


def change_loss(monkeypatch, change):
    """The loss becomes change(loss, outputs, batch)."""
    loss = detection.Task.loss

    def changed(self, outputs, batch):
        value, metrics = loss(self, outputs, batch)
        return change(value, outputs, batch), metrics

    monkeypatch.setattr(detection.Task, "loss", changed)


def test_an_error_on_the_device_names_the_safe_step(config, straight, tmp_path, monkeypatch):
    bad, _ = clip_of_step(config, FAULT)

    def fail(rows):
        if bad in rows:
            raise MemoryError("no room for this batch")
        return np.float32(0)

    nothing = jax.ShapeDtypeStruct((), jnp.float32)
    change_loss(monkeypatch, lambda loss, _, batch: loss + jax.pure_callback(fail, nothing, batch["clip_index"]))
    line = fails(config, tmp_path)
    assert "the device failed while training: MemoryError: no room for this batch" in line
    assert f"step {FAULT - 1} is the last saved one, and the same command goes on from there" in line
    assert sorted(saved(tmp_path)) == [1, 2]


def test_a_device_without_memory_names_the_safe_step_and_what_to_lower(config, straight, tmp_path, monkeypatch):
    put, asked = distributed.put_batch, iter(range(1, 100))

    def exhausted(batch, mesh):
        if next(asked) == FAULT:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBuffers: …")
        return put(batch, mesh)

    monkeypatch.setattr(distributed, "put_batch", exhausted)
    line = fails(config, tmp_path)
    assert f"step {FAULT - 1} is the last saved one" in line and "lower config.data.batch_size" in line
    assert saved(tmp_path) == {step: straight[step] for step in (1, 2)}


@jax.custom_vjp
def poisoned(x, bad):
    """`x`, one number of whose gradient is NaN where `bad`."""
    return x


poisoned.defvjp(
    lambda x, bad: (x, bad),
    lambda bad, g: (jnp.where(bad & (jnp.arange(g.size) == 0).reshape(g.shape), jnp.nan, g), None),
)


def change_apply(monkeypatch, change):
    """The model sees change(params, batch), and gives change's third, a function of its outputs."""
    apply = unimodal.Model.apply

    def changed(self, variables, batch, **options):
        return apply(self, {**variables, "params": change(variables["params"], batch)}, batch, **options)

    monkeypatch.setattr(unimodal.Model, "apply", changed)


def inf_in_the_loss(monkeypatch, bad):
    def change(loss, _, batch):
        return loss + jnp.where(jnp.any(batch["clip_index"] == bad), jnp.inf, 0)

    change_loss(monkeypatch, change)


def nan_in_one_gradient(monkeypatch, bad):
    def change(params, batch):
        leaves, tree = jax.tree.flatten(params)
        return jax.tree.unflatten(tree, [*leaves[:-1], poisoned(leaves[-1], jnp.any(batch["clip_index"] == bad))])

    change_apply(monkeypatch, change)


def nan_in_one_sample(monkeypatch, bad):
    loss = detection.Task.loss

    def changed(self, outputs, batch):
        logits = jnp.where(batch["clip_index"] == bad, jnp.nan, outputs["logits"])
        return loss(self, {**outputs, "logits": logits}, batch)

    monkeypatch.setattr(detection.Task, "loss", changed)


@pytest.mark.parametrize(
    ("poison", "checkpoint_steps"), [(inf_in_the_loss, 1), (nan_in_one_gradient, 2), (nan_in_one_sample, 1)]
)
def test_a_number_that_is_not_finite_stops_the_run(config, straight, tmp_path, monkeypatch, poison, checkpoint_steps):
    bad, names = clip_of_step(config, FAULT)
    poison(monkeypatch, bad)
    config = {**config, "train": {**config["train"], "checkpoint_steps": checkpoint_steps}}
    with pytest.raises(NonFiniteError) as error, Termination() as termination:
        train.train(config, tmp_path, {"train": TRAINING, "val": VALIDATION}, termination, ["tests.experiments"])
    assert str(error.value).startswith(f"step {FAULT}: the loss (") and "the update was not applied" in str(error.value)
    assert f"Clips of this process: {', '.join(names)}. Step 2 is the last saved one" in str(error.value)
    assert max(saved(tmp_path)) == 2
    (frame,) = (each.frame for each in error.traceback if each.frame.code.name == "train")
    state = frame.f_locals["state"]
    # The step after it may run already, upon the state that the fault left as it was.
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state))
    if checkpoint_steps == 1:
        assert int(state["step"]) == 2
        assert checkpoints.describe(state) == saved(tmp_path)[2]


# ---------------------------------------------------------------------------------------------------------- loaders


class Breaking(FakeRecords):
    """Records whose loader fails as it starts, or at its third batch."""

    def __init__(self, when):
        super().__init__(clips(12, voice=12))
        self.when = when

    def train_batches(self, *args, **options):
        if self.when == "start":
            raise OSError("no more processes can be started")
        batches = super().train_batches(*args, **options)

        def broken():
            with batches:
                for _ in range(FAULT - 1):
                    yield next(batches)
                raise OSError("no more processes can be started")

        return broken()


@pytest.mark.parametrize("when", ["start", "third batch"])
def test_a_loader_that_fails_leaves_everything_closed(config, tmp_path, monkeypatch, when):
    closed = []
    for kind in (metrics_log.MetricsLog, checkpoints.Checkpoints, train.progress.tqdm):
        close = kind.close
        monkeypatch.setattr(
            kind, "close", lambda self, close=close, name=kind.__name__: (closed.append(name), close(self))
        )
    assert fails(config, tmp_path, Breaking(when)) == "error: no more processes can be started"
    assert {"MetricsLog", "Checkpoints"} <= {*closed}
    assert ("tqdm" in closed) == (when != "start")
