"""Packages that a plain install does not bring."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["install_line", "need_packages"]


def install_line(extra: str) -> str:
    """How an extra is installed."""
    return f"pip install 'pushforward[{extra}]', in a checkout '.[{extra}]'"


def need_packages(owner: str, extra: str, *packages: str) -> None:
    """Say how to install what is missing.

    Raises:
        ImportError: one of the packages is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise ImportError(
            f"{owner}: needs the package{plural} {' and '.join(missing)}. Install with: {install_line(extra)}"
        )
