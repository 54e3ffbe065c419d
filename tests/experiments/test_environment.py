"""A run says where it computes, and tells when it goes on elsewhere."""

import json
import logging

from data_pipelines import guard
from experiments import environment
from experiments.run_directory import log


def _messages(workdir, monkeypatch):
    heard = []
    monkeypatch.setattr(log, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(log, "level", logging.INFO)
    monkeypatch.setattr(log.handlers[0], "handle", lambda record: heard.append((record.levelname, record.getMessage())))
    environment.settle(workdir)
    return heard


def test_the_same_place_is_told_once_and_another_one_warned_of(tmp_path, monkeypatch):
    (level, message), *others = _messages(tmp_path, monkeypatch)
    assert level == "INFO"
    assert "cpu device(s), 1 process(es)" in message
    assert not others
    saved = json.loads((tmp_path / "environment.json").read_text())
    assert saved["threads"] == guard.cores()
    assert saved["versions"]["jax"] in message
    assert len(_messages(tmp_path, monkeypatch)) == 1

    monkeypatch.setattr(guard, "cores", lambda: saved["threads"] + 3)
    _, (level, message) = _messages(tmp_path, monkeypatch)
    assert level == "WARNING"
    assert f"threads: {saved['threads']} there, {saved['threads'] + 3} now" in message
    assert "versions" not in message
    assert json.loads((tmp_path / "environment.json").read_text()) == saved
