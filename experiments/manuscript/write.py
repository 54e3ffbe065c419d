"""A study as a paper: writes the folder with paper.tex, references.bib, numbers, tables, figures, and the PDFs."""

import hashlib
import importlib.util
import pathlib
import shutil
from collections.abc import Callable

from matplotlib.figure import Figure

from experiments import files, progress
from experiments.analysis import generalisation
from experiments.figures import claims as claims_figure
from experiments.figures import fusion_comparison, style
from experiments.figures import table as table_figure
from experiments.manuscript import diagrams, document, latex, numbers, source, tables, typst, wording
from experiments.manuscript.source import Study
from experiments.report import terminal
from experiments.run_directory import log

HERE = pathlib.Path(__file__).parent
PAPER, SLIDES, REFERENCES = HERE / "text" / "paper.md", HERE / "text" / "slides.md", HERE / "references.bib"
INSTALL = "typst is not installed, so there is no paper.pdf and no slides.pdf: pip install -e '.[paper]'"
_MARK = "% As experiments.paper wrote it: "
_PAGE, _COLUMN, _SLIDE = 6.9, 3.3, (9.0, 4.0)  # inches


def write(study: pathlib.Path, out: pathlib.Path) -> str:
    """Writes the folder `out`; returns the list of files for the console.

    Raises:
      FileNotFoundError: a part of the study is missing.  ValueError: a table is damaged.
    """
    found = source.read(study)
    macros, made = numbers.macros(found), tables.make(found)
    text, talk = (document.parse(path.read_text(encoding="utf-8"), embedded=found.embedded) for path in (PAPER, SLIDES))
    drawn = _figures(found)
    with progress.bar(len(drawn) + 2, "paper", unit="file") as bar:
        for name, draw in drawn.items():
            style.save(draw(), out / "figures" / f"{name}.pdf")
            bar.update()
        for name, path in found.pictures.items():
            with files.atomic(out / "figures" / f"{name}{path.suffix}") as temporary:
                shutil.copyfile(path, temporary)
        files.write_text(out / f"{latex.NUMBERS}.tex", latex.numbers(macros))
        for name, table in made.items():
            files.write_text(out / "tables" / f"{name}.tex", latex.table(table))
        images = {name: f"figures/{name}.pdf" for name in drawn}
        images |= {name: f"figures/{name}{path.suffix}" for name, path in found.pictures.items()}
        bibliography = REFERENCES.read_text(encoding="utf-8")
        kept = [
            _unless_edited(out / "paper.tex", latex.paper(text)),
            _unless_edited(out / "references.bib", bibliography),
        ]
        files.write_text(out / "paper.typ", typst.paper(text, macros, made, images))
        files.write_text(out / "slides.typ", typst.slides(talk, macros, made, images))
        with_pdf = importlib.util.find_spec("typst") is not None
        for name in ("paper", "slides"):
            if with_pdf:
                with files.atomic(out / f"{name}.pdf") as temporary:
                    typst.compile_pdf(out / f"{name}.typ", temporary)
            bar.update()
    for path in filter(None, kept):
        log.info("%s: edited, so it stays as it is; numbers.tex, tables/ and figures/ are new", path)
    if not with_pdf:
        log.warning("%s", INSTALL)
    names = ["paper.tex", "references.bib", "numbers.tex", "tables", "figures", "paper.typ", "slides.typ"]
    return "\n".join(
        terminal.files([out / name for name in [*names, *(["paper.pdf", "slides.pdf"] if with_pdf else [])]])
    )


def _figures(study: Study) -> dict[str, Callable[[], Figure]]:
    """{name: what draws it}: those that the paper has of its own, at the size at which they are printed."""
    configs = {one.name: study.config(one.name) for one in study.detectors if one.part}

    def networks(*names: str) -> Callable[[], Figure]:
        return lambda: diagrams.draw_all({wording.short(name): configs[name] for name in names}, _PAGE)

    return {
        "overview": lambda: diagrams.draw(configs["cross_attn"], _PAGE),
        "designs": networks("early_fusion", "contrastive", "lip_sync"),
        "stages": networks("temporal_consistency", "hierarchical"),
        "claims": lambda: _sized(_claims(study), _PAGE, 7.6),
        "methods": lambda: _sized(_methods(study), _COLUMN, 3.9),
        "methods_wide": lambda: _sized(_methods(study), *_SLIDE),
        "fused": lambda: _sized(_fused(study), *_SLIDE),
    }


def _methods(study: Study) -> Figure:
    names, methods, values = generalisation.matrix(study.tables["generalisation"], generalisation.METHOD)
    return table_figure.draw(
        values, [wording.short(name) for name in names], [name.replace("_", " ") for name in methods]
    )


def _claims(study: Study) -> Figure:
    rows = [{**row, **{side: wording.short(row[side]) for side in ("Better", "Than")}} for row in study.claims]
    return claims_figure.draw(rows, title=" ")


def _fused(study: Study) -> Figure:
    names = {one.name.rpartition("-")[2]: wording.short(one.name) for one in study.detectors}
    rows = [
        {**row, "Detector": names.get(row["Detector"], row["Detector"])} for row in study.tables["fusion_comparison"]
    ]
    return fusion_comparison.draw(rows)


def _sized(figure: Figure, width: float, height: float) -> Figure:
    """The figure at this size, in inches, letters as large as before."""
    figure.set_size_inches(width, height)
    return figure


def _unless_edited(path: pathlib.Path, text: str) -> pathlib.Path | None:
    """Writes a file that an author may edit, with a line by which an edit is known; returns it if it was edited."""
    if path.exists():
        before, mark, digest = path.read_text(encoding="utf-8").rpartition(_MARK)
        if not mark or digest.strip() != _digest(before):
            return path
    files.write_text(path, f"{text}{_MARK}{_digest(text)}\n")
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
