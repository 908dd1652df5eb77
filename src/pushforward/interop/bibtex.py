"""The papers behind a model as BibTeX, from the documentation of its parts."""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Iterator

from torch import nn

from pushforward.core.config import REGISTRY

__all__ = ["citation"]

REFERENCE = re.compile(r"(?P<title>.+) \((?P<authors>[^()]+), (?P<year>\d{4})\)(?P<rest>.*)")
ARXIV, DOI = re.compile(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})"), re.compile(r"doi:(\S+?)[,.;]?(?:\s|$)")


def citation(model: nn.Module) -> str:
    """BibTeX entries of the papers that the parts of a model name as their sources, one for each paper.

    Args:
        model: a flow, or any part.

    >>> import pushforward as pf
    >>> print(citation(pf.bijections.LU(2)).splitlines()[0])
    @misc{kingma2018glow,
    """
    entries: dict[str, str] = {}
    for module in model.modules():
        for parent in type(module).__mro__:
            if parent is type(module) or REGISTRY.get(parent.__name__) is parent:
                for key, entry in _entries(inspect.getdoc(parent) or ""):
                    entries.setdefault(key, entry)
    return "\n\n".join(entries.values())


def _entries(documentation: str) -> Iterator[tuple[str, str]]:
    """Keys and entries of the section "References" of a docstring."""
    _, _, section = documentation.partition("References:\n")
    lines: list[str] = []
    for line in section.splitlines():
        if line.strip().startswith("|"):
            lines.append(line.strip()[1:].strip())
        elif line.strip() and lines and line.startswith("  "):
            lines[-1] += " " + line.strip()
        elif line.strip() and not line.startswith(" "):
            break
    for line in lines:
        if (match := REFERENCE.match(line)) is not None:
            yield _entry(match)


def _entry(match: re.Match[str]) -> tuple[str, str]:
    title, names, year, rest = match["title"].strip(), match["authors"], match["year"], match["rest"]
    authors = [name.strip() for name in re.split(r",| and ", names.replace(" et al.", ""))]
    authors = [name for name in authors if name] + (["others"] if "et al." in names else [])
    word = next((w for w in re.findall(r"\w+", _plain(title)) if len(w) > 3), "")
    key = f"{re.sub(r'[^a-z]', '', _plain(authors[0]))}{year}{word}"
    fields = {"title": f"{{{title}}}", "author": " and ".join(authors), "year": year}
    if (arxiv := ARXIV.search(rest)) is not None:
        fields |= {"eprint": arxiv[1], "archivePrefix": "arXiv"}
    elif (doi := DOI.search(rest)) is not None:
        fields["doi"] = doi[1]
    width = max(map(len, fields))
    body = ",\n".join(f"  {name:<{width}} = {{{value}}}" for name, value in fields.items())
    return key, f"@misc{{{key},\n{body},\n}}"


def _plain(text: str) -> str:
    """In lower case, without accents."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
