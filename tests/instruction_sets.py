"""The C++ sources of all kernels as one, and what to compile them with for an instruction set of choice.

One translation unit for all kernels reads torch's headers, by far the longest of its parts, once.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

import pushforward as pf

PACKAGE = Path(pf.__file__).parent
SOURCES = {path.stem: path for path in sorted(PACKAGE.rglob("*.cpp"))}
HEADERS = sorted(PACKAGE.rglob("*.h"), key=lambda path: (path.name != "native.h", path.name))


class InstructionSet(NamedTuple):
    kind: str  # the class, or the instance of none, in torch._inductor.cpu_vec_isa
    march: str  # what else the compiler may use
    needs: frozenset[str]  # as torch calls what the processor has


SETS = {
    "avx2": InstructionSet("VecAVX2", "x86-64-v3", frozenset({"avx2"})),
    "avx512": InstructionSet("VecAVX512", "x86-64-v4", frozenset({"avx512"})),
    "amx": InstructionSet("VecAMX", "x86-64-v4", frozenset({"avx512", "avx512_vnni", "amx_tile"})),
    "plain": InstructionSet("invalid_vec_isa", "x86-64", frozenset()),  # torch's loops over arrays of 32 bytes
}


def runs_here(name: str) -> bool:
    from torch._inductor.cpu_vec_isa import x86_isa_checker

    return SETS[name].needs <= set(x86_isa_checker())


def joined() -> str:
    """All kernels in one source, each in a namespace of its own; their functions are called ``kernel__function``."""
    includes: dict[str, None] = {}
    bodies = []
    for name, source in SOURCES.items():
        bodies.append(f"namespace {name}_kernel {{")
        for path in (*HEADERS, source):
            text = path.read_text(encoding="utf-8")
            includes |= dict.fromkeys(re.findall(r"^#include .*$", text, re.M))
            text = re.sub(r"^#include .*$", "", text, flags=re.M)
            bodies += [f'#line 1 "{path}"', re.sub(r'(extern "C" \w+) (\w+)', rf"\1 {name}__\2", text)]
        bodies.append("}")
    return "\n".join([*includes, *bodies])


@contextmanager
def chosen(name: str) -> Iterator[Any]:
    """Inside, torch's compiler takes this instruction set for that of the machine, which is given."""
    from torch._inductor import codecache, config, cpu_vec_isa

    kept, kind = codecache.pick_vec_isa, getattr(cpu_vec_isa, SETS[name].kind)
    isa = kind() if isinstance(kind, type) else kind
    codecache.pick_vec_isa = lambda: isa
    try:
        with config.patch({"cpp.march": SETS[name].march}):
            yield isa
    finally:
        codecache.pick_vec_isa = kept


def command(name: str, source: Path, compiler: str | None = None) -> list[str]:
    """What torch would compile the source with."""
    from torch._inductor import config
    from torch._inductor.cpp_builder import CppBuilder, CppTorchDeviceOptions

    with chosen(name) as isa, config.patch({"cpp.cxx": (compiler,)} if compiler else {}):
        options = CppTorchDeviceOptions(vec_isa=isa, device_type="cpu")
        builder = CppBuilder("kernels", str(source), options, output_dir=str(source.parent))
        return shlex.split(builder.get_command_line())


def cross_command(compiler: str, source: Path, flags: Sequence[str]) -> list[str]:
    """What a compiler for another kind of processor parses the source with."""
    include = Path(torch.__file__).parent / "include"
    standard = ["-std=c++20", "-fopenmp", "-DC10_USING_CUSTOM_GENERATED_MACROS", "-DSTANDALONE_TORCH_HEADER"]
    folders = [f"-I{include}", f"-I{include / 'torch/csrc/api/include'}"]
    return [compiler, *standard, "-Wall", *flags, *folders, str(source)]


def sleef_of_sve() -> str:
    """Declarations of the functions for SVE that torch's headers call: those of a torch for x86 lack them."""
    folder = Path(torch.__file__).parent / "include/ATen/cpu/vec"
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.h"))
    declared = ["#include <arm_sve.h>"]
    for name in sorted(set(re.findall(r"Sleef_\w+sve\b", text))):
        vector = "svfloat64_t" if re.search(r"dx_|dx$", name) else "svfloat32_t"
        declared.append(f"template <typename... A> {vector} {name}({vector}, A...);")
    return "\n".join(declared)
