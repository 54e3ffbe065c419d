"""A text as data, which the writers turn into LaTeX and typst: headings, paragraphs, lists, tables and figures.

The text is a small part of Pandoc's Markdown:

    # Section {label}      ## Subsection      - an item      *emphasis*      `code`
    [@key; @other]         citations
    {name}                 a number or phrase that comes from the study's results
    {section:label}        a reference; also {figure:label} and {table:label}
    ::: figure name        a figure or table, `figure*` across both columns; the lines up to `:::` are its caption
    ::: embedded           the lines up to `:::` stand only in the text of a study of the embedded dataset; or `other`
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

FLOATS = ("figure", "table")


@dataclasses.dataclass(frozen=True)
class Words:
    """Plain text; look: "", "emphasis" or "code"."""

    text: str
    look: str = ""


@dataclasses.dataclass(frozen=True)
class Macro:
    """What the results say under this name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Cite:
    """Keys of references.bib."""

    keys: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Reference:
    """A section, figure or table that the text points to."""

    kind: str
    label: str


Span = Words | Macro | Cite | Reference
Spans = tuple[Span, ...]


@dataclasses.dataclass(frozen=True)
class Heading:
    """level: 1 for a section, 2 for a subsection. label: "" where nothing points to it."""

    level: int
    spans: Spans
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text."""

    spans: Spans


@dataclasses.dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Spans, ...]


@dataclasses.dataclass(frozen=True)
class Float:
    """A figure or table by its name, which is its label too. wide: across both columns."""

    kind: str
    name: str
    caption: Spans
    wide: bool = False


Block = Heading | Paragraph | Items | Float

_INLINE = re.compile(
    r"\{(?P<kind>section|figure|table):(?P<label>\w+)\}|\{(?P<macro>[A-Za-z]+)\}"
    r"|\[(?P<keys>@[\w-]+(?:;\s*@[\w-]+)*)\]|\*(?P<emphasis>[^*]+)\*|`(?P<code>[^`]+)`"
)
_FENCE = re.compile(r":::\s*(\S*)\s*(\S*)")
_HEADING = re.compile(r"(#+) (.*?)(?: \{(\w+)\})?")


def parse(text: str, *, embedded: bool) -> list[Block]:
    """The blocks of a text.

    Raises:
      ValueError: a fence is not closed or of an unknown kind.
    """
    lines = list(_chosen(text.splitlines(), embedded))
    blocks: list[Block] = []
    for chunk in _chunks(lines):
        if fence := _FENCE.fullmatch(chunk[0]):
            kind = fence[1].removesuffix("*")
            if kind not in FLOATS:
                raise ValueError(f"the paper's text: {chunk[0]!r}: expected figure, table, embedded or other")
            blocks.append(Float(kind, fence[2], spans(" ".join(chunk[1:])), fence[1].endswith("*")))
        elif heading := _HEADING.fullmatch(chunk[0]):
            blocks.append(Heading(len(heading[1]), spans(heading[2]), heading[3] or ""))
        elif chunk[0].startswith("- "):
            items = re.split(r"(?:^|\n)- ", "\n".join(chunk))[1:]
            blocks.append(Items(tuple(spans(" ".join(item.split())) for item in items)))
        else:
            blocks.append(Paragraph(spans(" ".join(chunk))))
    return blocks


def _chosen(lines: Sequence[str], embedded: bool) -> Iterator[str]:
    """The lines without those that are of the other kind of dataset."""
    kept, open_fences = True, []
    for line in lines:
        fence = _FENCE.fullmatch(line)
        if fence and fence[1] in ("embedded", "other"):
            kept = (fence[1] == "embedded") == embedded
            open_fences.append(fence[1])
            continue
        if fence and fence[1]:
            open_fences.append(fence[1])
        elif fence and open_fences and open_fences.pop() in ("embedded", "other"):
            kept = True
            continue
        if kept:
            yield line
    if open_fences:
        raise ValueError(f"the paper's text: no ::: closes ::: {open_fences[-1]}")


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines that belong together: between blank lines, or between fences."""
    chunk: list[str] = []
    fenced = False
    for line in lines:
        fence = _FENCE.fullmatch(line)
        if fence and not fence[1]:
            yield chunk
            chunk, fenced = [], False
        elif fence:
            chunk, fenced = [line], True
        elif line.strip():
            chunk.append(line)
        elif chunk and not fenced:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def spans(text: str) -> Spans:
    """The spans of running text."""
    found: list[Span] = []
    end = 0
    for match in _INLINE.finditer(text):
        if match.start() > end:
            found.append(Words(text[end : match.start()]))
        end = match.end()
        if match["kind"]:
            found.append(Reference(match["kind"], match["label"]))
        elif match["macro"]:
            found.append(Macro(match["macro"]))
        elif match["keys"]:
            found.append(Cite(tuple(key.strip().removeprefix("@") for key in match["keys"].split(";"))))
        else:
            look = "emphasis" if match["emphasis"] else "code"
            found.append(Words(match[look], look))
    if end < len(text):
        found.append(Words(text[end:]))
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a paper is made of; its supplement stands in one column, where no float is wide."""

    title: Spans
    abstract: Sequence[Block]
    body: Sequence[Block]
    supplement: Sequence[Block]


def parts(blocks: Sequence[Block]) -> Parts:
    """The parts of a text: `# title`, then sections, `##`; the abstract begins, and the supplement ends it.

    Raises:
      ValueError: one of them is not there.
    """
    sections = [i for i, block in enumerate(blocks) if isinstance(block, Heading) and block.level == 2]
    labels = [getattr(blocks[i], "label", "") for i in sections]
    if not isinstance(blocks[0], Heading) or labels[:1] != ["abstract"] or "supplement" not in labels:
        raise ValueError("the paper's text: expected # title, ## Abstract {abstract} and ## Supplement {supplement}")
    ends = sections[labels.index("supplement")]
    narrow = [dataclasses.replace(block, wide=False) if isinstance(block, Float) else block for block in blocks[ends:]]
    return Parts(blocks[0].spans, blocks[sections[0] + 1 : sections[1]], blocks[sections[1] : ends], narrow)


def spans_of(block: Block) -> Iterator[Span]:
    """All spans of a block."""
    if isinstance(block, Items):
        for item in block.items:
            yield from item
    else:
        yield from block.caption if isinstance(block, Float) else block.spans
