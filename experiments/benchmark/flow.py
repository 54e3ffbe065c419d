"""Measures optical flow: end-point error and time of `mmdf_jax.layers.optical_flow` beside OpenCV's Farneback and DIS.

Faces of the embedded dataset, each a still picture, are warped by a known smooth field of at most 3 pixels; then both
pictures get noise. The end-point error is the mean distance between the flow found and the field, over all pixels.
OpenCV has one thread. Beside the time by the clock stands processor time, which counts every thread.
"""

import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import jax
import numpy as np

from data_pipelines.talking_heads import articulation, face, geometry, identity
from experiments import environment
from experiments.benchmark import timing
from mmdf_jax.layers import optical_flow

SIZES = (64, 112, 224)  # pixels
PAIRS = 32
REACH = (2.0, 3.0)  # pixels: a field's longest vector
NOISE = 2.0  # standard deviation, grey levels
_CELLS = 4  # a field is interpolated between so many random vectors on each axis
_MARGIN = 6  # pixels that a warp may look beyond the edge, more than REACH and the kernel

Method = Callable[[np.ndarray, np.ndarray], Any]  # two batches [b h w] uint8 to flows [b h w 2]


def report(sizes: Sequence[int], rounds: int, batch: int, file: str, about: Mapping[str, Any]) -> None:
    """Prints and writes a table for each size of the pictures.

    batch: pairs, 0 for PAIRS; about: the machine; file: for all of it as JSON, "" for none.
    """
    if file:
        pathlib.Path(file).touch()
    cv2.setNumThreads(1)
    print(f"{environment.describe(dict(about))}\n{about['command']}")
    stills = faces(batch or PAIRS)
    rows = []
    for size in sizes:
        found = measure(*pairs(stills, size), rounds)
        print(f"\n{size} px, {len(stills)} pairs; moved {found[0]['error']:.2f} px on average")
        print(_line(["method", "error px", "99 % below", "ms a pair", "of processor", "compile s"]))
        for row in found:
            rows.append({"size": size, "pairs": len(stills), **row})
            print(_line(_cells(row)), flush=True)
        if file:
            pathlib.Path(file).write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def _cells(row: Mapping[str, Any]) -> list[str]:
    times = [f"{row[name]['median']:.2f}" if name in row else "—" for name in ("ms", "processor_ms")]
    compiled = f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else "—"
    return [row["name"], f"{row['error']:.3f}", f"{row['error_99']:.2f}", *times, compiled]


def _line(cells: Sequence[str]) -> str:
    return cells[0].ljust(20) + "".join(cell.rjust(14) for cell in cells[1:])


def faces(count: int) -> list[np.ndarray]:
    """Square grey pictures uint8 of so many people of the embedded dataset, cut around their landmarks."""
    return [_face(np.random.default_rng([0, i])) for i in range(count)]


def _face(rng: np.random.Generator) -> np.ndarray:
    who, place, times = identity.draw(rng, "somebody"), face.scene(rng), np.zeros(1)
    motion = geometry.perform(articulation.utterance(1.0, rng), times, rng)
    picture = cv2.cvtColor(face.render(who, motion, place, rng)[0], cv2.COLOR_RGB2GRAY)
    marks = geometry.landmarks(who, motion, place.view)[0]
    middle, half = (marks.min(0) + marks.max(0)) / 2, 0.65 * np.ptp(marks, axis=0).max()
    (left, top), side = np.round(middle - half).astype(int), min(round(2 * half), geometry.SIZE)
    left, top = (int(np.clip(edge, 0, geometry.SIZE - side)) for edge in (left, top))
    return picture[top : top + side, left : left + side]


def pairs(stills: Sequence[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second pictures [b h w] uint8 of the side `size`, and the flows [b h w 2] between them."""
    rng = np.random.default_rng(size)
    whole = [_resize(still, size + 2 * _MARGIN) for still in stills]
    flows = np.stack([_field(size, rng) for _ in stills])
    grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) + _MARGIN] * 2), -1)
    first = [cv2.remap(w, grid + flow, None, cv2.INTER_CUBIC) for w, flow in zip(whole, flows, strict=True)]
    second = [w[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] for w in whole]
    noisy = (np.stack(pictures) + rng.normal(0, NOISE, flows.shape[:3]) for pictures in (first, second))
    return *(np.clip(np.round(pictures), 0, 255).astype(np.uint8) for pictures in noisy), flows


def _resize(picture: np.ndarray, size: int) -> np.ndarray:
    kind = cv2.INTER_AREA if size < len(picture) else cv2.INTER_CUBIC
    return cv2.resize(picture.astype(np.float32), (size, size), interpolation=kind)


def _field(size: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth flow [size size 2] float32."""
    flow = cv2.resize(rng.standard_normal((_CELLS, _CELLS, 2)), (size, size), interpolation=cv2.INTER_CUBIC)
    return (flow * rng.uniform(*REACH) / np.linalg.norm(flow, axis=-1).max()).astype(np.float32)


def _each(calculate: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Method:
    """A method for single pairs, applied to each of a batch."""
    return lambda first, second: np.stack([calculate(*pair) for pair in zip(first, second, strict=True)])


def opencv() -> dict[str, Method]:
    """OpenCV's methods by name."""
    options = {
        "pyr_scale": 0.5,
        "levels": 3,
        "winsize": 15,
        "iterations": 3,
        "poly_n": 5,
        "poly_sigma": 1.1,
        "flags": 0,
    }
    dis = {
        name: cv2.DISOpticalFlow_create(preset)
        for name, preset in (
            ("DIS fast", cv2.DISOPTICAL_FLOW_PRESET_FAST),
            ("DIS medium", cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
        )
    }
    return {
        "Farneback": _each(lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, **options)),
        **{name: _each(lambda a, b, d=d: d.calc(a, b, None)) for name, d in dis.items()},
    }


def measure(first: np.ndarray, second: np.ndarray, flows: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """A row for each method, and one for zero flow: error, its 99th percentile, ms a pair, and seconds to compile."""
    rows, methods = [_errors("zero flow", np.zeros_like(flows), flows)], {}
    for function in (optical_flow.lucas_kanade, optical_flow.horn_schunck):
        begin = time.perf_counter()
        methods[function.__name__] = jax.jit(function).lower(first, second).compile()
        found = _errors(function.__name__, methods[function.__name__](first, second), flows)
        rows.append(found | {"compile_seconds": time.perf_counter() - begin})
    for name, method in opencv().items():
        methods[name] = method
        rows.append(_errors(name, method(first, second), flows))
    runs = {name: functools.partial(_run, method, first, second) for name, method in methods.items()}
    for key, times in zip(("ms", "processor_ms"), timing.interleave(runs, rounds), strict=True):
        for row in rows[1:]:
            row[key] = dataclasses.asdict(timing.Spread.of(times[row["name"]] * 1000 / len(first)))
    return rows


def _run(method: Method, first: np.ndarray, second: np.ndarray, times: int) -> None:
    for _ in range(times):
        jax.block_until_ready(method(first, second))


def _errors(name: str, found: Any, flows: np.ndarray) -> dict[str, Any]:
    errors = np.linalg.norm(np.asarray(found) - flows, axis=-1)
    return {"name": name, "error": float(errors.mean()), "error_99": float(np.percentile(errors, 99))}
