"""The paper's text holds no number and no boast; what is written is whole, the same twice, and leaves edits alone."""

import importlib.util
import math
import re
import shutil

import pytest

from experiments.analysis import compare
from experiments.manuscript import document, latex, numbers, source, tables, typst, wording, write
from experiments.manuscript.document import Cite, Float, Heading, Macro, Reference, Words
from tests.experiments.manuscript import small_study

# Names with digits in them.
NAMES = ("wav2vec 2.0", "DINOv2", "3D ResNet", "F1")
WITH_TYPST = importlib.util.find_spec("typst") is not None


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "study"
    small_study.put(folder)
    return folder


@pytest.fixture(scope="module")
def found(study):
    return source.read(study)


@pytest.fixture(scope="module")
def paper(study):
    write.write(study, study / "Paper")
    return study / "Paper"


def texts(path):
    return [document.parse(path.read_text(), embedded=embedded) for embedded in (True, False)]


def spans(blocks):
    return [span for block in blocks for span in document.spans_of(block)]


# ------------------------------------------------------------------------------------------------------- the text


@pytest.mark.parametrize("path", [write.PAPER, write.SLIDES], ids=lambda path: path.name)
def test_no_number_and_no_boast_stands_in_the_text(path):
    for blocks in texts(path):
        words = " ".join(span.text for span in spans(blocks) if isinstance(span, Words))
        for name in NAMES:
            words = words.replace(name, "")
        assert not re.findall(r"\S*\d\S*", words)
        assert not re.findall(r"\bfirst\b|state.of.the.art|novel|outperform", words, re.I)


def test_the_text_has_all_parts_and_says_what_does_not_follow():
    for embedded, blocks in zip((True, False), texts(write.PAPER), strict=True):
        labels = {block.label for block in blocks if isinstance(block, Heading)}
        assert labels >= {
            *("abstract", "introduction", "related", "method", "setup", "results", "ablations", "discussion"),
            *("limitations", "conclusion", "code", "supplement"),
        }
        words = " ".join(span.text for span in spans(blocks) if isinstance(span, Words))
        assert ("stand-in" in words and "does not follow" in words) == embedded


def test_what_the_text_points_to_is_there(found):
    macros, made = numbers.macros(found), tables.make(found)
    drawn = {*write._figures(found), *found.pictures}
    for path in (write.PAPER, write.SLIDES):
        for blocks in texts(path):
            floats = {(block.kind, block.name) for block in blocks if isinstance(block, Float)}
            sections = {("section", block.label) for block in blocks if isinstance(block, Heading)}
            for span in spans(blocks):
                assert not isinstance(span, Macro) or span.name in macros
                assert not isinstance(span, Reference) or (span.kind, span.label) in floats | sections
            assert {name for kind, name in floats if kind == "figure"} <= drawn
            assert {name for kind, name in floats if kind == "table"} <= set(made)
    assert all(re.fullmatch("[a-zA-Z]+", name) for name in macros)


def test_every_reference_has_a_doi_and_is_cited():
    entries = re.split(r"(?m)^@", write.REFERENCES.read_text())[1:]
    dois = [re.search(r"doi = \{(10\.\d{4,}/\S+)\}", entry) for entry in entries]
    assert all(dois) and len({doi[1] for doi in dois}) == len(entries) >= 35
    keys = {re.match(r"\w+\{([\w]+),", entry)[1] for entry in entries}
    for blocks in texts(write.PAPER):
        assert {key for span in spans(blocks) if isinstance(span, Cite) for key in span.keys} == keys


def test_the_abstract_is_short(found):
    macros = numbers.macros(found)
    for blocks in texts(write.PAPER):
        parts = document.parts(blocks)
        shown = (macros[span.name] if isinstance(span, Macro) else span.text for span in spans(parts.abstract))
        assert 120 < len("".join(shown).split()) <= 250


@pytest.mark.parametrize(
    ("text", "error"),
    [("::: figure a\ncaption", "no ::: closes ::: figure"), ("::: picture a\ncaption\n:::", "expected figure, table")],
)
def test_a_damaged_text_is_named(text, error):
    with pytest.raises(ValueError, match=error):
        document.parse(text, embedded=True)
    with pytest.raises(ValueError, match="expected # title"):
        document.parts(document.parse("# only a title", embedded=True))


# ----------------------------------------------------------------------------------------------- what results say


def claim(verdict, better="cross_attn", gain=0.05, than="late_fusion", among=1, why=""):
    limits = {"Gain low": gain - 0.01, "Gain high": gain + 0.01}
    facts = {"Better": better, "Better chosen from": 1, "Than": than, "Than chosen from": among, "Metric": "auc"}
    return {**facts, "Verdict": verdict, "Gain": gain, **limits, "Why not": why}


def test_sentences_follow_the_verdicts():
    both = [
        claim(compare.SUPPORTED, than="image-clip", among=4),
        claim(compare.SUPPORTED, "system", 0.06, "image-clip", 4),
    ]
    text = wording.verdicts(both)
    assert text == (
        "Cross-modal attention (+0.050 [+0.040, +0.060]) and the system (+0.060 [+0.050, +0.070]) are better than "
        "CLIP, the best of 4 on validation."
    )
    worse = wording.verdicts([claim(compare.CONTRADICTED, gain=-0.05)])
    assert worse == "Cross-modal attention (−0.050 [−0.060, −0.040]) is worse than late fusion, against the claim."
    assert "is equal in practice to late fusion" in wording.verdicts([claim(compare.EQUAL)])
    assert "is not shown to be better than late fusion" in wording.verdicts([claim(compare.OPEN)])
    absent = wording.verdicts([claim(compare.ABSENT, gain=math.nan, why="no detector late_fusion")])
    assert absent == "Cross-modal attention could not be compared with late fusion: no detector late_fusion."
    assert wording.counts(both, "about it") == "Both claims about it are supported."
    assert wording.counts([*both, claim(compare.OPEN)], "about it") == (
        "Of the three claims about it, two are supported and one is not shown."
    )


def test_numbers_are_those_of_the_tables(found):
    macros = numbers.macros(found)
    row = found.quality("system", "AUC", "label")
    assert macros["systemAuc"] == f"{row['Value']:.3f} [{row['Low']:.3f}, {row['High']:.3f}]"
    assert (macros["clipsTest"], macros["peopleTest"], macros["fakesTest"]) == ("24", "6", "18")
    assert (macros["peopleTrain"], macros["clipsTrain"]) == ("24", "336")
    assert macros["claimTotal"] == str(len(found.claims)) and macros["methodNames"].startswith("dubbing, face swap and")
    assert "Training took 24 minutes in all, on CPU (2 threads)." == macros["computeSentence"]
    detectors = tables.make(found)["detectors"]
    assert [row[0] for row in detectors.rows if len(row) == 1] == [
        *("pictures", "voices", "video", "several streams", "synchrony")
    ]
    assert sum(len(row) > 1 for row in detectors.rows) == len(found.detectors) == 18


# ------------------------------------------------------------------------------------------------ what is written


def test_the_latex_is_whole(paper):
    text = (paper / "paper.tex").read_text()
    defined = set(re.findall(r"\\newcommand\{(\\res\w+)\}", (paper / "numbers.tex").read_text()))
    assert set(re.findall(r"\\res\w+", text)) <= defined
    assert set(re.findall(r"\\ref\{(.*?)\}", text)) <= set(re.findall(r"\\label\{(.*?)\}", text))
    assert all((paper / f"{name}.tex").is_file() for name in re.findall(r"\\input\{(.*?)\}", text))
    assert all((paper / f"{name}.pdf").is_file() for name in re.findall(r"\]\{(figures/.*?)\}", text))
    for path in (paper / "paper.tex", paper / "numbers.tex", *(paper / "tables").iterdir()):
        content = re.sub(r"\\[{}%\\]", "", re.sub(r"(?m)^%.*", "", path.read_text()))
        assert content.count("{") == content.count("}"), path
        began = []
        for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", path.read_text()):
            assert kind == "begin" or began.pop() == name, path
            began += [name] if kind == "begin" else []
        assert not began, path
    for path in (paper / "tables").iterdir():
        lines = [line for line in path.read_text().splitlines() if "&" in line]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1, path


def test_special_letters_are_letters():
    assert latex.escape("a_b & 50 % #1 $x ~ −1 “q”") == r"a\_b \& 50 \% \#1 \$x \textasciitilde{} $-$1 ``q''"
    assert typst.escape("= a_b #1 <x> @y") == r"\= a\_b \#1 \<x\> \@y"


def test_made_twice_it_is_the_same_and_edits_stay(paper, study, caplog):
    before = {path: path.read_bytes() for path in paper.rglob("*") if path.is_file()}
    before[paper / "paper.tex"] = before[paper / "paper.tex"].replace(b"{Authors}", b"{Ada}")
    (paper / "paper.tex").write_bytes(before[paper / "paper.tex"])
    (paper / "numbers.tex").unlink()
    with caplog.at_level("INFO"):
        write.write(study, paper)
    assert {path: path.read_bytes() for path in paper.rglob("*") if path.is_file()} == before
    assert "paper.tex: edited, so it stays" in caplog.text and "references.bib: edited" not in caplog.text
    assert WITH_TYPST or "pip install -e '.[paper]'" in caplog.text
    assert (paper / "paper.pdf").exists() == (paper / "slides.pdf").exists() == WITH_TYPST


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("Results/complete_results.csv", "missing: Results/complete_results.csv"),
        ("Results/statistical_analysis.csv", "missing: Results/statistical_analysis.csv"),
        ("runs/hierarchical/types.csv", "missing: runs/hierarchical/types.csv"),
    ],
)
def test_a_part_that_is_missing_is_named(study, tmp_path, gone, named):
    half = tmp_path / "study"
    shutil.copytree(study, half)
    (half / gone).unlink()
    with pytest.raises(FileNotFoundError, match=named) as error:
        source.read(half)
    assert f"python -m experiments.suite --workdir={half}" in str(error.value) and "\n" not in str(error.value)
