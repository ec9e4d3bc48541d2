"""A service as it is started for the measurements of that: what is imported here is what the chassis costs.

It stands in a module of its own, so that a process has nothing but it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

from chassis import ServiceChassis


class Echo(rpc.EchoServiceServicer):
    """One servicer."""

    async def Echo(self, request: pb.EchoRequest, context: Any) -> pb.EchoReply:
        """Say back what it was told."""
        return pb.EchoReply(text=request.text)


class Small(ServiceChassis):
    """A service with one servicer and nothing else."""

    name = "bench"

    def register(self, server: Any) -> None:
        rpc.add_EchoServiceServicer_to_server(Echo(), server)


def configure(file: str) -> None:
    """Read and check its configuration."""
    Small.configure(file=Path(file), environ={})
