"""Models as files: one safetensors file that says how to build the model; nothing in it is ever executed."""

from pushforward.io.model import Header, load, read_header, save

__all__ = ["Header", "load", "read_header", "save"]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
