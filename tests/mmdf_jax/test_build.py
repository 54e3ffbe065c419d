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
    task = build({"name": "mmdf_jax.tasks.detection", "smoothing": 0.1})
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
        "data_pipelines.loading.transforms.np",
        "data_pipelines.loading.transforms.Transform",
        "data_pipelines.loading.loader.Settings",
        "data_pipelines.datasets._layout",
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


def test_only_what_a_file_defines_itself_is_built(tmp_path, monkeypatch):
    package = tmp_path / "my_lab_files"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "borrowed.py").write_text("from mmdf_jax.encoders.clip import Model\n")
    (package / "both.py").write_text("class Model: ...\nclass Task: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, found in (("borrowed", "none"), ("both", "several")):
        with pytest.raises(
            ValueError, match=f"must define one of Model, Task, Evaluator, Producer, Submission, read, found {found}"
        ):
            build({"name": f"my_lab_files.{name}"}, allow=["my_lab_files"])
    assert type(build({"name": "my_lab_files.both.Task"}, allow=["my_lab_files"])).__name__ == "Task"


def test_classes_of_a_family_and_readers(tmp_path):
    flip = build({"name": "data_pipelines.loading.transforms.HorizontalFlip", "p": 1.0})
    assert type(flip).__name__ == "HorizontalFlip" and flip.p == 1
    kind = build({"name": "data_pipelines.fakes.pseudo_fakes.Vocoded", "bands": [8, 9]})
    assert kind.bands == (8, 9)
    (tmp_path / "clips.csv").write_text("path,label\na.mp4,1\n")
    (clip,) = build({"name": "data_pipelines.datasets.folder", "manifest": str(tmp_path / "clips.csv")})
    assert clip.label == 1


def test_unknown_fields_and_variants_list_the_known_ones():
    with pytest.raises(ValueError, match=r"no field widht; known: .*width"):
        build({"name": "mmdf_jax.encoders.clip", "widht": 3})
    with pytest.raises(ValueError, match=r"no variant 'B/17'; known: .*tiny"):
        build({"name": "mmdf_jax.encoders.clip", "variant": "B/17"})
