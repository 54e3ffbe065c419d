"""Records made on Apache Beam's local runner are the same bytes as those made without it."""

import hashlib
import sys

import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import beam, records

CROPS = records.Crops(face_size=32, mouth_size=32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, talking_clip):
    """Ten clips, more than one batch, of which one cannot be decoded and one has no face."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [talking_clip(folder, str(i), 0.4, i) for i in range(8)]
    marks = [str(path.with_suffix(".npz")) for path in paths]
    (folder / "text.mp4").write_text("hello")
    np.savez(folder / "none.npz", landmarks=np.full((10, 68, 2), np.nan), times=np.arange(10) / 25)
    paths += [folder / "text.mp4", paths[0]]
    marks += [marks[0], str(folder / "none.npz")]
    splits = ("train", "train", "val", "test")
    return [
        Clip(f"t/{i}", str(path), i % 2, landmarks_path=mark, split=splits[i % 4], identity=str(i))
        for i, (path, mark) in enumerate(zip(paths, marks, strict=True))
    ]


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def test_the_local_runner_makes_the_same_records(clips, tmp_path):
    pytest.importorskip("apache_beam", reason="apache-beam is not installed")
    direct = beam.runner("direct", {"direct_num_workers": 1})
    one = records.prepare(clips, tmp_path / "one", crops=CROPS, workers=2)
    other = records.prepare(clips, tmp_path / "other", crops=CROPS, runner=direct)
    assert digests(one) == digests(other)
    assert [row["status"] for row in records.read_report(other)] == ["ok"] * 8 + ["undecodable", "error"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_killed_run_is_taken_up(clips, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="apache-beam is not installed")

    def killed(jobs, workers, caps):
        records.run_here(jobs[:3], workers, caps)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.prepare(clips, tmp_path / "out", crops=CROPS, workers=1, runner=killed)
    given = []
    direct = beam.runner("direct", {})
    records.prepare(
        clips, tmp_path / "out", crops=CROPS, runner=lambda jobs, *how: (given.extend(jobs), direct(jobs, *how))
    )
    assert len(given) == 7


def test_mistakes_are_one_line(clips, tmp_path):
    pytest.importorskip("apache_beam", reason="apache-beam is not installed")
    for name, words in (
        ("NoSuchRunner", "--runner=NoSuchRunner: Unexpected pipeline runner"),
        ("no.such.Runner", "--runner=no.such.Runner: No module named 'no'"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            beam.runner(name, {})
        assert "\n" not in str(error.value)


def test_a_worker_that_does_not_see_the_folder_says_so(clips, tmp_path):
    job = records.extract.Job(clips[0], CROPS)
    with pytest.raises(FileNotFoundError, match="--out must lie where all workers can write"):
        list(beam._extract([(str(tmp_path / "nowhere" / "clip"), job)], 1, records.child_processes.CAPS))


def test_a_worker_without_the_detectors_file_says_so(clips, tmp_path):
    job = records.extract.Job(clips[0], records.Crops(yunet=str(tmp_path / "gone.onnx")))
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx': there is no such file"):
        list(beam._extract([(str(tmp_path / "clip"), job)], 1, records.child_processes.CAPS))


def test_outcomes_that_got_lost_are_told(clips, tmp_path):
    with pytest.raises(ValueError, match="7 of 10 clips that were to be decoded have left nothing here"):
        records.prepare(
            clips, tmp_path / "out", crops=CROPS, workers=1, runner=lambda jobs, *how: records.run_here(jobs[:3], *how)
        )
    assert not (tmp_path / "out").exists()


def test_without_beam_it_is_told_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r"--runner=direct needs Apache Beam: pip install 'mmdf_jax\[beam\]'") as error:
        beam.runner("direct", {})
    assert "\n" not in str(error.value)
