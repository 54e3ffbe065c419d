"""A run says where it computes, and tells when it goes on elsewhere."""

import json

import pytest

from data_pipelines.prepare import child_processes
from experiments import environment


@pytest.fixture
def heard(monkeypatch):
    """(level, message) of everything that is logged."""
    said = []
    for level in ("info", "warning"):
        say = lambda message, *values, level=level: said.append((level, message % values))  # noqa: E731
        monkeypatch.setattr(environment.log, level, say)
    return said


def test_the_same_place_is_told_once_and_another_one_warned_of(heard, tmp_path, monkeypatch):
    environment.log_and_compare(tmp_path)
    saved = json.loads((tmp_path / "environment.json").read_text())
    assert saved["threads"] == child_processes.cores()
    environment.log_and_compare(tmp_path)
    assert [level for level, _ in heard] == ["info", "info"]
    assert "cpu device(s), 1 process(es)" in heard[0][1] and f"jax {saved['versions']['jax']}" in heard[0][1]

    monkeypatch.setattr(child_processes, "cores", lambda: saved["threads"] + 3)
    environment.log_and_compare(tmp_path)
    level, message = heard[-1]
    assert level == "warning"
    assert f"threads: {saved['threads']} there, {saved['threads'] + 3} now" in message
    assert "versions" not in message
    assert json.loads((tmp_path / "environment.json").read_text()) == saved


def test_a_damaged_file_is_one_line(heard, tmp_path):
    (tmp_path / "environment.json").write_text("{")
    with pytest.raises(ValueError, match=r"environment\.json: not JSON .*delete it"):
        environment.log_and_compare(tmp_path)
