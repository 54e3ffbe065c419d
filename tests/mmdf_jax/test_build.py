"""build: names become classes, and nothing outside the allowed packages is ever imported."""

import sys

import pytest

from mmdf_jax.build import build
from mmdf_jax.encoders import clip
from mmdf_jax.tasks import detection


def test_the_name_is_the_file():
    model = build({"name": "mmdf_jax.encoders.clip", "variant": "tiny", "depth": 1})
    assert isinstance(model, clip.Model)
    assert model.depth == 1
    assert model.width == clip.VARIANTS["tiny"]["width"]


def test_nested_specs_are_built_and_lists_become_tuples():
    spec = {
        "name": "mmdf_jax.models.multimodal",
        "encoders": {"image": {"name": "mmdf_jax.encoders.clip", "variant": "tiny"}},
        "fusion": {"name": "mmdf_jax.fusion.cross_attention", "depth": 1},
    }
    assert isinstance(build(spec).encoders["image"], clip.Model)


def test_tasks_export_task():
    task = build({"name": "mmdf_jax.tasks.detection", "smoothing": 0.1}, "Task")
    assert task == detection.Task(smoothing=0.1)


@pytest.mark.parametrize(
    "name",
    [
        "os",
        "os.path",
        "subprocess",
        "antigravity.x",
        "mmdf_jax",
        "mmdf_jax.build",
        "mmdf_jax.weights.load",
        "mmdf_jax.encoders",
        "mmdf_jax.encodersx.clip",
        "mmdf_jax.encoders.clip.Model",
        "mmdf_jax.encoders..clip",
        "mmdf_jax.encoders.clip; import os",
        "../evil",
        "",
        None,
        7,
    ],
)
def test_a_hostile_name_is_refused_with_one_line(name):
    before = set(sys.modules)
    with pytest.raises(ValueError) as error:
        build({"name": name})
    assert "\n" not in str(error.value)
    assert "antigravity" not in set(sys.modules) - before


def test_an_allowed_package_is_imported(tmp_path, monkeypatch):
    package = tmp_path / "my_lab_models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "probe.py").write_text("import dataclasses\n@dataclasses.dataclass\nclass Model:\n    width: int = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="allow its package with --allow"):
        build({"name": "my_lab_models.probe"})
    assert build({"name": "my_lab_models.probe", "width": 5}, allow=["my_lab_models"]).width == 5


def test_a_class_that_the_module_only_imports_is_not_built():
    with pytest.raises(ValueError, match="defines no class Block"):
        build({"name": "mmdf_jax.encoders.clip"}, "Block")


def test_unknown_fields_and_variants_list_the_known_ones():
    with pytest.raises(ValueError, match=r"no field widht; known: .*width"):
        build({"name": "mmdf_jax.encoders.clip", "widht": 3})
    with pytest.raises(ValueError, match=r"no variant 'B/17'; known: .*tiny"):
        build({"name": "mmdf_jax.encoders.clip", "variant": "B/17"})
