"""Reports as one self-contained HTML file: sections of text, tables and pictures, rendered by jinja2.

What a page says is data (`Section`, `Fact`, `Checks`, `Contents`, `Code`, `HtmlTable`,
`Picture`); how it looks is in ``templates/``. Every
string is escaped by the template, so that a column name or a message can never become markup.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure

from pushforward.core.files import atomic_path
from pushforward.evaluate.style import figure_to_png_uri

__all__ = [
    "Checks",
    "Code",
    "Contents",
    "Fact",
    "HtmlTable",
    "Part",
    "Picture",
    "Section",
    "page",
    "picture",
    "reworded",
    "write_report",
]


@dataclass(frozen=True)
class Fact:
    """A highlighted sentence, such as the verdict of a section."""

    kind: ClassVar[str] = "fact"
    text: str
    level: str = ""
    """``"good"``, ``"note"`` or ``"problem"``, for its colour."""


@dataclass(frozen=True)
class Checks:
    """A list of results of checks, each with a mark.

    Attributes:
        items: (level, text), with a level of ``"good"``, ``"note"`` or ``"problem"``.
    """

    kind: ClassVar[str] = "checks"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Contents:
    """Links to all later sections of the page, and how the page came about.

    Attributes:
        about: such as the date and the version of the library.
        command: that writes the page; empty for none.
    """

    kind: ClassVar[str] = "contents"
    about: str
    command: str = ""


@dataclass(frozen=True)
class Code:
    """Commands or a printout in a fixed-width font; folded away behind ``summary`` where there is one."""

    kind: ClassVar[str] = "code"
    text: str
    summary: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A table whose first column is text.

    Attributes:
        header: one title per column; empty for none.
        rows: the cells; the first of each row is its title.
        caption: a sentence above the table.
        words: whether the other columns are text that may wrap, instead of numbers aligned to the right.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: bool = False


@dataclass(frozen=True)
class Picture:
    """An image inside the page, with a caption below it that is its alternative text as well.

    Attributes:
        source: the image as a ``data:`` URI.
        caption: of the image.
        width: at which it is shown, in pixels.
    """

    kind: ClassVar[str] = "picture"
    source: str
    caption: str
    width: int


Part: TypeAlias = str | Fact | Checks | Contents | Code | HtmlTable | Picture


@dataclass
class Section:
    """A heading and what stands below it; a plain string is a paragraph."""

    title: str
    parts: Sequence[Part] = field(default_factory=list)


def reworded(section: Section, change: Callable[[str], str]) -> Section:
    """The section with a change of its title, sentences, captions and headers."""

    def part(old: Part) -> Part:
        if isinstance(old, str):
            return change(old)
        if isinstance(old, Fact):
            return replace(old, text=change(old.text))
        if isinstance(old, HtmlTable):
            return replace(old, header=[change(name) for name in old.header], caption=change(old.caption))
        return replace(old, caption=change(old.caption)) if isinstance(old, Picture) else old

    return Section(change(section.title), [part(old) for old in section.parts])


def picture(figure: Figure, caption: str, *, dpi: int | None = None) -> Picture:
    """A matplotlib figure as a `Picture`, one inch wide for every 100 pixels of the page."""
    width = round(figure.get_size_inches()[0] * 100)
    return Picture(figure_to_png_uri(figure, dpi=dpi), caption, width)


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The HTML text of a page.

    >>> text = page("x < y", [Section("A & B", ["<hr>", Fact("done")])])
    >>> "<h1>x &lt; y</h1>" in text, "<p>&lt;hr&gt;</p>" in text, '<p class="fact">done</p>' in text
    (True, True, True)
    """
    return _template().render(title=title, sections=sections, lead=lead)


def write_report(path: str | os.PathLike[str], title: str, sections: Sequence[Section], *, lead: str = "") -> None:
    """Write a page to one HTML file that needs no other file and no network. The file is complete or absent.

    Raises:
        OSError: the file cannot be written; the message says why.
    """
    text = page(title, sections, lead=lead)
    with atomic_path(path) as temporary:
        # A column name may hold half of a surrogate pair, which has no UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="replace")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pushforward.evaluate"),  # the folder templates/ beside this file
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html")
