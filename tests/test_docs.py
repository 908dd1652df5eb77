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


RUN = [page for page in PAGES if blocks(page) and page.name not in BY_ANOTHER_TEST]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_blocks_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"page_{page.stem}")  # from which classes of the page can be pickled
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for k, code in enumerate(blocks(page)):
        exec(compile(code, f"{page.name}, block {k + 1}", "exec"), vars(module))


TEXTS = [*PAGES, CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_within_the_checkout_lead_somewhere(page):
    links = {link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8")) if "://" not in link}
    assert [link for link in sorted(links - {""}) if not (page.parent / link).exists()] == []


def test_there_are_pages_with_code():
    assert {page.stem for page in RUN} >= {"start", "theory", "recipes"}


def test_the_page_of_the_command_line_is_that_of_the_commands():
    spec = importlib.util.spec_from_file_location("make_cli", CHECKOUT / "docs" / "make_cli.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page()
