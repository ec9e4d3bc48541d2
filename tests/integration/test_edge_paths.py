"""Paths of methods that there are not, as only a client written by hand can send them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from chassis import ServiceChassis
from chassis.testing import Running, running
from chassis.testing.echo import EchoServicer
from tests.hostile import Hostile, message

PATIENCE = 20.0
KEY = "a-key-for-these-tests"

SERVED = b"/cqi.testing.v1.EchoService/Echo"
PATHS = [
    b"/",
    b"//",
    b"*",
    b"/x",
    b"x",
    b"/a/b/c",
    b"/no.such.Service/Echo",
    b"/cqi.testing.v1.EchoService/Nothing",
    b"/cqi.testing.v1.EchoService/",
    SERVED[1:],
    b"/" + SERVED,
    SERVED + b"/",
    SERVED + b"?x=1",
    SERVED.lower(),
    b"/cqi.testing.v1.EchoService/%45cho",
    b"/cqi.testing.v1.EchoService/../EchoService/Echo",
    b"/grpc.health.v1.Health/../EchoService/Echo",
    b"/grpc.health.v1.Health/check",
    "/cqi.testing.v1.EchoService/Écho".encode(),
    "/資産/🙈".encode(),
    b"/{0}%s\\n\\x00/$HOME",
    b"/" + b"x" * 10_000,
]


class Echo(ServiceChassis):
    name = "echo"

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)


def _called(port: int, path: bytes) -> StatusCode | None:
    with Hostile(port) as hostile:
        end = hostile.end_of(hostile.call(path, body=message(b"")))
        return end.status if end is not None else None


def _labels(service: Running[Echo]) -> dict[str, float]:
    """How often each method was counted."""
    counted: dict[str, float] = {}
    for family in service.service.metrics.registry.collect():
        for sample in family.samples:
            if sample.name == "echo_grpc_calls_total":
                method = sample.labels["method"]
                counted[method] = counted.get(method, 0) + sample.value
    return counted


@pytest.mark.parametrize(
    ("config", "code"),
    [({}, StatusCode.UNIMPLEMENTED), ({"auth.api_keys": [KEY]}, StatusCode.UNAUTHENTICATED)],
    ids=["open to all", "with auth"],
)
async def test_a_path_that_is_none_is_refused_and_all_share_one_label(
    config: dict[str, object], code: StatusCode
) -> None:
    async with running(Echo, config) as service:
        port = int(service.service.grpc_address.rpartition(":")[2])
        codes = {path: await asyncio.to_thread(_called, port, path) for path in PATHS}
        stub: Any = rpc.EchoServiceStub(service.channel(token=KEY if config else None))
        assert (await stub.Echo(pb.EchoRequest(text="others"), timeout=PATIENCE)).text == "others"

        assert codes == dict.fromkeys(PATHS, code)
        assert _labels(service) == {"unknown": len(PATHS), SERVED.decode(): 1}


async def test_a_thousand_names_make_no_second_label() -> None:
    async with running(Echo) as service, grpc.aio.insecure_channel(service.service.grpc_address) as channel:
        for number in range(1000):
            with pytest.raises(grpc.aio.AioRpcError, match="it is not served here"):
                await channel.unary_unary(f"/hostile.Service{number}/Method{number}")(b"", timeout=PATIENCE)

        assert _labels(service) == {"unknown": 1000}
