"""The first use of a term of the glossary on a page is a link to what it means there."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

GLOSSARY = Path(__file__).parent / "glossary.md"
PAGES = ("start", "theory", "which_flow", "tables", "recipes", "faq", "images", "pictures", "lab", "universality")
ELSEWHERE = (
    nodes.literal,
    nodes.literal_block,
    nodes.reference,
    nodes.title,
    nodes.math,
    nodes.image,
    nodes.table,
    pending_xref,
)
"""What holds words that are not to be linked."""
EVERYDAY = {"base", "bound", "calibration", "sample", "support", "tail", "temperature"}
"""Terms that are words of another meaning as well."""


def glossary_terms() -> list[str]:
    """The terms, the longest first, so that "continuous flow" is found before "flow"."""
    terms = re.findall(r"^(\S.*)\n  \S", GLOSSARY.read_text("utf-8"), re.MULTILINE)
    return sorted(set(terms) - EVERYDAY, key=len, reverse=True)


class LinkTerms(SphinxTransform):
    """Links terms where a page uses them first."""

    default_priority = 5  # before references are looked up

    def apply(self, **options: Any) -> None:
        if self.env.docname not in PAGES:
            return
        self.env.note_dependency(str(GLOSSARY))
        names = {term.lower(): term for term in glossary_terms()}
        pattern = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, names))})s?(?![\w-])", re.IGNORECASE)
        for text in list(self.document.findall(nodes.Text)):
            if not _is_inside(text, ELSEWHERE):
                _link(text, pattern, names, self.env.docname)


def _is_inside(node: Any, kinds: tuple[type, ...]) -> bool:
    while (node := node.parent) is not None:
        if isinstance(node, kinds):
            return True
    return False


def _link(text: Any, pattern: re.Pattern[str], names: dict[str, str], page: str) -> None:
    parts: list[Any] = []
    rest = str(text)
    while names and (match := pattern.search(rest)) is not None:
        term = names.pop(match[1].lower(), None)
        end = match.end()
        if term is None:  # linked before
            parts.append(nodes.Text(rest[:end]))
        else:
            parts.append(nodes.Text(rest[: match.start()]))
            parts.append(_reference(term, match[0], page))
        rest = rest[end:]
    if len(parts):
        text.parent.replace(text, [part for part in [*parts, nodes.Text(rest)] if part != ""])


def _reference(term: str, shown: str, page: str) -> Any:
    return pending_xref(
        "", nodes.inline(shown, shown), refdomain="std", reftype="term", reftarget=term, refexplicit=True,
        refwarn=True, refdoc=page,
    )  # fmt: skip


def setup(app: Any) -> dict[str, bool]:
    app.add_transform(LinkTerms)
    return {"parallel_read_safe": True}
