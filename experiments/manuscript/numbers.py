"""The numbers and phrases that a paper takes from a study's results, by the names that its text asks for."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from configs import analysis
from data_pipelines.datasets import talking_heads
from experiments import score_table
from experiments.analysis import compare, findings, generalisation
from experiments.analysis.detectors import twins
from experiments.evaluators.classification import method_of
from experiments.manuscript import wording
from experiments.manuscript.source import Study
from experiments.manuscript.wording import interval, listed, phrase, sentence
from experiments.score_table import ScoreRow
from experiments.study import plan
from experiments.study.results import SINGLE
from mmdf_jax.metrics import classification

NAME = "mmdf_jax"
_TRAINED = {one.number for one in plan.EXPERIMENTS if not one.members}  # fusions of tables train nothing
_ABOUT = {  # the claims of each family, in a sentence
    "fusion": "that a fusion is better than the best single stream",
    "joint": "that training on all streams is better than fusing scores",
    "dubbing": "about clips whose streams are genuine but disagree",
    "time": "about what time adds to pictures",
    "system": "about choosing and combining",
    "calibration": "about calibration",
}


def macros(study: Study) -> dict[str, str]:
    """{name of letters: text} of a study."""
    config = analysis.get_config().to_dict()
    return _data(study) | _protocol(study, config) | _quality(study) | _claims(study) | _parts(study)


def _clips(study: Study, split: str) -> list[ScoreRow]:
    """The clips of a split, as the largest detector has seen them."""
    return score_table.read(study.run("cross_attn") / "scores" / f"{split}.csv")


def _data(study: Study) -> dict[str, str]:
    val, test = _clips(study, "val"), _clips(study, "test")
    data = study.config("cross_attn")["data"]
    found = {"dataName": wording.dataset(data["name"])}
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
    return {
        "codeName": NAME,
        "level": findings.level(config).replace(" ", "\u00a0"),
        "alpha": f"{config['alpha']:g}",
        "power": f"{config['power']:g}",
        "missShare": f"{1 - config['power']:.0%}".replace("%", "\u00a0%"),
        "sure": f"{compare.SURE:g}",
        "bootstrap": f"{config['bootstrap']}",
        "ropeAuc": f"{config['rope']['auc']:g}",
        "ropeBrier": f"{config['rope']['brier']:g}",
        **_trainings(study),
        **_starts(study),
        **_machine(study),
        "absentSentence": _datasets(study, config["least_datasets"]),
    }


def _trainings(study: Study) -> dict[str, str]:
    seeds = min(len(one.runs) for one in study.detectors if one.part)
    if seeds == 1:
        limits = (
            "Each detector was trained once. The intervals hold what other people in the test set would change, and "
            "not what another seed would."
        )
    else:
        limits = (
            f"Each detector was trained with {wording.count(seeds)} seeds, which is few to know how far they spread."
        )
    how = "once" if seeds == 1 else f"with {wording.count(seeds)} seeds"
    return {"seedSentence": f"Each is trained {how}.", "trainingSentence": limits}


def _starts(study: Study) -> dict[str, str]:
    """What the encoders start from, and what that means for what follows."""
    people = len({row.group for row in _clips(study, "test")})
    told = "Differences below the smallest gains in the table of claims cannot be told from none."
    if weights := _weights(study):
        return {
            "encoderStart": f"They start from published weights ({listed(weights)}).",
            "weightsSentence": "The published weights that encoders start from are named in the configurations.",
            "sizeSentence": f"The test split holds {people} people. {told}",
        }
    return {
        "encoderStart": "The networks are small versions of these architectures and are trained from scratch, without "
        "published weights.",
        "weightsSentence": "No published weights entered the study.",
        "sizeSentence": f"All networks are small and were trained from scratch, and the test split holds {people} "
        f"people. {told}",
    }


def _machine(study: Study) -> dict[str, str]:
    """Where the largest detector ran, and how long all trainings took."""
    found = study.environment("cross_attn")
    times = [row["Training time (min)"] for row in study.tables["complete_results"] if row["Experiment"] in _TRAINED]
    minutes = sum(time for time in times if time > 0)
    took = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    cores = f"{found['threads']} threads" if found["platform"] == "cpu" else f"{found['devices']} devices"
    versions = listed(f"{name} {version}" for name, version in found["versions"].items())
    return {
        "device": found["device"],
        "computeSentence": f"Training took {took} in all, on {found['device']} ({cores}).",
        "versionSentence": f"The versions were {versions}.",
    }


def _datasets(study: Study, least: int) -> str:
    _, _, values = generalisation.matrix(study.tables["generalisation"], generalisation.DATASET)
    common = int(np.isfinite(values).all(0).sum())  # datasets that all detectors have scored
    if common >= least:
        return "Ranks over datasets are among the tables of the study."
    verb = "is" if common == 1 else "are"
    return f"Detectors are not ranked over datasets, of which there {verb} {wording.count(common)}."


def _weights(study: Study) -> list[str]:
    """The published weights from which encoders start."""
    names = []
    for one in study.detectors:
        if one.part:
            names += [spec["source"] for spec in study.config(one.name).get("pretrained", {}).values()]
    return sorted(filter(None, set(names)))


def _quality(study: Study) -> dict[str, str]:
    """Which detectors of single streams are best on validation, and their AUCs on test."""
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


def _claims(study: Study) -> dict[str, str]:
    declared = study.claims
    others = [row for row in study.tables["statistical_analysis"] if row["Declared"] == "no"]
    found = {
        "claimTotal": wording.count(len(declared)).capitalize(),
        "familyTotal": wording.count(len({row["Family"] for row in declared})),
        "claimCounts": wording.counts(declared, "that were declared"),
        "pairsSentence": findings.pairs(others),
    }
    for family, about in _ABOUT.items():
        own = [row for row in declared if row["Family"] == family]
        none = f"No claim {about} was made."
        found |= {f"{family}Counts": wording.counts(own, about) or none}
        found |= {f"{family}Verdict": wording.verdicts(own) or none}
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
    methods = next((row["Methods"].split() for row in study.claims if row["Family"] == "dubbing"), [])
    sentences = []
    for method in methods:
        rows = {one.name: study.by_method(one.name).get(method) for one in study.detectors}
        singles = [rows[one.name] for one in study.detectors if one.single and rows[one.name]]
        if singles and rows["cross_attn"]:
            highest = max(singles, key=lambda row: row["Clip AUC"])
            sentences.append(
                f"On {wording.method(method)}, cross-modal attention has an AUC of "
                f"{wording.of(rows['cross_attn'], 'Clip AUC')}, and no detector of a single stream has more than "
                f"{wording.of(highest, 'Clip AUC')}."
            )
    return " ".join(sentences)


def _temporal(study: Study) -> str:
    rows = {row["Score"]: row for row in study.table("temporal_consistency", "rivals")}
    own = _auc(study, "temporal_consistency", "video_label")
    text = f"Temporal consistency has an AUC of {own} by whether the picture is fake"
    if row := rows.get("baseline_statistics"):
        text += f"; a logistic regression on its statistics of flicker and motion alone has {wording.of(row, 'AUC')}"
    return text + "."


def _shuffled(study: Study) -> str:
    rows = {row["Score"]: row for row in study.table("temporal_consistency", "conditions")}
    if not (row := rows.get("shuffled")):
        return ""
    return (
        f"With its frames in random order temporal consistency has an AUC of {wording.of(row, 'AUC')}, which says how "
        "much of what it sees is not their order."
    )


def _ablation(study: Study) -> str:
    rows = study.table("cross_attn", "fusion")
    if not rows:
        return ""
    best = max(rows, key=lambda row: row["AUC"])
    gain = wording.gain({f"Gain{end}": best[f"Difference{end}"] for end in ("", " low", " high")})
    return (
        f"Without the joint head, cross-modal attention reaches at most {wording.of(best, 'AUC')} ({best['Rival']}); "
        f"the joint head gains {gain} over that."
    )


def _twins(study: Study) -> str:
    """Detectors that say the same of every clip, and so are one under two names."""
    return " ".join(
        sentence(f"{phrase(a)} and {phrase(b)} are one network at this size and give every clip the same score")
        for b, a in twins(study.detectors)
    )


def _operating(study: Study) -> str:
    """What the system does between and beyond its conformal thresholds, which stand last in the table."""
    rows = study.table("system", "operating_points")
    if not rows:
        return ""
    abstained, alarms, misses = (wording.of(rows[-1], name) for name in ("Abstained", "False alarms", "Misses"))
    return (
        f"Between its thresholds the system abstains from a share of {abstained} of the clips; of the others it calls "
        f"{alarms} of the real ones fake and misses {misses} of the fakes."
    )
