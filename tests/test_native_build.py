"""Compiling native kernels: what a user is told where it fails, and what threads and forked processes may do."""

import importlib
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings

import pytest
import torch
from cases import needs_compiler

import pushforward as pf
from pushforward.core.torch_internals import import_compiler
from pushforward.kernels import ahead, native_build
from pushforward.kernels.native_build import native_library


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """As in a process that has compiled nothing and warned of nothing."""
    monkeypatch.setattr(native_build, "_warned", False)
    native_library.cache_clear()
    yield
    native_library.cache_clear()


def sources(tmp_path, *texts):
    paths = [tmp_path / f"kernel{k}.cpp" for k in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def failing(monkeypatch, error):
    from torch._inductor.codecache import CppCodeCache

    def load(text, **options):
        raise error

    monkeypatch.setattr(CppCodeCache, "load", load)


def test_without_a_compiler_one_warning_says_what_to_install(tmp_path):
    from torch._inductor import config

    paths = sources(tmp_path, "int a;", "int b;")
    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.warns(
            RuntimeWarning, match=r"kernels are off: no C\+\+ compiler was found .*apt install g\+\+"
        ) as caught,
    ):
        assert [native_library(path) for path in paths] == [None, None]
    assert len(caught) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="cache of compiled code cannot be used .*Set TORCHINDUCTOR_CACHE_DIR"):
        assert native_library(*sources(tmp_path, "int a;")) is None


def test_another_version_of_torch_is_blamed(tmp_path, monkeypatch):
    failing(monkeypatch, TypeError("load() got an unexpected keyword argument"))
    with pytest.warns(RuntimeWarning, match="unexpected keyword .*Install the version of torch"):
        assert native_library(*sources(tmp_path, "int a;")) is None


def test_errors_of_the_compiler_of_torch_are_unwrapped(monkeypatch):
    error = RuntimeError("backend failed")
    error.inner_exception = OSError("no space left on device")
    with pytest.warns(RuntimeWarning, match="cannot be used .no space left on device"):
        native_build.warn_slower(error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        native_build.warn_slower(error)  # once per process


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_process_without_a_usable_cache_works_and_warns_once(tmp_path):
    """The compiler of torch cannot even be imported there."""
    (tmp_path / "file").touch()
    code = (
        "import torch, pushforward as pf\n"
        "for name in ('nsf', 'maf'):\n"
        "    flow = getattr(pf.flows, name)(3, depth=2, hidden=(8,))\n"
        "    flow.use_kernels()\n"
        "    flow.log_prob(torch.randn(5, 3)).sum().backward()\n"
        "    assert flow.sample((4,)).isfinite().all()\n"
    )
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning: compiled kernels are off") == 1, done.stderr


def test_the_compiler_is_imported_before_it_is_asked_for(monkeypatch):
    names = []
    monkeypatch.setattr(importlib, "import_module", names.append)
    import_compiler()
    assert names == ["torch._inductor.compile_fx"]


def test_without_torch_s_compiler_functions_run_uncompiled(monkeypatch):
    def fails():
        raise OSError("no folder to write to")

    monkeypatch.setattr(native_build, "import_compiler", fails)
    native_build._compiler_imports.cache_clear()
    with pytest.warns(RuntimeWarning, match="no folder to write to"):
        assert native_build.compiled(abs) is abs
    native_build._compiler_imports.cache_clear()


def test_all_kernels_can_be_compiled_ahead(monkeypatch, capsys):
    """Every C++ file belongs to a module that names it last among its sources."""
    sources = {name: importlib.import_module(f"pushforward.kernels.{name}").SOURCES for name in ahead.kernel_names()}
    assert {name: paths[-1].stem for name, paths in sources.items()} == {name: name for name in sources}
    assert len(sources) == 6

    class Serial:
        def __init__(self, *args, **options): ...
        def __enter__(self):
            return self

        def __exit__(self, *error): ...

        map = staticmethod(map)

    monkeypatch.setattr(ahead, "ProcessPoolExecutor", Serial)
    monkeypatch.setattr(ahead, "native_library", lambda *paths: None if paths[-1].stem == "mixture" else paths)
    assert ahead.main() == 1
    assert sorted(capsys.readouterr().out.split("\n"))[-2:] == ["perceptron: compiled", "spline: compiled"]


def test_threads_compile_one_at_a_time_and_warn_once(tmp_path, monkeypatch):
    from torch._inductor.codecache import CppCodeCache

    inside, most = [], []

    def load(text, **options):
        inside.append(text)
        most.append(len(inside))
        threading.Event().wait(0.02)
        inside.pop()
        raise RuntimeError("no such thing")

    monkeypatch.setattr(CppCodeCache, "load", load)
    (path,) = sources(tmp_path, "int a;")
    results = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=lambda: results.append(native_library(path))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [None] * 4
    assert max(most) == 1
    assert len(caught) == 1


def density_in_child(flow, x, queue):
    torch.set_num_threads(1)
    queue.put(flow.log_prob(x).tolist())


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Python 3.12: forks of a process that has threads
def test_a_forked_process_uses_kernels_of_its_parent():
    flow = pf.flows.nsf(3, depth=2, hidden=(8,))
    flow.use_kernels()
    x = torch.randn(50, 3)
    expected = flow.log_prob(x).tolist()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    native_build._lock.acquire()  # as if another thread compiled; the child does not wait for it
    try:
        child = context.Process(target=density_in_child, args=(flow, x, queue))
        child.start()
    finally:
        native_build._lock.release()
    assert queue.get(timeout=60) == expected
    child.join(timeout=60)
    assert child.exitcode == 0
