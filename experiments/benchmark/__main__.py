"""Measures models: samples/s, compile time, parameters, FLOPs, utilisation, memory; beside PyTorch on the same weights.

    python -m experiments.benchmark --reference=torch
    python -m experiments.benchmark --encoder=clip:b16,dinov2 --batch=64 --dtype=bfloat16 --reference=torch
    python -m experiments.benchmark --config=configs/cross_attn.py --json=speed.json
    python -m experiments.benchmark --what=loader --records=DIR
    python -m experiments.benchmark --what=prepare --records=DIR
    python -m experiments.benchmark --what=flow

Forward is evaluation mode, a step is forward, backward and AdamW. Times are medians over rounds in which all contenders
take turns; a ratio is ours ÷ theirs in samples/s, with the quartiles of the rounds' ratios, and once more in processor
time, which a machine shared with other programs disturbs less (on a GPU it says nothing). FLOPs are analytic
(`mmdf_jax.flops`), memory is what XLA plans for the step. Configs are measured without a reference. The loader and
`prepare` are described in `benchmark/data.py`, optical flow in `benchmark/flow.py`. Without --encoder the variants are
measured that each encoder's file names in BENCHMARK.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from data_pipelines.prepare import child_processes
from experiments import command_line
from mmdf_jax.audio import SAMPLE_RATE

REFERENCES = ("torch", "torch.compile")
BATCHES = {"image": 8, "audio": 4, "video": 2}

_WHAT = flags.DEFINE_enum("what", "models", ["models", "loader", "prepare", "flow"], "What is measured.")
_RECORDS = flags.DEFINE_string(
    "records", "", "Folder of prepared records, for --what=loader and prepare; by default small ones are made."
)
_ENCODER = flags.DEFINE_multi_string("encoder", [], "encoder[:variant], several separated by commas.")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with arguments after a colon: its whole model instead of encoders.", lock_config=True
)
_REFERENCE = flags.DEFINE_list("reference", [], f"What to compare with: {', '.join(REFERENCES)}.")
_BATCH = flags.DEFINE_integer(
    "batch", 0, "Samples; 0: 8 images, 4 sounds, 2 clips, 32 pairs, a config's own.", lower_bound=0
)
_DTYPE = flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Of the computation; float32, or a config's own.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Rounds.", lower_bound=1)
_SIZE = flags.DEFINE_integer(
    "size", 224, "Side of an image, pixels; of flow by default 64, 112 and 224.", lower_bound=1
)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Length of a sound.", lower_bound=0.0)
_FRAMES = flags.DEFINE_integer("frames", 16, "Frames of a clip.", lower_bound=1)
_CLIP_SIZE = flags.DEFINE_integer("clip_size", 112, "Side of a clip's frames, pixels.", lower_bound=1)
_JSON = flags.DEFINE_string("json", "", "File for everything measured, as JSON.")


def main(argv: list[str]) -> None:
    """The command."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with command_line.errors():
        from experiments import environment

        typed = {"command": shlex.join(["python", "-m", "experiments.benchmark", *sys.argv[1:]])}
        if _WHAT.value == "flow":
            from experiments.benchmark import flow

            about = {**environment.current(("jax", "jaxlib", "numpy", "opencv-python-headless")), **typed}
            sizes = (_SIZE.value,) if flags.FLAGS["size"].present else flow.SIZES
            return flow.report(sizes, _REPEATS.value, _BATCH.value, _JSON.value, about)
        if _WHAT.value != "models":
            from experiments.benchmark import data

            about = {**environment.current(), "device": environment.cpu_name(), **typed}
            return data.report(_WHAT.value, _RECORDS.value, _REPEATS.value, _BATCH.value, _JSON.value, about)
        if flags.FLAGS["config"].present:
            file = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]
            if not pathlib.Path(file).is_file():
                raise FileNotFoundError(f"--config={file}: no such file")
        encoders = [_encoder(spec) for given in _ENCODER.value for spec in given.split(",")]
        if _CONFIG.value and (encoders or _REFERENCE.value):
            raise ValueError("--config is measured alone: leave out --encoder and --reference")
        if not encoders and not _CONFIG.value:
            encoders = _standard()
        _check_references(_REFERENCE.value)
        # torch's threads spin while they wait. Then they take the cores from every other thread, XLA's own among
        # them, and torch gets up to 60 times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        if _JSON.value:
            pathlib.Path(_JSON.value).touch()  # a path that cannot be written fails now, not after an hour
        packages = ("jax", "jaxlib", "flax", *(("torch", "transformers") if _REFERENCE.value else ()))
        about = {**environment.current(packages), **typed}
        print(f"{environment.describe(about)}\n{about['command']}\n", flush=True)
        print(line(titles(_REFERENCE.value)), flush=True)
        rows = []
        for row in [measure_config()] if _CONFIG.value else (measure_encoder(*spec) for spec in encoders):
            rows.append(row)
            print(line(cells(row, _REFERENCE.value)), flush=True)
            if _JSON.value:  # after each row, so that a run that is cut short keeps its rows
                pathlib.Path(_JSON.value).write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def _known() -> list[str]:
    folder = pathlib.Path(__file__).parents[2] / "mmdf_jax" / "encoders"
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"mmdf_jax.encoders.{name}")


def _standard() -> list[tuple[str, str]]:
    """Name and variant of what is measured by default."""
    return [(name, variant) for name in _known() for variant in getattr(_module(name), "BENCHMARK", ())]


def _encoder(spec: str) -> tuple[str, str]:
    """Name and variant of `encoder[:variant]`; by default the smallest published variant.

    Raises ValueError: there is no such encoder or variant.
    """
    name, _, variant = spec.strip().partition(":")
    if name not in _known():
        raise ValueError(f"--encoder={spec}: there is no encoder {name!r}; known: {', '.join(_known())}")
    variants = _module(name).VARIANTS
    variant = variant or next(v for v in variants if v != "tiny")
    if variant not in variants:
        raise ValueError(f"--encoder={spec}: {name} has no variant {variant!r}; known: {', '.join(variants)}")
    return name, variant


def _check_references(references: Sequence[str]) -> None:
    for reference in references:
        if reference not in REFERENCES:
            raise ValueError(f"--reference={reference}: expected one of {', '.join(REFERENCES)}")
    if references and importlib.util.find_spec("torch") is None:
        raise ValueError("--reference needs PyTorch, which is not installed: pip install torch")
    if "torch.compile" in references and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise ValueError("--reference=torch.compile needs a C++ compiler (g++ or clang++); none was found")


def measure_encoder(name: str, variant: str) -> dict[str, Any]:
    """One row: an encoder on random input, beside the references that it has."""
    import jax
    import numpy as np

    from experiments import model_from_config
    from experiments.benchmark import programs
    from mmdf_jax import flops
    from mmdf_jax.build import build

    dtype = _DTYPE.value or "float32"
    model = build({"name": f"mmdf_jax.encoders.{name}", "variant": variant, "dtype": dtype})
    x = _input(_module(name).EXAMPLE)
    original = variables = None
    if _REFERENCE.value:
        from experiments.benchmark import torch_models

        original, variables = torch_models.pair(model) or (None, None)
    if original is None:
        variables = model_from_config.init_state(lambda key: model.init(key, x, train=False), jax.random.key(0), None)
    pooled = jax.eval_shape(lambda v, x: model.apply(v, x, train=False)["pooled"], variables, x)
    target = np.random.default_rng(0).standard_normal(pooled.shape, np.float32)

    contenders = {"ours": programs.encoder(model, variables, x, target)}
    work = None
    with contextlib.suppress(NotImplementedError):  # its file counts nothing: no FLOPs and no MFU
        work = flops.macs(model, x.shape[1:])
    row = _row(f"{name}:{variant}", {"x": x}, variables, contenders["ours"], work, dtype)
    if original is not None:
        row["agreement"] = programs.check_agreement(model, variables, original, x)
        prepared = torch_models.prepare(model, x)
        for reference in _REFERENCE.value:
            contenders[reference] = programs.torch_encoder(
                original,
                prepared,
                target,
                dtype=dtype,
                compiled=reference == "torch.compile",
                threads=child_processes.cores(),
            )
    return _time(row, contenders)


def _input(example: Any) -> Any:
    """A random batch of the kind that an encoder's EXAMPLE has: sounds [b s], images [b h w 3] or clips [b t h w 3]."""
    import numpy as np

    kind = {2: "audio", 4: "image", 5: "video"}[example.ndim]
    batch, rng = _BATCH.value or BATCHES[kind], np.random.default_rng(0)
    if kind == "audio":
        return rng.normal(0, 3000, (batch, round(_SECONDS.value * SAMPLE_RATE))).astype(np.int16)
    sides = (_SIZE.value,) * 2 if kind == "image" else (_FRAMES.value, _CLIP_SIZE.value, _CLIP_SIZE.value)
    return rng.integers(0, 256, (batch, *sides, 3), np.uint8)


def measure_config() -> dict[str, Any]:
    """One row: the whole model of the config on random input of its own shapes."""
    import jax
    import numpy as np

    from data_pipelines import batch as batch_lib
    from experiments import model_from_config
    from experiments.benchmark import programs

    config = _CONFIG.value.to_dict()
    config["train"]["dtype"] = _DTYPE.value or config["train"]["dtype"]
    model, task = model_from_config.make_model(config), model_from_config.make_task(config)
    batch = _BATCH.value or config["data"]["batch_size"]
    rng = np.random.default_rng(0)
    data = batch_lib.zeros(config["data"], batch)
    for stream in config["data"]["streams"]:
        low, high = (-3000, 3000) if stream == "audio" else (0, 256)
        data[stream] = rng.integers(low, high, data[stream].shape, data[stream].dtype)
    for label in batch_lib.LABELS:
        data[label] = rng.integers(0, 2, batch, np.int32)
    variables = model_from_config.init_state(
        lambda key: model_from_config.init(model, config, key), jax.random.key(0), None
    )
    program = programs.detector(model, task, config["optimizer"], variables, data)
    work = programs.encoder_macs(model, {stream: data[stream].shape[1:] for stream in config["data"]["streams"]})
    title = config_flags.get_config_filename(flags.FLAGS["config"])
    return _time(_row(title, data, variables, program, work, config["train"]["dtype"]), {"ours": program})


def _row(
    title: str, inputs: dict[str, Any], variables: Any, program: Any, work: Any | None, dtype: str
) -> dict[str, Any]:
    """What is known before anything has been timed."""
    from experiments import model_from_config

    return {
        "name": title,
        "dtype": dtype,
        "shapes": {name: list(x.shape) for name, x in inputs.items()},
        "parameters": model_from_config.count_parameters(variables["params"]),
        "flops": {"forward": work.forward, "step": work.step} if work else None,
        "compile_seconds": dict(program.compile_seconds),
        "memory_bytes": dict(program.memory_bytes),
    }


def _time(row: dict[str, Any], contenders: dict[str, Any]) -> dict[str, Any]:
    """Adds samples per second, ratios and utilisation. `contenders` holds "ours" and the references."""
    import jax

    from experiments.benchmark import devices, timing

    batch = next(iter(row["shapes"].values()))[0]
    row |= {"samples_per_second": {}, "mfu": {}, "ratio": {}, "processor_ratio": {}}
    peak = devices.peak(jax.devices()[0].device_kind, row["dtype"])
    for what in ("forward", "step"):
        runs = {name: getattr(program, what) for name, program in contenders.items()}
        seconds, processor = timing.interleave(runs, _REPEATS.value)
        rates = {name: timing.Spread.of(batch / values) for name, values in seconds.items()}
        row["samples_per_second"][what] = {name: dataclasses.asdict(rate) for name, rate in rates.items()}
        for key, times in (("ratio", seconds), ("processor_ratio", processor)):
            row[key][what] = {
                name: dataclasses.asdict(timing.Spread.of(times[name] / times["ours"]))
                for name in contenders
                if name != "ours"
            }
        if peak and row["flops"]:
            row["mfu"][what] = row["flops"][what] * rates["ours"].median / peak
    return row


COLUMNS = ("GFLOP", "compile s", "memory GB", "forward /s", "step /s", "MFU %")


def titles(references: Sequence[str]) -> list[str]:
    """Heads of the columns; a column with two numbers holds forward / step."""
    compared = (f"÷ {name}, forward and step; in CPU time" for name in references)
    return ["model", "batch", "M params", *COLUMNS, *compared]


def cells(row: dict[str, Any], references: Sequence[str]) -> list[str]:
    """A row's cells; pairs are forward and step, brackets quartiles."""

    def both(values: dict[str, Any] | None, form: str, scale: float = 1.0) -> str:
        return " / ".join(form.format(values[what] / scale) for what in ("forward", "step")) if values else "—"

    def rate(what: str) -> str:
        return f"{row['samples_per_second'][what]['ours']['median']:.4g}"

    def ratio(name: str) -> str:
        if name not in row["ratio"]["step"]:
            return "—"
        spreads = [row["ratio"][what][name] for what in ("forward", "step")]
        text = "  ".join("{median:.2f} [{low:.2f} {high:.2f}]".format(**spread) for spread in spreads)
        return (
            text + "; " + both({what: row["processor_ratio"][what][name]["median"] for what in row["ratio"]}, "{:.2f}")
        )

    return [
        row["name"],
        str(next(iter(row["shapes"].values()))[0]),
        f"{row['parameters'] / 1e6:.2f}",
        both(row["flops"], "{:.3g}", 1e9),
        both(row["compile_seconds"], "{:.0f}"),
        f"{row['memory_bytes']['step'] / 1e9:.2f}",
        rate("forward"),
        rate("step"),
        both(row["mfu"], "{:.0f}", 0.01),
        *(ratio(name) for name in references),
    ]


def line(values: Sequence[str]) -> str:
    """Cells under their columns."""
    widths = (32, 5, 8, 13, 9, 9, 10, 8, 8)
    padded = [value.ljust(width) for value, width in zip(values, widths, strict=False)]
    return "  ".join([*padded, *(value.ljust(50) for value in values[len(widths) :])]).rstrip()


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse_flags)
