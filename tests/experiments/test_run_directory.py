"""A run's directory: one writer, one config; the metrics log keeps no step twice."""

import json
import pathlib

import pytest

from experiments import metrics_log, run_directory


def test_only_one_process_may_write(tmp_path):
    with run_directory.lock(tmp_path):
        with pytest.raises(ValueError, match="another process is writing"), run_directory.lock(tmp_path):
            pass
    with run_directory.lock(tmp_path):
        pass


def test_the_config_is_written_once_and_compared_after(tmp_path):
    config = {"data": {"workers": 0, "batch_size": 4}, "rules": (("a", 0.0),)}
    run_directory.write_or_compare_config(tmp_path, config)
    run_directory.write_or_compare_config(tmp_path, {**config, "data": {"workers": 7, "batch_size": 4}})
    with pytest.raises(ValueError, match=r"data.batch_size: 4 there, 8 now"):
        run_directory.write_or_compare_config(tmp_path, {**config, "data": {"workers": 0, "batch_size": 8}})


def test_a_damaged_or_missing_config_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json there"):
        run_directory.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        run_directory.read_config(tmp_path)


def test_names_of_default_directories():
    assert run_directory.default_workdir("configs/image.py") == pathlib.Path("runs/image")
    assert run_directory.default_workdir("configs/image.py:size=base,data=a/b") == pathlib.Path(
        "runs/image-size=base,data=a_b"
    )


def test_a_resumed_log_drops_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 1, "x": 1}, {"step": 2, "x": 2}, {"step": 2, "val/x": 1}, {"step": 3, "x": 3}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "x')
    log = metrics_log.MetricsLog(tmp_path, 2)
    log.write(3, {"x": 30.0, "y": float("nan")})
    log.close()
    assert metrics_log.read(path) == [{"step": 1, "x": 1}, {"step": 2, "x": 2}, {"step": 3, "x": 30.0, "y": None}]


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_told_by_the_log_and_never_hides_another_error(tmp_path):
    log = metrics_log.MetricsLog(tmp_path, 0)
    log._file.close()
    log._file = open("/dev/full", "a")
    with pytest.raises(
        OSError, match=r"^/dev/full: the metrics cannot be written \(No space left on device\); the steps"
    ):
        log.write(1, {"x": 1.0})
    with pytest.raises(OSError, match=r"^/dev/full: the metrics cannot be written"):
        log.sync()
    log.close()


def test_a_damaged_line_in_the_middle_is_told(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2: not JSON"):
        metrics_log.read(path)
