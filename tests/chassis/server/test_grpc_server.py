from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.component import StartError
from chassis.server import GrpcServer, Limits
from tests.hostile import Hostile, message
from tests.interceptors.echo_kit import Recording, Serving

ECHO = "cqi.testing.v1.EchoService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
TIMES = 20
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Readiness:
    """As much of a service's health as the server needs."""

    def __init__(self, ready: bool) -> None:
        self.ready = ready
        self.listeners: list[Callable[[bool], None]] = []

    def subscribe(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def recheck(self) -> None: ...

    def turn(self, ready: bool) -> None:
        self.ready = ready
        for listener in self.listeners:
            listener(ready)


def health_of(echo: Any) -> Any:
    return health_pb2_grpc.HealthStub(echo.channel)


async def status(echo: Any, service: str = "") -> Any:
    return (await health_of(echo).Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_health_says_what_readiness_says_for_the_server_and_for_each_service(serving: Serving) -> None:
    health = Readiness(ready=False)
    echo = await serving.composed(health=health)

    seen = [await status(echo), await status(echo, ECHO)]
    health.turn(True)
    seen += [await status(echo), await status(echo, ECHO)]
    health.turn(False)
    seen += [await status(echo), await status(echo, ECHO)]

    assert seen == [NOT_SERVING, NOT_SERVING, SERVING, SERVING, NOT_SERVING, NOT_SERVING]


async def test_without_health_it_serves_from_start_to_stop(serving: Serving) -> None:
    echo = await serving.composed()

    assert [await status(echo), await status(echo, ECHO)] == [SERVING, SERVING]


async def test_health_of_a_service_that_there_is_not_is_not_found(serving: Serving) -> None:
    echo = await serving.composed()

    error = await echo.fails(status(echo, "no.such.Service"))

    assert error.code() is StatusCode.NOT_FOUND


async def test_watchers_see_changes_and_are_let_go_at_the_stop(serving: Serving) -> None:
    health = Readiness(ready=True)
    echo = await serving.composed(health=health, grace=30)
    watching = health_of(echo).Watch(health_pb2.HealthCheckRequest())

    seen = [(await watching.read()).status]
    health.turn(False)
    seen.append((await watching.read()).status)
    health.turn(True)
    seen.append((await watching.read()).status)
    # Within far less than the grace: somebody who watches is no call that has to end.
    async with asyncio.timeout(10):
        await echo.server.stop()
    seen.append((await watching.read()).status)

    assert seen == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]
    assert await watching.read() is grpc.aio.EOF
    assert health.listeners == []


async def test_health_of_all_services_can_be_listed(serving: Serving) -> None:
    echo = await serving.composed()

    listed = (await health_of(echo).List(health_pb2.HealthListRequest())).statuses

    assert {name: each.status for name, each in listed.items()} == {"": SERVING, ECHO: SERVING}


async def test_a_watcher_that_does_not_read_is_nobody_elses_trouble(
    serving: Serving, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    health = Readiness(ready=True)
    echo = await serving.composed(recording, health=health, grace=1)
    with Hostile(echo.server.port, window=0) as hostile:
        asked = message(health_pb2.HealthCheckRequest().SerializeToString())
        hostile.call(b"/grpc.health.v1.Health/Watch", body=asked)
        await recording.begun.wait()

        watching = health_of(echo).Watch(health_pb2.HealthCheckRequest())
        seen = [(await watching.read()).status]
        health.turn(False)
        seen += [(await watching.read()).status, await status(echo)]
        health.turn(True)
        seen += [(await watching.read()).status, await status(echo)]
        # Whoever does not read keeps the connection until the grace is over, and is no call that was cut off.
        async with asyncio.timeout(10):
            await echo.server.stop()
        seen.append((await watching.read()).status)

    assert seen == [SERVING, NOT_SERVING, NOT_SERVING, SERVING, SERVING, NOT_SERVING]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_watcher_that_hears_of_the_stop_while_it_reads_is_told(serving: Serving) -> None:
    health = Readiness(ready=False)
    echo = await serving.composed(health=health, grace=30)
    watching = health_of(echo).Watch(health_pb2.HealthCheckRequest())
    assert (await watching.read()).status == NOT_SERVING
    # Both before the watcher's task goes on: what it writes first must not be the last that it says.
    health.turn(True)
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await echo.server.stop()

    said = []
    while (read := await watching.read()) is not grpc.aio.EOF:
        said.append(read.status)
    assert said[-1:] in ([], [NOT_SERVING])


async def test_a_watcher_that_leaves_leaves_nothing_behind(serving: Serving, recording: Recording) -> None:
    echo = await serving.composed(recording)
    watching = health_of(echo).Watch(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert (await watching.read()).status == SERVICE_UNKNOWN
    watching.cancel()

    assert await recording.until(1) == ["CANCELLED"]
    assert echo.server.running == 0


async def test_a_port_in_use_is_told_and_not_shared(serving: Serving) -> None:
    echo = await serving.composed()
    second = GrpcServer(lambda registrar: None, [], port=echo.server.port)

    with pytest.raises(StartError, match=f"{echo.server.port}.*in use.*server.grpc_port"):
        await second.start()
    await second.stop()  # of what never ran

    assert (await echo.stub.Echo(pb.EchoRequest(text="still here"))).text == "still here"


async def test_a_host_that_is_none_is_told() -> None:
    server = GrpcServer(lambda registrar: None, [], host="no-such-host.invalid")

    with pytest.raises(StartError, match=r"no-such-host\.invalid.*server\.host"):
        await server.start()


async def test_it_can_listen_on_ipv6(serving: Serving) -> None:
    with socket.socket(socket.AF_INET6) as trial:
        trial.bind(("::1", 0))
    echo = await serving.composed(host="::1")

    assert echo.address.startswith("[::1]:")
    assert (await echo.stub.Echo(pb.EchoRequest(text="six"))).text == "six"


async def test_a_port_is_free_again_behind_a_stop(serving: Serving) -> None:
    first = await serving.composed()
    port = first.server.port
    await first.server.stop()

    again = await serving.composed(port=port)

    assert again.server.port == port
    assert (await again.stub.Echo(pb.EchoRequest(text="again"))).text == "again"


async def test_a_request_that_is_too_large_is_refused(serving: Serving) -> None:
    echo = await serving.composed(limits=Limits(max_receive_message_bytes=1000))

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(padding=b"x" * 1001)))

    assert error.code() is StatusCode.RESOURCE_EXHAUSTED
    assert (await echo.stub.Echo(pb.EchoRequest(padding=b"x" * 900))).padding == b"x" * 900


async def test_more_metadata_than_allowed_is_refused(serving: Serving) -> None:
    echo = await serving.composed()

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=[("x-large", "x" * 64 * 1024)]))

    assert error.code() is StatusCode.RESOURCE_EXHAUSTED
    assert (await echo.stub.Echo(pb.EchoRequest(text="next"))).text == "next"


async def test_more_calls_at_a_time_than_allowed_wait_for_their_turn(serving: Serving, recording: Recording) -> None:
    echo = await serving.composed(recording, limits=Limits(max_concurrent_streams=2))
    waiting = [echo.stub.EchoStream(pb.EchoRequest(outcome=pb.OUTCOME_WAIT)) for _ in range(2)]
    for call in waiting:
        await call.initial_metadata()
    third = asyncio.ensure_future(_text(echo.stub.Echo(pb.EchoRequest(text="third"))))
    async with grpc.aio.insecure_channel(echo.address, options=OWN_CONNECTION) as other:
        for _ in range(TIMES):  # long enough for the third one to be answered, if it could be
            await rpc.EchoServiceStub(other).Echo(pb.EchoRequest())
    assert (third.done(), echo.server.running) == (False, 2)

    waiting[0].cancel()

    assert await third == "third"
    assert (await recording.until(TIMES + 2))[TIMES:] == ["CANCELLED", "OK"]
    waiting[1].cancel()


async def _text(call: Any) -> str:
    return str((await call).text)


def test_all_limits_are_finite() -> None:
    options = dict(Limits().options())

    assert options["grpc.so_reuseport"] == 0
    assert all(value >= 0 for value in options.values())
    assert options["grpc.max_concurrent_streams"] == 256
    assert options["grpc.keepalive_time_ms"] == 60_000


async def test_a_deadline_for_the_stop_counts_in_place_of_the_grace(serving: Serving, recording: Recording) -> None:
    echo = await serving.composed(recording, grace=60)
    call = echo.stub.EchoStream(pb.EchoRequest(outcome=pb.OUTCOME_WAIT))
    await call.initial_metadata()
    echo.server.deadline = asyncio.get_running_loop().time()

    async with asyncio.timeout(10):
        with pytest.raises(TimeoutError, match="1 calls had to be cut off"):
            await echo.server.stop()

    assert recording.codes == ["UNAVAILABLE"]


async def test_the_reply_to_calls_during_a_stop_is_that_nobody_is_there(serving: Serving) -> None:
    echo = await serving.composed()
    await echo.server.stop()

    assert (await echo.fails(echo.stub.Echo(pb.EchoRequest()))).code() is StatusCode.UNAVAILABLE
