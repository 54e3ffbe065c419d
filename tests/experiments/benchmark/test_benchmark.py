"""The benchmark command on tiny encoders: what it prints and writes, and that it times nothing that disagrees."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.benchmark import devices, programs, timing, torch_models
from mmdf_jax.build import build


def run(*arguments):
    """Exit code, output and last line of errors of the command."""
    command = [sys.executable, "-m", "experiments.benchmark", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, (done.stderr.strip().splitlines() or [""])[-1]


def test_measures_encoders_beside_torch(tmp_path):
    out = tmp_path / "speed.json"
    code, text, error = run(
        *("--encoder=clip:tiny,resnet3d:tiny", "--reference=torch", "--repeats=3", f"--json={out}"),
        *("--size=64", "--frames=4", "--clip_size=16", "--batch=2"),
    )
    assert code == 0, error
    found = json.loads(out.read_text())
    assert found["platform"] == "cpu"
    assert found["threads"] >= 1
    assert set(found["versions"]) == {"python", "jax", "jaxlib", "flax", "torch", "transformers"}
    clip, resnet = found["rows"]
    assert clip["name"] == "clip:tiny"
    assert clip["shapes"] == {"x": [2, 64, 64, 3]}
    assert clip["parameters"] == 411_360
    assert max(clip["agreement"].values()) < 1e-4
    for what in ("forward", "step"):
        assert clip["compile_seconds"][what] > 0
        assert clip["memory_bytes"][what] > 4 * clip["parameters"]
        assert clip["flops"][what] > 1e6
        rate, ratio = clip["samples_per_second"][what], clip["ratio"][what]["torch"]
        assert rate["ours"]["low"] <= rate["ours"]["median"] <= rate["ours"]["high"]
        assert ratio["low"] <= rate["ours"]["high"] / rate["torch"]["low"]
        assert ratio["high"] >= rate["ours"]["low"] / rate["torch"]["high"]
        assert clip["processor_ratio"][what]["torch"]["median"] > 0
    assert clip["mfu"] == {}  # no peak is known for a CPU
    assert resnet["ratio"] == {"forward": {}, "step": {}}  # torchvision has no such network
    table = text.splitlines()
    assert table[-2].startswith("clip:tiny") and "[" in table[-2]
    assert table[-1].startswith("resnet3d:tiny") and table[-1].endswith("—")


def test_measures_a_config():
    code, text, error = run("--config=tests/experiments/micro.py", "--repeats=1")
    assert code == 0, error
    cells = text.splitlines()[-1].split()
    assert cells[0] == "tests/experiments/micro.py"
    assert float(cells[3]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder=vgg"], "error: --encoder=vgg: there is no encoder 'vgg'; known: clip, "),
        (["--encoder=clip:b33"], "error: --encoder=clip:b33: clip has no variant 'b33'; known: tiny, b32, "),
        (["--reference=tensorflow"], "error: --reference=tensorflow: expected one of torch, torch.compile"),
        (["--config=configs/nothing.py"], "error: --config=configs/nothing.py: no such file"),
        (["--config=configs/cross_attn.py", "--encoder=clip"], "error: --config is measured alone"),
        (["--json=/nowhere/speed.json"], "error: [Errno 2] No such file or directory: '/nowhere/speed.json'"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    code, _, error = run(*arguments)
    assert code == 1
    assert error.startswith(message)


def test_what_is_measured_by_default_is_there():
    from experiments.benchmark import __main__ as benchmark

    standard = benchmark._standard()
    assert ("resnet3d", "r2plus1d_18") in standard
    assert set(benchmark._known()) - {name for name, _ in standard} == {"ftcn", "lip_resnet"}  # torchvision has none
    assert all(benchmark._encoder(f"{name}:{variant}") == (name, variant) for name, variant in standard)


def test_an_encoder_that_counts_nothing_has_no_flops(monkeypatch):
    model = build({"name": "mmdf_jax.encoders.clip", "variant": "tiny"})
    detector = build({"name": "mmdf_jax.models.unimodal", "encoders": {"image": model}})
    shapes = {"image": (2, 64, 64, 3)}
    assert programs.encoder_macs(detector, shapes).forward > 0
    assert programs.encoder_macs(detector, {"video": (2, 64, 64, 3)}) is None
    monkeypatch.delattr("mmdf_jax.encoders.clip.macs")
    assert programs.encoder_macs(detector, shapes) is None


def test_torch_missing_is_one_line(monkeypatch):
    from experiments.benchmark import __main__ as benchmark

    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="PyTorch, which is not installed: pip install torch"):
        benchmark._check_references(["torch"])


def test_torch_compile_without_a_compiler_is_one_line(monkeypatch):
    from experiments.benchmark import __main__ as benchmark

    monkeypatch.setattr(benchmark.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        benchmark._check_references(["torch.compile"])


def test_disagreeing_models_are_not_timed():
    model = build({"name": "mmdf_jax.encoders.convnext", "variant": "tiny", "depths": (1,), "widths": (8,)})
    original, variables = torch_models.pair(model)
    x = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    assert max(programs.check_agreement(model, variables, original, x).values()) < 1e-5
    for factor in (1.001, np.nan):
        kernel = variables["params"]["stem"]["kernel"]
        other = {"params": {**variables["params"], "stem": {"kernel": kernel * factor, "bias": np.ones(8, np.float32)}}}
        with pytest.raises(ValueError, match="nothing was timed"):
            programs.check_agreement(model, other, original, x)


def test_both_train_alike():
    """The loss's gradient is the same, so both sides of a ratio do the same work."""
    model = build({"name": "mmdf_jax.encoders.convnext", "variant": "tiny", "depths": (1,), "widths": (8,)})
    original, variables = torch_models.pair(model)
    x = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    target = np.random.default_rng(1).standard_normal((2, 8), np.float32)

    def loss(params):
        return ((model.apply({"params": params}, x, train=True)["pooled"] - target) ** 2).mean()

    gradient = jax.grad(loss)(variables["params"])["norm"]["bias"]
    program = programs.torch_encoder(
        original, torch_models.prepare(model, x), target, dtype="float32", compiled=False, threads=1
    )
    program.step(1)
    theirs = dict(original.named_parameters())["layernorm.bias"].grad.numpy()
    np.testing.assert_allclose(gradient, theirs, rtol=1e-3, atol=1e-6)


def test_rounds_take_turns():
    calls = []
    seconds, processor = timing.interleave(
        {"a": lambda n: calls.append(("a", n)), "b": lambda n: calls.append(("b", n))}, 3
    )
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert all((processor[name] >= 0).all() for name in "ab")
    assert [name for name, _ in calls[4:]] == ["a", "b", "b", "a", "a", "b"]
    assert all(n > 1 for _, n in calls[4:])
    spread = timing.Spread.of(np.arange(1.0, 6.0))
    assert (spread.low, spread.median, spread.high) == (2, 3, 4)


def test_peaks_are_those_of_bfloat16():
    assert devices.peak("NVIDIA H200", "bfloat16") == 989.4e12
    assert devices.peak("NVIDIA L4", "bfloat16") == 121e12
    assert devices.peak("NVIDIA L40S", "bfloat16") == 362e12
    assert devices.peak("NVIDIA H200", "float32") is None
    assert devices.peak("cpu", "bfloat16") is None
