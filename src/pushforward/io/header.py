"""The header of a model file: a JSON document that describes the model and holds the hashes of the file.

A model is one safetensors file. Its header's metadata has one entry, ``pushforward``: a JSON document with the format
and its version, the version of the library, the config, the caller's metadata, the SHA-256 of the tensors and the
SHA-256 of all this together. A file that differs in a single byte from the one that was written is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any

import torch
from torch import Tensor

from pushforward._version import __version__

__all__ = ["MAX_HEADER", "Document", "hash_tensors", "read_document", "sealed"]

KEY = "pushforward"
FORMAT = "pushforward-model"
FORMAT_VERSION = 2
"""Version 1 was written before the first release and is not read."""
MAX_HEADER = 1 << 25
"""Largest header in bytes (32 MB): a damaged length field must not exhaust the memory."""

MOST_PARTS = 250_000
"""Most lists and dicts of a header: reading a million of them takes seconds."""

VERSION = re.compile(r"[0-9A-Za-z.+!_-]{1,60}")
"""What the version of a library looks like."""

Document = dict[str, Any]
FIELDS = {
    "config": dict,
    "metadata": dict,
    "shared": dict,
    "dtypes": dict,
    "parameters": int,
    "tensors_sha256": str,
}


def sealed(fields: Document) -> dict[str, str]:
    """The metadata entry of a safetensors header: ``fields``, the format, its version and the hash of all these."""
    document: Document = {"format": FORMAT, "format_version": FORMAT_VERSION, **fields}
    document["sha256"] = _hash_document(document)
    text = _dumps(document)
    if _parts(text.encode()) > MOST_PARTS // 2:  # the rest is for the entries of the tensors
        raise ValueError(
            f"save: config and metadata have more than {MOST_PARTS // 2:,} lists and dicts. Keep less in metadata."
        )
    limit = MAX_HEADER // 2  # the rest is for escaped quotes and for the entries of the tensors
    if len(text) > limit:
        raise ValueError(
            f"save: config and metadata take {len(text)} bytes as JSON; at most {limit} fit in a header. "
            "Keep less in metadata."
        )
    return {KEY: text}


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(_dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_document(where: str) -> Document:
    """The checked JSON document of a model file."""
    raw, data_size = _read_raw_header(where)
    damaged = ValueError(f"{where}: the header is damaged or was altered after the file was written.")
    if _parts(raw) > MOST_PARTS:
        raise damaged
    try:
        header = json.loads(raw)
        text = header.get("__metadata__", {}).get(KEY) if isinstance(header, dict) else None
    except (ValueError, RecursionError, AttributeError):
        raise damaged from None
    if not isinstance(text, str):
        raise ValueError(_foreign(where, header))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise damaged from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise damaged
    if not isinstance(document.get("library_version"), str) or not VERSION.fullmatch(document["library_version"]):
        raise damaged  # messages name it
    version = document.get("format_version")
    if isinstance(version, int) and version != FORMAT_VERSION:
        remedy = "Install a newer pushforward." if version > FORMAT_VERSION else "Train the model again and save it."
        raise ValueError(
            f"{where}: format version {version} was written by pushforward {document.get('library_version')}, but this "
            f"is {__version__}, which reads version {FORMAT_VERSION}. {remedy}"
        )
    # JSON parsers ignore blanks, escapes and repeated keys, so the compact text is compared as well.
    compact = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    if document.get("sha256") != _hash_document(document) or _dumps(document) != text or raw.rstrip(b" ") != compact:
        raise damaged
    if not all(isinstance(document.get(name), kind) for name, kind in FIELDS.items()):
        raise damaged
    try:
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (LookupError, TypeError):
        raise damaged from None
    if end != data_size:
        raise ValueError(f"{where}: the file is cut short or damaged: {data_size} bytes of weights instead of {end}.")
    return document


def _read_raw_header(where: str) -> tuple[bytes, int]:
    """The JSON text of a safetensors header, and the number of bytes after it."""
    if os.path.isdir(where):
        raise ValueError(f"{where}: that is a folder, not a model. Name the file.")
    if not os.path.exists(where):
        raise FileNotFoundError(f"{where}: there is no such file. Check the path.")
    if not os.path.isfile(where):
        raise ValueError(f"{where}: that is a device or a pipe, not a model file.")
    try:
        with open(where, "rb") as file:
            start = file.read(16)
            if not start:
                raise ValueError(f"{where}: the file is empty (0 bytes), not a model.")
            length, size = int.from_bytes(start[:8], "little"), os.fstat(file.fileno()).st_size
            if start[8:9] != b"{" or (length > MAX_HEADER and _is_text(start)):
                raise ValueError(f"{where}: not a model file: it looks like {_looks_like(start)}.")
            if length > MAX_HEADER or 8 + length > size:
                raise ValueError(f"{where}: the file is cut short or its header is damaged.")
            return start[8:][:length] + file.read(max(0, length - 8)), size - 8 - length
    except OSError as error:
        raise type(error)(f"{where}: cannot be opened ({error.strerror}). Check its permissions.") from None


def _looks_like(start: bytes) -> str:
    if start.startswith(b"PK\x03\x04"):
        return "a zip archive, as torch.save writes. Pickles can run code, so they are not read; use pushforward.save"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle. Pickles can run code, so they are not read; use pushforward.save"
    signatures = {
        b"PAR1": "a Parquet table",
        b"ARROW1": "a Feather table",
        b"\x1f\x8b": "a gzip file",
        b"\x89HDF": "HDF5",
    }
    for signature, name in signatures.items():
        if start.startswith(signature):
            return name
    return "text, such as a CSV" if _is_text(start) else "other binary data"


def _is_text(start: bytes) -> bool:
    return all(byte > 31 or byte in b"\t\r\n" for byte in start)


def _foreign(where: str, header: object) -> str:
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(metadata, dict) and str(metadata.get("format", "")).startswith("pushforward-checkpoint"):
        return f"{where}: a checkpoint of a training run, not a model. Continue it with resume=True (--resume)."
    return (
        f"{where}: a safetensors file that pushforward.save did not write: its header has no config to build a model."
    )


def _parts(text: bytes) -> int:
    """How many lists and dicts a JSON text has at most, which decide how long reading it takes."""
    return text.count(b"[") + text.count(b"{")


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _hash_document(document: Document) -> str:
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(_dumps(rest).encode()).hexdigest()
