"""Late fusion as a run: the score tables of several detectors to one, without a model of its own.

A member is a config to train, as a run of its own in `<workdir>/members/<name>`, or a folder of score tables (val.csv,
test.csv) of any run or of anybody's detector.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import distributed, run_directory, score_table
from experiments.experiment import Produced
from experiments.figures import fusion_weights
from experiments.producers import members
from experiments.termination import Termination
from mmdf_jax.fusion import late
from mmdf_jax.stats.bootstrap import draws

WEIGHT_COLUMNS = ("Fusion", "Weight", "Value", "Low", "High")
RESAMPLES = 200  # of the fits, at most; their percentiles are for a figure


@dataclasses.dataclass(frozen=True)
class Producer:
    """Fuses `config.members` by `config.fusion`, and by all other fusions of mmdf_jax/fusion/late.py beside it."""

    def check(self, config: Mapping[str, Any], allow: Sequence[str]) -> None:
        """Refuses what is wrong with the members before any of them is trained.

        Raises:
          ValueError: `config.<name>: …`.
        """
        specs = config["members"]
        if len(specs) < 2:
            raise ValueError(f"config.members: expected two detectors or more to fuse, found {len(specs)}")
        members.check(specs, config["override"])
        compares = tuple(bool(spec.get("compares")) for spec in specs.values())
        empty = np.zeros((0, len(specs)))
        known = late.available(late.Data(tuple(specs), empty, empty, empty[:, 0], empty[:, 0], compares))
        if config["fusion"] not in known:
            raise ValueError(f"config.fusion={config['fusion']}: with these members expected one of {', '.join(known)}")

    def evaluator(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The report that compares fusions."""
        compares = [name for name, spec in config["members"].items() if spec.get("compares")]
        return {
            "name": "experiments.evaluators.late_fusion",
            "fusion": config["fusion"],
            "comparisons": compares,
        }

    def produce(
        self, config: Mapping[str, Any], workdir: pathlib.Path, allow: Sequence[str], termination: Termination
    ) -> Produced:
        """Trains the members that are not there, and writes the fused score tables of validation and test."""
        detectors = members.make(config, workdir, allow)
        if not distributed.is_primary():
            return Produced({}, None, {})
        run_directory.start_log(workdir, primary=True)  # the members' runs have written to their own
        rows = members.joined(detectors)
        run_directory.note_members(workdir, {member.name: member.folder for member in detectors})
        val, test = (members.data(detectors, rows[split]) for split in members.SPLITS)
        if len(kinds := set(val.labels.tolist())) < 2:
            kind = "fake" if 1 in kinds else "real"
            raise ValueError(
                f"late fusion is fitted on validation, which has {len(val.labels)} {kind} clips and no other"
            )
        members.warn_of_uninformative(val)
        fused = {}
        for name in late.available(val):
            fused[name] = late.cross_fitted(name, val), late.fit(name, val).apply(test.scores)
        for i, split in enumerate(members.SPLITS):
            others = {f"fused_{name}": both[i] for name, both in fused.items() if name != config["fusion"]}
            table = members.fused_rows(detectors, rows[split], fused[config["fusion"]][i], others)
            score_table.write(workdir / "scores" / f"{split}.csv", table)
        weights = _weights(val, min(RESAMPLES, config["evaluate"]["bootstrap"]))
        score_table.write_csv(workdir / "fusion_weights.csv", WEIGHT_COLUMNS, weights)
        figures = {"fusion_weights": fusion_weights.draw(weights, title=f"{workdir.name}: what each fusion weighs")}
        run = {
            "model": f"late fusion ({config['fusion']})",
            "modality": " + ".join(member.name for member in detectors),
            **members.costs(detectors),
        }
        return Produced(run, None, figures, [workdir / "fusion_weights.csv"])


def _weights(val: late.Data, resamples: int) -> list[dict[str, Any]]:
    """The weights of each fusion that fits any, with the 2.5 and 97.5 percentiles over resampled identities."""
    people = [np.flatnonzero(val.groups == group) for group in np.unique(val.groups)]
    samples = []
    for times in draws(len(people), resamples, seed=0):
        resample = val.take(np.concatenate([np.tile(rows, n) for rows, n in zip(people, times, strict=True)]))
        if len(set(resample.labels.tolist())) == 2:
            samples.append(resample)
    table = []
    for name in late.available(val):
        if name.removesuffix(late.WITH_COMPARISONS) not in late.WEIGHTS:
            continue
        penalty = late.chosen_penalty(name, val)
        fits = [late.fit(name, resample, penalty).weights for resample in samples]
        for weight, value in late.fit(name, val, penalty).weights.items():
            spread = [fit[weight] for fit in fits if weight in fit] or [float("nan")]
            low, high = np.quantile(spread, [0.025, 0.975]).tolist()
            table.append({"Fusion": name, "Weight": weight, "Value": value, "Low": low, "High": high})
    return table
