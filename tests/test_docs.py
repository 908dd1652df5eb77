"""The blocks of code of the pages run as they stand, and links lead somewhere."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = sorted((CHECKOUT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
BY_ANOTHER_TEST = {"pictures.md"}


def blocks(page):
    return BLOCK.findall(page.read_text("utf-8"))


def sections(page):
    """The blocks of a page; of one whose sections stand for themselves, those of each section."""
    if page.name != "recipes.md":
        return [blocks(page)]
    return [BLOCK.findall(section) for section in page.read_text("utf-8").split("\n## ")[1:]]


README = CHECKOUT / "README.md"
RUN = [page for page in (*PAGES, README) if blocks(page) and page.name not in BY_ANOTHER_TEST]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_blocks_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for section in sections(page):
        module = ModuleType(f"page_{page.stem}")  # from which classes of the page can be pickled
        monkeypatch.setitem(sys.modules, module.__name__, module)
        for k, code in enumerate(section):
            exec(compile(code, f"{page.name}, block {k + 1}", "exec"), vars(module))


TEXTS = [*PAGES, README, CHECKOUT / "CONTRIBUTING.md"]


def anchors(page):
    """What a link may name after #: the headings of a page, as MyST and forges spell them."""
    text = page.read_text("utf-8")
    if page.name == "results.md":
        text += (CHECKOUT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_within_the_checkout_lead_somewhere(page):
    links = {link.partition("#")[::2] for link in LINK.findall(page.read_text("utf-8")) if "://" not in link}
    dead = [path for path, _ in sorted(links) if path and not (page.parent / path).exists()]
    assert dead == []
    assert [(path, at) for path, at in links if at and at not in anchors(page.parent / path if path else page)] == []


def test_there_are_pages_with_code():
    assert {page.stem for page in RUN} >= {"start", "theory", "recipes"}


def test_the_page_of_the_command_line_is_that_of_the_commands():
    spec = importlib.util.spec_from_file_location("make_cli", CHECKOUT / "docs" / "make_cli.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page()
