"""What a server takes on at all: how many requests at once, and how many bytes of answers that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pushforward.serve.access import Access
from pushforward.serve.limits import ServerLimits

__all__ = ["Gate", "UnreadAnswers"]

LINE = (
    rb"(?:(?!content-length:|transfer-encoding:|expect:|upgrade:|connection:(?![ \t]*keep-alive[ \t]*\r\n))"
    rb"[!-9;-~]+:[^\r\n\0]*\r\n)*"
)
"""Headers that say nothing about where a request ends."""
PLAIN = re.compile(
    rb"POST (/[a-z]+) HTTP/1\.1\r\n" + LINE + rb"content-length:[ \t]*(\d{1,18})[ \t]*\r\n" + LINE
    + rb"\r\n",
    re.IGNORECASE,
)  # fmt: skip
"""The head of a request whose end can be told without reading it by the rules of HTTP."""


class Gate:
    """Counts the requests that have come in and are not answered, and refuses others when there are many.

    Args:
        limits: of their number, and of the size of those that are refused by their heads.
        access: who may ask; requests of others are neither counted nor refused here.
        refusal: the answer to a refused request to a path, as it is sent; None for a path where nobody waits.
    """

    def __init__(self, limits: ServerLimits, access: Access, refusal: Callable[[str], bytes | None]) -> None:
        self._limits, self._access, self._refusal, self._inside = limits, access, refusal, 0
        self.unread = UnreadAnswers(limits.held_bytes)

    def __len__(self) -> int:
        """Requests that have come in and are not answered."""
        return self._inside

    def plain(self, data: bytes) -> tuple[str, int] | None:
        """The path of a request that may be refused by its head, and how many bytes of its body are still to come.

        Args:
            data: that begin with its head, and end with its body or before.

        Returns:
            None for any other request: one that is not plain, that others follow, that is larger than any may be, or
            that is not let in, since those without a right token must not keep others out.
        """
        head = PLAIN.match(data)
        if head is None:
            return None
        path, length = head.groups()
        end, size = head.end(), int(length)
        rest = end + size - len(data)
        if rest < 0 or size > self._limits.request_bytes or not self._access.lets_in(data, end):
            return None
        return path.decode(), rest

    def refusal(self, path: str) -> bytes | None:
        """The answer to a further request, when there are too many; None if it may come in."""
        return self._refusal(path) if self._inside >= self._limits.waiting else None

    def enter(self) -> None:
        """A request has come in."""
        self._inside += 1

    def leave(self) -> None:
        """A request has been answered, or nobody waits for the answer any more."""
        self._inside -= 1


class UnreadAnswers:
    """The answers that clients have not read yet. When they hold too many bytes together, the oldest are given up.

    Args:
        most: bytes that they may hold.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sizes: dict[Any, int] = {}  # by transport, the oldest answer first

    def note(self, transport: Any) -> None:
        """An answer has been written to a transport."""
        self._sizes.pop(transport, None)
        if not (size := transport.get_write_buffer_size()):
            return
        self._sizes[transport] = size
        if sum(self._sizes.values()) <= self._most:
            return
        # Clients may have read some since.
        self._sizes = {one: size for one in self._sizes if (size := one.get_write_buffer_size())}
        total = sum(self._sizes.values())
        for oldest in list(self._sizes):
            if total <= self._most or oldest is transport:
                return
            total -= self._sizes.pop(oldest)
            oldest.abort()

    def forget(self, transport: Any) -> None:
        """A transport is closed."""
        self._sizes.pop(transport, None)
