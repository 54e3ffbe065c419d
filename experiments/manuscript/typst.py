"""The manuscript and the slides as typst, and typst's PDF of them, of the same bytes whenever they are made."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from experiments.manuscript import document
from experiments.manuscript.document import Block, Cite, Float, Heading, Items, Macro, Reference, Span
from experiments.manuscript.tables import Table

_SPECIAL = "\\#$*_`<>@[]~/\"'"
_LOOK = """#set text(font: "Libertinus Serif", size: 9.5pt, lang: "en")
#show figure.where(kind: table): set figure.caption(position: top)
"""
_PAPER = """#set page(paper: "us-letter", margin: (x: 0.8in, y: 0.9in), columns: 2, numbering: "1")
#set columns(gutter: 0.25in)
#set par(justify: true, leading: 0.55em, spacing: 0.75em, first-line-indent: 0pt)
#set heading(numbering: "1.1")
#show heading.where(level: 1): set text(size: 11.5pt)
#show heading.where(level: 2): set text(size: 10pt)
#show heading: set block(above: 1.3em, below: 0.7em)
#set figure(placement: auto)
#show figure.caption: set text(size: 8.5pt)
#show figure.caption: set align(left)
// As wide as its place, or so high that its heading stays on the page.
#let picture(path) = layout(place => {
  let wide = image(path, width: place.width)
  if measure(wide).height > 7.6in { align(center, image(path, height: 7.6in)) } else { wide }
})
"""
_SLIDES = """#set page(width: 25.4cm, height: 14.29cm, margin: (x: 1.5cm, top: 1.2cm, bottom: 1.1cm), numbering: "1")
#set text(size: 18pt)
#set par(leading: 0.6em, spacing: 0.9em)
#show heading.where(level: 1): it => { pagebreak(weak: true); block(below: 0.9em, text(size: 23pt, it.body)) }
#show figure.caption: set text(size: 11pt)
"""


def escape(text: str) -> str:
    """Text as typst shows it."""
    shown = "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)
    return f"\\{shown}" if shown[:1] in ("=", "-", "+") else shown


def paper(
    blocks: Sequence[Block], macros: Mapping[str, str], tables: Mapping[str, Table], images: Mapping[str, str]
) -> str:
    """paper.typ, with references.bib and figures/ beside it."""
    parts = document.parts(blocks)

    def written(some: Sequence[Block]) -> Iterator[str]:
        return (_block(block, tables, images) for block in some)

    lines = [
        _LOOK,
        _numbers(macros),
        _title(parts.title),
        _PAPER,
        '#place(top + center, scope: "parent", float: true, clearance: 1.5em)[',
        f'  #text(size: 16pt, weight: "bold", hyphenate: false)[{_inline(parts.title)}]\n\n  Authors',
        "]",
        "#align(center)[*Abstract*]",
        '#[#set text(style: "italic")',
        *written(parts.abstract),
        "]",
        *written(parts.body),
        "#[#set text(size: 8pt)\n#set par(leading: 0.5em)",
        '#bibliography("references.bib", style: "ieee", title: "References")]',
        "#set page(columns: 1)\n#set figure(placement: none)\n#counter(heading).update(0)",
        '#set heading(numbering: "A.1")',
        *written(parts.supplement),
    ]
    return "\n\n".join(lines) + "\n"


def slides(
    blocks: Sequence[Block], macros: Mapping[str, str], tables: Mapping[str, Table], images: Mapping[str, str]
) -> str:
    """slides.typ: each heading begins a slide; what it holds shares its height."""
    title, *rest = blocks
    lines = [_LOOK, _numbers(macros), _title(title.spans), _SLIDES]
    lines.append(f'#v(1fr)\n#text(size: 30pt, weight: "bold")[{_inline(title.spans)}]\n#v(2fr)')
    for block in rest:
        if isinstance(block, Heading):
            lines.append(f"= {_inline(block.spans)}")
        elif isinstance(block, Float):
            lines.append(_shown(block, tables, images))
        else:
            lines.append(_block(block, tables, images))
    return "\n\n".join(lines) + "\n"


def compile_pdf(source: pathlib.Path, target: pathlib.Path) -> None:
    """Writes the PDF of a typst file; the same bytes for the same source, with the fonts that typst brings.

    Raises:
      ModuleNotFoundError: typst is not installed.  ValueError: it refuses the source.
    """
    import typst

    try:
        pdf = typst.compile(source, root=source.parent, ignore_system_fonts=True, timestamp=0)
    except typst.TypstError as error:
        raise ValueError(f"{source}: typst: {error.message}") from None
    target.write_bytes(pdf)


def _title(title: Sequence[Span]) -> str:
    return f"#set document(title: [{_inline(title)}], date: none)"


def _numbers(macros: Mapping[str, str]) -> str:
    return "\n".join(f"#let {name} = [{escape(text)}]" for name, text in sorted(macros.items()))


def _block(block: Block, tables: Mapping[str, Table], images: Mapping[str, str]) -> str:
    if isinstance(block, Heading):
        label = f" <section-{block.label}>" if block.label else ""
        return f"{'=' * (block.level - 1)} {_inline(block.spans)}{label}"
    if isinstance(block, Items):
        return "\n".join(f"- {_inline(item)}" for item in block.items)
    if isinstance(block, Float):
        return _float(block, tables, images)
    return _inline(block.spans)


def _float(block: Float, tables: Mapping[str, Table], images: Mapping[str, str]) -> str:
    scope = ', scope: "parent"' if block.wide else ""
    if block.kind == "figure":
        body = f'picture("{images[block.name]}")'
    else:
        body = _table(tables[block.name], "7.2pt")
    return (
        f"#figure({body}, kind: {_kind(block)}, caption: [{_inline(block.caption)}]{scope}) <{block.kind}-{block.name}>"
    )


def _kind(block: Float) -> str:
    return "image" if block.kind == "figure" else "table"


def _shown(block: Float, tables: Mapping[str, Table], images: Mapping[str, str]) -> str:
    """A figure or table as large as the slide has room for."""
    if block.kind == "table":
        body = f"align(center, {_table(tables[block.name], '11pt')})"
    else:
        image = f'image("{images[block.name]}", width: 100%, height: 100%, fit: "contain")'
        body = f"block(width: 100%, height: 1fr, align(center + horizon, {image}))"
    caption = f"\n\n#text(size: 11pt)[{_inline(block.caption)}]" if block.caption else ""
    return f"#{body}{caption}"


def _table(one: Table, size: str) -> str:
    count = len(one.columns)
    widths = ", ".join("1fr" if i in one.left else "auto" for i in range(count))
    sides = ", ".join("left" if i in one.left else "right" for i in range(count))
    lines = [
        f"{{ set text(size: {size}); set par(justify: false)",
        f"table(columns: ({widths}), align: ({sides}), stroke: none, inset: (x: 2.2pt, y: 2.2pt),",
        f"table.hline(), table.header({_cells(one.columns)}), table.hline(stroke: 0.5pt),",
    ]
    for row in one.rows:
        if len(row) == 1:
            place = f"colspan: {count}, inset: (x: 2.2pt, top: 5pt, bottom: 2.2pt), align: left"
            lines.append(f"table.cell({place}, emph[{escape(row[0])}]),")
        else:
            lines.append(f"{_cells(row)},")
    return "\n".join([*lines, "table.hline()) }"])


def _cells(row: Sequence[str]) -> str:
    return ", ".join(f"[{escape(cell)}]" for cell in row)


def _inline(some: Sequence[Span]) -> str:
    return "".join(map(_span, some))


def _span(span: Span) -> str:
    if isinstance(span, Macro):
        return f"#{span.name};"
    if isinstance(span, Cite):
        return "".join(f"#cite(<{key}>);" for key in span.keys)
    if isinstance(span, Reference):
        supplement = ", supplement: [Section]" if span.kind == "section" else ""
        return f"#ref(<{span.kind}-{span.label}>{supplement});"
    if span.look == "code":
        return f"#raw({json.dumps(span.text)});"
    return f"#emph[{escape(span.text)}];" if span.look else escape(span.text)
