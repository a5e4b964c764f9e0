"""The socket the endpoint listens on."""

from __future__ import annotations

import socket

_BACKLOG = 2048


def listening_socket(host: str, port: int) -> socket.socket:
    """Bind before anything starts: a port in use is known at once, and early workers wait instead of failing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(_BACKLOG)
    return listener
