"""Ways to and from other libraries. Each needs that library only when it is called."""

from pushforward.interop.bibtex import citation
from pushforward.interop.export import to_export, to_onnx
from pushforward.interop.zuko import to_zuko

__all__ = ["citation", "to_export", "to_onnx", "to_zuko"]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
