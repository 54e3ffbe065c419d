"""A system ready to judge files: its members' models, loaded and compiled, and the scales of their scores."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np

from data_pipelines import batch as batch_lib
from data_pipelines import cache
from data_pipelines.prepare import extract
from experiments import best_model, model_from_config, prepare, run_directory, score_table, system_file
from experiments.system_file import System
from experiments.verdict import quality
from experiments.verdict.distance import Reference
from experiments.verdict.evidence import Scale, StreamScale, stream_scales

BATCH = 8  # windows: the one shape that is compiled
LOADERS = 2  # models that are loaded at a time
STRETCH = 5.0  # s of a file that are judged as one clip, where the durations of the validation clips are not known
MOVING = ("video", "mouth")  # streams that a single picture cannot fill


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained model, compiled over batches of BATCH windows.

    predict: a batch to the task's outputs of each window, and `map [b n h w]` where the model shows a place: the
    localisation (`places` is "localisation"), or attention ("attention"), "" for none. streams: how its columns that
    answer for one stream are read as evidence.
    """

    task: Any
    predict: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]
    places: str
    streams: tuple[StreamScale, ...]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """One trained run: what it reads of a file, and its model.

    data: its config's data section, for windows that begin half a window apart at most. crops: of its records.
    loading: gives the model; it is loaded and compiled while the first file is decoded.
    """

    name: str
    run: pathlib.Path
    data: Mapping[str, Any]
    crops: extract.Crops
    loading: futures.Future

    @property
    def model(self) -> Model:
        """The model, once it is there.

        Raises:
          FileNotFoundError, ValueError: nothing was trained in the run, or its weights are damaged; one line.
        """
        return self.loading.result()

    @property
    def window(self) -> float:
        return self.data["window"]

    @property
    def sees(self) -> bool:
        """Whether it reads pictures."""
        return bool(set(self.data["streams"]) - {"audio"})


@dataclasses.dataclass(frozen=True)
class Detector:
    """A system and all that it needs to judge a file.

    member_of: of each of the system's members, the index of its scorer. digest: SHA-256 of the system's description.
    reference: measures of the validation clips; None where there are none, and `no_reference` says why. measured: the
    crops that these were measured in, and that a file must be measured in too.
    """

    system: System
    digest: str
    scorers: tuple[Scorer, ...]
    member_of: tuple[int, ...]
    scale: Scale
    reference: Reference | None
    no_reference: str
    measured: extract.Crops

    @property
    def stretch(self) -> float:
        """s of a file that are judged as one clip: as long as the validation clips are."""
        return self.reference.seconds if self.reference else STRETCH

    @property
    def window(self) -> float:
        """The longest window of the scorers, s."""
        return max(scorer.window for scorer in self.scorers)


def load(model: pathlib.Path, allow: Sequence[str] = ()) -> Detector:
    """The detector that `model` names: a trained run, an exported model, a study, or a system.json.

    Raises:
      FileNotFoundError, ValueError: there is none, or it is half done, damaged or of another version; one line.
    """
    system, folder = find(model, allow)
    _cache_compiled()
    loaders, scorers = futures.ThreadPoolExecutor(LOADERS), {}
    for member in system.members:
        if not member.run:
            raise ValueError(f"--model={model}: member {member.name} is a score table, which cannot judge a file")
        run = folder / member.run
        if not run.is_dir():
            raise FileNotFoundError(
                f"--model={model}: member {member.name} is not at {run}; a system and its members move together"
            )
        system_file.refuse_other_digest(member, system_file.digest_of(run), run)
        if member.run not in scorers:
            name = run.resolve().name if member.run == "." else member.name
            scorers[member.run] = _scorer(name, run, allow, loaders)
    places = tuple(list(scorers).index(member.run) for member in system.members)
    seeing_first = sorted(scorers.values(), key=lambda scorer: not scorer.sees)
    kept = next((scorer for scorer in seeing_first if (scorer.run / quality.TABLE).is_file()), seeing_first[0])
    reference, no_reference = _reference(kept.run)
    return Detector(
        system=system,
        digest=hashlib.sha256(json.dumps(_described(system), sort_keys=True).encode()).hexdigest(),
        scorers=tuple(scorers.values()),
        member_of=places,
        scale=Scale(system, folder),
        reference=reference,
        no_reference=no_reference,
        measured=kept.crops,
    )


def find(model: pathlib.Path, allow: Sequence[str] = ()) -> tuple[System, pathlib.Path]:
    """The system that `model` names, and the folder that its members' runs are relative to; errors as `load`."""
    study = model / "runs" / "system" / system_file.FILE
    if model.is_file():
        return system_file.read(model), model.parent
    if study.is_file():
        return system_file.read(study), study.parent
    if (model / "study.json").is_file():
        raise FileNotFoundError(f"--model={model}: this study has no {study.relative_to(model)} yet; let it finish")
    if not (model / "config.json").is_file() and not (model / system_file.FILE).is_file():
        raise FileNotFoundError(
            f"--model={model}: expected a trained run, an exported model, a study or a system.json, found none"
        )
    if not any((model / name).is_file() for name in (system_file.FILE, "scores/val.csv")):
        raise FileNotFoundError(f"--model={model}: this run has no scores/val.csv yet; let it finish")
    return system_file.of_run(model, allow=allow), model


def _described(system: System) -> dict[str, Any]:
    members = [f"{member.name} {member.digest} {member.column} {member.calibration}" for member in system.members]
    rest = [system.ensemble, dict(system.weights), str(system.calibration), system.prior, list(system.llr_bounds)]
    return {"members": members, "rest": rest}


def _scorer(name: str, run: pathlib.Path, allow: Sequence[str], loaders: futures.Executor) -> Scorer:
    config = run_directory.read_config(run)
    data = {**config["data"], "targets": {}, "augment": (), "degrade": (), "batch_size": BATCH}
    data["stride"] = config["evaluate"].get("stride", 0.0) or data["window"] / 2
    loading = loaders.submit(_load_model, run, config, data, allow)
    return Scorer(name, run, data, prepare.crops_from(config["data"]["crops"]), loading)


def _load_model(run: pathlib.Path, config: Mapping[str, Any], data: Mapping[str, Any], allow: Sequence[str]) -> Model:
    best, zeros, places = best_model.load(run, config, allow), batch_lib.zeros(data, BATCH), ""

    @jax.jit
    def predict(variables: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        nonlocal places
        found = model_from_config.apply(best.model, variables, batch, capture=("attention",))
        scores = {name: batch[name] for name in ("clip_index", "window_start", "mask")}
        scores |= best.task.outputs(found, batch)
        if "map_logits" in found:
            places, scores["map"] = "localisation", jax.nn.sigmoid(found["map_logits"])
        elif "image" in found.get("attention", {}):
            places, scores["map"] = "attention", found["attention"]["image"]
        return scores

    traced = predict.trace(best.variables, zeros)
    columns = [
        name
        for name, value in traced.out_info.items()
        if value.ndim == 1 and name not in ("clip_index", "window_start", "mask")
    ]
    streams, compiled = tuple(stream_scales(run, columns, list(data["streams"]))), traced.lower().compile()
    return Model(best.task, lambda batch: jax.device_get(compiled(best.variables, batch)), places, streams)


def _cache_compiled() -> None:
    """Compiled models are kept beside the records: the second file waits for no compiler."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache.root() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _reference(run: pathlib.Path) -> tuple[Reference | None, str]:
    """The measures of a run's validation clips; or None, and why there are none.

    Raises:
      ValueError: the table of measures is damaged, or of other clips than the run's validation; one line.
    """
    path, scores = run / quality.TABLE, run / "scores" / "val.csv"
    if not path.is_file():
        return None, f"the run has no {quality.TABLE}, the measures of its validation clips"
    measures = quality.read(path)
    groups = {row.clip_id: row.group for row in score_table.read(scores)}
    if unknown := [clip_id for clip_id in measures["clip_id"] if clip_id not in groups]:
        raise ValueError(f"{path}: clip {unknown[0]!r} is not in {scores}; train the run again")
    try:
        return Reference(measures, [groups[clip_id] for clip_id in measures["clip_id"]]), ""
    except ValueError as error:
        return None, str(error)
