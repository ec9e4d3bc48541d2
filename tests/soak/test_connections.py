"""Connections are counted that this process has, to the port that is asked for, and while they are there."""

from __future__ import annotations

import socket

from tests.soak.connections import connections_to


def test_connections_are_those_of_this_process_to_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port = server.getsockname()[1]
        assert connections_to(port) == 0
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(other.getsockname()):
            # The server's end is of this process, too: it leads to another port.
            accepted, _ = server.accept()
            with accepted:
                assert connections_to(port) == 1
                with socket.create_connection(("127.0.0.1", port)):
                    assert connections_to(port) == 2
                assert connections_to(port) == 1
        assert connections_to(port) == 0
