"""RESULTS.md, section by section: every benchmark writes its own and leaves the others alone."""

from __future__ import annotations

import os
import platform
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "# Results\n\nEvery section was written by the command that stands in it.\n"


def update_section(name: str, text: str) -> None:
    """Replace the section called ``name``, or add it at the end."""
    start, stop = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    block = f"{start}\n{text.strip()}\n{stop}"
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEAD
    if start in old and stop in old:
        before, rest = old.split(start, 1)
        new = before + block + rest.split(stop, 1)[1]
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    RESULTS.write_text(new, encoding="utf-8")


def machine() -> str:
    """What the numbers were measured on, in a few words."""
    import torch

    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}"
    )


def data_folder(name: str) -> Path:
    """The folder of a data set under $PUSHFORWARD_DATA; says how to get it where it is missing."""
    root = os.environ.get("PUSHFORWARD_DATA")
    folder = Path(root or "", name)
    if root is None or not folder.is_dir():
        raise SystemExit(
            f"This benchmark needs the data set {name!r}: set PUSHFORWARD_DATA to the folder that holds {name}/. "
            "For power that is the UCI household power set (archive.ics.uci.edu, number 235) as "
            "household_power_2049280.npz with its make_power.py."
        )
    return folder
