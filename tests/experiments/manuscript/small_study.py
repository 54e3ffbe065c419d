"""A whole study in small, written by hand: every detector of the plan, on six people, without any training."""

import json
import math
import runpy

import matplotlib.image
import numpy as np

from configs import analysis as declared
from experiments import score_table
from experiments.analysis import claims, compare, detectors, generalisation, quality
from experiments.evaluators import classification, comparison, hierarchical, late_fusion, sync, system, temporal
from experiments.figures import style
from experiments.manuscript import source
from experiments.score_table import ScoreRow
from experiments.study import plan, results

METHODS = {"real": (0, 0), "face_swap": (1, 0), "voice_clone": (0, 1), "dubbing": (0, 0)}
SEES = {"image": "video_label", "video": "video_label", "temporal_consistency": "video_label", "audio": "audio_label"}


def rows(split, seed, column):
    """Clips of six people, scored by a detector that answers for `column`."""
    rng = np.random.default_rng(seed)
    table = []
    for person in range(6):
        for method, (picture, voice) in METHODS.items():
            labels = {"label": int(method != "real"), "video_label": picture, "audio_label": voice}
            score = float(1 / (1 + np.exp(-(2 * (2 * labels[column] - 1) + rng.normal()))))
            facts = {"dataset": "talking_heads", "split": split, "identity": f"{split}{person}", "method": method}
            table.append(ScoreRow(f"{split}/{method}/{person}", score=score, **labels, **facts))
    return table


def put(folder):
    """The study."""
    finished = [_run(folder, run, i) for i, run in enumerate(plan.runs(folder, plan.Settings()))]
    _own_tables(folder / "runs")
    results.gather(folder, finished, {run.experiment.model: run for run in finished})
    _analysed(folder)
    for path in (folder / "Figures" / file for file in source.FIGURES.values()):
        style.save(style.new_figure(2, 1), path)
    for run, file in source.PICTURES.values():
        (folder / "runs" / run / "figures").mkdir(exist_ok=True)
        matplotlib.image.imsave(folder / "runs" / run / "figures" / file, np.zeros((2, 3, 3)))


def _run(folder, run, seed):
    one = run.experiment
    config = runpy.run_path(one.config)["get_config"](one.argument or None).to_dict()
    config["evaluate"] = {**config.get("evaluate", {}), "bootstrap": 20}
    config["members"] = {name: {"run": str(folder / "runs" / needed)} for name, needed in one.members.items()}
    column = SEES.get(one.name.partition("-")[0], "label")
    tables = {split: rows(split, 2 * seed + i, column) for i, split in enumerate(("val", "test"))}
    if one.name == "system":  # the columns that declared claims name
        for table in tables.values():
            for row in table:
                row.extra.update(fused_single=row.score, fused_all_log_pool=0.5, uncalibrated=row.score**2)
    for split, table in tables.items():
        score_table.write(run.folder / "scores" / f"{split}.csv", table)
    row = {"Model": one.name, "Modality": "video", "Parameters (M)": 0.1, "Training time (min)": 1.5}
    row |= {"Inference (ms/sample)": 2.5, "Peak memory (GB)": math.nan}
    row |= classification.Evaluator(judged_by=column).results(tables["val"], tables["test"], samples=20)
    for name in ("Macro-F1", "AP@0.5", "AP@0.75", "Pixel AUC"):  # of hierarchical
        row |= {name: 0.8, f"{name} low": 0.7, f"{name} high": 0.9}
    row |= {"Consistency AUC on dubbing": 0.9, "Consistency AUC low": 0.8, "Consistency AUC high": 0.95}
    (run.folder / "config.json").write_text(json.dumps(config, default=list))
    (run.folder / "environment.json").write_text(
        json.dumps({"device": "CPU", "platform": "cpu", "devices": 1, "threads": 2, "versions": {"jax": "0.10.2"}})
    )
    score_table.write_csv(run.folder / "results.csv", list(row), [row])
    return run


def _own_tables(runs):
    def write(run, table, columns, *named):
        made = [dict.fromkeys(columns, 0.75) | own for own in named]
        score_table.write_csv(runs / run / f"{table}.csv", columns, made)

    write("cross_attn", "fusion", comparison.RIVAL_COLUMNS, {"Rival": "mean of the streams"})
    write("late_fusion", "fusion_comparison", late_fusion.COLUMNS, {"Detector": "noisy_or", "Kind": "fusion"})
    write("contrastive", "consistency", classification.METHOD_COLUMNS, {"Method": "dubbing"})
    write("lip_sync", "offsets", sync.OFFSET_COLUMNS, {"Method": "network", "Windows": 1})
    write("temporal_consistency", "rivals", temporal.RIVAL_COLUMNS, {"Score": "baseline_statistics"})
    write("temporal_consistency", "conditions", temporal.RIVAL_COLUMNS, {"Score": "shuffled"})
    write("hierarchical", "types", hierarchical.TYPE_COLUMNS, {"System": "hierarchical"})
    write("hierarchical", "segments", hierarchical.SEGMENT_COLUMNS, {"Fakes": "all fakes"})
    write("hierarchical", "regions", hierarchical.REGION_COLUMNS, {"Map": "trained map"})
    write("system", "calibration", system.CALIBRATION_COLUMNS, {"Score": "the system, 50 % & more", "Column": "score"})
    write("system", "operating_points", system.POINT_COLUMNS, {"Point": "conformal"})


def _analysed(folder):
    """The tables that an analysis leaves, with few resamples and few of all pairs."""
    config = {**declared.get_config().to_dict(), "bootstrap": 20}
    everyone = detectors.read(folder, {})
    clips = detectors.clips_of(everyone)
    families = [*claims.read(config), claims.all_pairs(everyone[:2])]
    tables = {
        "statistical_analysis": (
            compare.COLUMNS,
            [row for family in families for row in compare.family_rows(family, everyone, clips, config)],
        ),
        "metrics_with_intervals": (
            quality.COLUMNS,
            [row for one in everyone for row in quality.rows(one, 0, clips, config)],
        ),
        "generalisation": (generalisation.COLUMNS, generalisation.rows(everyone, config)),
    }
    for name, (columns, found) in tables.items():
        score_table.write_csv(folder / "Results" / f"{name}.csv", columns, found)
