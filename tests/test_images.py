"""Images in: idx files, arrays and folders are read as they are, or refused in one sentence that names the file."""

import gzip
import random
import struct

import numpy as np
import pytest
from PIL import Image

from pushforward.data import ImageError, read_images
from pushforward.data.image_pairs import with_given
from pushforward.data.images import names_images, read_image


def idx(array):
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, size=(6, 5, 4), dtype=np.uint8)


LABELS = np.array([3, 1, 3, 10, 1, 3], dtype=np.uint8)


def write_folder(folder, pixels, *, classes=("b", "a"), suffix=".png"):
    for k, image in enumerate(pixels):
        file = folder / classes[k % len(classes)] / f"{k}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx_files_with_the_labels_beside_them(tmp_path, pixels, compress):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(compress(idx(pixels)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(compress(idx(LABELS)))
    images = read_images(tmp_path / "train-images-idx3-ubyte.gz")
    assert images.shape == (1, 5, 4)
    assert len(images) == 6
    assert np.array_equal(images.pixels[:, 0], pixels)
    assert images.classes == ("1", "3", "10")
    assert images.labels.tolist() == [1, 0, 1, 2, 0, 1]
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert read_images(tmp_path / "train-images-idx3-ubyte.gz").labels is None


def test_folders_whose_sub_folders_are_classes(tmp_path, pixels):
    images = read_images(write_folder(tmp_path, pixels))
    assert images.classes == ("a", "b")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.names == ("a/1.png", "a/3.png", "a/5.png", "b/0.png", "b/2.png", "b/4.png")
    assert np.array_equal(images.pixels[:, 0], pixels[[1, 3, 5, 0, 2, 4]])


def test_folders_with_a_table_of_labels(tmp_path, pixels):
    write_folder(tmp_path / "images", pixels, classes=("",))
    assert read_images(tmp_path / "images").labels is None
    (tmp_path / "l.csv").write_text(
        "file,label\n" + "".join(f"{k}.png,{'odd' if k % 2 else 'even'}\n" for k in range(6))
    )
    images = read_images(tmp_path / "images", tmp_path / "l.csv")
    assert images.classes == ("even", "odd")
    assert images.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_colours_are_channels_and_gray_beside_them_is_gray_in_colour(tmp_path, pixels):
    colour = np.stack([pixels, 255 - pixels, pixels // 2], axis=-1)
    write_folder(tmp_path, colour[:3], classes=("",))
    Image.fromarray(pixels[3]).save(tmp_path / "3.png")
    images = read_images(tmp_path)
    assert images.shape == (3, 5, 4)
    assert np.array_equal(images.pixels[:3], np.moveaxis(colour[:3], 3, 1))
    assert np.array_equal(images.pixels[3], np.stack([pixels[3]] * 3))


def test_jpeg_files(tmp_path):
    write_folder(tmp_path, np.full((2, 8, 8), 77, dtype=np.uint8), suffix=".jpg")
    assert np.abs(read_images(tmp_path).pixels.astype(int) - 77).max() <= 2


def test_arrays_with_channels_first_or_last(tmp_path, pixels):
    colour = np.stack([pixels, 255 - pixels, pixels // 2], axis=-1)
    for array in (colour, np.moveaxis(colour, 3, 1), colour.astype(np.float64), colour.astype(np.int32)):
        np.save(tmp_path / "x.npy", array)
        assert np.array_equal(read_images(tmp_path / "x.npy").pixels, np.moveaxis(colour, 3, 1))
    np.savez(tmp_path / "x.npz", images=pixels, labels=LABELS)
    images = read_images(tmp_path / "x.npz")
    assert images.labels.tolist() == [1, 0, 1, 2, 0, 1]
    (tmp_path / "l.csv").write_text("label\n" + "z\n" * 5 + "a\n")
    assert read_images(tmp_path / "x.npz", tmp_path / "l.csv").labels.tolist() == [1, 1, 1, 1, 1, 0]


# --- mistakes

PNG = b"\x89PNG\r\n\x1a\n"


def save(name, **arrays):
    return lambda folder: np.savez(folder / name, **arrays)


def content(name, data):
    return lambda folder: (folder / name).write_bytes(data)


ONE = np.zeros((1, 2, 2), dtype=np.uint8)
MISTAKES = [
    (lambda folder: None, "none.npy", r"none\.npy: there is no such file or folder"),
    (lambda folder: (folder / "f").mkdir(), "f", r"f: there are no \.png, \.jpg, \.jpeg files in this folder"),
    (content("a-images-idx3-ubyte", idx(ONE)), "", r"Name one of its files, such as .*a-images-idx3-ubyte"),
    (content("a.txt", b"x"), "a.txt", r"a\.txt: images are idx files, \.npy, \.npz, or a folder"),
    (content("a.png", b""), "", r"a\.png: cannot be read as an image"),
    (content("a.png", PNG + b"rest"), "", r"a\.png: cannot be read as an image"),
    (content("a.npy", b"\x93NUMPY"), "a.npy", r"a\.npy: cannot be read as NumPy arrays"),
    (content("a.npz", b"PK\3\4"), "a.npz", r"a\.npz: cannot be read as NumPy arrays"),
    (content("a-ubyte", b"text"), "a-ubyte", r"a-ubyte: is no idx file"),
    (content("a-ubyte", b"\0\0\x0d\3"), "a-ubyte", r"numbers of the type 0x0d; only unsigned bytes"),
    (content("a-ubyte", b"\0\0\x08\3\0"), "a-ubyte", r"damaged header of 3 axes"),
    (content("a-ubyte", idx(ONE)[:-1]), "a-ubyte", r"holds 3 bytes, and its header says 4"),
    (content("a-ubyte", idx(ONE) + b"1"), "a-ubyte", r"holds more bytes, and its header says 4"),
    (content("a-ubyte", b"\0\0\x08\3" + b"\xff" * 12), "a-ubyte", r"which do not fit the memory"),
    (content("a-ubyte.gz", gzip.compress(idx(ONE))[:-9]), "a-ubyte.gz", r"cannot be read as an idx file"),
    (save("a.npz", other=ONE), "a.npz", r"there is no array called images or .*; it holds other"),
    (save("a.npz", x=ONE[0]), "a.npz", r"images must have the shape \(n, height, width\)"),
    (save("a.npz", x=ONE[:0]), "a.npz", r"there are no pixels in an array of shape"),
    (save("a.npz", x=ONE + 0.5), "a.npz", r"pixels must be whole numbers from 0 to 255; got float64\. Multiply"),
    (save("a.npz", x=ONE.astype(int) - 1), "a.npz", r"pixels must be whole numbers from 0 to 255; got int64"),
    (save("a.npz", x=ONE, y=[1, 2]), "a.npz", r"there are 2 labels for 1 images"),
    (save("a.npz", x=ONE, y=[[[1]]]), "a.npz", r"labels must be one number or name an image"),
]


@pytest.mark.parametrize(("prepare", "name", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_with_the_file(tmp_path, prepare, name, sentence):
    prepare(tmp_path)
    with pytest.raises(ImageError, match=sentence) as caught:
        read_images(tmp_path / name)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_of_two_sizes_and_files_outside_of_the_classes(tmp_path, pixels):
    write_folder(tmp_path, pixels)
    Image.fromarray(pixels[0].T.copy()).save(tmp_path / "b" / "z.png")
    with pytest.raises(ImageError, match=r"z\.png: it has 4 × 5 pixels, and 1\.png has 5 × 4"):
        read_images(tmp_path)
    (tmp_path / "b" / "z.png").rename(tmp_path / "z.png")
    with pytest.raises(ImageError, match=r"z\.png is in no sub-folder, and sub-folders are classes"):
        read_images(tmp_path)
    (tmp_path / "z.png").unlink()
    Image.fromarray(pixels[0].astype(np.uint16)).save(tmp_path / "a" / "0.png")
    with pytest.raises(ImageError, match=r"0\.png: it has more than 8 bits a channel"):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,label\n", "there are no labels below the header"),
        ("file,label,more\na,b\n", "line 2 has 2 cells, and the header has 3"),
        ("a,b,c\n1,2,3\n", "the columns must be 'file' and 'label', or .*; they are a, b, c"),
        ("file,label\n0.png,1\n", r"there is no label for 1\.png \(5 of 6 files\)"),
        ("\x00\xff", "cannot be read as labels|no labels below"),
    ],
)
def test_tables_of_labels_with_mistakes(tmp_path, pixels, text, sentence):
    write_folder(tmp_path / "images", pixels, classes=("",))
    (tmp_path / "l.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ImageError, match=rf"l\.csv: .*{sentence}"):
        read_images(tmp_path / "images", tmp_path / "l.csv")


@pytest.mark.parametrize("kind", ["png", "jpg", "idx", "npy", "npz"])
def test_damaged_files_are_read_or_refused(tmp_path, pixels, kind):
    """Never anything but a sentence: bytes changed, cut out and cut off."""
    file = tmp_path / ("a-ubyte" if kind == "idx" else f"a.{kind}")
    if kind == "idx":
        file.write_bytes(idx(pixels))
    elif kind == "npy":
        np.save(file, pixels)
    elif kind == "npz":
        np.savez_compressed(file, images=pixels, labels=LABELS)
    else:
        Image.fromarray(pixels[0]).save(file)
    whole, refused = file.read_bytes(), []
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            data[random.randrange(len(data))] = random.randrange(256)
        if random.random() < 0.3:
            del data[random.randrange(len(data)) :]
        file.write_bytes(bytes(data))
        try:
            read_images(tmp_path if kind in ("png", "jpg") else file)
        except ImageError as error:
            refused.append(str(error))
    assert refused
    assert all(file.name in sentence for sentence in refused)


def test_links_to_nothing_and_files_under_a_wrong_suffix_are_refused(tmp_path, pixels):
    write_folder(tmp_path / "f", pixels)
    (tmp_path / "f" / "b" / "lost.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ImageError, match=r"lost\.png: is a link to a file that is not there\. Remove or mend it\.$"):
        read_images(tmp_path / "f")
    np.save(tmp_path / "x.npy", pixels)
    np.savez(tmp_path / "y.npz", images=pixels)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    (tmp_path / "y.npz").rename(tmp_path / "y.npy")
    with pytest.raises(ImageError, match=r"x\.npz: holds one array, in spite of its suffix\. Name it x\.npy\.$"):
        read_images(tmp_path / "x.npz")
    with pytest.raises(ImageError, match=r"y\.npy: holds several arrays, in spite of its suffix\. Name it y\.npz\.$"):
        read_images(tmp_path / "y.npy")
    np.savez(tmp_path / "z.npz", images=pixels, labels=np.array([0, 1, np.nan, 0, 1, 1]))
    with pytest.raises(ImageError, match=r"z\.npz: label 3 of 6 is missing \(NaN\)\. Fill it in\.$"):
        read_images(tmp_path / "z.npz")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["0.png,a", "0.png,b"], r"0\.png has two labels, 'a' and 'b'\. Leave one\."),
        (["0.png,"], r"line 2 has an empty cell, or one that is no text\. Fill it in\."),
        (["0.png,a\0"], r"line 2 has an empty cell, or one that is no text\. Fill it in\."),
    ],
)
def test_labels_that_say_two_things_or_none_are_refused(tmp_path, pixels, rows, sentence):
    write_folder(tmp_path / "f", pixels[:1], classes=("",))
    (tmp_path / "l.csv").write_text("\n".join(["file,label", *rows]))
    with pytest.raises(ImageError, match=rf"l\.csv: {sentence}$"):
        read_images(tmp_path / "f", tmp_path / "l.csv")
    np.save(tmp_path / "l.npy", np.zeros(1))
    with pytest.raises(ImageError, match=r"l\.npy: the labels of a folder are a CSV file with the columns"):
        read_images(tmp_path / "f", tmp_path / "l.npy")


def test_pairs_of_folders_go_by_name_and_where_that_is_not_there_without_suffix(tmp_path):
    for folder, suffixes in (("a", (".png", ".png")), ("b", (".jpg", ".png")), ("c", (".jpg", ".jpeg"))):
        (tmp_path / folder).mkdir()
        for name, value, suffix in zip(("x", "y"), (40, 200), suffixes, strict=True):
            Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / folder / f"{name}{suffix}")
    images = read_images(tmp_path / "a")
    for folder in "bc":
        beside = with_given(images, tmp_path / "a", tmp_path / folder).pictures
        assert beside[:, 0, 0, 0].tolist() == pytest.approx([40, 200], abs=1)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "c" / "y.jpg")
    with pytest.raises(ImageError, match=r"c: 2 images are called like y\.png, which is in .*a\. Give each"):
        with_given(images, tmp_path / "a", tmp_path / "c")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a" / "x.jpg")
    with pytest.raises(ImageError, match=r"b: x\.jpg would be for x\.png and for another image of .*a\. Give each"):
        with_given(read_images(tmp_path / "a"), tmp_path / "a", tmp_path / "b")


def test_paths_that_name_images(tmp_path):
    (tmp_path / "rows.parquet").mkdir()
    names = {tmp_path: True, tmp_path / "rows.parquet": False, "x.npy": True, "no folder": True, "x.csv": False}
    assert {path: names_images(path) for path in names} == names
    with pytest.raises(ImageError, match=r"half\.png: there is no such file\. Check the path\.$"):
        read_image(tmp_path / "half.png")
