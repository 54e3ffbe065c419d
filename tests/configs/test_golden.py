"""What each config resolves to is on record, so that a review sees a changed default.

Renew the records with `python -m tests.configs.test_golden --write`, from the repository's root, and read their diff.
"""

import importlib
import json
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent / "golden"
CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("[!_]*.py") if path.stem != "common")
CASES = [(name, arg) for name in NAMES for arg in ("", "size=base") if (name, arg) != ("analysis", "size=base")]
RENEW = "python -m tests.configs.test_golden --write"


def resolved(name, arg):
    """The config as the text of its golden file."""
    config = importlib.import_module(f"configs.{name}").get_config(arg).to_dict()
    return json.dumps(config, indent=1, sort_keys=True) + "\n"


def golden(name, arg):
    return FOLDER / (f"{name}-{arg}.json" if arg else f"{name}.json")


@pytest.mark.parametrize(("name", "arg"), CASES)
def test_the_config_resolves_to_its_golden_file(name, arg):
    path = golden(name, arg)
    recorded = path.read_text() if path.exists() else ""
    assert resolved(name, arg) == recorded, f"configs/{name}.py:{arg} changed; if that is meant, run: {RENEW}"


def test_no_golden_file_is_left_over():
    assert sorted(FOLDER.iterdir()) == sorted(golden(name, arg) for name, arg in CASES), f"run: {RENEW}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {RENEW}")
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for case in CASES:
        golden(*case).write_text(resolved(*case))
