"""Studies of score tables written by hand, and a config small enough for a test."""

import csv
import dataclasses
import json
import math

import numpy as np

from configs import analysis as declared
from experiments import score_table
from experiments.study import results
from tests.experiments.study import hand_written

PARTS = {"image": ("01", "video_label"), "audio": ("02", "audio_label")}


def config(**changes):
    made = {**declared.get_config().to_dict(), "bootstrap": 40, "gallery": 3, **changes}
    made["families"] = [family for family in made["families"] if family["name"] in ("fusion", "calibration")]
    return made


def claim(better, than, **changes):
    """A config whose one family has one claim, that `better` is better than `than`."""
    sides = {"better": declared.side(better), "than": declared.side(than)}
    family = {"name": "one", "question": "?", "label": "label", "methods": (), "metric": "auc", "claims": (sides,)}
    return config() | {"families": [{**family, **changes}]}


def study(folder, runs):
    """runs: {name: how its tables are made, as of hand_written.rows, and `extra` columns of (score) -> cell}."""
    rows = []
    for name, facts in runs.items():
        part, label = PARTS.get(name.partition("-")[0], ("06", "label"))
        facts = {"column": label, "seed": sum(map(ord, name)), **facts}
        extra = facts.pop("extra", {})
        for i, split in enumerate(("val", "test")):
            made = hand_written.rows(split, facts["seed"] + i, facts["column"], facts.get("skill", 2.0))
            made = [
                dataclasses.replace(row, extra={key: cell(row.score) for key, cell in extra.items()}) for row in made
            ]
            score_table.write(folder / "Results" / "scores" / name / f"{split}.csv", made)
        row = dict.fromkeys(results.COLUMNS, math.nan)
        named = {"Experiment": part, "Run": name, "Modality": "any", "Judged by": label}
        rows.append({**row, **named, "Inference (ms/sample)": 2.0 + len(rows)})
        if name == "cross_attn":
            log(folder, name)
    score_table.write_csv(folder / "Results" / "complete_results.csv", results.COLUMNS, rows)


def log(folder, run):
    path = folder / "runs" / run / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"step": 10, "train/loss": 0.5, "val/auc": 0.8}) + "\n")


def outside(folder, *, every=1, seed=5, skill=1.0, val=True):
    """Tables of three columns, as of anybody's detector, without every `every`-th clip."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, split in enumerate(("val", "test")[0 if val else 1 :]):
        rows = hand_written.rows(split, seed + i, "label", skill)
        kept = [row for place, row in enumerate(rows) if every == 1 or place % every]
        lines = [f"{row.clip_id},{row.label},{row.score}" for row in kept]
        (folder / f"{split}.csv").write_text("\n".join(["clip_id,label,score", *lines]) + "\n")
    return folder


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores(folder, run, split="test"):
    """(labels, scores, groups) of a run's table, in order of the clips."""
    rows = sorted(score_table.read(folder / "Results" / "scores" / run / f"{split}.csv"), key=lambda row: row.clip_id)
    return np.array([row.label for row in rows]), np.array([row.score for row in rows]), [row.group for row in rows]
