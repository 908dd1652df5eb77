"""Words that the source does not use: ``python tests/words.py [paths]`` prints where it does.

Three lists: names of variables that say nothing of what they hold, names that parts had before they got the field's,
and phrases that a reader who is new here would stumble over. `test_house` lets no file have any.
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
SOURCE = CHECKOUT / "src" / "pushforward"

VARIABLES = {"own", "found", "given", "known", "sent", "law", "laws", "room"}
"""As names of variables and arguments; a method may be called `given`."""

OLD_NAMES = {
    "Retraced", "Memo", "Staircase", "Ordered", "Factorised", "Conditioned", "ColumnLaw", "Law", "Multiplying",
    "law_of", "law_beside", "law_in_turn", "middle_cdf", "jump", "temper", "disturbed", "steer", "by_x", "read_by",
    "compile_steps", "native_conditional", "_retrace",
}  # fmt: skip
OLD_FILES = {
    "law.py", "heap.py", "modes.py", "memo.py", "compiled.py", "kinds.py", "measured.py", "mixed_sets.py",
    "of_column.py", "alone.py", "learned_rows.py", "sets.py",
}  # fmt: skip

PHRASES = [
    # A distribution is a distribution; what tests check are properties. Power laws are the field's.
    r"(?<!power.)\blaws?\b(?! of (?:large|total|iterated))",
    r"\bas of chance\b",
    r"\bthe budget was used\b",
    r"\bin \S+ looks\b",
    r"\bhas another part in this command\b",
    r"\bwhat is (found|given|known|sent)\b",
    r"\bwhat (it|they) (is|are|was|were) given\b",
    r"\bit is\.\s*$",
]
PHRASE = re.compile("|".join(PHRASES), re.IGNORECASE | re.MULTILINE)
IN_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

Offence = tuple[int, str]


def offences(source: str, path: str) -> list[Offence]:
    """(line, what) of every offence in a file; `path` decides its language."""
    name = Path(path).name
    found: list[Offence] = [(1, f"file name {name}")] if name in OLD_FILES else []
    if path.endswith(".py"):
        found += [*names_in(ast.parse(source)), *phrases_in_python(source)]
    elif path.endswith((".cpp", ".h")):
        found += phrases_in_cpp(source)
    return sorted(found)


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
        for name in bound:
            if name.strip("_") in VARIABLES:
                yield node.lineno, f"variable {name}"
        used = getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "attr", None)
        if isinstance(used, str) and used in OLD_NAMES:
            yield getattr(node, "lineno", 1), f"old name {used}"


def phrases_in_python(source: str) -> Iterator[Offence]:
    """Phrases in comments and strings, docstrings included."""
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


def phrases(text: str, line: int) -> Iterator[Offence]:
    for hit in PHRASE.finditer(text):
        yield line + text.count("\n", 0, hit.start()), f"phrase {' '.join(hit.group().split())!r}"


def files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(p for p in path.rglob("*") if p.suffix in (".py", ".cpp", ".h")) if path.is_dir() else [path]


def counts() -> dict[str, int]:
    """Number of offences by file of the source, relative to the package."""
    number = Counter[str]()
    for path in files([SOURCE]):
        name = path.relative_to(SOURCE).as_posix()
        number[name] += len(offences(path.read_text("utf-8"), name))
    return {name: count for name, count in sorted(number.items()) if count}


def main(arguments: list[str]) -> int:
    total = 0
    for path in files([Path(argument) for argument in arguments] or [SOURCE]):
        for line, what in offences(path.read_text("utf-8"), path.as_posix()):
            print(f"{path}:{line}: {what}")
            total += 1
    print(f"{total} places")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
