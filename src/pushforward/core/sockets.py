"""Sockets on which a server of this machine listens."""

from __future__ import annotations

import os
import socket

__all__ = ["listening"]


def listening(host: str, port: int, waiting: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: an address of this machine.
        port: 0 for a free one.
        waiting: connections that may wait to be accepted.

    Raises:
        OSError: the port is taken or not permitted, or the host is not one of this machine.
        OverflowError: there is no port of this number.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named; asyncio leaves the delay of small packets on where it is not.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(waiting)
    except BaseException:
        listener.close()
        raise
    return listener
