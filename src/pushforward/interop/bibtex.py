"""The papers behind a model as BibTeX, from the documentation of its parts."""

from __future__ import annotations

import ast
import inspect
import re
import unicodedata
from collections.abc import Iterator

from torch import nn

from pushforward.core.config import REGISTRY
from pushforward.interop.papers import AUTHORS

__all__ = ["citation"]

REFERENCE = re.compile(r"(?P<title>.+) \((?P<authors>[^()]+), (?P<year>\d{4})\)(?P<rest>.*)")
OPTION = re.compile(r"for ``(\w+)=([^`]+)``")
"""A source of an option of a part alone: | Title (Authors, year), arXiv:..., for ``option="value"``."""
ARXIV, DOI = re.compile(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})"), re.compile(r"doi:(\S+?)[,.;]?(?:\s|$)")


def citation(model: nn.Module) -> str:
    """BibTeX entries of the papers that the parts of a model name as their sources, one for each paper.

    Sources of an option are cited where a part uses it.

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
                for reference in _references(inspect.getdoc(parent) or ""):
                    if _is_used(module, reference["rest"]):
                        entries.setdefault(*_entry(reference))
    return "\n\n".join(entries.values())


def _is_used(module: nn.Module, rest: str) -> bool:
    """Whether a module has the option that a reference is the source of."""
    if (option := OPTION.search(rest)) is None:
        return True
    value = getattr(module, option[1], getattr(module, "config", {}).get(option[1]))
    return bool(value == ast.literal_eval(option[2]))


def _references(documentation: str) -> Iterator[re.Match[str]]:
    """The lines of the section "References" of a docstring."""
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
            yield match


def _entry(match: re.Match[str]) -> tuple[str, str]:
    """Key and entry of a reference."""
    title, names, year, rest = match["title"].strip(), match["authors"], match["year"], match["rest"]
    authors = [name.strip() for name in re.split(r",| and ", names.replace(" et al.", ""))]
    authors = [name for name in authors if name] + (["others"] if "et al." in names else [])
    word = next((w for w in re.findall(r"\w+", _plain(title)) if len(w) > 3), "")
    key = f"{re.sub(r'[^a-z]', '', _plain(authors[0]))}{year}{word}"
    fields = {"title": f"{{{title}}}", "author": " and ".join(authors), "year": year}
    if (arxiv := ARXIV.search(rest)) is not None:
        fields |= {"eprint": arxiv[1], "archivePrefix": "arXiv"}
        fields["author"] = AUTHORS.get(arxiv[1], fields["author"])
    elif (doi := DOI.search(rest)) is not None:
        fields["doi"] = doi[1]
    width = max(map(len, fields))
    body = ",\n".join(f"  {name:<{width}} = {{{value}}}" for name, value in fields.items())
    return key, f"@misc{{{key},\n{body},\n}}"


def _plain(text: str) -> str:
    """In lower case, without accents."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
