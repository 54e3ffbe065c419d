"""A detector without a network, files to judge, and a checker of JSON against the part of JSON Schema that we use."""

import dataclasses
import json
import pathlib
from concurrent import futures

import av
import numpy as np

from data_pipelines.prepare.extract import Crops
from experiments import score_table
from experiments.score_table import ScoreRow
from experiments.system_file import Member, System
from experiments.verdict import detector, quality, verdict
from experiments.verdict.distance import Reference
from experiments.verdict.evidence import Scale, stream_scales
from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.calibrators import Scaling
from mmdf_jax.tasks.detection import Task

SCHEMA = json.loads((pathlib.Path(verdict.__file__).parent / "schema.json").read_text())
WINDOW = 0.8
MEMBER = Member("model", ".", "0" * 64, "score", "label", False, ("audio", "image"), Scaling())


def system(**changes):
    pair = {"error": 0.2, "low": 0.4, "high": 0.6}
    point = {
        "what": "conformal",
        "threshold": {"low": 0.4, "high": 0.6},
        "false_alarms": [0.1, 0.0, 0.2],
        "misses": [0.2, 0.1, 0.3],
        "abstained": [0.1, float("nan"), float("nan")],
        "clips": 12,
        "identities": 6,
        "data": {"dataset": "heads", "split": "test"},
    }
    data = {"dataset": "heads", "split": "val", "clips": 12, "identities": 6, "embedded": False}
    fields = {
        "name": "hand-made",
        "members": (MEMBER,),
        "ensemble": "weighted",
        "weights": {"model": 1.0},
        "calibration": Scaling(),
        "prior": 0.5,
        "llr_bounds": (-3.0, 3.0),
        "thresholds": {"balanced": 0.5, "conformal": pair},
        "operating_points": (point,),
        "data": data,
        "code": {"mmdf_jax": "0"},
    }
    return System(**(fields | changes))


def predict(batch):
    """P(fake) of a picture is its brightness, of a sound its loudness; of both their mean."""
    bright = batch["image"].mean((1, 2, 3, 4)) / 255
    loud = np.clip(np.sqrt(np.square(batch["audio"] / 32768).mean(1)) * 2, 0, 1)
    scores = np.stack([np.where(batch["image_mask"], bright, np.nan), np.where(batch["audio_mask"], loud, np.nan)])
    known = ~np.isnan(scores)
    both = np.where(known.any(0), np.nansum(scores, 0) / np.maximum(known.sum(0), 1), np.nan)
    found = {"score": both, "score_image": scores[0], "score_audio": scores[1]}
    found["map"] = np.ones((len(both), 1, 4, 4)) * 0.5
    return {name: batch[name] for name in ("clip_index", "window_start", "mask")} | found


def make(folder, *, measures=None, **changes):
    """A detector whose validation scores lie in `folder`, of clips of 2 s. measures: of these, {name: middle}."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        label = i % 2
        scores = np.clip(0.3 + 0.4 * label + rng.normal(0, 0.1, 3), 0, 1)
        rows.append(
            ScoreRow(
                f"c{i}",
                label,
                float(scores[0]),
                dataset="heads",
                identity=f"p{i // 2}",
                method="swap" if label else "real",
                video_label=label,
                audio_label=label,
                extra={"score_image": float(scores[1]), "score_audio": float(scores[2])},
            )
        )
    score_table.write(folder / "scores" / "val.csv", rows)
    fitted = calibrators.fit("platt", [row.label for row in rows], [row.score for row in rows])
    made = system(**({"members": (dataclasses.replace(MEMBER, calibration=fitted),)} | changes))
    streams = {"image": {"frames": 1, "size": 16}, "audio": {}}
    data = {"window": WINDOW, "streams": streams, "targets": {}, "batch_size": detector.BATCH, "stride": WINDOW / 2}
    scales = stream_scales(folder, ["score", "score_image", "score_audio"], list(streams))
    loading = futures.Future()
    loading.set_result(detector.Model(Task(), predict, "localisation", tuple(scales)))
    scorer = detector.Scorer("model", folder, data, Crops(face="whole", face_size=32, mouth=False), loading)
    spread = np.linspace(0.8, 1.2, 20)
    columns = {name: spread * (measures or {}).get(name, np.nan) for name in quality.MEASURES}
    reference = Reference({"duration": np.full(20, 2.0), **columns}, [f"p{i // 4}" for i in range(20)])
    return detector.Detector(made, "1" * 64, (scorer,), (0,), Scale(made, folder), reference, "", scorer.crops)


def film(path, *, seconds=2.0, grey=180, loud=0.3, size=96, spread=40):
    """An mp4 of a chequered picture about one grey level, with a tone; loud None: without sound."""
    squares = (np.indices((size, size)) // 12).sum(0) % 2 * 2 - 1
    picture = np.repeat(np.clip(grey + spread * squares, 0, 255).astype(np.uint8)[..., None], 3, 2)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18"})
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono") if loud is not None else None
        for _ in range(round(25 * seconds)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if audio:
            tone = loud * np.sin(np.arange(round(16000 * seconds)) * 0.5)
            frame = av.AudioFrame.from_ndarray(np.float32(tone)[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}


def check(data, schema=SCHEMA, where="verdict.json"):
    """Raises AssertionError where the data are not as the schema says."""
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    fits = [isinstance(data, KINDS[name]) and (name == "boolean" or not isinstance(data, bool)) for name in names]
    assert any(fits), f"{where}: expected {names}, found {data!r:.80}"
    assert "enum" not in schema or data in schema["enum"], f"{where}: {data!r} is not one of {schema['enum']}"
    if isinstance(data, list):
        assert schema.get("minItems", 0) <= len(data) <= schema.get("maxItems", len(data)), where
        for i, item in enumerate(data):
            check(item, schema["items"], f"{where}[{i}]")
    if isinstance(data, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        missing = set(schema.get("required", ())) - set(data)
        assert not missing, f"{where}: missing {missing}"
        for name, item in data.items():
            assert name in known or others, f"{where}: unknown {name}"
            check(item, known.get(name, others), f"{where}.{name}")
