"""A page in one file: sections of text, tables and pictures, with nothing fetched from anywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from matplotlib.figure import Figure

from pushforward.core.files import atomic_path
from pushforward.evaluate.style import figure_to_png_uri

__all__ = ["Html", "Section", "code", "fact", "page", "picture", "table", "write_report"]


class Html(str):
    """Text that is markup already; every other string is escaped before it reaches a page.

    >>> Section("a < b", ["x & y", Html("<hr>")]).html()
    '<section><h2>a &lt; b</h2><p>x &amp; y</p><hr></section>'
    """

    __slots__ = ()


@dataclass
class Section:
    """A heading and what stands below it: strings become paragraphs, `Html` is taken as it is."""

    title: str
    parts: Sequence[str] = field(default_factory=list)

    def html(self) -> str:
        return f"<section><h2>{escape(self.title)}</h2>{''.join(_block(part) for part in self.parts)}</section>"


def fact(text: str) -> Html:
    """A sentence that should not be missed."""
    return Html(f'<p class="fact">{escape(text)}</p>')


def code(text: str) -> Html:
    """Commands or a program, to be copied."""
    return Html(f"<pre><code>{escape(text)}</code></pre>")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", words: bool = False) -> Html:
    """A table whose first column is text and whose other columns are numbers aligned to the right, or words.

    Args:
        header: one title a column; empty for a table without.
        rows: the cells.
        caption: a sentence above it.
        words: whether the other columns hold words too, which may be broken into lines.

    >>> table(["name", "value"], [["<b>", "1"]]).count("&lt;b&gt;")
    1
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = []
    for row in rows:
        first, *rest = (escape(cell) for cell in row)
        lines.append(f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>')
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    titles = f"<thead><tr>{head}</tr></thead>" if header else ""
    kind = ' class="words"' if words else ""
    return Html(f'<div class="wide"><table{kind}>{above}{titles}<tbody>{"".join(lines)}</tbody></table></div>')


def picture(figure: Figure, caption: str, *, dpi: int = 150) -> Html:
    """A figure inside the page, with a sentence below it that also serves who cannot see it."""
    words = escape(caption)
    width = round(figure.get_size_inches()[0] * 100)
    source = figure_to_png_uri(figure, dpi=dpi)
    image = f'<img src="{source}" alt="{words}" style="width:{width}px">'
    return Html(f"<figure>{image}<figcaption>{words}</figcaption></figure>")


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The whole page."""
    opening = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    body = "\n".join(section.html() for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>{opening}\n{body}\n</main></body></html>\n"
    )


def write_report(path: str | os.PathLike[str], title: str, sections: Sequence[Section], *, lead: str = "") -> None:
    """Write a page to one HTML file that needs no other file and no network; half a page is never left behind.

    Raises:
        OSError: the file cannot be written; the message says why.
    """
    text = page(title, sections, lead=lead)
    with atomic_path(path) as temporary:
        # A column name may hold half of a surrogate pair, which has no UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="replace")


def _block(part: str) -> str:
    return part if isinstance(part, Html) else f"<p>{escape(part)}</p>"


CSS = """
:root { --ink: #1f2328; --soft: #5f6368; --line: #d8dbe0; --paper: #ffffff; --tint: #f4f6f8; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a3a9b1; --line: #3a4048; --paper: #16191d; --tint: #20252b; --mark: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.lead { color: var(--soft); }
.fact { border-left: 3px solid var(--mark); padding: .35rem .9rem; background: var(--tint); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 400; }
td { white-space: nowrap; }
.words td { white-space: normal; text-align: left; overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--tint); padding: .8rem 1rem; border-radius: 6px; font-size: .9rem; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; background: #ffffff; border: 1px solid var(--line); border-radius: 6px; }
figcaption { color: var(--soft); font-size: .92rem; max-width: 46rem; margin-top: .3rem; }
@media print { h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
""".strip()
