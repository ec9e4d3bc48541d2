from __future__ import annotations

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from tests.chassis.server.reflecting import ReflectionClient
from tests.interceptors.echo_kit import Recording, Serving

ECHO = "cqi.testing.v1.EchoService"
VERSIONS = ["v1", "v1alpha"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_that_has_only_reflection_calls_the_service(serving: Serving, version: str) -> None:
    echo = await serving.composed(reflection=True)
    client = ReflectionClient(echo.channel, version)

    assert ECHO in await client.services()
    reply = await client.call(ECHO, "Echo", text="learnt by reflection")

    assert getattr(reply, "text") == "learnt by reflection"  # noqa: B009
    assert not isinstance(reply, pb.EchoReply)  # not by the classes that happen to be here


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_listed_can_be_described(serving: Serving, version: str) -> None:
    echo = await serving.composed(reflection=True)

    client = ReflectionClient(echo.channel, version)
    services = await client.services()

    # v1 is served and not listed: grpcio has no descriptors of it, and tools ask for those of all that is listed.
    assert sorted(services) == [ECHO, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
    methods = ["Echo", "Check", "ServerReflectionInfo"]
    assert [(await client.method(*each)).name for each in zip(sorted(services), methods, strict=True)] == methods


async def test_the_kinds_of_methods_are_told(serving: Serving) -> None:
    echo = await serving.composed(reflection=True)
    client = ReflectionClient(echo.channel)

    methods = [await client.method(ECHO, name) for name in ("Echo", "EchoStream", "Collect", "Converse")]

    assert [(each.client_streaming, each.server_streaming) for each in methods] == [
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    ]


async def test_what_there_is_not_is_told_to_be_not_there(serving: Serving) -> None:
    echo = await serving.composed(reflection=True)

    with pytest.raises(LookupError):
        await ReflectionClient(echo.channel).method("no.such.Service", "Nothing")


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_is_off_unless_asked_for(serving: Serving, recording: Recording, version: str) -> None:
    echo = await serving.composed(recording)

    error = await echo.fails(ReflectionClient(echo.channel, version).services())

    assert error.code() is StatusCode.UNIMPLEMENTED
    assert recording.codes == ["UNIMPLEMENTED"]
