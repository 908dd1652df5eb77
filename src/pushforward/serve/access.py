"""Who may ask: who has the token or, where there is none, programs of this machine."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable

from pushforward.core.local_requests import is_local_host, is_same_origin

__all__ = ["Access", "check_token"]

LEAST_LETTERS = 8
"""Of a token."""
AUTHORIZATION = re.compile(rb"\r\nauthorization:([^\r\n]*)", re.IGNORECASE)
LINE = re.compile(rb"\r\n([^\r\n:]+):([^\r\n]*)")


def check_token(token: str | None) -> None:
    """Refuse a token that could be guessed, or that no request can bring.

    Raises:
        ValueError: it is too short, or has white space around it.
    """
    if token is None:
        return
    if len(token) < LEAST_LETTERS:
        raise ValueError(
            f"pushforward serve: the token is shorter than {LEAST_LETTERS} characters. Choose a longer one."
        )
    if token != token.strip():
        raise ValueError("pushforward serve: the token begins or ends with white space. Leave it out.")


class Access:
    """The rule by which requests are let in, for their headers as the server reads them and for raw ones alike.

    Without a token, a page of any site that a browser of this machine shows could ask too, so that the header Host must
    be a name of this machine, and the header Origin that of no other server.

    Args:
        token: that requests must bring, as ``Authorization: Bearer TOKEN``; None for none.
        hosts: further values of the header Host, at which requests may be sent without a token.

    Raises:
        ValueError: the token could be guessed, or no request can bring it.
    """

    def __init__(self, token: str | None, hosts: Collection[str] = ()) -> None:
        check_token(token)
        self._token, self._hosts = None if token is None else token.encode(), frozenset(hosts)

    @property
    def needs_token(self) -> bool:
        """Whether requests must bring a token."""
        return self._token is not None

    def refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        """The status and the sentence for a request that is not let in; None for others.

        Args:
            headers: of the request, names in lower case.
        """
        if self._token is None:
            return self._foreign(headers)
        if self._is_right(next((value for name, value in headers if name == b"authorization"), b"")):
            return None
        return 401, "The token is missing or wrong. Send the header Authorization: Bearer TOKEN."

    def lets_in(self, data: bytes, end: int) -> bool:
        """Whether a request is let in, by the same rule for the bytes of its head, which takes microseconds.

        Args:
            data: that begin with the head.
            end: of the head.
        """
        if self._token is None:
            headers = LINE.findall(data, 0, end)
            return self._foreign([(name.lower(), value.strip(b" \t")) for name, value in headers]) is None
        line = AUTHORIZATION.search(data, 0, end)
        return line is not None and self._is_right(line[1].strip(b" \t"))

    def _is_right(self, authorization: bytes) -> bool:
        """Whether the value of the header Authorization is the token."""
        kind, _, brought = authorization.partition(b" ")
        return kind.lower() == b"bearer" and secrets.compare_digest(brought.strip(), self._token or b"")

    def _foreign(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        values: dict[bytes, list[str]] = {b"host": [], b"origin": []}
        for name, value in headers:
            if name in values:
                values[name].append(value.decode("latin-1"))
        hosts, origins = values[b"host"], values[b"origin"]
        if not is_local_host(hosts) and not (len(hosts) == 1 and hosts[0] in self._hosts):
            return 421, "Without a token this server answers at names of its machine alone, such as localhost."
        if not is_same_origin(origins, hosts[0], ("http", "https")):
            return 403, "Without a token pages of other servers may not ask."
        return None
