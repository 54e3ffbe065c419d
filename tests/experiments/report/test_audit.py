"""The audit command: planted leaks and a planted silence are found, the talking heads are clean."""

import csv
import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.io.wavfile

from data_pipelines.audit import shortcuts, simple_statistics
from data_pipelines.clip import Clip, read_manifest, write_manifest
from data_pipelines.datasets import talking_heads
from data_pipelines.prepare import records
from experiments.report import audit
from mmdf_jax.stats.bootstrap import Interval

ROOT = pathlib.Path(audit.__file__).parents[2]
SIZES = {"train": 4, "val": 2, "test": 2, "train_clips": 4, "eval_clips": 4}
CROPS = records.Crops(face_size=32, mouth=False)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A small talking-heads corpus, prepared."""
    folder = tmp_path_factory.mktemp("heads")
    clips = talking_heads.read(str(folder), workers=2, **SIZES)
    return records.prepare(clips, folder / "records", crops=CROPS, workers=2)


@pytest.fixture(scope="module")
def heads_audit(heads):
    return audit.of_records(heads)


def test_nothing_is_shared_in_the_talking_heads(heads_audit):
    assert heads_audit.leaks == ()
    assert all(count > 0 for count in heads_audit.compared.values())


def test_probes_of_the_talking_heads_stay_at_chance(heads_audit):
    probed = {shortcut.probe: shortcut for shortcut in heads_audit.shortcuts}
    assert list(probed) == [
        *("duration", "leading silence", "loudness", "bitrate", "resolution", "codec", "file size", "face size"),
        *("mean colour", "all together"),
    ]
    for shortcut in probed.values():
        assert shortcut.verdict != "SHORTCUT" and shortcut.auc.value < 0.7, str(shortcut)
        assert shortcut.clips == 32


def measured(value, clips=180):
    """What `statistics` says of clips of thirty people, half of them swaps; `value` is a function of (label, i)."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(clips):
        label = i % 2
        clip = Clip(str(i), "", label, method="swap" if label else "real", identity=f"p{i // 6}", dataset="d")
        table = rng.normal(size=30)
        table[7] = value(label, i)
        rows.append((records.IndexRow(clip, "ok", 50, 2.0, 32000), table))
    return rows


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "PLAIN"), (-1.0, "PLAIN"), (0.0, "hidden")])
def test_a_statistic_that_tells_is_found_whichever_way_it_points(monkeypatch, sign, verdict):
    rows = measured(lambda label, i: sign * label + 0.1 * (i % 5))
    monkeypatch.setattr(audit.simple_statistics, "statistics", lambda folder: rows)
    (separation,) = audit.separations("")
    assert (separation.method, separation.clips, separation.verdict) == ("swap", 90, verdict), str(separation)
    if sign:
        assert separation.statistic == simple_statistics.NAMES[7] and separation.single.value == 1.0
        assert "given away by simple statistics" in str(separation) and separation.together.value > 0.9


def test_statistics_without_a_value_are_no_evidence(monkeypatch):
    rows = measured(lambda label, i: np.nan if label else 0.0)
    monkeypatch.setattr(audit.simple_statistics, "statistics", lambda folder: rows)
    (separation,) = audit.separations("")
    assert separation.statistic != simple_statistics.NAMES[7] and separation.verdict == "hidden"


def test_simple_statistics_measure_what_they_say():
    frames = np.full((10, 64, 64, 3), 100, np.uint8)
    frames[5] += 20  # one jump up, one down
    frames[..., 0] += 30
    values = dict(zip(simple_statistics.NAMES, simple_statistics.of_pictures(frames, 0.3), strict=False))
    for region in simple_statistics.REGIONS:
        assert values[f"largest brightness step of the {region}"] == pytest.approx(20, abs=0.5)
        assert values[f"brightness steps of the {region}"] == pytest.approx(40 / 9, abs=0.2)
        assert values[f"Laplacian of the {region}"] == 0
    assert values["warmth of the crop"] == pytest.approx(30) and values["blockiness of the crop"] == 0
    frames[:, 30:34, 30:34] = 255  # in the middle of the face alone
    values = dict(zip(simple_statistics.NAMES, simple_statistics.of_pictures(frames, 0.3), strict=False))
    assert values["Laplacian of the border"] == 0 < values["Laplacian of the inner face"]

    time = np.arange(16000) / 16000
    tone = 8000 * np.sin(2 * np.pi * 1000 * time) * (time < 0.5)
    values = dict(zip(simple_statistics.NAMES[20:], simple_statistics.of_sound(tone), strict=True))
    assert values["spectral centroid of the sound"] == pytest.approx(1000, rel=0.03)
    assert values["crest of the sound"] == pytest.approx(2.0, rel=0.01)
    assert values["SNR of the sound"] > 60 and values["high band of the sound"] < -40
    assert values["zero crossings of the sound"] == pytest.approx(1000 / 16000, rel=0.02)


def row_of(probe, **fields):
    """What `features` says of 40 clips of ten people, half of them fake; each field is a function of (label, i)."""
    rows = []
    for i in range(40):
        label = i % 2
        clip = Clip(str(i), "", label, identity=f"p{i // 4}", dataset="d")
        values = {probe: fields["value"](label, i)} if fields["value"](label, i) is not None else {}
        rows.append((records.IndexRow(clip, "ok", 50, 2.0, 32000), values))
    return rows


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (lambda label, i: (0.1 * label + 0.01 * (i % 5),), "SHORTCUT"),
        (lambda label, i: (float(i // 2 % 3),), "chance"),
        (lambda label, i: ((-1.0) ** (i // 2) * (1 + label),), "SHORTCUT"),  # at both ends: no monotone cue
        (lambda label, i: "h264" if label else "vp9", "SHORTCUT"),
        (lambda label, i: "h264", "chance"),
        (lambda label, i: (1.0,) if label else None, "unknown"),
    ],
)
def test_a_probe_is_judged(monkeypatch, value, verdict):
    monkeypatch.setattr(audit, "features", lambda folder: row_of("cue", value=value))
    first, together = audit.shortcuts("")
    assert (first.probe, first.verdict) == ("cue", verdict), str(first)
    assert together.probe == "all together"
    assert ("alone tells fakes from reals" in str(first)) == (verdict == "SHORTCUT")


def test_a_cue_of_persons_is_no_shortcut(monkeypatch):
    """Clips of a person are all fake or all real, and alike: only folds without that person can tell."""
    rows = row_of("cue", value=lambda label, i: (np.sin(7.0 * (i // 4)),))
    rows = [
        (dataclasses.replace(row, clip=dataclasses.replace(row.clip, label=int(row.clip.identity[1:]) % 2)), values)
        for row, values in rows
    ]
    monkeypatch.setattr(audit, "features", lambda folder: rows)
    assert audit.shortcuts("")[0].verdict == "chance"


def test_leading_silence_is_measured():
    sound = np.concatenate([np.zeros(4000), 3000 * np.sin(np.arange(12000))])
    assert shortcuts._leading_silence(sound) == (0.25, 0.25)
    hum = sound + 60 * np.sin(np.arange(16000) / 3)  # a room's noise: not digital silence, but a pause
    assert shortcuts._leading_silence(hum) == (0.0, 0.25)
    assert shortcuts._leading_silence(np.zeros(1600)) == (0.1, 0.1)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Forty sounds of ten people, of which one stands in two splits; every fake begins with silence."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    clips = []
    for i in range(40):
        levels = [np.interp(np.arange(24000), np.arange(0, 24000, 3200), rng.uniform(0, 2000, 8)) for _ in range(4)]
        sound = rng.normal(size=24000) * 100
        for hertz, level in zip((300, 700, 1500, 4000), levels, strict=True):
            sound += level * np.sin(2 * np.pi * hertz / 16000 * np.arange(24000))
        sound[: rng.integers(1000, 4000) if i % 2 else 0] = 0
        path = folder / f"c{i}.wav"
        scipy.io.wavfile.write(path, 16000, np.clip(sound, -32768, 32767).astype(np.int16))
        split, person = ("train", "val", "test")[min(i // 16, 2)], f"p{i // 4 if i < 39 else 0}"
        clips.append(Clip(f"c{i}", str(path), i % 2, split=split, identity=person, dataset="d"))
    write_manifest(folder / "manifest.csv", clips)
    return folder / "manifest.csv"


def command(*arguments):
    line = [sys.executable, "-m", "experiments.prepare", "--audit", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)


def test_the_command_tells_of_a_leak(planted):
    done = command(f"--manifest={planted}", "--workers=2")
    assert done.returncode == 1, done.stderr
    assert "identity 'p0' stands in train (4 clips, as c0) and test (c39)" in done.stdout
    assert "Donor: unknown" in done.stdout and "Same sound: none is shared" in done.stdout
    assert "run experiments.prepare first" in done.stdout


def test_a_planted_silence_is_found(planted, tmp_path):
    folder = records.prepare(read_manifest(planted), tmp_path / "out", crops=CROPS, workers=2)
    verdicts = {shortcut.probe: shortcut.verdict for shortcut in audit.shortcuts(folder)}
    assert verdicts["leading silence"] == "SHORTCUT" and verdicts["all together"] == "SHORTCUT"
    assert verdicts["duration"] == verdicts["codec"] == verdicts["file size"] == "chance"


def test_the_command_audits_records(heads):
    done = command(f"--out={heads}")
    assert done.returncode == 0, done.stderr
    assert "Donor: none is shared across splits." in done.stdout and "LEAK" not in done.stdout
    with open(heads / "audit.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    methods = {row["check"].partition(",")[0] for row in rows if row["audit"] == "statistics"}
    assert len(rows) == 6 + 10 + 2 * len(methods) and "face_swap" in methods
    assert {row["verdict"] for row in rows if row["audit"] == "leak"} == {"none"}


def test_a_wrong_folder_is_one_line():
    done = command("--out=/nowhere")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "no prepared records" in done.stderr


def test_an_interval_that_says_nothing_is_told():
    wide = audit.Shortcut("duration", Interval(0.875, 0.025, 0.999, 14, 1000), 14)
    assert wide.verdict == "unclear" and "says nothing" in str(wide)
    narrow = audit.Shortcut("duration", Interval(0.52, 0.45, 0.6, 200, 1000), 200)
    assert narrow.verdict == "chance" and "does not tell" in str(narrow)


def test_an_interval_that_reaches_beyond_the_bound_says_nothing_of_a_method():
    def separation(single_high, together_high):
        intervals = Interval(0.6, 0.5, single_high, 10, 0), Interval(0.6, 0.5, together_high, 10, 0)
        return audit.Separation("dubbing", "loudness of the sound", *intervals, 12)

    assert separation(0.69, 0.84).verdict == "hidden"
    assert separation(0.71, 0.84).verdict == separation(0.69, 0.86).verdict == "unclear"
    assert "may or may not be given away" in str(separation(0.71, 0.84))
