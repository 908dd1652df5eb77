"""Write peers.md: what other libraries of flows have, beside what this one has for it (`peers.toml`).

    .venv/bin/python docs/make_peers.py

Every name in the column of this library is looked up in its registry, with the option that stands in brackets, and
every public name of the others (`peers.json`, read from their source) must stand in some row: a name that does not
exist, or one that is left out, is an error.
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pushforward as pf
from pushforward.core.config import REGISTRY
from pushforward.flows import FLOWS, IMAGE_FLOWS

HERE = Path(__file__).resolve().parent
PEERS = ("zuko", "nflows", "normflows", "flowjax", "FrEIA", "Pyro")


class Row(NamedTuple):
    what: str
    ours: str
    """Names of this library, with options in brackets; empty where there is nothing."""
    theirs: dict[str, str]
    """Names of the others; what is no public class or function of theirs stands in single quotes."""
    note: str
    """A reason where this library has nothing, or how it is done."""


def sections() -> dict[str, list[Row]]:
    """All rows, by the title of their section."""
    data = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))

    def row(entry: dict[str, str]) -> Row:
        theirs = {peer: entry[peer] for peer in PEERS if peer in entry}
        return Row(entry["what"], entry.get("ours", ""), theirs, entry.get("note", ""))

    return {section["title"]: list(map(row, section["row"])) for section in data["section"]}


ROWS = sections()


def names_of(text: str) -> list[str]:
    """The public names of a cell; what stands in quotes is none."""
    return [part.strip() for part in re.sub(r"'[^']*'", "", text).split(",") if part.strip()]


def peers() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((HERE / "peers.json").read_text(encoding="utf-8"))
    return data


def unknown_names(rows: dict[str, list[Row]] | None = None) -> list[str]:
    """Names in the column of this library that it does not have, with options that a part does not have."""
    cells = [
        part for section in (ROWS if rows is None else rows).values() for r in section for part in names_of(r.ours)
    ]
    return [cell for cell in cells if not exists(cell)]


def exists(cell: str) -> bool:
    match = re.fullmatch(r"([\w.]+)(?:\((\w+)=\))?", cell)
    if match is None:
        return False
    name, option = match.groups()
    part: Any = REGISTRY.get(name) or FLOWS.get(name) or IMAGE_FLOWS.get(name)
    if part is None:
        part = pf.flows if hasattr(pf.flows, name) else pf
        for step in name.split("."):
            part = getattr(part, step, None)
    return part is not None and (option is None or option in inspect.signature(part).parameters)


def left_out() -> list[str]:
    """Public names of the others that stand in no row, and names in rows that are not theirs."""
    out = []
    for peer in PEERS:
        public = set(peers()["peers"][peer]["names"])
        named = {name for section in ROWS.values() for r in section for name in names_of(r.theirs.get(peer, ""))}
        out += [f"{peer}: {name} stands in no row" for name in sorted(public - named)]
        out += [f"{peer}: there is no {name}" for name in sorted(named - public)]
    return out


def unexplained() -> list[str]:
    """Rows without a name of this library and without a reason."""
    return [r.what for section in ROWS.values() for r in section if not r.ours and not r.note]


def code(text: str) -> str:
    """Names in backticks, quotes without."""
    parts = [part.strip() for part in text.split(",")]
    return ", ".join(part.strip("'") if " " in part else f"`{part.strip(chr(39))}`" for part in parts)


def page() -> str:
    data = peers()
    lines = [
        "# Beside other libraries of flows",
        "",
        "What `zuko`, `nflows`, `normflows`, `flowjax`, `FrEIA` and `Pyro` have in layers, bases and options, and the",
        "parts of `pushforward` that do the same. Every public class of their modules of maps and distributions stands",
        "in one of the rows. Where `pushforward` has nothing, the last column says why.",
        "",
        "Times beside theirs, with and without native kernels, are in [Side by side](results.md#side-by-side): samples",
        "of autoregressive flows are far ahead; of small affine flows (`MAF`) eager densities of others are up to 1.45",
        "times as fast until `use_kernels()` is called. Another library is the better choice where a program is in JAX",
        "(flowjax), where a flow is a small part of a probabilistic program (Pyro; flows of this library work in it,",
        "see [recipes](recipes.md#torchdistributions-and-pyro)), or for inference from simulators with its own",
        "diagnostics (`sbi`, which takes flows of zuko). `pf.interop.to_zuko` hands flows over.",
        "",
        "Written by `python docs/make_peers.py` from `docs/peers.toml`: it looks every name of `pushforward` up in the",
        "registry, and every public name of the others in the table. Edit the rows there, not here.",
        "",
        f"The others were read in their source on {data['seen']}:",
        "",
        "| library | version | commit | of |",
        "|---|---|---|---|",
    ]
    for peer in PEERS:
        info = data["peers"][peer]
        link = f"[`{info['commit'][:10]}`]({info['repository']}/tree/{info['commit']})"
        lines.append(f"| [{peer}]({info['repository']}) | {info['version']} | {link} | {info['committed']} |")
    for title, rows in ROWS.items():
        lines += ["", f"## {title}", "", "| | pushforward | " + " | ".join(PEERS) + " | |"]
        lines.append("|---|---|" + "---|" * len(PEERS) + "---|")
        for r in rows:
            cells = [code(r.theirs[peer]) if peer in r.theirs else "" for peer in PEERS]
            lines.append(
                f"| {r.what} | {code(r.ours) if r.ours else '**none**'} | " + " | ".join(cells) + f" | {r.note} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    problems = [f"pushforward: there is no {name}" for name in unknown_names()] + left_out()
    problems += [f"no reason for: {what}" for what in unexplained()]
    if problems:
        raise SystemExit("\n".join(problems))
    (HERE / "peers.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
