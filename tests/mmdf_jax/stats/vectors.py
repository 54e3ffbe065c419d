"""Numbers that other programs computed for the tests of this folder: data/*.json, each with its source."""

import json
import pathlib

import pytest


def cases(file, test=None):
    """inputs and expected of a file's cases of one kind, as parameters that carry the case's name."""
    text = (pathlib.Path(__file__).parent / "data" / f"{file}.json").read_text()
    found = [case for case in json.loads(text)["cases"] if test is None or case["test"] == test]
    return [pytest.param(case["inputs"], case["expected"], id=case["name"]) for case in found]
