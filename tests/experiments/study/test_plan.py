"""The study as data: what it holds, what needs what, which config takes which setting, and what is refused."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import pytest
import yaml
from ml_collections import config_flags

from experiments import suite
from experiments.study import plan
from experiments.study.plan import Settings

ROOT = pathlib.Path(__file__).parents[3]
STUDY = pathlib.Path("study")


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def runs():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return plan.runs(STUDY, Settings())


def names(some):
    return [run.name for run in some]


def test_the_plan_has_its_parts_in_order_and_a_model_each(runs):
    numbers = [run.experiment.number for run in runs]
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, 12))
    assert [numbers.count(part) for part in (1, 2, 3)] == [4, 3, 3]
    models = [run.experiment.model for run in runs]
    assert len(set(models)) == len(models) == 18 and {"best_3dresnet", "best_lstm", "best_complete_system"} < set(
        models
    )


def test_each_run_stands_behind_what_it_needs(runs):
    done = set()
    for run in plan.in_order(runs):
        assert set(run.needs) <= done
        done.add(run.name)
    assert names(plan.in_order(runs))[-1] == "system" and len(done) == len(runs)
    late, system = (next(run for run in runs if run.name == name) for name in ("late_fusion", "system"))
    assert late.needs == ("image-efficientnet", "audio-spectrogram_cnn", "video-temporal_difference", "lip_sync")
    assert set(system.needs) == set(names(runs)) - {"late_fusion", "system"}


def test_only_adds_what_is_needed_and_says_so(runs):
    wanted, added = plan.chosen(runs, ["05", "image-clip"])
    assert names(wanted) == ["late_fusion", "image-clip"]
    assert names(added) == ["image-efficientnet", "audio-spectrogram_cnn", "video-temporal_difference", "lip_sync"]
    assert plan.chosen(runs, ["12"]) == plan.chosen(runs, ["analysis"]) == ([], [])
    assert (
        plan.analysed([]) and plan.analysed(["01", "12"]) and plan.analysed(["analysis"]) and not plan.analysed(["01"])
    )
    assert names(plan.chosen(runs, ["01"])[0]) == names(runs)[:4]
    for wrong in ("13", "1", "012", "clip", ""):
        with pytest.raises(ValueError, match=r"--only=.*: expected numbers or names of the plan: 01 image-clip, "):
            plan.chosen(runs, [wrong])


@pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections reads config files with it
def test_the_configs_read_the_commands(runs):
    """Each command's config, as the main command would parse it."""
    from absl import flags

    without = plan.runs(STUDY, Settings(leave_out=("face_swap",)))[-3:]
    for run in (*runs, *without):
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=values)
        flags.DEFINE_string("workdir", "", "", flag_values=values)
        words = shlex.split(plan.command(run), comments=True)[2:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", words)  # ml_collections looks there for overrides
            values(words)
        config = values.config.to_dict()
        if run.experiment.members:
            assert {pathlib.Path(spec["run"]).name for spec in config["members"].values()} == set(run.needs)
            compares = [name for name, spec in config["members"].items() if spec.get("compares")]
            assert compares == ["sync" if run.name == "late_fusion" else "lip_sync"]
        else:
            assert run.experiment.argument.removeprefix("encoder=") in json.dumps(config["model"])
        assert values.workdir == f"study/runs/{run.name}"
        assert tuple(config.get("data", {}).get("leave_out", ())) == run.experiment.left_out


def test_settings_go_to_the_configs_that_know_them():
    settings = Settings(
        plan.parse_arguments("folder,size=base,finetune=frozen"),
        (("data.root", "some where"), ("evaluate.bootstrap", "50")),
        seeds=2,
    )
    runs = {run.name: run for run in plan.runs(STUDY, settings)}
    assert len(runs) == 36
    clip, late = runs["image-clip-seed1"].words, runs["late_fusion-seed1"].words
    assert "--config=configs/image.py:encoder=clip,data=folder,size=base,finetune=frozen" in clip
    assert {"--config.data.root=some where", "--config.seed=1", "--config.evaluate.bootstrap=50"} < set(clip)
    assert "--config=configs/late_fusion.py:data=folder,size=base" in late and "--config.evaluate.bootstrap=50" in late
    assert not any(word.startswith(("--config.data", "--config.seed")) for word in late)
    assert "image-efficientnet-seed1" in runs["late_fusion-seed1"].needs
    line = plan.command(runs["image-clip"])
    assert shlex.split(line)[2:] == list(runs["image-clip"].words[1:]) and "# after" not in line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arguments": (("siz", "base"),)}, "no config of the study has an argument 'siz'"),
        ({"arguments": (("size", "huge"),)}, "size='huge' is not one of tiny, base"),
        ({"arguments": (("encoder", "clip"),)}, "encoder=clip: the plan sets it"),
        ({"overrides": (("data.rot", "x"),)}, r"--config.data.rot: no config of the study has this setting"),
        ({"overrides": (("seed", "1"),)}, r"--config.seed: the study sets it itself; --seeds=N"),
        ({"overrides": (("members", "{}"),)}, r"--config.members: the study sets it itself"),
        ({"overrides": (("data.leave_out", "x"),)}, r"--config.data.leave_out: .*--leave_out=NAME trains without"),
        ({"leave_out": ("swap",)}, r"--leave_out=swap: expected manipulations of face_swap, lip_reenactment, voice"),
    ],
)
def test_unknown_settings_are_one_line(settings, message):
    with pytest.raises(ValueError, match=message):
        plan.runs(STUDY, Settings(**settings))


def test_runs_without_a_manipulation_are_a_part_of_their_own(runs, tmp_path):
    settings = Settings(seeds=2, leave_out=("face_swap", "dubbing"))
    every = plan.runs(STUDY, settings)
    assert names(plan.chosen(every)[0]) == [run.name for run in every if "-without-" not in run.name]
    assert names(plan.chosen(every, ["06"])[0]) == ["cross_attn", "cross_attn-seed1"]
    wanted, added = plan.chosen(every, [], ["dubbing"])
    assert names(wanted) == ["cross_attn-without-dubbing", "cross_attn-without-dubbing-seed1"]
    assert names(added) == ["cross_attn", "cross_attn-seed1"]  # what they are compared with
    wanted, added = plan.chosen(every, ["01"], ["face_swap"])
    assert [name for name in names(wanted) if "seed" not in name and "-without-" in name] == [
        f"{name}-without-face_swap" for name in plan.HELD_OUT
    ]
    assert names(added) == ["cross_attn", "temporal_consistency", "cross_attn-seed1", "temporal_consistency-seed1"]
    swapped = next(run for run in every if run.name == "cross_attn-without-face_swap-seed1")
    (plain,) = (run for run in every if run.name == "cross_attn-seed1")
    more = '--config.data.leave_out=("face_swap","face_swap_voice_clone",)'
    assert [word for word in swapped.words if word not in plain.words] == [f"--workdir={swapped.folder}", more]
    assert not swapped.needs and "# after" not in plan.command(swapped)
    assert all(run.beside == run.name for run in runs)
    # Once asked for they are the study's, also of one that knew nothing of them.
    plan.remember(tmp_path, settings, every)
    assert plan.joined(plan.recall(tmp_path), Settings(leave_out=("voice_clone",)), tmp_path).leave_out == (
        *("face_swap", "dubbing", "voice_clone"),
    )
    old = json.loads((tmp_path / plan.FILE).read_text())
    del old["settings"]["leave_out"]
    (tmp_path / plan.FILE).write_text(json.dumps(old))
    assert plan.recall(tmp_path) == Settings(seeds=2)


def test_methods_of_other_data_are_known_when_they_are_read():
    other = plan.runs(STUDY, Settings((("data", "fakeavceleb"),), leave_out=("faceswap+wav2lip",)))
    without = [run for run in other if run.experiment.without]
    assert names(without) == [f"{name}-without-faceswap+wav2lip" for name in plan.HELD_OUT]
    assert without[0].words[-1] == '--config.data.leave_out=("faceswap+wav2lip",)'
    for name in ("a/b", "", "-a", "a-without-b"):
        with pytest.raises(ValueError, match=r"--leave_out=.*: expected a method's name of letters, digits"):
            plan.runs(STUDY, Settings((("data", "fakeavceleb"),), leave_out=(name,)))


@pytest.mark.parametrize("text", ["size=base,folder", "folder,size", "folder,size=a,size=b", "folder,=x"])
def test_arguments_that_are_none(text):
    with pytest.raises(ValueError, match="expected a dataset and then key=value"):
        plan.parse_arguments(text)


def test_a_study_remembers_its_settings(tmp_path, runs):
    assert plan.recall(tmp_path) is None
    first = Settings((("data", "folder"),), (("data.root", "a"), ("train.steps", "6")), seeds=2)
    plan.remember(tmp_path, first, runs)
    assert plan.recall(tmp_path) == first
    moved = Settings((("data", "folder"),), (("data.root", "b"), ("train.steps", "6")))
    assert plan.joined(first, moved, tmp_path).seeds == 2  # where the files are does not decide; seeds only grow
    for other in (Settings(), Settings(first.arguments, (("train.steps", "7"),))):
        with pytest.raises(ValueError, match=r"was started with other settings \(--.* there, .* now\)"):
            plan.joined(first, other, tmp_path)
    for damaged in ("", "{}", '{"schema": 9}'):
        (tmp_path / plan.FILE).write_text(damaged)
        with pytest.raises(ValueError, match=r"study\.json: not a study of this version"):
            plan.recall(tmp_path)


def test_the_list_is_printed_and_nothing_done(tmp_path):
    study = tmp_path / "study"
    words = [sys.executable, "-m", "experiments.suite", f"--workdir={study}", "--list", "--config.train.steps=6"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 18 and all(line.startswith("python -m experiments.main --config=configs/") for line in lines)
    assert sum("--config.train.steps=6" in line for line in lines) == 16 and not study.exists()
    done = subprocess.run([*words[:4], "--only=99"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: --only=99: expected") and not study.exists()
    assert done.stderr.rstrip().endswith("11 system, 12 analysis")


def test_what_is_left_of_the_command_line_are_overrides():
    assert suite._overrides(["--config.data.root=a=b", "--config.x={}"]) == (("data.root", "a=b"), ("x", "{}"))
    with pytest.raises(ValueError, match=r"'DIR': unexpected; expected --config\.KEY=VALUE"):
        suite._overrides(["DIR"])


def test_the_kubernetes_job_runs_the_lines_that_need_no_other(tmp_path, runs):
    (spec,) = yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text())
    alone = [run for run in runs if not run.needs]
    assert spec["spec"]["completions"] == len(alone) and spec["spec"]["completionMode"] == "Indexed"
    (container,) = spec["spec"]["template"]["spec"]["containers"]
    python = tmp_path / "python"  # prints a list, or a run's command in place of running it
    python.write_text(f'#!/bin/sh\n[ "$2" = experiments.suite ] && exec cat {tmp_path}/list\necho ran "$@"\n')
    python.chmod(0o755)

    def pod(index):
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": str(index)}
        words = [*container["command"], *container["args"]]
        return subprocess.run(words, env=environment, capture_output=True, text=True)

    (tmp_path / "list").write_text("\n".join(["", "# a comment", *map(plan.command, runs)]) + "\n")
    for index in (0, 2, len(alone) - 1):
        done = pod(index)
        assert done.returncode == 0 and done.stdout.split()[1:] == list(alone[index].words)
    done = pod(len(alone))
    assert done.returncode == 0 and done.stdout == f"the list has no line for index {len(alone)}: nothing to do\n"
    (tmp_path / "list").unlink()
    assert pod(0).returncode != 0  # no list is not an empty one
