"""The pieces of every report as a page: one file without scripts, its pictures inside it, in a browser or on paper."""

import base64
import html
import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.figures import style

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:1010px;margin:1.5em auto;padding:0 1em}
h1{font-size:1.35em;margin:.2em 0;overflow-wrap:anywhere}
h2{font-size:1.1em;margin:1.6em 0 .4em;border-bottom:1px solid #ddd}h3{font-size:1em;margin:1.2em 0 .2em}
table{border-collapse:collapse;font-size:.9em;margin:.4em 0}td,th{padding:.18em .7em .18em 0;text-align:left;
vertical-align:top;overflow-wrap:anywhere}th{font-weight:600;border-bottom:1px solid #ccc}img{max-width:100%}
td{border-bottom:1px solid #f0f0f0}table.numbers{font-size:.78em}
table.numbers td,table.numbers th{padding-right:.5em}
table.numbers td,table.numbers th,td.yes,td.no,td.open{white-space:nowrap;overflow-wrap:normal}
.wide{overflow-x:auto}
.statement{background:#fdf3dc;border-left:4px solid #E69F00;padding:.5em .8em;margin:0 0 1em}
.abstain{background:#eee;border-left:4px solid #6b6b6b;padding:.5em .8em}.big{font-size:1.15em}
.small{color:#555;font-size:.85em}code{font-size:.85em;overflow-wrap:anywhere}
.yes{color:#006b4c;font-weight:600}.no{color:#a54700;font-weight:600}.open{color:#555}
summary{cursor:pointer}figure{margin:.6em 0}figcaption{color:#555;font-size:.85em}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_DPI = 110
_QUALITY = 80  # of a JPEG


def document(title: str, parts: Sequence[str]) -> str:
    """The whole page, of parts that are HTML; its policy lets nothing be fetched or run."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part under a heading, nothing without a body (HTML)."""
    return f"<h2>{text(title)}</h2>{body}" if body else ""


def paragraph(words: str, kind: str = "") -> str:
    """Plain text; kind: a class of the style."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, escaped: bool = False, numbers: bool = False) -> str:
    """A table of plain text; escaped: its cells are HTML already; numbers: with narrow columns, none broken."""
    safe = str if escaped else text
    top = "<tr>" + "".join(f"<th>{text(cell)}</th>" for cell in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(f"<td>{safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="numbers">{top}{body}</table></div>'
        if numbers
        else f"<table>{top}{body}</table>"
    )


def folded(title: str, body: str) -> str:
    """A part that opens on a click."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def text(value: object) -> str:
    """Plain text as HTML."""
    return html.escape(str(value).encode("utf-8", "replace").decode(), quote=True)


def picture(figure: Figure | None, what: str, caption: str = "", *, photo: bool = False) -> str:
    """A figure inside the page, nothing without one. what: for those who cannot see it. caption: plain text.

    photo: as JPEG, which is smaller where a figure holds photographs.
    """
    if figure is None:
        return ""
    buffer, kind = io.BytesIO(), "jpeg" if photo else "png"
    options = {"pil_kwargs": {"quality": _QUALITY}} if photo else {"metadata": {"Software": None}}
    with style.look():
        figure.savefig(buffer, format=kind, dpi=_DPI, **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    image = f'<img alt="{text(what)}" src="data:image/{kind};base64,{data}">'
    return f"<figure>{image}<figcaption>{text(caption)}</figcaption></figure>" if caption else image
