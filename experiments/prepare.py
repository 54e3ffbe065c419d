"""Makes records of a dataset: python -m experiments.prepare --dataset=folder --manifest=FILE.csv --out=DIR.

With --audit it says instead what the splits share that they should not, and, where there are records, which irrelevant
things tell fakes from reals; the exit code is 1 if a leak is found.
"""

import collections
import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags, logging

from data_pipelines import cache, clip
from data_pipelines.prepare import beam, record_files, records, splits
from experiments.figures import contact_sheet
from mmdf_jax.build import build

_LABELS = {"0": "real", "1": "fake"}
_SHOWN = 20  # clips with something to say that the summary names


def ensure(
    data: Mapping[str, Any],
    *,
    whole: str = "",
    train: bool = False,
    allow: Sequence[str] = (),
    workers: int = 0,
    max_bad: float = 1.0,
    runner: records.Runner | None = None,
) -> pathlib.Path:
    """The records folder that a config's `data` asks for, made first if it is missing or stale.

    Args:
      data: `name` (a module of data_pipelines.datasets, or talking_heads), and as needed `root`, `manifest`, `out`,
        `options` (dict for the reader), `crops` (dict of Crops' fields). With `out` but neither root, manifest nor a
        dataset that makes itself, the records there are taken as they are.
      whole: the split of all clips if their dataset has no splits; "" deals them out. Either has its own records.
      train: whether a detector is to be trained on the splits; see splits.check.
      allow: packages outside the project that the reader's name may lie in.
      workers, max_bad, runner: see records.prepare.

    Raises ValueError or FileNotFoundError with one clear line.
    """
    fakes_are_made = bool(data.get("pseudo_fakes"))
    if as_they_are := _finished(data):
        if train:
            splits.check([row.clip for _, row in records.read_index(as_they_are)], fakes_are_made=fakes_are_made)
        return as_they_are
    clips, crops, folder = _plan(data, whole, allow)
    if train:
        splits.check(clips, fakes_are_made=fakes_are_made)
    return records.prepare(
        clips, folder, crops=crops, workers=workers, max_bad=max_bad, finish=contact_sheet.write, runner=runner
    )


def warn_of_clips_without_record(folder: pathlib.Path) -> None:
    """Warns of the clips of a prepared folder that gave no record: they have no score in any table that follows."""
    report = records.read_report(folder)
    if without := collections.Counter(row["status"] for row in report if row["record"] != "1"):
        named = ", ".join(f"{status} {count}" for status, count in without.items())
        told = f"{without.total()} of {len(report)} clips have no record, so no score either ({named})"
        logging.warning("%s; each with its reason in %s", told, folder / "prepare_report.csv")


def audit(data: Mapping[str, Any], *, workers: int = 0) -> tuple[str, bool]:
    """What is wrong with the dataset that a config's `data` asks for: the report, and whether there is a leak.

    Reads the records if they are made already, and writes `audit.csv` beside them; otherwise the clips' files.
    """
    from experiments.report import audit as audit_lib

    folder = _finished(data)
    if folder is None:
        clips, crops, planned = _plan(data)
        folder = planned if records.is_fresh(planned, splits.assign(clips), crops) else None
    found = audit_lib.of_records(folder) if folder else audit_lib.of_clips(clips, workers=workers)
    report = audit_lib.render(found)
    if folder:
        audit_lib.write(folder / "audit.csv", found)
        report += f"\ntable:    {folder / 'audit.csv'}"
    return report, bool(found.leaks)


def _finished(data: Mapping[str, Any]) -> pathlib.Path | None:
    """The folder of records that is to be taken as it is, if the config's `data` names nothing to make it from."""
    if not data.get("out") or _options(data) or data["name"] == "talking_heads":
        return None
    records.read_header(data["out"])
    return pathlib.Path(data["out"])


def _plan(
    data: Mapping[str, Any], whole: str = "", allow: Sequence[str] = ()
) -> tuple[list[clip.Clip], records.Crops, pathlib.Path]:
    """The clips, their crops and the folder where their records are or will be."""
    crops = crops_from(data.get("crops") or {})
    clips = read_clips(data["name"], _options(data), allow)
    if whole and not any(one.split for one in clips):
        clips = [dataclasses.replace(one, split=whole) for one in clips]
    if data.get("out"):
        return clips, crops, pathlib.Path(data["out"])
    assigned = splits.assign(clips)
    # Two datasets may give their files the same names, so that the folder's name is of the places too.
    key = record_files.digest([*assigned, *(one.path for one in assigned)], crops)
    folder = cache.root() / "records" / f"{data['name']}-{key[:16]}"
    if not folder.exists():
        moved = (path for path in sorted(folder.parent.glob(f"{data['name']}-*")) if path.suffix != ".partial")
        folder = next((path for path in moved if records.is_fresh(path, assigned, crops, all_there=True)), folder)
    return clips, crops, folder


def _options(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in ("root", "manifest") if data.get(key)} | dict(data.get("options") or {})


def read_clips(name: str, options: Mapping[str, Any], allow: Sequence[str] = ()) -> list[clip.Clip]:
    """What the reader `name` finds with these options: a file of data_pipelines/datasets, or a dotted name in `allow`.

    Raises ValueError if there is no such reader or option.
    """
    if "." in name:
        return build({"name": name, **options}, allow=allow)
    folder = pathlib.Path(records.__file__).parents[1] / "datasets"
    known = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    if name not in known:
        raise ValueError(f"there is no dataset {name!r}; known: {', '.join(known)}")
    return build({"name": f"data_pipelines.datasets.{name}", **options})


def crops_from(fields: Mapping[str, Any]) -> records.Crops:
    """Crops from a config's dict. ValueError names an unknown field or a bad value."""
    known = [field.name for field in dataclasses.fields(records.Crops)]
    if unknown := sorted(set(fields) - set(known)):
        raise ValueError(f"crops has no field {', '.join(unknown)}; known: {', '.join(known)}")
    return records.Crops(**fields)


def summary(folder: pathlib.Path) -> str:
    """What a prepared folder holds: clips per split, label, method and status, durations, face sizes."""
    report = records.read_report(folder)
    lines = [f"{len(report)} clips, {sum(row['record'] == '1' for row in report)} records"]
    for column in ("split", "label", "method", "status"):
        counts = collections.Counter(row[column] or "-" for row in report)
        named = ((_LABELS.get(value, value) if column == "label" else value, n) for value, n in counts.items())
        lines.append(f"  {column:<10}" + ", ".join(f"{value} {n}" for value, n in named))
    kept = [row for row in report if row["record"] == "1"]
    for title, column, unit in (("duration", "duration", "s"), ("face size", "face_size", "px")):
        values = sorted(float(row[column]) for row in kept if float(row[column]) > 0)
        if values:
            median = values[len(values) // 2]
            lines.append(f"  {title:<10}{values[0]:.1f} to {values[-1]:.1f} {unit}, median {median:.1f}")
    bad = [row for row in report if row["status"] != "ok"]
    lines += [f"  {row['status']:<12}{row['path']!r}: {row['reason']}" for row in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} more, all in the report")
    lines.append(f"records:  {folder}")
    lines.append(f"report:   {folder / 'prepare_report.csv'}")
    lines += [f"sheet:    {path}" for path in sorted(folder.glob("contact_sheet*.png"))]
    return "\n".join(lines)


def share(text: str) -> float:
    """0.01 from "0.01" or "1%". ValueError for anything that is not a share."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*(%?)\s*", text)
    try:
        value = float(match[1]) / (100 if match[2] else 1)
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"--max_bad={text!r}: expected a share such as 0.01 or 1%")
    return value


def _json(flag: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--{flag}={text!r} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"--{flag}={text!r}: expected a JSON object")
    return value


def define_flags() -> None:
    """The command's flags; apart, so that other commands can import this module beside flags of their own."""
    flags.DEFINE_string("dataset", "folder", "Name of a reader in data_pipelines/datasets.")
    flags.DEFINE_string("root", "", "The dataset's folder.")
    flags.DEFINE_string("manifest", "", "CSV manifest, for --dataset=folder.")
    flags.DEFINE_string("out", "", "Folder for the records; by default one in the cache, named by what it holds.")
    flags.DEFINE_integer(
        "workers", 0, "Processes; 0: one per core. With --runner per Beam worker; 0: one.", lower_bound=0
    )
    flags.DEFINE_string("runner", "", "Prepare on Apache Beam: direct, or any runner's name, such as DataflowRunner.")
    flags.DEFINE_string("pipeline_options", "{}", "Beam's options as JSON, as '{\"direct_num_workers\": 4}'.")
    flags.DEFINE_string("max_bad", "100%", "Share of unusable clips that is an error, as 0.01 or 1%.")
    flags.DEFINE_string(
        "crops", "{}", "Fields of data_pipelines.prepare.records.Crops as JSON, as '{\"face_size\": 224}'."
    )
    flags.DEFINE_string("yunet", "", "ONNX file of OpenCV's YuNet, to find faces with it instead of dlib.")
    flags.DEFINE_float("max_seconds", None, "A longer clip is too_large: crops.max_seconds.", lower_bound=0)
    flags.DEFINE_string("options", "{}", "Options of the dataset's reader as JSON.")
    flags.DEFINE_bool("audit", False, "Audit splits and shortcuts instead of preparing; exit code 1 on a leak.")


def main(argv: list[str]) -> None:
    """The command."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    given = flags.FLAGS
    try:
        data = {name: given[name].value for name in ("root", "manifest", "out")}
        data |= {"name": given.dataset} | {name: _json(name, given[name].value) for name in ("options", "crops")}
        if given.yunet:
            data["crops"]["yunet"] = given.yunet
        if given.max_seconds is not None:
            data["crops"]["max_seconds"] = given.max_seconds
        if given.audit:
            report, leaky = audit(data, workers=given.workers)
            print(report)
            sys.exit(1 if leaky else 0)
        runner = None
        if given.runner:
            runner = beam.runner(given.runner, _json("pipeline_options", given.pipeline_options))
        elif given["pipeline_options"].present:
            raise ValueError("--pipeline_options are of Apache Beam: they need --runner, such as --runner=direct")
        folder = ensure(data, workers=given.workers, max_bad=share(given.max_bad), runner=runner)
    except (ValueError, OSError) as error:
        sys.exit(f"prepare: {error}")
    print(summary(folder))


if __name__ == "__main__":
    define_flags()
    app.run(main)
