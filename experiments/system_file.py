"""`system.json`: a calibrated detector as one small file. What it fuses, how, how far its numbers carry, and on what
data they were measured.

The file names its members by the digest of their parameters and holds everything else: each member's calibration, the
ensemble's weights, the calibration of the fused probability, bounds of the likelihood ratio, thresholds, and operating
points with their error rates. A checksum over all of it refuses a file that was changed by hand.

    {"schema": 1, "name": …, "members": [{"name", "run", "digest", "column", "label", "compares", "streams",
     "calibration"}], "ensemble": …, "weights": {…}, "calibration": {…}, "prior": …, "llr_bounds": [low, high],
     "thresholds": {"balanced": …, "conformal": {"error", "low", "high"}}, "operating_points": [{"what", "threshold":
     {"low", "high"}, "false_alarms": [rate, low, high], "misses": …, "abstained": …, "clips", "identities", "data":
     {"dataset", "split"}}], "ood": null, "data": {"dataset", "split", "clips", "identities", "embedded"},
     "code": {"mmdf_jax", "python", "jax", "numpy"}, "sha256": …}

A probability is P(fake) where fakes are as frequent as in the calibration set, `prior`. In a pair `low`, `high` null
is minus and plus infinity; elsewhere it is an unknown number.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from experiments import (
    checkpoints,
    exported_model,
    files,
    model_from_config,
    operating_points,
    run_directory,
    score_table,
)
from experiments.score_table import ScoreRow
from mmdf_jax.fusion import late
from mmdf_jax.metrics import calibrators, likelihood
from mmdf_jax.metrics.calibrators import Calibrator, Scaling
from mmdf_jax.tasks.detection import own_label

SCHEMA = 1  # raise it when an older program could not read the new form, or the reverse
FILE = "system.json"
EMBEDDED = "talking_heads"  # the dataset that is a stand-in for real fakes


@dataclasses.dataclass(frozen=True)
class Member:
    """A detector in a system.

    run: the folder with its config.json, relative to the system.json; "" for tables made elsewhere. digest: SHA-256 of
    its parameters (checkpoints.digest), or of its validation table where there is no run. column: of its score tables,
    P(fake), judged by the clip's column `label`. compares: whether it compares streams. streams: those that it reads.
    calibration: of its own score, for the label that it answers for.
    """

    name: str
    run: str
    digest: str
    column: str
    label: str
    compares: bool
    streams: tuple[str, ...]
    calibration: Calibrator


@dataclasses.dataclass(frozen=True)
class System:
    """What a system.json says, see the head of this file; all that it computes is in numpy.

    weights: by the names of mmdf_jax/fusion/late.py's `weight_names`; in a log_pool they say how often each member
    counts. llr_bounds: natural logarithms. ood: for later use, None.
    """

    name: str
    members: tuple[Member, ...]
    ensemble: str
    weights: Mapping[str, float]
    calibration: Calibrator
    prior: float
    llr_bounds: tuple[float, float]
    thresholds: Mapping[str, Any]
    operating_points: tuple[Mapping[str, Any], ...]
    data: Mapping[str, Any]
    code: Mapping[str, str]
    ood: Mapping[str, Any] | None = None

    def member_probability(self, i: int, scores: np.ndarray) -> np.ndarray:
        """Calibrated P(fake) [n] of member i, for the label that it answers for, from its scores [n]; nan stays nan."""
        return self.members[i].calibration(scores)

    def fused(self, scores: np.ndarray) -> np.ndarray:
        """The ensemble's score [n] in [0, 1] of the members' scores [n m], before the last calibration.

        A member without a score (nan) is left out; a clip that no member has scored stays nan.
        """
        scores = np.asarray(scores, float)
        own = np.stack([self.member_probability(i, scores[:, i]) for i in range(len(self.members))], axis=1)
        names = late.weight_names(self.ensemble, [member.name for member in self.members])
        return late.combine(self.ensemble, own, np.array([self.weights[name] for name in names]))

    def probability(self, scores: np.ndarray, prior: float | None = None) -> np.ndarray:
        """P(fake) [n] of the members' scores [n m]; at the calibration set's share of fakes, or at a stated `prior`.

        At a stated prior it follows from the likelihood ratio, within that one's bounds.
        """
        if prior is not None:
            return likelihood.probability(self.llr(scores), prior)
        return self.calibration(self.fused(scores))

    def llr(self, scores: np.ndarray) -> np.ndarray:
        """log(P(evidence | fake) / P(evidence | real)) [n], natural, within `llr_bounds`."""
        return np.clip(likelihood.log_lr(self.probability(scores), self.prior), *self.llr_bounds)

    def verdicts(self, probability: np.ndarray) -> np.ndarray:
        """1 fake, 0 real, -1 neither, [n], by the conformal thresholds; also where there is no probability."""
        low, high = (self.thresholds["conformal"][side] for side in ("low", "high"))
        return operating_points.decide(np.asarray(probability, float), low, high)


# What a system says of itself


def data_of(rows: Sequence[ScoreRow], split: str) -> dict[str, Any]:
    """What a system says of the data that it was calibrated on."""
    dataset = operating_points.datasets(rows)
    return {
        "dataset": dataset,
        "split": split,
        "clips": len(rows),
        "identities": len({row.group for row in rows}),
        "embedded": EMBEDDED in dataset.split(" + "),
    }


def code() -> dict[str, str]:
    """The versions that a system was made with."""
    try:
        own = metadata.version("mmdf_jax")
    except metadata.PackageNotFoundError:
        own = ""  # run from a checkout that is not installed
    return {
        "mmdf_jax": own,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("jax", "numpy")},
    }


# A trained run as a system of one member


def of_run(workdir: pathlib.Path, *, samples: int = 2000, allow: Sequence[str] = ()) -> System:
    """The system of a folder: what its system.json says, or of a trained run a system of one member, run ".".

    Its calibration is chosen on scores/val.csv, and its operating points have the error rates of scores/test.csv.

    Raises:
      FileNotFoundError: no config, no tables, or no checkpoint there.  ValueError: validation has one class only or
        fewer than two identities, or the run has no P(fake); one line.
    """
    if (workdir / FILE).is_file():
        return read(workdir / FILE)
    config = run_directory.read_config(workdir)
    if "model" not in config:
        raise ValueError(f"{workdir}: this run has no model and no {FILE}; expected a trained run or a system")
    task = model_from_config.make_task(config, allow)
    target, compares = model_from_config.judged_by(config, allow), getattr(task, "compares_streams", False)
    val, test = (_scored(workdir / "scores" / f"{split}.csv", target, compares) for split in ("val", "test"))
    rows = [row for _, row in val]
    labels, scores = np.array([label for label, _ in val]), np.array([row.score for row in rows])
    try:
        calibration, limits = operating_points.calibrate(labels, scores, [row.group for row in rows])
    except ValueError as error:
        raise ValueError(f"{workdir / 'scores' / 'val.csv'}: {error}") from None
    on_test = calibration.calibrator(np.array([row.score for _, row in test]))
    points = operating_points.measured(
        limits.thresholds, [row for _, row in test], np.array([label for label, _ in test]), on_test, samples=samples
    )
    return System(
        name=workdir.resolve().name,
        members=(
            Member(
                name="model",
                run=".",
                digest=digest_of(workdir),
                column="score",
                label=target,
                compares=compares,
                streams=tuple(sorted(config["data"]["streams"])),
                calibration=calibration.calibrator,
            ),
        ),
        ensemble="log_pool",
        weights={"model": 1.0},
        calibration=Scaling(),
        prior=limits.prior,
        llr_bounds=limits.llr_bounds,
        thresholds=limits.thresholds,
        operating_points=points,
        data=data_of(rows, "val"),
        code=code(),
    )


def _scored(path: pathlib.Path, target: str, compares: bool) -> list[tuple[int, ScoreRow]]:
    """(the label that the detector answers for, row) of the clips that have both."""
    rows = [(own_label(row, target, compares), row) for row in score_table.read(path) if row.scored]
    if not (known := [(label, row) for label, row in rows if label >= 0]):
        raise ValueError(f"{path}: expected clips with a score, P(fake), found none")
    return known


def digest_of(run: pathlib.Path) -> str:
    """The digest of a trained run's best parameters, as its checkpoint has recorded them, or of an exported model's.

    Raises:
      FileNotFoundError: nothing was trained there.  ValueError: the checkpoint is damaged.
    """
    if exported_model.is_exported(run):
        return checkpoints.digest(exported_model.contents(run)["arrays"])
    if not (run / "checkpoints").is_dir():  # opening checkpoints would make the folder
        raise FileNotFoundError(f"{run}: no trained run there; expected a run with checkpoints, or an exported model")
    saved = checkpoints.Checkpoints(run / "checkpoints")
    try:
        return saved.digest("best")
    finally:
        saved.close()


def digest_of_table(path: pathlib.Path) -> str:
    """The SHA-256 of a score table's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refuse_other_digest(member: Member, found: str, where: pathlib.Path) -> None:
    """Raises ValueError, one line, where a member's parameters are not those that the system was calibrated with."""
    if found != member.digest:
        raise ValueError(
            f"{where}: member {member.name} of this system had parameters of digest {member.digest[:12]}…, found "
            f"{found[:12]}…; the run was trained again, so make the system again too"
        )


# The file


def read(path: str | os.PathLike) -> System:
    """The system that a file holds.

    Raises:
      FileNotFoundError: there is none.  ValueError: it is no system.json, of another schema, changed since it was
        written, or a part of it is not what is expected; one line.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected a {FILE}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict) or "schema" not in content or "members" not in content:
        raise ValueError(f"{path}: expected a system, an object with `schema` and `members`")
    if content["schema"] != SCHEMA:
        raise ValueError(
            f"{path}: a system of schema {content['schema']!r}; this program reads schema {SCHEMA}. Use the version "
            f"of the program that wrote it ({(content.get('code') or {})}), or make the system again"
        )
    digest = content.pop("sha256", None)
    if digest != _sha256(content):
        raise ValueError(f"{path}: its checksum does not fit: it was changed after it was written; make it again")
    try:
        _expect(content, _SHAPE, "")
        return _from_data(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write(path: str | os.PathLike, system: System) -> None:
    """Writes a system, atomically."""
    content = _to_data(system)
    text = json.dumps({**content, "sha256": _sha256(content)}, indent=1, ensure_ascii=False, allow_nan=False)
    files.write_text(path, text + "\n")


def _sha256(content: Mapping[str, Any]) -> str:
    """Of the canonical JSON: sorted keys, no spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _to_data(system: System) -> dict[str, Any]:
    content = {field.name: getattr(system, field.name) for field in dataclasses.fields(system)}
    content["members"] = [
        {**vars(member), "calibration": calibrators.as_data(member.calibration)} for member in system.members
    ]
    content["calibration"] = calibrators.as_data(system.calibration)
    return files.finite({"schema": SCHEMA, **content})


_NUMBER, _MAYBE = (int, float), (int, float, type(None))
_RATE = [_MAYBE, _MAYBE, _MAYBE]
_PAIR = {"low": _MAYBE, "high": _MAYBE}
_TEXTS = {"name": str, "run": str, "digest": str, "column": str, "label": str}
# Types, objects with just these keys, lists of just these, (a type, ...) lists of any length, or None for anything.
_SHAPE: dict[str, Any] = {
    "schema": int,
    "name": str,
    "members": None,
    "ensemble": str,
    "weights": None,
    "calibration": None,
    "prior": _NUMBER,
    "llr_bounds": [_MAYBE, _MAYBE],
    "thresholds": {"balanced": _NUMBER, "conformal": {"error": _NUMBER, **_PAIR}},
    "operating_points": None,
    "ood": (dict, type(None)),
    "data": {"dataset": str, "split": str, "clips": int, "identities": int, "embedded": bool},
    "code": dict,
}
_MEMBER = {**_TEXTS, "compares": bool, "streams": list, "calibration": None}
_POINT = {
    **{"what": str, "threshold": _PAIR, "false_alarms": _RATE, "misses": _RATE, "abstained": _RATE},
    **{"clips": int, "identities": int, "data": {"dataset": str, "split": str}},
}


def _expect(value: Any, shape: Any, where: str) -> None:
    """Raises ValueError where a part of a system is not of its shape."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'the system'}: expected an object, found {value!r:.60}")
        if missing := sorted(set(shape) - set(value)):
            raise ValueError(f"{where or 'the system'}: {missing[0]!r} is missing")
        if unknown := sorted(set(value) - set(shape)):
            raise ValueError(f"{where or 'the system'}: unknown key {unknown[0]!r}; known: {', '.join(shape)}")
        for key, inner in shape.items():
            _expect(value[key], inner, f"{where}.{key}".lstrip("."))
    elif isinstance(shape, list):
        if not isinstance(value, list) or len(value) != len(shape):
            raise ValueError(f"{where}: expected a list of {len(shape)}, found {value!r:.60}")
        for i, inner in enumerate(shape):
            _expect(value[i], inner, f"{where}[{i}]")
    elif shape is not None:
        kinds = shape if isinstance(shape, tuple) else (shape,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise ValueError(f"{where}: expected {names}, found {value!r:.60}")


def _from_data(content: Mapping[str, Any]) -> System:
    for name, shape in (("members", _MEMBER), ("operating_points", _POINT)):
        if not isinstance(content[name], list) or (name == "members" and not content[name]):
            raise ValueError(f"{name}: expected a list, found {content[name]!r:.60}")
        for i, one in enumerate(content[name]):
            _expect(one, shape, f"{name}[{i}]")
    members = tuple(
        Member(**{**one, "streams": tuple(map(str, one["streams"])), "calibration": _calibrator(one, f"members[{i}]")})
        for i, one in enumerate(content["members"])
    )
    if content["ensemble"] not in late.ENSEMBLES:
        raise ValueError(f"ensemble: expected one of {', '.join(late.ENSEMBLES)}, found {content['ensemble']!r}")
    wanted = late.weight_names(content["ensemble"], [member.name for member in members])
    _expect(content["weights"], dict.fromkeys(wanted, _NUMBER), "weights")
    if not 0 < content["prior"] < 1:
        raise ValueError(f"prior: expected a share between 0 and 1, found {content['prior']}")
    pair = content["thresholds"]["conformal"]
    points = tuple({**one, "threshold": _pair(one["threshold"])} for one in content["operating_points"])
    rates = ("false_alarms", "misses", "abstained")
    low, high = content["llr_bounds"]
    return System(
        name=content["name"],
        members=members,
        ensemble=content["ensemble"],
        weights=content["weights"],
        calibration=_calibrator(content, "the system"),
        prior=content["prior"],
        llr_bounds=(-math.inf if low is None else low, math.inf if high is None else high),
        thresholds={**content["thresholds"], "conformal": _pair(pair)},
        operating_points=tuple({**one, **{name: _known(one[name]) for name in rates}} for one in points),
        data=content["data"],
        code=content["code"],
        ood=content["ood"],
    )


def _calibrator(content: Mapping[str, Any], where: str) -> Calibrator:
    try:
        return calibrators.from_data(content["calibration"])
    except ValueError as error:
        raise ValueError(f"{where}.calibration: {error}") from None


def _pair(value: Mapping[str, Any]) -> dict[str, Any]:
    low, high = value["low"], value["high"]
    return {**value, "low": -math.inf if low is None else low, "high": math.inf if high is None else high}


def _known(rate: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in rate]
