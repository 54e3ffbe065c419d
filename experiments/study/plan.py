"""The study as data: its runs in the plan's order, what each needs first, the command of each, the study's settings."""

import dataclasses
import json
import pathlib
import re
import runpy
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from configs.common import UnknownArgumentError
from experiments import files, run_directory

SCHEMA = 1  # of study.json
FILE = "study.json"
# The plan's last part, experiments.analyze, reads what the study leaves and has no run: its number and its name.
ANALYSIS = ("12", "analysis")
CLAIMS = "configs/analysis.py"  # that it compares by
# Settings of a config that are the study's own to choose.
OWN = ("seed", "folds", "fold", "members", "data.leave_out")

# Runs that are trained once more without a manipulation: the detector of all streams, that of time, and one of a single
# stream. This is of pictures, the cheapest that can do without one kind of fake: pictures of the embedded dataset have
# two (a swapped face, a re-enacted mouth), its voices one, and without that a detector of voices has nothing to learn.
HELD_OUT = ("image-efficientnet", "cross_attn", "temporal_consistency")
WITHOUT = "-without-"  # between the run's name and the manipulation; experiments/analysis knows such runs by it
EMBEDDED = "talking_heads"  # the dataset that a study is of unless it is told another
# Of the embedded dataset: {manipulation: (the methods that show its traces, the runs that can see them)}. All of these
# methods are left out, since one would give the other away.
MANIPULATIONS = {
    "face_swap": (("face_swap", "face_swap_voice_clone"), HELD_OUT),
    "lip_reenactment": (("lip_reenactment",), HELD_OUT),
    "voice_clone": (("voice_clone", "face_swap_voice_clone"), ("cross_attn",)),
    "dubbing": (("dubbing", "dubbing_other_voice"), ("cross_attn",)),
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run of the plan, whatever its seed.

    number: of its part of the plan. config, argument: the config file, and the argument that picks this run. model:
    the folder in Models/. minutes: of the tiny run on two cores, to foretell the time left. members: {name: run} of
    what it fuses; it needs those first. compares: as a member, it compares streams. without: the manipulation that it
    is trained without, and left_out: the methods whose fakes are absent for that.
    """

    name: str
    number: int
    config: str
    model: str
    minutes: float
    argument: str = ""
    members: Mapping[str, str] = dataclasses.field(default_factory=dict)
    compares: bool = False
    without: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Its name without the stream before the encoder."""
        return self.name.rpartition("-")[2]


def _one_stream(
    number: int, stream: str, models: Mapping[str, str], minutes: Mapping[str, float]
) -> Iterator[Experiment]:
    for encoder, model in models.items():
        yield Experiment(
            f"{stream}-{encoder}", number, f"configs/{stream}.py", model, minutes[encoder], f"encoder={encoder}"
        )


_TRAINED = (
    *_one_stream(
        1,
        "image",
        {name: f"best_{name}" for name in ("clip", "dinov2", "convnext", "efficientnet")},
        {"clip": 4, "dinov2": 4, "convnext": 3, "efficientnet": 3},
    ),
    *_one_stream(
        2,
        "audio",
        {name: f"best_{name}" for name in ("wav2vec2", "hubert", "spectrogram_cnn")},
        {"wav2vec2": 4, "hubert": 4, "spectrogram_cnn": 3},
    ),
    *_one_stream(
        3,
        "video",
        {"resnet3d": "best_3dresnet", "cnn_lstm": "best_lstm", "temporal_difference": "best_temporal_difference"},
        {"resnet3d": 4, "cnn_lstm": 5, "temporal_difference": 3},
    ),
    Experiment("early_fusion", 4, "configs/early_fusion.py", "best_early_fusion", 8),
    Experiment("cross_attn", 6, "configs/cross_attn.py", "best_cross_attention", 11),
    Experiment("contrastive", 7, "configs/contrastive.py", "best_contrastive", 8),
    Experiment("lip_sync", 8, "configs/lip_sync.py", "best_lip_sync", 8, compares=True),
    Experiment("temporal_consistency", 9, "configs/temporal_consistency.py", "best_temporal_consistency", 7),
    Experiment("hierarchical", 10, "configs/hierarchical.py", "best_hierarchical", 10),
)
_LATE_FUSION = {
    "image": "image-efficientnet",
    "audio": "audio-spectrogram_cnn",
    "video": "video-temporal_difference",
    "sync": "lip_sync",
}
# In the plan's order.
EXPERIMENTS = tuple(
    sorted(
        (
            *_TRAINED,
            Experiment("late_fusion", 5, "configs/late_fusion.py", "best_late_fusion", 0.5, members=_LATE_FUSION),
            Experiment(
                "system",
                11,
                "configs/system.py",
                "best_complete_system",
                2,
                members={one.short: one.name for one in _TRAINED},
            ),
        ),
        key=lambda one: one.number,
    )
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a study is told: (key, value) arguments and (key, value) overrides of its configs, and how many seeds.

    An argument or override goes to each config that knows it. leave_out: the manipulations that some of its runs are
    trained without.
    """

    arguments: tuple[tuple[str, str], ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()
    seeds: int = 1
    allow: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One run of a study. needs: names of runs. words: its command after `python`."""

    name: str
    experiment: Experiment
    seed: int
    folder: pathlib.Path
    needs: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def part(self) -> str:
        """The number of its part of the plan; "" for a run without a manipulation, which is of none."""
        return "" if self.experiment.without else f"{self.experiment.number:02d}"

    @property
    def beside(self) -> str:
        """The name of the run that one without a manipulation is compared with; its own name for any other."""
        return self.name.replace(f"{WITHOUT}{self.experiment.without}", "") if self.experiment.without else self.name

    @property
    def finished(self) -> bool:
        """Whether it is done; a fusion is not once its members were trained again. Raises as run_directory's."""
        return run_directory.is_finished(self.folder)


def runs(study: pathlib.Path, settings: Settings) -> list[Run]:
    """All runs, seed by seed, in the plan's order; those without a manipulation stand last.

    Raises:
      ValueError: no config knows an argument or override, or it is one that the study sets itself; or a manipulation
        is unknown.
      FileNotFoundError: a config file is not there; the command is to be started in the repository's root.
    """
    experiments = [*EXPERIMENTS, *_held_out(settings)]
    configs = {one.name: _config(one, settings) for one in EXPERIMENTS}
    configs |= {one.name: configs[one.name.partition(WITHOUT)[0]] for one in experiments}
    taken = {item for flag, _ in configs.values() for item in flag.partition(":")[2].split(",")}
    for key, value in settings.arguments:
        if f"{key}={value}" not in taken:
            raise ValueError(f"--data: no config of the study has an argument {key!r}")
    for key, _ in settings.overrides:
        if key in OWN:
            hints = "--seeds=N repeats each run with N seeds, --leave_out=NAME trains without a manipulation"
            raise ValueError(f"--config.{key}: the study sets it itself; {hints}")
        if not any(_knows(config, key) for _, config in configs.values()):
            raise ValueError(f"--config.{key}: no config of the study has this setting")
    return [
        _run(study, one, seed, *configs[one.name], settings) for seed in range(settings.seeds) for one in experiments
    ]


def _held_out(settings: Settings) -> Iterator[Experiment]:
    """The runs without a manipulation. A name of the embedded dataset is one of MANIPULATIONS, of others a method."""
    embedded = dict(settings.arguments).get("data", EMBEDDED) == EMBEDDED
    for name in settings.leave_out:
        if embedded and name not in MANIPULATIONS:
            raise ValueError(f"--leave_out={name}: expected manipulations of {', '.join(MANIPULATIONS)}")
        if not re.fullmatch(r"[\w.+]+(-[\w.+]+)*", name) or WITHOUT in name:
            raise ValueError(f"--leave_out={name}: expected a method's name of letters, digits, _, ., + and -")
        methods, able = MANIPULATIONS[name] if embedded else ((name,), HELD_OUT)
        for one in EXPERIMENTS:
            if one.name in able:
                yield dataclasses.replace(one, name=f"{one.name}{WITHOUT}{name}", without=name, left_out=methods)


def chosen(
    all_runs: Sequence[Run], only: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> tuple[list[Run], list[Run]]:
    """The runs that are asked for, and what else they need; in the plan's order.

    only: numbers of parts, or names of runs. The analysis, which has no run, may be among them (see `analysed`).
    leave_out: manipulations; each asks for the runs without it, which need those that they are compared with. Neither:
    all runs but those without a manipulation.

    Raises:
      ValueError: a name that is neither.
    """
    if not only and not leave_out:
        return [run for run in all_runs if not run.experiment.without], []
    wanted = {run.name: run for run in all_runs if run.experiment.without in leave_out}
    for word in only:
        found = [run for run in all_runs if word in (run.name, run.experiment.name, run.part)]
        if not found and word not in ANALYSIS:
            names = ", ".join([*(f"{one.number:02d} {one.name}" for one in EXPERIMENTS), " ".join(ANALYSIS)])
            raise ValueError(f"--only={word}: expected numbers or names of the plan: {names}")
        wanted |= {run.name: run for run in found}
    needed = {name for run in wanted.values() for name in (*run.needs, run.beside)} - set(wanted)
    return list(wanted.values()), [run for run in all_runs if run.name in needed]


def analysed(only: Sequence[str]) -> bool:
    """Whether `only` asks for the analysis; no names at all ask for everything."""
    return not only or any(word in ANALYSIS for word in only)


def in_order(some: Iterable[Run]) -> list[Run]:
    """The runs in an order in which each stands behind what it needs, else in their own."""
    left, ordered = list(some), []
    while left:
        names = {run.name for run in left}
        ready = next(run for run in left if not names & set(run.needs))
        ordered.append(ready)
        left.remove(ready)
    return ordered


def command(run: Run) -> str:
    """The run's command as a line for a shell, with what it needs first as its comment."""
    line = shlex.join(("python", *run.words))
    return f"{line}  # after {' '.join(run.needs)}" if run.needs else line


def _config(experiment: Experiment, settings: Settings) -> tuple[str, dict[str, Any]]:
    """The run's config flag, with those arguments of the study that the config knows, and the config."""
    if not pathlib.Path(experiment.config).is_file():
        raise FileNotFoundError(f"{experiment.config}: no such file; start the command in the repository's root")
    get_config = runpy.run_path(experiment.config)["get_config"]
    known = [experiment.argument] if experiment.argument else []
    for key, value in settings.arguments:
        if experiment.argument.startswith(f"{key}="):
            raise ValueError(f"{key}={value}: the plan sets it; --only=NAME picks runs")
        try:
            get_config(",".join((*known, f"{key}={value}")))
        except UnknownArgumentError:
            continue
        known.append(f"{key}={value}")
    return ":".join(filter(None, (experiment.config, ",".join(known)))), get_config(",".join(known)).to_dict()


def _run(
    study: pathlib.Path, experiment: Experiment, seed: int, flag: str, config: Mapping[str, Any], settings: Settings
) -> Run:
    end = f"-seed{seed}" if seed else ""
    needs = {name: f"{run}{end}" for name, run in experiment.members.items()}
    own = dict(settings.overrides)
    if experiment.members:
        own["members"] = _literal(study, needs)
    if seed and "seed" in config:
        own["seed"] = str(seed)
    if experiment.left_out:
        own["data.leave_out"] = "(" + "".join(f"{json.dumps(method)}," for method in experiment.left_out) + ")"
    folder = study / "runs" / f"{experiment.name}{end}"
    words = [
        *("-m", "experiments.main", f"--config={flag}", f"--workdir={folder}"),
        *(f"--config.{key}={value}" for key, value in own.items() if _knows(config, key)),
        *([f"--allow={','.join(settings.allow)}"] if settings.allow else []),
    ]
    return Run(f"{experiment.name}{end}", experiment, seed, folder, tuple(needs.values()), tuple(words))


def _literal(study: pathlib.Path, members: Mapping[str, str]) -> str:
    """`config.members` for the command line: a Python literal, its strings in double quotes for a shell's sake."""
    compares = {one.name for one in EXPERIMENTS if one.compares}
    items = (
        f'"{name}": {{"run": {json.dumps(str(study / "runs" / run))}'
        + (', "compares": True}' if run.partition("-seed")[0] in compares else "}")
        for name, run in members.items()
    )
    return "{" + ", ".join(items) + "}"


def _knows(config: Mapping[str, Any], key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def parse_arguments(text: str) -> tuple[tuple[str, str], ...]:
    """`folder,size=base` -> (("data", "folder"), ("size", "base")): a dataset, then config arguments.

    Raises:
      ValueError: what follows the dataset is not `key=value`, or a key stands there twice.
    """
    pairs: dict[str, str] = {}
    for i, item in enumerate(filter(None, text.split(","))):
        key, separator, value = item.rpartition("=") if "=" in item or i else ("data", "=", item)
        if not separator or not key or key in pairs:
            raise ValueError(f"--data={text}: expected a dataset and then key=value,…, each once; found {item!r}")
        pairs[key] = value
    return tuple(pairs.items())


def remember(study: pathlib.Path, settings: Settings, all_runs: Sequence[Run]) -> None:
    """Writes study.json: the settings and the plan."""
    content = {
        "schema": SCHEMA,
        "settings": dataclasses.asdict(settings),
        "runs": [
            {
                "name": run.name,
                "number": f"{run.experiment.number:02d}",
                "seed": run.seed,
                "model": run.experiment.model,
                "needs": run.needs,
                "command": shlex.join(("python", *run.words)),
            }
            for run in all_runs
        ],
    }
    files.write_text(study / FILE, json.dumps(content, indent=1) + "\n")


def recall(study: pathlib.Path) -> Settings | None:
    """The settings that the study was last started with, None if it never was.

    Raises:
      ValueError: its study.json is damaged or of another version.
    """
    path = study / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
        found = content["settings"]
        pairs = {key: tuple((str(a), str(b)) for a, b in found[key]) for key in ("arguments", "overrides")}
        left_out = tuple(found.get("leave_out", ()))  # no older study has it
        return Settings(**pairs, seeds=int(found["seeds"]), allow=tuple(found["allow"]), leave_out=left_out)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a study of this version ({error}); choose another --workdir") from None


def joined(before: Settings | None, now: Settings, study: pathlib.Path) -> Settings:
    """The settings to go on with: those of now, with all seeds and manipulations left out that the study ever had.

    Raises:
      ValueError: what decides about the outcome is not as it was.
    """
    if before is None:
        return now
    for what, kind in (("arguments", "--data: {}"), ("overrides", "--config.{}")):
        there, here = dict(getattr(before, what)), dict(getattr(now, what))
        for key in sorted({*there, *here}):
            if there.get(key) != here.get(key) and key not in run_directory.FREE:
                raise ValueError(
                    f"{study}: this study was started with other settings ({kind.format(key)}={there.get(key)} there, "
                    f"{here.get(key)} now); choose another --workdir"
                )
    left_out = tuple(dict.fromkeys((*before.leave_out, *now.leave_out)))
    return dataclasses.replace(now, seeds=max(before.seeds, now.seeds), leave_out=left_out)
