"""Settings of Sphinx: ``make docs``."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pushforward

project, author = "pushforward", "The pushforward authors"
copyright = "2026, the pushforward authors"
version = release = pushforward.__version__
sys.path.insert(0, str(Path(__file__).parent))
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "link_terms"]
if os.environ.get(
    "DOCS_ONLINE"
):  # DOCS_ONLINE=1 make docs fetches the inventories of others and links into their pages
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "pushforward"
exclude_patterns = ["_build"]
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True
napoleon_use_rtype = False

LITERAL = re.compile(r"(``[^`]*``|`[^`]*`)")
STAR = re.compile(r"(?<![\w*\\])(\*{1,2})(?=\w)(?![^*]*\S\*(?!\w))|(?<=[( ])(\*)(?=[,)])")
"""A star before a name, or in the place of one, as in (*batch, features) and (n, *), which is no emphasis."""


def keep_stars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Shapes and arguments with stars, and bars of conditional probabilities, are read as they stand."""
    for k, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...", "| ", ".. ")):
            continue
        parts = LITERAL.split(line)
        parts[::2] = [STAR.sub(lambda match: match[0].replace("*", r"\*"), part) for part in parts[::2]]
        parts[::2] = [re.sub(r"(?<=\w) \| (?=[\w<(])", r" \\| ", part) for part in parts[::2]]
        lines[k] = "".join(parts)


def of_sklearn(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Methods that scikit-learn adds to every estimator refer to its own pages."""
    return True if name == "get_metadata_routing" or re.fullmatch(r"set_\w+_request", name) else None


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", of_sklearn)
    app.connect("autodoc-process-docstring", keep_stars, priority=400)
