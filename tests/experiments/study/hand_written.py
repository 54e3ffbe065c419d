"""Run directories written by hand: what a finished run leaves, without any training."""

import csv
import functools
import json
import shutil

import jax
import numpy as np

from configs import video
from experiments import checkpoints, model_from_config, score_table
from experiments.evaluators import classification
from experiments.score_table import ScoreRow

METHODS = {"real": (0, 0), "face_swap": (1, 0), "voice_clone": (0, 1), "dubbing": (0, 0)}


def config():
    """A detector whose model has parameters and batch statistics."""
    small = video.get_config("encoder=resnet3d").to_dict()
    small["evaluate"]["bootstrap"] = 30
    return json.loads(json.dumps(small))


@functools.cache
def variables(seed=0):
    """Arbitrary values in the shapes of that model."""
    model, rng = model_from_config.make_model(config()), np.random.default_rng(seed)
    abstract = jax.eval_shape(functools.partial(model_from_config.init, model, config()), jax.random.key(0))
    kept = {"params": abstract["params"], "batch_stats": abstract["batch_stats"]}
    drawn = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), kept)
    return {**drawn, "batch_stats": jax.tree.map(np.abs, drawn["batch_stats"])}  # variances are not negative


def rows(split, seed, column="label", skill=2.0):
    """Clips of six people, scored by a detector that answers for `column`."""
    rng = np.random.default_rng(seed)
    table = []
    for person in range(6):
        for method, (picture, voice) in METHODS.items():
            labels = {"label": int(method != "real"), "video_label": picture, "audio_label": voice}
            for take in range(2):
                score = float(1 / (1 + np.exp(-(skill * (2 * labels[column] - 1) + rng.normal()))))
                clip = f"{split}/{method}/{person}_{take}"
                facts = {"dataset": "talking_heads", "split": split, "identity": f"{split}{person}", "method": method}
                table.append(ScoreRow(clip, score=score, **labels, **facts))
    return table


def put(folder, *, seed=0, column="video_label", skill=2.0, best=0.5, changes=None):
    """A finished run in `folder`; best: what its checkpoint reached on validation, None for a fusion of tables."""
    own = {**config(), **(changes or {})}
    own["task"] = {**own["task"], "target": column}
    tables = {split: rows(split, 10 * seed + i, column, skill) for i, split in enumerate(("val", "test"))}
    for split, table in tables.items():
        score_table.write(folder / "scores" / f"{split}.csv", table)
    row = {"Model": folder.name, "Modality": "video", "Parameters (M)": 0.1, "Training time (min)": 1.5}
    evaluator = classification.Evaluator(judged_by=column)
    row |= {"Inference (ms/sample)": 2.5, "Peak memory (GB)": float("nan")}
    row |= evaluator.results(tables["val"], tables["test"], samples=30)
    (folder / "log.txt").write_text(f"log of {folder.name}\n")
    (folder / "report.txt").write_text(f"report on {folder.name}\n")
    if best is None:
        fusion = {"producer": {"name": "experiments.producers.late_fusion"}, "fusion": "soft", "members": {}}
        own = {**fusion, "evaluate": own["evaluate"]}
    else:
        copy_checkpoint(folder / "checkpoints", best, seed)
    (folder / "config.json").write_text(json.dumps(own))
    score_table.write_csv(folder / "results.csv", list(row), [row])


_MADE = {}  # {(best, seed): a folder}: Orbax takes a while


def copy_checkpoint(folder, best, seed):
    if made := _MADE.get((best, seed)):
        shutil.copytree(made, folder)
        return
    saved = checkpoints.Checkpoints(folder)
    saved.save("best", 6, variables(seed), {"best": best, "best_step": 6, "seconds": 1.25, "since_best": 0})
    saved.close()
    _MADE[best, seed] = folder


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
