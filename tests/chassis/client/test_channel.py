"""Channels to other services."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

from chassis.auth import ApiKeyAuthenticator
from chassis.client import channel, reading
from chassis.errors import NotFound, Temporary
from interceptors import AuthInterceptor, ErrorsInterceptor
from tests.interceptors.echo_kit import Echo, Recording, Scripted, Serving, failing

CALLERS = "key-of-the-caller-0123456789"
OWN = "key-of-this-service-0123456789"
AUTH = AuthInterceptor(ApiKeyAuthenticator({"caller": [CALLERS], "gateway": [OWN]}))


class World:
    """A service, a gateway before it, and a client of the gateway."""

    def __init__(self, serving: Serving, stack: AsyncExitStack) -> None:
        self._serving = serving
        self._stack = stack
        self.behind = Recording()

    async def start(self, call_behind: Callable[[Any, Any], Any], **options: Any) -> Echo:
        service = await self._serving.composed(self.behind, AUTH)
        between = await self._stack.enter_async_context(channel(service.address, **options))
        stub = rpc.EchoServiceStub(between)

        async def behave(request: pb.EchoRequest, context: Any) -> pb.EchoReply:
            reply: pb.EchoReply = await call_behind(stub, request)
            return reply

        return await self._serving.composed(AUTH, ErrorsInterceptor(), servicer=Scripted(Echo=behave))


@pytest.fixture
async def world(serving: Serving) -> Any:
    async with AsyncExitStack() as stack:
        yield World(serving, stack)


async def pass_on(stub: Any, request: pb.EchoRequest) -> pb.EchoReply:
    reply: pb.EchoReply = await stub.Echo(request)
    return reply


BEARER = [("authorization", f"Bearer {CALLERS}")]


async def test_request_id_identity_and_deadline_go_along(world: World) -> None:
    gateway = await world.start(pass_on)
    reply = await gateway.stub.Echo(
        pb.EchoRequest(text="hello"), metadata=[*BEARER, ("x-request-id", "r-1")], timeout=5
    )

    assert (reply.facts["request_id"], reply.facts["principal"]) == ("r-1", "service:caller")
    assert 3 < float(reply.facts["time_remaining"]) < 6


async def test_a_service_with_a_token_of_its_own_says_that(world: World) -> None:
    gateway = await world.start(pass_on, token=OWN)

    assert (await gateway.stub.Echo(pb.EchoRequest(), metadata=BEARER)).facts["principal"] == "service:gateway"


async def test_credentials_are_not_passed_on_to_those_who_are_not_to_see_them(world: World) -> None:
    gateway = await world.start(pass_on, forward_identity=False)

    error = await gateway.fails(gateway.stub.Echo(pb.EchoRequest(), metadata=BEARER))

    assert error.code().name == "INTERNAL"  # that we have no credentials is no fault of our caller
    assert world.behind.codes == ["UNAUTHENTICATED"]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [("NOT_FOUND", "INTERNAL"), ("UNAUTHENTICATED", "INTERNAL"), ("UNAVAILABLE", "UNAVAILABLE")],
)
async def test_an_error_of_the_service_behind_is_no_answer_of_the_gateway(world: World, raised: str, seen: str) -> None:
    gateway = await world.start(pass_on)

    error = await gateway.fails(gateway.stub.Echo(failing(raised, "behind the scenes"), metadata=BEARER))

    assert error.code().name == seen
    assert "behind the scenes" not in (error.details() or "")


async def test_unless_the_gateway_says_it_itself(world: World) -> None:
    async def anew(stub: Any, request: pb.EchoRequest) -> pb.EchoReply:
        try:
            return await pass_on(stub, request)
        except NotFound as error:
            raise NotFound("there is no such price") from error

    gateway = await world.start(anew)

    error = await gateway.fails(gateway.stub.Echo(failing("NOT_FOUND", "behind the scenes"), metadata=BEARER))

    assert (error.code().name, error.details()) == ("NOT_FOUND", "there is no such price")


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ({}, None, 30),
        ({"timeout": 7}, None, 7),
        ({"timeout": 7}, 3, 3),
        ({"timeout": None}, None, None),
        ({}, math.inf, None),
    ],
)
async def test_calls_have_a_deadline_unless_they_are_not_to(
    serving: Serving, options: dict[str, Any], given: float | None, expected: float | None
) -> None:
    recording = Recording()
    echo = await serving.composed(recording)
    async with channel(echo.address, **options) as own:
        await rpc.EchoServiceStub(own).Echo(pb.EchoRequest(), timeout=given)

    (call,) = (call for call in recording.calls if call.method.name == "Echo")
    remaining = call.time_remaining()
    assert remaining == (None if expected is None else pytest.approx(expected, abs=2))


async def test_a_service_that_is_not_there_is_temporarily_unavailable() -> None:
    async with channel("127.0.0.1:1") as own:
        with pytest.raises(Temporary):
            await rpc.EchoServiceStub(own).Echo(pb.EchoRequest())


async def test_interceptors_of_ones_own_stand_among_the_others(serving: Serving) -> None:
    served, made = Recording(), Recording()
    echo = await serving.composed(served, AUTH)
    async with channel(echo.address, token=OWN, interceptors=lambda default: [made, *default]) as own:
        with pytest.raises(NotFound):
            await rpc.EchoServiceStub(own).Echo(failing("NOT_FOUND"))

    assert made.codes == ["NOT_FOUND"]
    (call,) = (call for call in served.calls if call.method.name == "Echo")
    assert call.principal.id == "gateway"
    assert [call.method.target for call in made.calls] == [echo.address]


async def test_interceptors_of_ones_own_take_the_place_of_all(serving: Serving) -> None:
    made = Recording()
    echo = await serving.composed()
    async with channel(echo.address, interceptors=lambda default: [made]) as own:
        with pytest.raises(grpc.aio.AioRpcError):
            await rpc.EchoServiceStub(own).Echo(failing("NOT_FOUND"))

    assert made.codes == ["NOT_FOUND"]


async def test_options_and_credentials_are_grpcs_own(serving: Serving) -> None:
    echo = await serving.composed()
    async with channel(echo.address, options=[("grpc.max_receive_message_length", 10)]) as own:
        with pytest.raises(Exception, match="larger than max"):
            await rpc.EchoServiceStub(own).Echo(pb.EchoRequest(text="more than ten bytes"))
    async with channel(echo.address, credentials=grpc.ssl_channel_credentials()) as secure:
        with pytest.raises(Temporary):
            await rpc.EchoServiceStub(secure).Echo(pb.EchoRequest())


async def test_a_server_that_says_it_does_not_serve_is_not_called(serving: Serving) -> None:
    from tests.chassis.server.test_grpc_server import Readiness

    recording = Recording()
    health = Readiness(ready=False)
    echo = await serving.composed(recording, health=health)
    async with channel(echo.address, timeout=20) as own:
        stub = rpc.EchoServiceStub(own)
        with pytest.raises(Temporary):
            await stub.Echo(pb.EchoRequest())
        waiting = asyncio.ensure_future(_text(stub.Echo(pb.EchoRequest(text="served"), wait_for_ready=True)))
        await asyncio.sleep(0)
        health.turn(True)
        assert await waiting == "served"

    assert [call.method.name for call in recording.calls if call.method.name == "Echo"] == ["Echo"]


async def test_options_that_are_given_take_the_place_of_those_that_are_shipped(serving: Serving) -> None:
    from tests.chassis.server.test_grpc_server import Readiness

    echo = await serving.composed(health=Readiness(ready=False))
    # Without its own service configuration, a client does not ask for health, and calls who does not serve.
    async with channel(echo.address, options=[("grpc.service_config", "{}")]) as own:
        assert (await rpc.EchoServiceStub(own).Echo(pb.EchoRequest(text="served"))).text == "served"


async def _text(call: Any) -> str:
    return str((await call).text)


async def test_reading_ends_the_call_with_its_block(serving: Serving) -> None:
    recording = Recording()
    echo = await serving.composed(recording)
    async with channel(echo.address) as own:
        stub = rpc.EchoServiceStub(own)
        call = stub.EchoStream(pb.EchoRequest(count=1_000_000))
        with pytest.raises(LookupError):
            await _find_nothing(call)
        assert [code for code in await recording.until(1) if code != "OK"] == ["CANCELLED"]


async def _find_nothing(call: Any) -> None:
    async with reading(call) as replies:
        async for _ in replies:
            raise LookupError


async def test_a_stream_that_was_read_to_its_end_went_well(serving: Serving) -> None:
    echo = await serving.composed()
    async with (
        channel(echo.address) as own,
        reading(rpc.EchoServiceStub(own).EchoStream(pb.EchoRequest(count=3))) as replies,
    ):
        assert [reply.index async for reply in replies] == [0, 1, 2]
