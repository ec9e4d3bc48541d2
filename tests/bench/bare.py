"""grpc.aio as it comes: what everything else is measured against."""

from __future__ import annotations

from typing import Any

import grpc

from tests.bench.measured import Server
from tests.bench.servicer import METHODS, add_to


async def build(settings: dict[str, Any], public_key: str) -> Server:
    """Start it; the one setting is `methods`. It gets the token of each call, and does not look at it."""
    server = grpc.aio.server()
    add_to(server, settings.get("methods", METHODS))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return Server(port, lambda: server.stop(None))
