"""The numbers and phrases that a paper takes from a study's results, by the names under which its text asks for them."""

import inspect
import math
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.datasets import talking_heads
from experiments import score_table
from experiments.analysis import compare, findings, generalisation
from experiments.evaluators.classification import method_of
from experiments.manuscript import wording
from experiments.manuscript.source import Row, Study
from experiments.manuscript.wording import interval, listed, phrase, sentence
from experiments.score_table import ScoreRow
from experiments.study import plan
from experiments.study.results import SINGLE
from mmdf_jax.metrics import classification

NAME = "mmdf_jax"


def macros(study: Study) -> dict[str, str]:
    """{name of letters: text} of a study."""
    config = runpy.run_path(plan.ANALYSIS)["get_config"]().to_dict()
    return _data(study) | _protocol(study, config) | _quality(study) | _claims(study, config) | _parts(study)


def _clips(study: Study, split: str) -> list[ScoreRow]:
    """The clips of a split, as the largest detector has seen them."""
    return score_table.read(study.run("cross_attn") / "scores" / f"{split}.csv")


def _data(study: Study) -> dict[str, str]:
    val, test = _clips(study, "val"), _clips(study, "test")
    data = study.config("cross_attn")["data"]
    found = {"dataName": data["name"].replace("_", " ")}
    for split, rows in (("Val", val), ("Test", test)):
        found |= {f"clips{split}": str(len(rows)), f"people{split}": str(len({row.group for row in rows}))}
    names = {method_of(row) for row in test if row.label}
    found |= {
        "fakesTest": str(sum(row.label for row in test)),
        "methodNames": listed(wording.method(name) for name in sorted(names)),
        "windowSeconds": f"{data['window']:g}",
        "tokenMs": f"{1000 / data['streams']['mouth']['fps']:g}",
        "clipsTrain": "", "peopleTrain": "",
    }  # fmt: skip
    if study.embedded:
        known = inspect.signature(talking_heads.read).parameters
        people, clips = (data["options"].get(name, known[name].default) for name in ("train", "train_clips"))
        found |= {"peopleTrain": str(people), "clipsTrain": str(people * clips)}
    return found


def _protocol(study: Study, config: Mapping[str, Any]) -> dict[str, str]:
    trainings = min(len(one.runs) for one in study.detectors if one.part)
    environment = study.environment("cross_attn")
    minutes = sum(
        row["Training time (min)"] for row in study.tables["complete_results"] if row["Training time (min)"] > 0
    )
    weights = _weights(study)
    started = (
        f"They start from published weights ({listed(weights)})." if weights else
        "The networks are small versions of these architectures and are trained from scratch, without published weights."
    )  # fmt: skip
    if trainings == 1:
        training = (
            "Each detector was trained once. The intervals hold what other people in the test set would change, and not "
            "what another seed would."
        )
    else:
        training = (
            f"Each detector was trained with {wording.count(trainings)} seeds, which is few to know their spread."
        )
    _, _, values = generalisation.matrix(study.tables["generalisation"], generalisation.DATASET)
    datasets = int(np.isfinite(values).all(0).sum())  # that all detectors have scored
    few = datasets < config["least_datasets"]
    versions = environment["versions"]
    return {
        "codeName": NAME,
        "level": findings.level(config),
        "alpha": f"{config['alpha']:g}",
        "power": f"{config['power']:g}",
        "missShare": f"{1 - config['power']:.0%} of the time".replace("%", " %"),
        "sure": f"{compare.SURE:g}",
        "bootstrap": f"{config['bootstrap']}",
        "ropeAuc": f"{config['rope']['auc']:g}",
        "ropeBrier": f"{config['rope']['brier']:g}",
        "device": environment["device"],
        "seedSentence": f"Each is trained {'once' if trainings == 1 else f'with {wording.count(trainings)} seeds'}.",
        "trainingSentence": training,
        "encoderStart": started,
        "weightsSentence": "The published weights are named in the configurations." if weights else (
            "No published weights entered the study."
        ),
        "sizeSentence": (
            "Encoders start from published weights, and the test split holds {} people." if weights else
            "All networks are small and were trained from scratch, and the test split holds {} people."
        ).format(len({row.group for row in _clips(study, "test")}))
        + " Differences below the smallest gains of the table of claims cannot be told from none.",
        "computeSentence": f"Training took {minutes:.0f} minutes in all on {environment['device']} with "
        f"{environment['threads']} threads; no part of the study needs a graphics card at this size."
        if environment["platform"] == "cpu"
        else f"Training took {minutes / 60:.1f} hours in all on {environment['device']} ({environment['devices']} devices).",
        "versionSentence": f"The versions were {listed(f'{name} {version}' for name, version in versions.items())}.",
        "absentSentence": f"Detectors are not ranked over datasets, of which there {'is' if datasets == 1 else 'are'} "
        f"{wording.count(datasets)}." if few else "Ranks over datasets are in the tables of the study.",
    }  # fmt: skip


def _weights(study: Study) -> list[str]:
    """The published weights from which encoders start."""
    names = []
    for one in study.detectors:
        if one.part:
            names += [spec["source"] for spec in study.config(one.name).get("pretrained", {}).values()]
    return sorted(filter(None, set(names)))


def _quality(study: Study) -> dict[str, str]:
    """AUCs with their intervals: `auc<Detector>` by its own label and `clip<Detector>` by the clip's; and who is best."""
    found = {"detectorCount": wording.count(len(study.detectors))}
    for stream, names in _single(study).items():
        best = max(names, key=lambda name: _validation(study, name, study.detector(name).judged_by))
        found |= {f"best{stream}": phrase(best), f"best{stream}Auc": _auc(study, best, study.detector(best).judged_by)}
        found[f"best{stream}Clip"] = _auc(study, best, "label")
    singles = [one.name for one in study.detectors if one.single]
    best = max(singles, key=lambda name: _validation(study, name, "label"))
    found |= {"bestSingle": phrase(best), "bestSingleAuc": _auc(study, best, "label")}
    found["systemAuc"] = _auc(study, "system", "label")
    return found


def _single(study: Study) -> dict[str, list[str]]:
    parts = {f"{number:02d}": stream.capitalize() for number, stream in SINGLE.items()}
    found: dict[str, list[str]] = {}
    for one in study.detectors:
        if one.part in parts:
            found.setdefault(parts[one.part], []).append(one.name)
    return found


def _validation(study: Study, name: str, label: str) -> float:
    """AUC on validation of the training that is best there; -1 where it is unknown."""
    one = study.detector(name)
    rows = [row for row in one.tables[one.best].get("val", {}).values() if row.scored]
    value = classification.auc([getattr(row, label) for row in rows], [row.score for row in rows])
    return -1.0 if math.isnan(value) else value


def _auc(study: Study, name: str, label: str) -> str:
    row = study.quality(name, "AUC", label)
    return interval(math.nan) if row is None else interval(row["Value"], row["Low"], row["High"])


def _claims(study: Study, config: Mapping[str, Any]) -> dict[str, str]:
    declared = study.claims
    families: dict[str, list[Row]] = {}
    for row in declared:
        families.setdefault(row["Family"], []).append(row)
    others = [row for row in study.tables["statistical_analysis"] if row["Declared"] == "no"]
    found = {
        "claimTotal": sentence(wording.count(len(declared))).removesuffix("."),
        "familyTotal": wording.count(len(families)),
        "claimCounts": wording.counts(declared, "that were declared"),
        "fusionCounts": wording.counts(
            families.get("fusion", []), "that a fusion is better than the best single stream"
        ),
        "dubbingCounts": wording.counts(
            families.get("dubbing", []), "about clips whose streams are genuine but disagree"
        ),
        "pairsSentence": findings.pairs(others),
    }
    for family in config["families"]:
        own = families.get(family["name"], [])
        found[f"{family['name']}Verdict"] = wording.verdicts(own) if own else "No claim about this was tested."
    return found


def _parts(study: Study) -> dict[str, str]:
    """What single runs report of themselves."""
    sync = {str(row["Windows"]): row for row in study.table("lip_sync", "offsets") if row["Method"] == "network"}
    hierarchical = score_table.read_csv(study.run("hierarchical") / "results.csv")[0]
    contrastive = score_table.read_csv(study.run("contrastive") / "results.csv")[0]
    return {
        "lateMembers": wording.count(len(study.config("late_fusion")["members"])),
        "syncWindow": wording.of(sync.get("1.0"), "Accuracy"),
        "syncClip": wording.of(sync.get("clip"), "Accuracy"),
        "consistencyAuc": interval(
            *(
                contrastive[name]
                for name in ("Consistency AUC on dubbing", "Consistency AUC low", "Consistency AUC high")
            )
        ),
        "macroF": wording.of(hierarchical, "Macro-F1"),
        "apHalf": wording.of(hierarchical, "AP@0.5"),
        "apThree": wording.of(hierarchical, "AP@0.75"),
        "pixelAuc": wording.of(hierarchical, "Pixel AUC"),
        "dubbingNumbers": _dubbing(study),
        "temporalNumbers": _temporal(study),
        "twinSentence": _twins(study),
        "operatingSentence": _operating(study),
        "ablationSentence": _ablation(study),
        "shuffleSentence": _shuffled(study),
    }


def _dubbing(study: Study) -> str:
    """On each method that no stream shows alone: a detector that compares, and the highest of those that do not."""
    names = list(dict.fromkeys(row["Methods"] for row in study.claims if row["Family"] == "dubbing"))
    sentences = []
    for name in names[0].split() if names else []:
        rows = {one.name: study.by_method(one.name).get(name) for one in study.detectors}
        singles = [rows[one.name] for one in study.detectors if one.single and rows[one.name]]
        if not singles or not rows.get("cross_attn"):
            continue
        highest = max(singles, key=lambda row: row["Clip AUC"])
        own = wording.of(rows["cross_attn"], "Clip AUC")
        sentences.append(
            f"On {wording.method(name)}, cross-modal attention has an AUC of {own}, and no detector of a single stream has "
            f"more than {wording.of(highest, 'Clip AUC')}."
        )
    return " ".join(sentences)


def _temporal(study: Study) -> str:
    rows = {row["Score"]: row for row in study.table("temporal_consistency", "rivals")}
    text = f"Temporal consistency has an AUC of {_auc(study, 'temporal_consistency', 'video_label')} by whether the picture is fake"
    if row := rows.get("baseline_statistics"):
        text += f"; a logistic regression on its statistics of flicker and motion alone has {wording.of(row, 'AUC')}"
    return text + "."


def _shuffled(study: Study) -> str:
    rows = {row["Score"]: row for row in study.table("temporal_consistency", "conditions")}
    if not (row := rows.get("shuffled")):
        return ""
    return (
        f"With its frames in random order temporal consistency has an AUC of {wording.of(row, 'AUC')}, which says how much of "
        "what it sees is not their order."
    )


def _ablation(study: Study) -> str:
    rows = study.table("cross_attn", "fusion")
    if not rows:
        return ""
    own = max(rows, key=lambda row: row["AUC"])
    return (
        f"Without the joint head, cross-modal attention reaches at most {wording.of(own, 'AUC')} ({own['Rival']}); the joint "
        f"head gains {findings.gain({'Gain': own['Difference'], 'Gain low': own['Difference low'], 'Gain high': own['Difference high']})} over that."
    )


def _twins(study: Study) -> str:
    """Detectors that say the same of every clip, and so are one under two names."""
    from experiments.analysis.detectors import twins

    pairs = twins(study.detectors)
    return " ".join(
        sentence(f"{phrase(a)} and {phrase(b)} are one network at this size and give every clip the same score")
        for b, a in pairs
    )


def _operating(study: Study) -> str:
    rows: Sequence[Row] = study.table("system", "operating_points")
    if not rows:
        return ""
    row = rows[-1]
    return (
        f"Between its thresholds the system abstains from a share of {wording.of(row, 'Abstained')} of the clips; of the "
        f"others it calls {wording.of(row, 'False alarms')} of the real ones fake and misses {wording.of(row, 'Misses')} of the fakes."
    )
