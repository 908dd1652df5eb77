"""Images with random damage: each is read or refused in one sentence, and no process aborts or hangs.

    .venv/bin/python benchmarks/mutated_images.py --files 1000

Folders of PNG and JPEG files, idx files, .npy and .npz files and files of labels are cut, emptied, overwritten and
mixed up: other sizes, other formats under the suffix, moving pictures, 16 bits, palettes, transparency, CMYK, missing
and repeated labels. Each is read by `data.read_images`, in processes of 250 files; every tenth is given to
``pushforward fit`` as well. What counts as a fault: any error but an `ImageError` of one line, an exit code of a
process other than 0, and a file that takes more than ten seconds.
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mutations import SECONDS, run
from PIL import Image
from results import machine

Bytes = Callable[[random.Random], bytes]


def pixels(dice: random.Random, *shape: int) -> np.ndarray:
    return np.random.default_rng(dice.randrange(2**32)).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gray(dice: random.Random, size: tuple[int, int] = (6, 5)) -> Image.Image:
    return Image.fromarray(pixels(dice, size[1], size[0]))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def saved(array: object, **arrays: object) -> bytes:
    out = io.BytesIO()
    if arrays:
        np.savez(out, **arrays)
    else:
        np.save(out, array, allow_pickle=True)
    return out.getvalue()


ODD_IMAGES: dict[str, Bytes] = {
    "a moving PNG": lambda d: encoded(gray(d), save_all=True, append_images=[gray(d), gray(d)]),
    "16 bits": lambda d: encoded(Image.fromarray(pixels(d, 5, 6).astype(np.uint16) * 257)),
    "a palette": lambda d: encoded(gray(d).convert("P")),
    "transparency": lambda d: encoded(gray(d).convert("LA")),
    "colour and transparency": lambda d: encoded(gray(d).convert("RGBA")),
    "colour": lambda d: encoded(gray(d).convert("RGB")),
    "one bit": lambda d: encoded(gray(d).convert("1")),
    "CMYK": lambda d: encoded(gray(d).convert("CMYK"), "jpeg"),
    "another size": lambda d: encoded(gray(d, (d.randint(1, 9), d.randint(1, 9)))),
    "a GIF": lambda d: encoded(gray(d), "gif"),
    "a BMP": lambda d: encoded(gray(d), "bmp"),
    "a TIFF of floats": lambda d: encoded(Image.fromarray(pixels(d, 5, 6).astype(np.float32)), "tiff"),
    "nothing": lambda d: b"",
    "text": lambda d: b"no image at all\n" * 5,
    "a header alone": lambda d: encoded(gray(d))[:8],
    "a table": lambda d: b"a,b\n1,2\n",
    "a huge size": lambda d: huge(encoded(gray(d))),
    "an array": lambda d: saved(pixels(d, 5, 6)),
}
ODD_ARRAYS: dict[str, Bytes] = {
    "one axis": lambda d: saved(pixels(d, 9)),
    "two axes": lambda d: saved(pixels(d, 5, 6)),
    "five axes": lambda d: saved(pixels(d, 2, 2, 2, 2, 2)),
    "two channels": lambda d: saved(pixels(d, 4, 5, 6, 2)),
    "no images": lambda d: saved(np.empty((0, 5, 6), np.uint8)),
    "no columns": lambda d: saved(np.empty((3, 5, 0), np.uint8)),
    "a number": lambda d: saved(np.array(3)),
    "fractions": lambda d: saved(np.random.default_rng(0).random((4, 5, 6))),
    "NaN": lambda d: saved(np.full((4, 5, 6), np.nan)),
    "infinity": lambda d: saved(np.full((4, 5, 6), np.inf)),
    "beyond 255": lambda d: saved(np.full((4, 5, 6), 256)),
    "negative": lambda d: saved(np.full((4, 5, 6), -1)),
    "whole floats": lambda d: saved(pixels(d, 4, 5, 6).astype(float)),
    "int64": lambda d: saved(pixels(d, 4, 5, 6).astype(np.int64)),
    "truth values": lambda d: saved(pixels(d, 4, 5, 6) > 99),
    "complex": lambda d: saved(pixels(d, 4, 5, 6).astype(complex)),
    "text": lambda d: saved(np.full((4, 5, 6), "a")),
    "dates": lambda d: saved(np.zeros((4, 5, 6), "datetime64[s]")),
    "objects": lambda d: saved(np.full((4, 5, 6), None)),
    "fields": lambda d: saved(np.zeros((4, 5, 6), [("a", "u1")])),
    "other names": lambda d: saved(None, first=pixels(d, 4, 5, 6)),
    "too few labels": lambda d: saved(None, images=pixels(d, 4, 5, 6), labels=np.arange(3)),
    "labels of two axes": lambda d: saved(None, images=pixels(d, 4, 5, 6), labels=np.ones((4, 2))),
    "objects as labels": lambda d: saved(None, images=pixels(d, 4, 5, 6), labels=np.full(4, None)),
    "NaN as labels": lambda d: saved(None, images=pixels(d, 4, 5, 6), labels=np.full(4, np.nan)),
}
ODD_LABELS: dict[str, Callable[[list[str]], str]] = {
    "missing": lambda rows: "\n".join(["file,label", *rows[1:]]),
    "repeated": lambda rows: "\n".join(["file,label", *rows, rows[0]]),
    "contradictory": lambda rows: "\n".join(["file,label", *rows, rows[0].split(",")[0] + ",other"]),
    "without header": lambda rows: "\n".join(rows),
    "other columns": lambda rows: "\n".join(["a,b,c", *(f"{row},1" for row in rows)]),
    "one column": lambda rows: "\n".join(["label", *(row.split(",")[1] for row in rows)]),
    "a cell more": lambda rows: "\n".join(["file,label", *rows[:2], rows[2] + ",x", *rows[3:]]),
    "empty cells": lambda rows: "\n".join(["file,label", *(row.split(",")[0] + "," for row in rows)]),
    "of other files": lambda rows: "\n".join(["file,label", *(f"x{row}" for row in rows)]),
    "a header alone": lambda rows: "file,label\n",
    "nothing": lambda rows: "",
    "semicolons": lambda rows: "\n".join(["file;label", *(row.replace(",", ";") for row in rows)]),
    "an open quote": lambda rows: "\n".join(["file,label", '"' + rows[0], *rows[1:]]),
    "a zero byte": lambda rows: "\n".join(["file,label", rows[0] + "\0", *rows[1:]]),
}


def huge(png: bytes) -> bytes:
    """A PNG that says that it has 2³¹ - 1 columns, with a right checksum."""
    import zlib

    header = png[12:16] + struct.pack(">I", 2**31 - 1) + png[20:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def damage(data: bytes, dice: random.Random) -> bytes:
    """One to four random changes of bytes."""
    for _ in range(dice.randint(1, 4)):
        i, j = sorted(dice.randrange(max(1, len(data))) for _ in range(2))
        change = dice.randrange(5)
        if change == 0:
            data = data[:j]
        elif change == 1:
            data = data[:i] + bytes([dice.randrange(256)]) + data[i + 1 :]
        elif change == 2:
            data = data[:i] + data[min(j, i + 30) :]
        elif change == 3:
            data = data[:i] + dice.randbytes(dice.randint(1, 8)) + data[i:]
        else:
            data = data[:i] + bytes(min(8, len(data) - i)) + data[i + 8 :]
    return data


def broken_folder(folder: Path, dice: random.Random) -> tuple[Path, Path | None, str]:
    """A folder with odd or damaged images, perhaps in sub-folders."""
    nested, suffix = dice.random() < 0.3, dice.choice([".png", ".jpg", ".JPEG"])
    kind = "png" if suffix == ".png" else "jpeg"
    names = [f"{'ab'[k % 2]}/{k}{suffix}" if nested else f"{k}{suffix}" for k in range(4)]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encoded(gray(dice), kind))
    victim = folder / dice.choice(names)
    what = dice.choice(
        [*ODD_IMAGES, "bytes", "bytes", "bytes", "a folder as image", "a link to nothing", "a class less"]
    )
    if what == "bytes":
        victim.write_bytes(damage(victim.read_bytes(), dice))
    elif what == "a folder as image":
        victim.unlink()
        victim.mkdir()
    elif what == "a link to nothing":
        victim.unlink()
        victim.symlink_to(folder / "nowhere")
    elif what == "a class less":
        (folder / "outside.png").write_bytes(encoded(gray(dice)))
    else:
        victim.write_bytes(ODD_IMAGES[what](dice))
    return folder, None, what


def broken_labels(folder: Path, dice: random.Random) -> tuple[Path, Path | None, str]:
    """A good folder, with odd or damaged labels."""
    (folder / "images").mkdir()
    rows = [f"{k}.png,{'ab'[k % 2]}" for k in range(5)]
    for k in range(5):
        (folder / "images" / f"{k}.png").write_bytes(encoded(gray(dice)))
    what = dice.choice([*ODD_LABELS, "bytes", "bytes", "latin-1", "an idx file", "an array"])
    path = folder / ("l.npy" if what == "an array" else "labels-idx1-ubyte" if what == "an idx file" else "l.csv")
    good = "\n".join(["file,label", *rows])
    if what in ODD_LABELS:
        path.write_text(ODD_LABELS[what](rows))
    elif what == "bytes":
        path.write_bytes(damage(good.encode(), dice))
    elif what == "latin-1":
        path.write_bytes(good.replace("a\n", "ä\n").encode("latin-1"))
    else:
        path.write_bytes(idx(pixels(dice, 5)) if what == "an idx file" else saved(np.arange(5)))
    return folder / "images", path, f"labels: {what}"


def broken_idx(folder: Path, dice: random.Random) -> tuple[Path, Path | None, str]:
    """An idx file, and the file of labels beside it, one of them damaged."""
    whole = [idx(pixels(dice, 4, 5, 6)), idx(pixels(dice, dice.choice([4, 4, 3])))]
    damaged, compressed = dice.randrange(2), dice.random() < 0.5
    when = dice.randrange(2)
    for k in range(2):
        data = whole[k]
        if k == damaged and when == 0:
            data = damage(data, dice)
        data = gzip.compress(data) if compressed else data
        if k == damaged and when == 1:
            data = damage(data, dice)
        (folder / f"{('train-images-idx3', 'train-labels-idx1')[k]}-ubyte{'.gz' * compressed}").write_bytes(data)
    return folder / f"train-images-idx3-ubyte{'.gz' * compressed}", None, "idx"


def broken_array(folder: Path, dice: random.Random) -> tuple[Path, Path | None, str]:
    """An array of another kind, damaged, or under the wrong suffix."""
    what = dice.choice([*ODD_ARRAYS, "bytes", "bytes", "bytes"])
    if what == "bytes":
        good = dice.choice(
            [saved(pixels(dice, 4, 5, 6)), saved(None, images=pixels(dice, 4, 5, 6), labels=np.arange(4))]
        )
        data = damage(good, dice)
    else:
        data = ODD_ARRAYS[what](dice)
    zipped = data.startswith(b"PK")
    path = folder / f"x{'.npz' if zipped != (dice.random() < 0.1) else '.npy'}"
    path.write_bytes(data)
    return path, None, f"array: {what}"


KINDS = (broken_folder, broken_folder, broken_labels, broken_idx, broken_array)


def work(seed: int, files: int) -> None:
    """Read damaged images in this process, and print what came of each."""
    from typer.testing import CliRunner

    from pushforward.cli.app import app
    from pushforward.data import ImageError, read_images

    warnings.simplefilter("ignore")
    for k in range(files):
        dice = random.Random(f"{seed} {k}")
        with tempfile.TemporaryDirectory() as temporary:
            path, labels, what = dice.choice(KINDS)(Path(temporary), dice)
            start = time.monotonic()
            try:
                read_images(path, labels)
                outcome = "read"
            except ImageError as error:
                outcome = "refused" if "\n" not in str(error) else f"FAULT {seed} {k} ({what}): lines: {error}"
            except Exception as error:
                outcome = f"FAULT {seed} {k} ({what}): {type(error).__name__}: {str(error)[:200]}"
            if k % 10 == 0 and not outcome.startswith("FAULT"):
                words = ["fit", str(path), *(["--labels", str(labels)] if labels else []), "--out", f"{temporary}/m"]
                words += ["--steps", "1", "--set", "hidden=4,4,above=1,beside=1", "--validation", "0"]
                done = CliRunner().invoke(app, words)
                trace = "Traceback" in done.stderr or "internal error" in done.stderr
                if done.exit_code not in (0, 1) or trace or (done.exit_code == 1) != (outcome == "refused"):
                    outcome = f"FAULT {seed} {k} ({what}): fit after {outcome}: {done.exit_code} {done.stderr[-300:]}"
            if time.monotonic() - start > SECONDS:
                outcome = f"FAULT {seed} {k} ({what}): took {time.monotonic() - start:.0f} s"
        print(outcome.replace("\n", " "), flush=True)


def text(files: int, outcomes: Counter[str]) -> str:
    read, refused, faults, aborted = (outcomes[k] for k in ("read", "refused", "fault", "aborted process"))
    return f"""## Damaged images

    .venv/bin/python benchmarks/mutated_images.py --files {files}

On {machine()}: of {files:,} folders and files
{read:,} were read, {refused:,} refused in one sentence, and {faults:,} gave another error or took more than
{SECONDS:.0f} seconds; {aborted} processes were aborted.
"""


if __name__ == "__main__":
    run(__doc__, __file__, work, "mutated images", text, files=1_000, each=250)
