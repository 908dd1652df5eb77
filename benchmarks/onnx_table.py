"""Which flows and which parts go through ONNX, and how far a runtime is from torch: writes docs/onnx.md.

Run it with: python benchmarks/onnx_table.py
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))


EXAMPLES = """\
Each part of the registry stands here with each of its examples: the class, then its arguments one after the other,
those of lists joined by `+`."""


def outcome(case: tuple[str, str, str]) -> tuple[str, str, str, float | None, str]:
    """One method of one case, by name, in a process of a pool."""
    import onnx_cases

    kind, name, method = case
    builders = dict(onnx_cases.flow_cases() if kind == "flow" else onnx_cases.example_cases())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            difference, reason = onnx_cases.compared(builders[name](), method)
        except Exception as error:
            difference, reason = None, f"FAULT {type(error).__name__}: {str(error).strip().splitlines()[0][:150]}"
    return kind, name, method, difference, reason


def start() -> None:
    import torch

    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a name, to try a few; nothing is written")
    parser.add_argument("--parts", action="store_true", help="parts too: every registered example of a bijection")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    import onnx_cases

    names = [("flow", name) for name, _ in onnx_cases.flow_cases()]
    names += [("example", name) for name, _ in onnx_cases.example_cases()] if options.parts else []
    cases = [(*name, method) for name in names for method in onnx_cases.METHODS if options.only in name[1]]
    began, results = time.monotonic(), []
    with get_context("spawn").Pool(options.processes, start) as pool:
        for result in pool.imap(outcome, cases):
            results.append(result)
            _, name, method, difference, reason = result
            number = "" if difference is None else f"{difference:.1e}"
            print(f"{name[:70]:70s} {method:8s} {number} {reason}", flush=True)
    print(f"{len(results)} in {time.monotonic() - began:.0f} s")
    if not options.only:
        (ROOT / "docs" / "onnx.md").write_text(page(results, " --parts" if options.parts else ""), "utf-8")


INTRODUCTION = """\
# ONNX

`pf.interop.to_onnx(flow, path, method)` writes `log_prob`, or `sample` with the draws of the base as input, as an ONNX
file. The tables say what goes through, and why the rest does not.

Written by `python benchmarks/onnx_table.py{options}` ({versions}).
Numbers are the largest difference between onnxruntime and torch over 11 rows, both in float32 on the CPU, relative to
1 + the size of the number: the largest of {count} graphs is {largest:.1e}. Named flows have seen data, and their
weights are moved by normals of scale 0.1.

- *draws random numbers*: estimates and surjections; a graph would draw the same numbers at every call.
- *solves equations numerically*: the number of steps depends on the values. The other direction mostly goes through;
  `fast=` of a named flow says which.
- *an operation that ONNX lacks*: the exporter has no counterpart of one of torch's operations. Triangular systems, of
  which ONNX has no operation either, are written as substitutions.

Steep maps lose digits in float32 whatever runs them: where weights are so large that slopes are in the hundreds,
differences of 1e-4 are those of torch in float32 from torch in float64. Export `flow.double()` there.
"""


def page(results: list[tuple[str, str, str, float | None, str]], options: str) -> str:
    """The page of all results."""
    import onnx
    import onnxruntime
    import torch

    versions = f"torch {torch.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    differences = [difference for *_, difference, _ in results if difference is not None]
    head = {"options": options, "versions": versions, "count": len(differences), "largest": max(differences)}
    text = [*INTRODUCTION.format(**head).splitlines(), ""]
    for kind, title in (("flow", "Named flows"), ("example", "Parts, each alone in a flow")):
        rows: dict[str, list[str]] = {}
        for this, name, _, difference, reason in results:
            if this == kind:
                rows.setdefault(name, []).append(reason if difference is None else f"{difference:.0e}")
        if rows:
            about = [EXAMPLES, ""] if kind == "example" else []
            text += [f"## {title}", "", *about, "| | `log_prob` | `sample` |", "|---|---|---|"]
            text += [f"| `{name[:80]}` | {' | '.join(cells)} |" for name, cells in rows.items()] + [""]
    return "\n".join(text)


if __name__ == "__main__":
    main()
