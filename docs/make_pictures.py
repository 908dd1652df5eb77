"""Run the blocks of pictures.md from top to bottom, and write each ``figure`` to the picture that follows its block.

.venv/bin/python docs/make_pictures.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE / "pictures.md"
BLOCK = re.compile(r"^```python\n(.*?)^```|^!\[[^\]]*\]\(([^)]+)\)", re.DOTALL | re.MULTILINE)


def figures() -> Iterator[tuple[Path, Any]]:
    """The path of each picture of the page and the figure that the blocks before it made."""
    names: dict[str, Any] = {}
    for code, picture in BLOCK.findall(PAGE.read_text("utf-8")):
        if picture:
            yield HERE / picture, names.pop("figure")
        else:
            exec(compile(code, PAGE.name, "exec"), names)


def main() -> None:
    from pushforward.evaluate.style import save_figure

    for path, figure in figures():
        save_figure(figure, path, dpi=80)
        print(f"{path.relative_to(HERE)}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
