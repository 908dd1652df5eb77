"""Writing files: all or nothing, whatever happens in between."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pushforward.core.files import atomic_path, check_writable

SOURCE = Path(__file__).resolve().parent.parent / "src" / "pushforward" / "core" / "files.py"


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_content_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "model.tar.gz"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("model.tar.gz")
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_block_leaves_the_old_file_and_no_trace(tmp_path, error):
    target = tmp_path / "x.csv"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        fail()
    assert target.read_text() == "old"
    assert not leftovers(tmp_path)


def test_a_failed_block_makes_no_new_file(tmp_path):
    def fail():
        with atomic_path(tmp_path / "x.csv"):
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_symbolic_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    real, link, dangling = tmp_path / "there" / "x.csv", tmp_path / "link.csv", tmp_path / "dangling.csv"
    real.write_text("old")
    link.symlink_to(real)
    dangling.symlink_to(tmp_path / "there" / "y.csv")
    for path in (link, dangling):
        with atomic_path(path) as temporary:
            assert temporary.parent == tmp_path / "there"
            temporary.write_text("new")
        assert path.is_symlink()
    assert real.read_text() == (tmp_path / "there" / "y.csv").read_text() == "new"


def test_the_mode_is_kept_and_a_new_file_follows_the_umask(tmp_path):
    old = tmp_path / "old.csv"
    old.write_text("")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        for path in (old, tmp_path / "new.csv"):
            with atomic_path(path) as temporary:
                temporary.unlink()  # some writers make the file anew, with a mode of their own
                temporary.touch(mode=0o600)
            assert mode(path) == 0o640
        old.chmod(0o604)
        with atomic_path(old):
            pass
        assert mode(old) == 0o604
    finally:
        os.umask(before)


def protected_file(folder: Path) -> Path:
    path = folder / "kept.csv"
    path.write_text("old")
    path.chmod(0o444)
    return path


def protected_folder(folder: Path) -> Path:
    (folder / "kept").mkdir()
    (folder / "kept").chmod(0o555)
    return folder / "kept" / "x.csv"


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "x.csv"


def loop_of_links(folder: Path) -> Path:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


REFUSED = [
    (lambda folder: folder / "no" / "x.csv", FileNotFoundError, r"the folder '.*no' does not exist\. Create"),
    (lambda folder: folder, IsADirectoryError, "that is a folder. Name a file in it"),
    (lambda folder: f"{folder}/new/", IsADirectoryError, "that is a folder. Name a file in it"),
    (lambda folder: "", IsADirectoryError, "that is a folder. Name a file in it"),
    (below_a_file, NotADirectoryError, r"'.*file' is a file, not a folder"),
    (protected_file, PermissionError, "the file is read-only. Choose another name, or make it writable"),
    (protected_folder, PermissionError, r"the folder '.*kept' is read-only. Choose another one"),
    (pipe, OSError, "that is a device or a pipe, not a file. Name an ordinary file"),
    (lambda folder: "/dev/null", OSError, "that is a device or a pipe, not a file"),
    (loop_of_links, OSError, "too many levels of symbolic links"),
    (lambda folder: folder / ("x" * 300), OSError, "file name too long"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED)
def test_what_cannot_be_written_is_refused_before_and_during(tmp_path, make, error, message):
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message) as refusal:
        check_writable(path)
    assert str(refusal.value).startswith(f"cannot write {os.fspath(path)!r}: ")
    with pytest.raises(error, match=message), atomic_path(path):
        pytest.fail("the block must not begin")
    assert sorted(tmp_path.rglob("*")) == before


def test_check_writable_leaves_everything_as_it_is(tmp_path):
    target = tmp_path / "x.csv"
    target.write_text("old")
    written = target.stat().st_mtime_ns
    check_writable(target)
    check_writable(tmp_path / "new.csv")
    check_writable(tmp_path / ("é" * 127))  # the longest name, in bytes
    assert target.stat().st_mtime_ns == written
    assert list(tmp_path.iterdir()) == [target]


# The module is loaded by its path, so that the process starts in milliseconds.
WRITER = f"""
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("files", {str(SOURCE)!r})
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
"""


def writer(code: str, target: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WRITER + code, str(target)], stdout=subprocess.PIPE, text=True
    )


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path):
    target = tmp_path / "model.bin"
    target.write_text("old")
    code = """
with files.atomic_path(sys.argv[1]) as temporary:
    with open(temporary, "w") as file:
        file.write("half of the ne")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""
    with writer(code, target) as process:
        assert process.stdout.readline() == "writing\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert target.read_text() == "old"
    assert len(leftovers(tmp_path)) == 1
    with atomic_path(target) as temporary:  # the stale file is in nobody's way
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_kills_at_any_moment_leave_a_whole_file(tmp_path):
    target = tmp_path / "numbers.txt"
    size = 100_000
    target.write_text("0" * size)
    code = f"""
while True:
    for digit in "123456789":
        with files.atomic_path(sys.argv[1]) as temporary:
            temporary.write_text(digit * {size})
        print("one more", flush=True)
"""
    for delay in (0.0, 0.003, 0.01, 0.02, 0.05):
        with writer(code, target) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        content = target.read_text()
        assert content == content[0] * size
        assert content[0] != "0"  # files are in fact being replaced
