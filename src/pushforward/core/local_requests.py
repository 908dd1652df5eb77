"""Which requests to a server of this machine come from this machine, and not from a page of someone else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["LOCAL_HOST", "LOOPBACK", "is_local_host", "is_same_origin"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that no other machine has."""
LOCAL_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
"""They, as the header Host has them, at any port: one may be forwarded, and is left out where it is 80."""


def is_local_host(hosts: Sequence[str]) -> bool:
    """Whether a request was sent to this machine by a name of its own. A foreign name that resolves to it is DNS
    rebinding, by which a page of any site could read the answers.

    Args:
        hosts: values of its headers Host.

    >>> is_local_host(["localhost:8000"]), is_local_host(["example.com"])
    (True, False)
    """
    return len(hosts) == 1 and LOCAL_HOST.fullmatch(hosts[0]) is not None


def is_same_origin(origins: Sequence[str], host: str, schemes: Iterable[str] = ("http",)) -> bool:
    """Whether a request comes from a program, or from a page of the server itself.

    Args:
        origins: values of its headers Origin; programs send none.
        host: value of its header Host.
        schemes: by which pages of the server are opened.

    >>> is_same_origin([], "localhost"), is_same_origin(["http://example.com"], "localhost")
    (True, False)
    """
    return len(origins) <= 1 and set(origins) <= {f"{scheme}://{host}" for scheme in schemes}
