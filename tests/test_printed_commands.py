"""Every command that README.md, DATASETS.md, docs/study.md and the configs' docstrings print is run as it is written.

The commands run from a copy of the repository's root, where the paths that they name exist. Flags appended to them make
models, data and runs small. README's Python blocks that begin with a path are files of that copy.
"""

import ast
import concurrent.futures
import csv
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from data_pipelines import clip
from data_pipelines.datasets import faceforensics, talking_heads
from experiments import model_from_config

ROOT = pathlib.Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(900)

COMMAND = re.compile(r"python -m experiments\.\w+ .+")
PEOPLE = {"train": 2, "val": 2, "test": 2, "train_clips": 8, "eval_clips": 6}  # of the embedded dataset
CROPS = {"face": "whole", "face_size": 32, "mouth": False}  # no search for faces
AUDIO = {
    "name": "mmdf_jax.encoders.spectrogram_cnn",
    "variant": "tiny",
    "width": 8,
    "stage_sizes": (1,),  # compiling is most of a run's time
    "strides": ((4, 4), (2, 4)),
}
IMAGE = {"name": "mmdf_jax.encoders.clip", "variant": "tiny", "image_size": 32, "width": 24, "depth": 1}
SMALL = {
    "data.crops": CROPS,
    "data.window": 0.8,
    "data.batch_size": 4,
    "data.workers": 0,
    "train.steps": 2,
    "train.log_steps": 1,
    "train.eval_steps": 2,
    "train.checkpoint_steps": 2,
    "optimizer.warmup_steps": 1,
    "evaluate.batch_size": 4,
    "evaluate.windows": 1,
    "evaluate.bootstrap": 20,
}
FUSED = {
    "model.encoders": {"image": IMAGE, "audio": AUDIO},
    "data.streams": {"image": {"frames": 1, "size": 32}, "audio": {}},
    "model.width": 24,
    "model.compare": (),
}
OF_CROSS = {"scores": "runs/cross_attn/scores"}  # trains no member

MAIN, PREPARE, EVALUATE = (f"python -m experiments.{name}" for name in ("main", "prepare", "evaluate"))
CROSS = f"{MAIN} --config=configs/cross_attn.py"
HIERARCHICAL = f"{MAIN} --config=configs/hierarchical.py"
LATE = f"{MAIN} --config=configs/late_fusion.py"
OPTIONS = '{"compression": "c40", "methods": ["Deepfakes"]}'
# What is run, in groups that may run at one time: each command with what its placeholders stand for (a folder or file
# of the copy), and the config keys that make it small beside SMALL. A group's later commands need its earlier ones,
# or are spared compiling what those have compiled.
RUN = (
    (
        (CROSS, {}, {**FUSED, "data.options": PEOPLE}),
        (
            LATE,
            {},
            {
                "members": {name: OF_CROSS | {"column": f"score_{name}"} for name in FUSED["data.streams"]},
                "fusion": "noisy_or",
            },
        ),
        (
            HIERARCHICAL,
            {},
            {
                **FUSED,
                "data.options": PEOPLE,
                "data.targets.face_mask.size": 2,
                "model.depth": 0,
                "model.fusion.depth": 0,
            },
        ),
        (f"{EVALUATE} --workdir=runs/cross_attn", {}, {}),
        (f"{EVALUATE} --workdir=runs/cross_attn --data=folder --manifest=clips.csv", {}, {}),
        (
            f"{MAIN} --config=mine/config.py --allow=mine --config.data.root=DIR",
            {"DIR": "pairs"},
            {
                "data.streams": FUSED["data.streams"],
                "model.encoders": {"image": {"name": "mine.grid", "cells": 8}, "audio": AUDIO},
                "model.compare": (),
            },
        ),
        (
            f"{PREPARE} --dataset=faceforensics --root=DIR --options='{OPTIONS}'",
            {"DIR": "faceforensics"},
            {},
        ),
        (f"{PREPARE} --dataset=folder --manifest=clips.csv --out=records/", {}, {}),
        (f"{CROSS}:data=folder --config.data.manifest=clips.csv", {}, FUSED),
        (f"{CROSS}:data=folder,pseudo_fakes=true --config.data.root=DIR", {"DIR": "reals"}, FUSED),
    ),
    (
        (
            f"{MAIN} --config=configs/audio.py --config.folds=5",
            {},
            {
                "model.encoders": {"audio": AUDIO},
                "data.options": PEOPLE,
                "folds": 3,
            },
        ),
        (f"{PREPARE} --dataset=fakeavceleb --root=DIR", {"DIR": "fakeavceleb"}, {}),
        (f"{PREPARE} --dataset=fakeavceleb --root=DIR --audit", {"DIR": "fakeavceleb"}, {}),
        (
            f"{PREPARE} --dataset=NAME --root=DIR [--options='{{\"name\": value}}'] [--out=DIR]",
            {
                "--out=DIR": "--out=made",
                "NAME": "faceforensics",
                "DIR": "faceforensics",
                '"name": value': '"compression": "c23"',
            },
            {},
        ),
    ),
    (
        (
            f"{MAIN} --config=configs/image.py:encoder=dinov2,size=base,data=faceforensics --config.data.root=DIR",
            {"DIR": "faceforensics"},
            {
                "model.encoders": {"image": {**IMAGE, "name": "mmdf_jax.encoders.dinov2"}},
                "data.streams": {"image": {"frames": 1, "size": 32}},
                "pretrained.image.source": "",
            },
        ),
    ),
)
# What is not run, each with the reason: a command above runs the same code. Config, model and task are built.
BUILT = {
    f"{CROSS}:data=folder --config.data.root=DIR": "the run on pseudo-fakes reads a folder too",
    f"{CROSS}:data=NAME --config.data.root=DIR": "a public dataset is run with configs/image.py",
    f"{CROSS}:data=fakeavceleb,size=base --config.data.root=DIR": "as image.py at size=base",
    f"{CROSS}:size=base,data=folder --config.data.root=DIR --config.train.steps=5000 --workdir=runs/big": "as above",
    f"{MAIN} --config=configs/image.py:encoder=dinov2,size=base,data=celeb_df --config.data.root=DIR": "as image above",
    f"{MAIN} --config=configs/contrastive.py": "tests/configs takes steps with it",
    f"{MAIN} --config=configs/contrastive.py:data=fakeavceleb,size=base --config.data.root=DIR": "as image",
    f"{MAIN} --config=configs/early_fusion.py": "tests/configs takes steps with it",
    f"{MAIN} --config=configs/early_fusion.py:data=fakeavceleb,size=base --config.data.root=DIR": "as image",
    f"{MAIN} --config=configs/early_fusion.py:fusion=pooled": "tests/mmdf_jax/fusion has it",
    f"{HIERARCHICAL}:data=fakeavceleb,size=base --config.data.root=DIR": "as image",
    f"{LATE}:data=folder,size=base --config.override.data.root=DIR": "the config of each member is read",
    f"{MAIN} --config=configs/image.py:encoder=convnext": "tests/configs takes steps with every encoder",
    f"{MAIN} --config=configs/audio.py:encoder=spectrogram_cnn": "the cross-validation trains it",
    f"{MAIN} --config=configs/audio.py:encoder=wav2vec2,size=base,data=wavefake --config.data.root=DIR": "as image",
    f"{MAIN} --config=configs/lip_sync.py": "tests/configs takes steps with it, tests/experiments/test_sync.py runs it",
    f"{MAIN} --config=configs/lip_sync.py:data=fakeavceleb,size=base --config.data.root=DIR": "as image",
    f"{MAIN} --config=configs/temporal_consistency.py": "tests/configs takes steps with it",
    f"{MAIN} --config=configs/temporal_consistency.py:data=celeb_df,size=base --config.data.root=DIR": "as image",
    f"{MAIN} --config=configs/system.py": "tests/experiments/test_system.py runs it",
    f"{MAIN} --config=configs/video.py:encoder=temporal_difference": "tests/configs takes steps with every encoder",
    f"{MAIN} --config=configs/video.py:encoder=resnet3d,size=base,data=celeb_df --config.data.root=DIR": "as image",
}
BIG = "python -m experiments.suite --workdir=big --data=fakeavceleb,size=base --config.data.root=DIR"
# What takes too long for a test, or needs more than a test has. The flags are parsed.
PARSED = {
    f"{MAIN} --config=configs/system.py --config.members="
    '\'{"a": {"run": "A"}, "b": {"scores": "B"}}\'': "tests/experiments/test_system.py runs it",
    "python -m experiments.suite --workdir=study": "an hour; tests/experiments/study has small ones",
    "python -m experiments.suite --workdir=study --only=01,06 --seeds=3 --jobs=2": "as above",
    "python -m experiments.suite --workdir=study --data=folder,size=base --config.data.root=DIR": "as above",
    "python -m experiments.suite --workdir=study --list": "as above",
    "python -m experiments.suite --workdir=study --leave_out=face_swap,lip_reenactment,voice_clone,dubbing": "as above",
    "python -m experiments.suite --workdir=study --jobs=2": "as above",
    f"{BIG} --only=audio-spectrogram_cnn": "as above",
    f"{BIG} --seeds=3": "as above",
    f'{BIG} --seeds=3 --slurm --slurm_options=\'{{"timeout_min": 2880, "gpus_per_node": 1}}\'': "as above",
    "python -m experiments.paper --workdir=study": "tests/experiments/manuscript writes a small one",
    "python -m experiments.paper --workdir=big": "as above",
    "python -m experiments.detect FILE… --model=study --out=verdicts": "tests/experiments/verdict runs it",
    "python -m experiments.detect FILE… --model=runs/cross_attn --prior=0.01": "as above",
    "python -m experiments.analyze --workdir=study": "tests/experiments/analysis has small ones",
    "python -m experiments.analyze --workdir=study --tables=mine=my/tables": "as above",
    "python -m experiments.benchmark --reference=torch": "half an hour; tests/experiments/benchmark has small ones",
    "python -m experiments.sync FILE… --model=runs/lip_sync": "tests/experiments/test_sync.py runs it",
    "python -m experiments.sync FILE… --json=offsets.json --fix=manifest.csv": "as above",
}


def printed():
    """Every command that is printed, in the order of the documents."""
    texts = [(ROOT / name).read_text() for name in ("README.md", "DATASETS.md", "docs/study.md")]
    texts += [ast.get_docstring(ast.parse(path.read_text())) or "" for path in sorted((ROOT / "configs").glob("*.py"))]
    lines = (line for text in texts for line in text.splitlines() if re.match(r"( {4,}|python3 -m venv)", line))
    found = [match[0] for line in lines if (match := COMMAND.search(line))]
    return list(dict.fromkeys(found))


def test_every_printed_command_is_checked_here():
    run = [command for group in RUN for command, _, _ in group]
    known = [*run, *BUILT, *PARSED]
    assert sorted(known) == sorted(printed())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The copy of the repository's root, with README's own files and small datasets."""
    root = tmp_path_factory.mktemp("root")
    for name in ("configs", "data_pipelines", "experiments", "mmdf_jax"):
        shutil.copytree(ROOT / name, root / name)
    for path, block in re.findall(r"^```python\n# (\S+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(block)
    clips = talking_heads.read(str(root / "cache"), **PEOPLE)
    reals = [pathlib.Path(one.path) for one in clips if one.label == 0]
    for i, one in enumerate(clips):
        put(one.path, root / "pairs" / f"{'fake' if one.label else 'real'}_{one.identity}_{i}.mp4")
    for i, path in enumerate(reals):
        put(path, root / "reals" / "real" / f"{i}.mp4")
    write_manifest(root / "clips.csv", clips)
    put_faceforensics(root / "faceforensics", reals[0])
    put_fakeavceleb(root / "fakeavceleb", [one.path for one in clips])
    return root


def put(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def write_manifest(path, clips):
    """A manifest as a user writes it: relative paths, and some of the columns."""
    columns = ("path", "label", "video_label", "audio_label", "method", "identity", "split")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for one in clips:
            relative = os.path.relpath(one.path, path.parent)
            writer.writerow(clip.to_row(dataclasses.replace(one, path=relative)))


def put_faceforensics(folder, film):
    """The first pair of each official split: two originals and two fakes, in two compressions."""
    for (a, b), *_ in faceforensics.pairs().values():
        for compression in ("c23", "c40"):
            for name in (a, b):
                put(film, folder / f"original_sequences/youtube/{compression}/videos/{name}.mp4")
            for name in (f"{a}_{b}", f"{b}_{a}"):
                put(film, folder / f"manipulated_sequences/Deepfakes/{compression}/videos/{name}.mp4")


def put_fakeavceleb(folder, films):
    """Six people, each with a real clip and one whose streams are both fake."""
    lines = ["source,target1,target2,method,category,type,race,gender,path,"]
    for person in (f"id{i:05d}" for i in range(6)):
        for kind, method, name in (("Real", "real", "1.mp4"), ("Fake", "wav2lip", "1_wavtolip.mp4")):
            place = f"{kind}Video-{kind}Audio/African/men/{person}"
            put(films.pop(), folder / place / name)
            lines.append(f"{person},-,-,{method},A,{place.split('/')[0]},African,men,{name},FakeAVCeleb/{place}")
    (folder / "meta_data.csv").write_text("\n".join(lines) + "\n")


def typed(command, places, smaller):
    """The command's words, its placeholders filled, and flags that make it small."""
    for placeholder, value in places.items():
        command = command.replace(placeholder, value)
    words = shlex.split(re.sub(r"\[(--.*?)\](?= |$)", r"\1", command))  # what may be left out is given
    if words[2] == "experiments.main":
        small = {"evaluate.bootstrap": 20} if command == LATE else SMALL  # a fusion has no model and no data
        words += [f"--config.{key}={value}" for key, value in {**small, **smaller}.items()]
    if words[2] == "experiments.prepare":
        words.append('--crops={"face": "whole", "face_size": 32, "mouth": false}')
    return [sys.executable, *words[1:]]


@pytest.fixture(scope="module")
def outcomes(root):
    """What each command of RUN returned, and what it printed."""
    environment = {
        **os.environ,
        "MMDF_JAX_CACHE": str(root / "cache"),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(root / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    done = {}

    def run_group(group):
        for command, places, smaller in group:
            words = typed(command, places, smaller)
            done[command] = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run_group, RUN))
    return done


@pytest.mark.parametrize("command", [command for group in RUN for command, _, _ in group])
def test_the_command_runs_as_printed(outcomes, command):
    done = outcomes[command]
    assert done.returncode == 0, done.stdout + done.stderr
    expected = "leaks" if "--audit" in command else "records:" if command.startswith(PREPARE) else "AUC"
    assert expected in done.stdout


def test_the_hierarchical_run_answers_every_stage(outcomes, root):
    printed = outcomes[HIERARCHICAL].stdout
    for words in ("stage 1: AUC", "hierarchical", "three labels", "partial fakes"):
        assert words in printed
    rows = list(csv.DictReader((root / "runs" / "hierarchical" / "scores" / "test.csv").read_text().splitlines()))
    assert len(rows) == 12
    for row in rows:
        types = [float(value) for name, value in row.items() if name.startswith("type_")]
        assert len(types) == 6 and sum(types) == pytest.approx(1)
        steps = len(json.loads(row["frame_audio"]))
        assert steps >= 50  # all of the clip: windows have 20
        assert all(0 <= a < b <= steps / 25 + 1e-3 and 0 <= p <= 1 for a, b, p in json.loads(row["segments"]))
    figures = {path.name for path in (root / "runs" / "hierarchical" / "figures").iterdir()}
    assert {"verdict_1.png", "verdict_6.png", "confusion.png", "precision_recall.png", "roc.png"} <= figures


@pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections reads config files with it
@pytest.mark.parametrize("command", BUILT)
def test_the_config_of_the_command_is_built(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    flags.DEFINE_string("workdir", "", "", flag_values=values)
    words = shlex.split(command)[2:]
    monkeypatch.setattr("sys.argv", words)  # ml_collections looks there for overrides
    values(words)
    config = values.config.to_dict()
    if producer := model_from_config.make_producer(config):
        producer.check(config, ())
        return
    model_from_config.make_model(config)
    model_from_config.make_task(config)


@pytest.mark.parametrize("command", PARSED)
def test_the_flags_of_the_command_are_known(command):
    words = [*shlex.split(command)[1:], "--only_check_args"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
