"""Settings of Sphinx: ``make docs``."""

import sys
from pathlib import Path

import pushforward

sys.path.insert(0, str(Path(__file__).parent))

project, author = "pushforward", "The pushforward authors"
copyright = "2026, the pushforward authors"
version = release = pushforward.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_click",
]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "pushforward"
exclude_patterns = ["_build"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Shape", "params_style")]
default_role = "code"
nitpicky = False
