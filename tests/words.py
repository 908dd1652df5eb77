"""Words that this project does not use: ``python tests/words.py [paths]`` prints where it does.

Names of variables that say nothing of what they hold, names that parts had before they got the field's, and phrases
that a reader who is new here would stumble over. `test_house` lets no file have any. Of pages only phrases and what
stands in backticks are read: "given the context" and "known" are good English.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
READ = [
    *(CHECKOUT / name for name in ("src", "tests", "benchmarks", "examples", "docs")),
    *sorted(CHECKOUT.glob("*.md")),
]
SUFFIXES = (".py", ".cpp", ".h", ".md")
ABOUT_WORDS = {"tests/words.py", "tests/test_house.py"}
"""They quote what they forbid."""

VARIABLES = {"own", "found", "given", "known", "sent", "law", "laws", "room"}
"""As names of variables and arguments; a method may be called `given`."""

OLD_NAMES = {
    "Retraced", "Memo", "Staircase", "Ordered", "Factorised", "Conditioned", "ColumnLaw", "Law", "Multiplying", "Mixed",
    "Prefix", "Suffix", "law_of", "law_beside", "law_in_turn", "middle_cdf", "jump", "temper", "disturbed", "steer",
    "by_x", "by_y", "by_params", "by_log_slope", "read_by", "compile_steps", "native_conditional", "_retrace",
    "looked_at", "context_kinds", "Cosine", "_memo",
}  # fmt: skip
OLD_FILES = {
    "law.py", "heap.py", "modes.py", "memo.py", "compiled.py", "kinds.py", "measured.py", "mixed_sets.py",
    "of_column.py", "alone.py", "learned_rows.py", "sets.py", "native.py", "keep_freed_memory.py",
}  # fmt: skip
STEMS = re.compile(r"(?<!power)(?:^|_)(?:laws?|memos?|temper(?:ed|ing|s)?|retrac\w*|factoris\w*|steer\w*)(?=_|$)")
"""Parts of names in snake case, whatever stands before or after them; power laws are the field's."""

DISTRIBUTIONS = r"(?<!power.)\blaws?\b(?! of (?:large|total|iterated))"
"""A distribution is a distribution; what tests check are properties."""
UNCLEAR = [
    r"\bwhat is (found|given|known|sent)\b",
    r"\bwhat (it|they) (is|are|was|were) given\b",
    r"\bit is\.\s*$",
]
"""In code, where these stand for the name of a tensor; English elsewhere."""
PHRASES = [
    DISTRIBUTIONS,
    # What users read.
    r"\bas of chance\b",
    r"\bthe budget was used\b",
    r"\bin \S+ looks\b",
    r"\blast look at\b",
    r"\bhas another part in this command\b",
    r"\bnot all numbers:",
    # Sentences that nobody understood, by the words that gave them away.
    r"\bempty tensors for what\b",
    r"\bstands? for what is to be\b",
    r"\band is not floating\b",
    r"\bonce more from what it gave\b",
    r"\bwhat the outputs were computed from\b",
    r"\bin what way torch runs\b",
    r"\bteach glibc\b",
    r"\bglibc learns\b",
    r"\bsentences they answer with\b",
    r"\bcannot run or is not to\b",
    r"\bruns of parts\b",
    r"\bwhat is learned from where\b",
    r"\bbeside whose densities\b",
    r"\bwhat is no number of\b",
    r"\bin the same words\b",
    r'(?<=""")(?:the same,|the same (?:by|with|over|as|statistics)\b|`\w+`, likewise)',
]


def any_of(phrases: list[str]) -> re.Pattern[str]:
    """Any of these. Where most of them start, at the start of a word, is looked for once, which takes half the time."""
    words = [phrase.removeprefix(r"\b") for phrase in phrases if phrase.startswith(r"\b")]
    others = [phrase for phrase in phrases if not phrase.startswith(r"\b")]
    return re.compile("|".join([rf"\b(?:{'|'.join(words)})", *others]), re.IGNORECASE | re.MULTILINE)


PHRASE, PHRASE_IN_CODE = any_of(PHRASES), any_of(PHRASES + UNCLEAR)
IN_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
IN_BACKTICKS = re.compile(r"`+([^`\n]+)`+")

Offence = tuple[int, str]


def offences(source: str, path: str) -> list[Offence]:
    """(line, what) of every offence in a file; `path` decides its language."""
    name = Path(path).name
    seen: list[Offence] = [(1, f"file name {name}")] if name in OLD_FILES else []
    if path.endswith(".py"):
        seen += [*names_in(ast.parse(source)), *phrases_in_python(source)]
    elif path.endswith((".cpp", ".h")):
        seen += phrases_in_cpp(source)
    elif path.endswith(".md"):
        seen += [*phrases(source, 1, PHRASE), *names_in_page(source)]
    return sorted(seen)


def is_old(name: str) -> bool:
    return name in OLD_NAMES or STEMS.search(name) is not None


def names_in(tree: ast.AST) -> Iterator[Offence]:
    """Variables and arguments of no meaning, once for each place that binds or passes them; and old names."""
    for node in ast.walk(tree):
        bound: list[str] = []
        if isinstance(node, ast.arg):
            bound = [node.arg]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound = [node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            bound = [node.attr]
        empty = [name for name in bound if name.strip("_") in VARIABLES]
        for name in empty:
            yield node.lineno, f"variable {name}"
        used = {getattr(node, key, None) for key in ("name", "id", "attr", "arg")} - {*empty, "memo"}  # of deepcopy
        for name in used:
            if isinstance(name, str) and is_old(name):
                yield getattr(node, "lineno", 1), f"old name {name}"


def names_in_page(text: str) -> Iterator[Offence]:
    """Old names of parts and files in backticks."""
    for code in IN_BACKTICKS.finditer(text):
        line = text.count("\n", 0, code.start()) + 1
        for name in re.findall(r"\w+(?:\.py\b)?", code.group(1)):
            if is_old(name) or name in OLD_FILES:
                yield line, f"old name {name}"


def phrases_in_python(source: str) -> Iterator[Offence]:
    """Phrases in comments and strings, docstrings included."""
    if not PHRASE_IN_CODE.search(source):  # to split a file into tokens takes longer than to search it
        return
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield from phrases(token.string, token.start[0])


def phrases_in_cpp(source: str) -> Iterator[Offence]:
    """Phrases in comments, and variables of no meaning."""
    for comment in IN_COMMENT.finditer(source):
        yield from phrases(comment.group(), source.count("\n", 0, comment.start()) + 1)
    code = IN_COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), source)
    for name in re.finditer(rf"\b[\w:<>]+[ *&]+({'|'.join(VARIABLES)})\b(?=\s*[=,;)\[])", code):
        yield code.count("\n", 0, name.start()) + 1, f"variable {name.group(1)}"


def phrases(text: str, line: int, forbidden: re.Pattern[str] = PHRASE_IN_CODE) -> Iterator[Offence]:
    for hit in forbidden.finditer(text):
        yield line + text.count("\n", 0, hit.start()), f"phrase {' '.join(hit.group().split())!r}"


def files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES) if path.is_dir() else [path]


def places(paths: list[Path]) -> Iterator[tuple[str, int, str]]:
    """(path in the checkout, line, what) of every offence."""
    for path in files(paths):
        name = path.resolve().relative_to(CHECKOUT).as_posix()
        if name not in ABOUT_WORDS:
            yield from ((name, line, what) for line, what in offences(path.read_text("utf-8"), name))


def counts() -> dict[str, int]:
    """Number of offences by file of the project."""
    return dict(Counter(name for name, _, _ in places(READ)))


def main(arguments: list[str]) -> int:
    every = [*places([Path(argument) for argument in arguments] or READ)]
    for name, line, what in every:
        print(f"{name}:{line}: {what}")
    print(f"{len(every)} places")
    return int(bool(every))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
