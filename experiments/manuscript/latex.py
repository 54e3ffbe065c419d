"""The manuscript as LaTeX that an author goes on editing: paper.tex, and numbers and tables that are made anew."""

from collections.abc import Mapping, Sequence

from experiments.manuscript import document
from experiments.manuscript.document import Block, Cite, Float, Heading, Items, Macro, Reference, Span
from experiments.manuscript.tables import Table

NUMBERS = "numbers"  # the file of the macros, beside paper.tex
_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "{}$&#_%"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
    "–": "--", "—": "---", "“": "``", "”": "''", "’": "'", "…": r"\ldots{}", "\u00a0": "~",
    "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$", "→": r"$\to$",
}  # fmt: skip
_KINDS = {"figure": ("Figure", "fig"), "table": ("Table", "tab"), "section": ("Section", "sec")}
_HEAD = r"""% The numbers and tables of this text come from numbers.tex and tables/, which experiments.paper makes anew
% from the results of a study. This file is yours: once you have edited it, the command leaves it alone.
\documentclass[10pt,twocolumn]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{cvpr.sty}{\usepackage[pagenumbers]{cvpr}}{%
  \usepackage[letterpaper,margin=0.8in,columnsep=0.25in]{geometry}
  \usepackage{times}
  \usepackage[numbers,sort&compress]{natbib}}
\usepackage{graphicx,booktabs,tabularx,float,url}
\usepackage[hidelinks]{hyperref}
\setlength{\tabcolsep}{3.5pt}
\emergencystretch=2em
\input{numbers}
"""


def escape(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def macro(name: str) -> str:
    """The command of a macro; `res` keeps it apart from those that LaTeX has."""
    return f"\\res{name[0].upper()}{name[1:]}"


def numbers(macros: Mapping[str, str]) -> str:
    """numbers.tex."""
    lines = [f"\\newcommand{{{macro(name)}}}{{{escape(text)}}}" for name, text in sorted(macros.items())]
    return "\n".join(["% Made by experiments.paper from the study's results; edit paper.tex instead.", *lines, ""])


def table(one: Table) -> str:
    """tables/<name>.tex: as wide as the column or page that it stands in; words in its left column may wrap."""
    columns = "".join(r">{\raggedright\arraybackslash}X" if i in one.left else "r" for i in range(len(one.columns)))
    lines = [f"\\begin{{tabularx}}{{\\linewidth}}{{@{{}}{columns}@{{}}}}", r"\toprule"]
    lines += [f"{' & '.join(map(escape, one.columns))} \\\\", r"\midrule"]
    for i, row in enumerate(one.rows):
        if len(row) == 1:
            lines += [r"\addlinespace"] if i else []
            lines.append(f"\\multicolumn{{{len(one.columns)}}}{{@{{}}l}}{{\\emph{{{escape(row[0])}}}}} \\\\")
        else:
            lines.append(f"{' & '.join(map(escape, row))} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabularx}", ""])


def paper(blocks: Sequence[Block]) -> str:
    """paper.tex."""
    parts = document.parts(blocks)
    head = [_HEAD, f"\\title{{{_inline(parts.title)}}}", r"\author{Authors}", r"\date{}", "", r"\begin{document}"]
    bibliography = [r"\bibliographystyle{plainnat}", r"\bibliography{references}", "", r"\onecolumn", r"\appendix"]
    return "\n".join(
        [
            *head,
            *(r"\maketitle", "", r"\begin{abstract}"),
            *(_block(block, "t") for block in parts.abstract),
            *(r"\end{abstract}", ""),
            *(_block(block, "t") for block in parts.body),
            *bibliography,
            "",
            *(_block(block, "H") for block in parts.supplement),
            r"\end{document}",
            "",
        ]
    )


def _heading(block: Heading) -> str:
    label = f"\\label{{sec:{block.label}}}" if block.label else ""
    return f"\\{'sub' * (block.level - 2)}section{{{_inline(block.spans)}}}{label}"


def _block(block: Block, place: str) -> str:
    """A block and an empty line; place: where floats go."""
    if isinstance(block, Heading):
        return _heading(block) + "\n"
    if isinstance(block, Items):
        items = (f"\\item {_inline(item)}" for item in block.items)
        return "\n".join([r"\begin{itemize}", *items, r"\end{itemize}", ""])
    return _float(block, place) if isinstance(block, Float) else _inline(block.spans) + "\n"


def _float(block: Float, place: str) -> str:
    kind, (_, short) = block.kind + "*" * block.wide, _KINDS[block.kind]
    caption = f"\\caption{{{_inline(block.caption)}}}\\label{{{short}:{block.name}}}"
    lines = [f"\\begin{{{kind}}}[{place}]", r"\centering"]
    if block.kind == "figure":
        size = r"width=\linewidth,height=0.8\textheight,keepaspectratio"
        lines += [f"\\includegraphics[{size}]{{figures/{block.name}}}", caption]
    else:
        lines += [caption, r"\scriptsize", f"\\input{{tables/{block.name}}}"]
    return "\n".join([*lines, f"\\end{{{kind}}}", ""])


def _inline(some: Sequence[Span]) -> str:
    return "".join(map(_span, some))


def _span(span: Span) -> str:
    if isinstance(span, Macro):
        return macro(span.name) + "{}"
    if isinstance(span, Cite):
        return f"\\cite{{{','.join(span.keys)}}}"
    if isinstance(span, Reference):
        name, short = _KINDS[span.kind]
        return f"{name}~\\ref{{{short}:{span.label}}}"
    text = escape(span.text)
    if span.look == "code":
        text = text.replace("--", "-{}-")  # two hyphens, no dash
    return {"emphasis": f"\\emph{{{text}}}", "code": f"\\texttt{{{text}}}"}.get(span.look, text)
