"""README's tree of folders and its picture say what the repository holds."""

import pathlib
import re

from experiments.figures import architecture

ROOT = pathlib.Path(__file__).parents[1]
TOP = ("mmdf_jax", "configs", "data_pipelines", "experiments", "tests")


def test_the_tree_names_every_folder():
    (tree,) = re.findall(r"^```\n(mmdf_jax/.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    named, top = [], ""
    for line in tree.splitlines():
        folder = re.match(r"(?:  )?(\w+)/ ", line)[1]
        top = top if line.startswith(" ") else folder
        named.append(folder if folder == top else f"{top}/{folder}")
    there = [f"{top}/{path.parent.name}" for top in TOP[:-1] for path in (ROOT / top).glob("*/__init__.py")]
    assert sorted(named) == sorted([*TOP, *there])


def test_the_six_files_exist():
    files = re.findall(r"^\d\. `(\S+)`: ", (ROOT / "README.md").read_text(), re.M)
    assert len(files) == 6 and all((ROOT / file).is_file() for file in files)


def test_the_picture_names_folders_that_exist():
    assert all((ROOT / folder).is_dir() for _, folder, _ in architecture.COLUMNS)
    assert len(architecture.draw().axes[0].texts) > len(architecture.COLUMNS)
