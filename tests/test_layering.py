"""Dependencies point one way, and importing the library is light."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
OURS = ("configs", "mmdf_jax", "data_pipelines", "experiments")
# The modules of the library that need no JAX: what a config names, and what the whole project holds of sound.
LIGHT = ("mmdf_jax.audio", "mmdf_jax.build")
# What each package may import of the project, and which heavy third parties it may not import at all.
MAY = {
    "configs": {"configs"},
    "mmdf_jax": {"mmdf_jax"},
    "data_pipelines": {"data_pipelines", *LIGHT},
    "experiments": set(OURS),
}
NEVER = {
    "configs": {"jax", "flax", "numpy"},
    "mmdf_jax": {"tensorflow", "torch", "cv2", "pandas", "absl", "matplotlib", "grain", "tensorflow_datasets", "av"},
    "data_pipelines": {"tensorflow", "torch", "pandas", "jax", "flax", "optax"},
    "experiments": {"tensorflow", "pandas"},
}
FILES = [path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        top = name.partition(".")[0]
        assert top not in OURS or {top, name} & MAY[package], f"{path} imports {name}"
        assert top not in NEVER[package], f"{path} imports {name}"


def modules_after(statement):
    code = f"import sys; {statement}; print(' '.join(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(out.split())


def test_importing_the_library_is_light():
    loaded = modules_after("import mmdf_jax, mmdf_jax.build, mmdf_jax.weights.load")
    assert not loaded & {"tensorflow", "torch", "cv2", "pandas"}


def test_what_the_data_side_takes_of_the_library_needs_no_jax():
    assert "jax" not in modules_after(f"import {', '.join(LIGHT)}")


def test_help_waits_for_nothing_heavy():
    loaded = modules_after("import experiments.main")
    assert not loaded & {"jax", "flax", "tensorflow", "torch", "cv2", "pandas", "matplotlib", "grain", "transformers"}


def test_every_file_says_its_job_in_its_first_line():
    for path in FILES:
        text = path.read_text()
        assert not text or text.startswith('"""'), path
