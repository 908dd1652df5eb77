"""Write cli.md: the help of every command, by Typer's own generator.

.venv/bin/python docs/make_cli.py
"""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from pushforward.cli.app import app

PAGE = Path(__file__).resolve().parent / "cli.md"
MARKUP = re.compile(r"\[/?(?:bold|dim|italic|cyan|green|yellow|red)\]")
"""Of the terminal, which a page has no use for."""


def page() -> str:
    """The text of the page."""
    group = typer.main.get_command(app)
    with group.make_context("pushforward", ["info"], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=group, ctx=context, name="pushforward", title="Command line")
    note = "Written by `python docs/make_cli.py` from the commands themselves; do not edit.\n"
    title, _, rest = MARKUP.sub("", text).partition("\n\n")
    return f"{title}\n\n{note}\n{rest.strip()}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
