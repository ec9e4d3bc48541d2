"""Free ports that stay free until the server that is to have them listens."""

from __future__ import annotations

import socket
import sys

HOST = "127.0.0.1"


class Reservation:
    """A port of 127.0.0.1 that nobody else gets: `preferred` if it is free, any other if not.

    The socket is bound and does not listen. On Linux a server may bind the port beside it, as both say SO_REUSEADDR;
    elsewhere it can not, and the port is given back at once.
    """

    def __init__(self, preferred: int | None = None) -> None:
        self._socket = self._bound(preferred or 0)
        self.port: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self.close()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        taken = socket.socket()
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind((HOST, port))
            except OSError:
                taken.bind((HOST, 0))
        except BaseException:
            taken.close()
            raise
        return taken

    def close(self) -> None:
        """Give it back, or to the server that listens by now."""
        self._socket.close()
