"""One request that ends grpc's own accept loop must not end the service to all others."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.component import StartError
from chassis.errors import Temporary
from chassis.server import GrpcServer, accepting
from chassis.server.accepting import Accepting
from tests.chassis.server.until import until
from tests.hostile import Frame, Hostile
from tests.interceptors.echo_kit import Echo, Recording, Scripted, Serving

NO_TEXT = b"/cqi.testing.v1.EchoService/\xff\xfe"
SERVED_AGAIN = 2.0  # seconds until everybody else is served again


class Seen:
    """What the server told of its port; stands in for the service's health as well."""

    ready = True

    def __init__(self) -> None:
        self.lost = 0
        self.states: list[bool] = []
        self.server: Any = None

    def subscribe(self, listener: object) -> Callable[[], None]:
        return lambda: None

    def recheck(self) -> None:
        self.states.append(self.server._accepting.open)

    def count(self) -> None:
        self.lost += 1


@pytest.fixture
def seen() -> Seen:
    return Seen()


async def watched(serving: Serving, seen: Seen, *interceptors: Any, **options: Any) -> Echo:
    echo = await serving.composed(*interceptors, health=seen, lost=seen.count, **options)
    seen.server = echo.server
    return echo


async def attacked(echo: Echo, seen: Seen) -> Frame | None:
    """Send the request and wait until the port is open again; returns how the call ended for who sent it."""
    changes = len(seen.states) + 2
    with Hostile(echo.server.port) as hostile:
        stream = hostile.call(NO_TEXT)
        end = await asyncio.to_thread(hostile.end_of, stream)
    await until(lambda: len(seen.states) == changes)
    return end


async def said(echo: Echo, text: str) -> str:
    return str((await echo.stub.Echo(pb.EchoRequest(text=text), wait_for_ready=True, timeout=10)).text)


async def answered(echo: Echo) -> str:
    """How a call ends."""
    call = echo.stub.Echo(pb.EchoRequest(), wait_for_ready=True, timeout=10)
    return str((await call.code()).name)


async def test_after_a_path_that_is_no_text_others_are_served_again_on_the_same_port(
    serving: Serving, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    echo = await watched(serving, seen)
    port = echo.server.port
    assert await said(echo, "before") == "before"

    end = await attacked(echo, seen)

    assert end is None or end.status is not StatusCode.OK
    assert await said(echo, "after") == "after"
    assert echo.server.port == port
    assert (seen.lost, seen.states) == (1, [False, True])
    own = [record for record in caplog.records if record.name == "chassis.server"]
    assert [(record.levelname, record.getMessage().partition(":")[0]) for record in own] == [
        ("ERROR", "the gRPC port closed by itself and is being opened again"),
        ("WARNING", "the gRPC port is open again"),
    ]


async def test_others_are_served_again_within_two_seconds(serving: Serving, seen: Seen) -> None:
    echo = await watched(serving, seen)
    seconds = []
    for number in range(1, 4):  # the middle one counts: what else the machine does has nothing to do with it
        began = time.monotonic()
        with Hostile(echo.server.port) as hostile:  # who does not let go of the connection meanwhile
            hostile.call(NO_TEXT)
            await until(lambda number=number: seen.lost == number)  # type: ignore[misc]
            while (end := await answered(echo)) != "OK":
                assert end in ("CANCELLED", "UNAVAILABLE")  # it was on its way when the port closed
            seconds.append(time.monotonic() - began)
        await until(lambda number=number: len(seen.states) == 2 * number)  # type: ignore[misc]

    assert sorted(seconds)[1] <= SERVED_AGAIN, seconds


async def test_the_error_of_grpc_is_not_told_again_as_one_that_nobody_looked_at(
    serving: Serving, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    echo = await watched(serving, seen)
    await attacked(echo, seen)
    await echo.server.stop()
    gc.collect()

    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_calls_in_flight_run_to_their_end(serving: Serving, seen: Seen, recording: Recording) -> None:
    finish = asyncio.Event()

    async def unary(request: Any, context: Any) -> pb.EchoReply:
        await finish.wait()
        return pb.EchoReply(text="whole")

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        yield pb.EchoReply(text="first")
        await finish.wait()
        yield pb.EchoReply(text="last")

    echo = await watched(serving, seen, recording, servicer=Scripted(Echo=unary, EchoStream=stream))
    answer = asyncio.ensure_future(_text(echo.stub.Echo(pb.EchoRequest())))
    replies = aiter(echo.stub.EchoStream(pb.EchoRequest()))
    first = (await anext(replies)).text
    await until(lambda: echo.server.running == 2)

    await attacked(echo, seen)
    assert echo.server.running == 2
    finish.set()

    assert await answer == "whole"
    assert [first, *[reply.text async for reply in replies]] == ["first", "last"]
    assert await recording.until(2) == ["OK", "OK"]


async def _text(call: Any) -> str:
    return str((await call).text)


async def test_calls_in_flight_from_before_end_like_all_others_with_a_stop(
    serving: Serving, seen: Seen, recording: Recording
) -> None:
    cleaned_up = []

    async def behave(request: Any, context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned_up.append(request.text)

    echo = await watched(serving, seen, recording, servicer=Scripted(Echo=behave))
    calls = [asyncio.ensure_future(echo.fails(echo.stub.Echo(pb.EchoRequest(text="before"))))]
    await until(lambda: echo.server.running == 1)
    await attacked(echo, seen)
    calls.append(asyncio.ensure_future(echo.fails(echo.stub.Echo(pb.EchoRequest(text="after"), wait_for_ready=True))))
    await until(lambda: echo.server.running == 2)

    with pytest.raises(TimeoutError, match="2 calls had to be cut off"):
        await echo.server.stop()

    assert sorted(cleaned_up) == ["after", "before"]
    assert recording.codes == ["UNAVAILABLE", "UNAVAILABLE"]
    assert [(await call).code() for call in calls] == [StatusCode.UNAVAILABLE] * 2


async def test_twenty_attacks_in_a_row_leave_nothing_behind(serving: Serving, seen: Seen) -> None:
    echo = await watched(serving, seen)
    await attacked(echo, seen)
    assert await said(echo, "warm") == "warm"
    await until(lambda: len(echo.server._accepting._servers) == 1)
    tasks, descriptors = len(asyncio.all_tasks()), _descriptors()

    for number in range(20):
        await attacked(echo, seen)
        assert await said(echo, str(number)) == str(number)

    await until(lambda: len(echo.server._accepting._servers) == 1)
    assert seen.lost == 21
    # One for each attack would be twenty; the client's own connection comes and goes.
    await until(lambda: len(asyncio.all_tasks()) < tasks + 5 and _descriptors() < descriptors + 5)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_its_health_says_so_while_the_port_is_closed(serving: Serving, seen: Seen) -> None:
    echo = await watched(serving, seen)
    await echo.server.check()
    held = Holding(echo.server)
    with Hostile(echo.server.port) as hostile:
        hostile.call(NO_TEXT)
        await until(lambda: held.tries > 1)

    with pytest.raises(Temporary, match="the gRPC port is closed"):
        await echo.server.check()
    held.free = True
    await until(lambda: echo.server._accepting.open)
    await echo.server.check()

    assert await said(echo, "again") == "again"


async def test_a_stop_while_the_port_cannot_be_had_is_clean(
    serving: Serving, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    echo = await watched(serving, seen)
    held = Holding(echo.server)
    with Hostile(echo.server.port) as hostile:
        hostile.call(NO_TEXT)
        await until(lambda: held.tries > 1)

    async with asyncio.timeout(10):
        await echo.server.stop()
    held.free = True

    assert not echo.server._accepting.open
    await echo.channel.close()
    await until(lambda: asyncio.all_tasks() <= before)
    assert "could not be opened again" not in caplog.text


class Holding:
    """Somebody else who has the port of a server from now on."""

    def __init__(self, server: Any) -> None:
        self.tries = 0
        self.free = False
        self._bind = server._accepting._make
        server._accepting._make = self._try

    def _try(self) -> grpc.aio.Server:
        self.tries += 1
        if not self.free:
            raise StartError("grpc port 9000 is in use")
        server: grpc.aio.Server = self._bind()
        return server


# On its own, with times of its own.


class Port:
    """A server that answers nothing, kept open; what it is told is written down."""

    def __init__(self, **options: float) -> None:
        self.told: list[object] = []
        self.number = 0
        self.held = False
        self.calls: set[object] = set()
        self.accepting = Accepting(
            self._bind,
            running=lambda: self.calls,
            lost=lambda: self.told.append("lost"),
            changed=lambda: self.told.append(self.accepting.open),
            given_up=self.told.append,
            **options,
        )

    def _bind(self) -> grpc.aio.Server:
        if self.held:
            raise StartError("somebody else has it")
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.number = server.add_insecure_port(f"127.0.0.1:{self.number}")
        return server


@pytest.fixture
async def port() -> AsyncIterator[Callable[..., Awaitable[Port]]]:
    opened: list[Port] = []

    async def start(**options: float) -> Port:
        opened.append(Port(**options))
        await opened[-1].accepting.start()
        return opened[-1]

    yield start
    for each in opened:
        await each.accepting.stop(0)


async def test_a_port_that_stays_taken_is_given_up(
    port: Callable[..., Awaitable[Port]], caplog: pytest.LogCaptureFixture
) -> None:
    lost = await port(patience=0.1)
    lost.held = True
    with Hostile(lost.number) as hostile:
        hostile.call(NO_TEXT)
        await until(lambda: len(lost.told) == 3)

    assert lost.told == ["lost", False, "the gRPC port could not be opened again"]
    (record,) = [record for record in caplog.records if "could not be opened again" in record.getMessage()]
    assert (record.levelno, "somebody else has it" in record.getMessage()) == (logging.ERROR, True)


async def test_who_closed_the_port_cannot_keep_what_was_replaced(port: Callable[..., Awaitable[Port]]) -> None:
    kept = await port(linger=0.1)
    with Hostile(kept.number) as hostile:
        hostile.call(NO_TEXT)
        await until(lambda: kept.told == ["lost", False, True])
        await until(lambda: len(kept.accepting._servers) == 1)
        while await asyncio.to_thread(hostile.receive) is not None:
            pass  # what was on its way; then the connection has been closed by the other side


async def test_calls_that_take_long_keep_what_was_replaced(
    port: Callable[..., Awaitable[Port]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Any] = []

    async def stop(server: Any, grace: float) -> None:
        stopped.append(server)
        await end(server, grace)

    end = accepting._stop
    monkeypatch.setattr(accepting, "_stop", stop)
    kept = await port(linger=0)
    kept.calls.add("long")
    with Hostile(kept.number) as hostile:
        hostile.call(NO_TEXT)
        await until(lambda: kept.told == ["lost", False, True])
    kept.calls.add("of the new one")
    assert len(kept.accepting._servers) == 2
    assert stopped == []  # it was replaced a while ago, before the port was open again
    kept.calls.discard("long")

    await until(lambda: len(kept.accepting._servers) == 1)


async def test_the_end_of_the_event_loop_is_no_crash(port: Callable[..., Awaitable[Port]]) -> None:
    others = asyncio.all_tasks()
    ended = await port()
    servers = list(ended.accepting._servers)
    accepting = asyncio.all_tasks() - others
    for task in accepting:
        task.cancel()
    await asyncio.wait(accepting)

    assert ended.told == []
    with pytest.raises(asyncio.CancelledError):  # what a stop of grpc's meets then; the fixture's comes through
        await ended.accepting.stop(0)
    ended.accepting._servers |= set(servers)


def _accepting(server: Any) -> Accepting:
    """For a stand-in of grpc's server, with nobody to tell."""
    return Accepting(lambda: server, running=set, lost=list, changed=list, given_up=print)


async def test_a_version_of_grpc_that_does_not_tell_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Other:
        """A server whose start makes no task."""

        async def start(self) -> None:
            await asyncio.sleep(0)

        async def stop(self, grace: float) -> None: ...

    accepting = _accepting(Other())
    await accepting.start()
    await accepting.stop(0)

    assert "does not tell when it stops accepting calls" in caplog.text


async def test_a_stop_in_the_moment_of_the_crash_still_gives_calls_their_time() -> None:
    class Crashed:
        """As grpc's own: the first attempt to stop it ends with the crash."""

        def __init__(self) -> None:
            self.graces: list[float] = []

        async def start(self) -> None:
            await asyncio.sleep(0)

        async def stop(self, grace: float) -> None:
            self.graces.append(grace)
            if len(self.graces) == 1:
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")

    crashed = Crashed()
    accepting = _accepting(crashed)
    await accepting.start()
    await accepting.stop(7)

    assert crashed.graces == [7, 7]


class Losing:
    """As grpc's own, where it has lost a call: it stops when it is told a second time, or when the grace is over."""

    def __init__(self) -> None:
        self.graces: list[float | None] = []
        self.ended = asyncio.Event()

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self, grace: float | None) -> None:
        self.graces.append(grace)
        if grace is None:
            self.ended.set()
        await self.ended.wait()


async def test_a_call_that_grpc_lost_does_not_hold_up_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    losing = Losing()
    accepting = _accepting(losing)
    await accepting.start()
    with caplog.at_level(logging.INFO, "chassis.server"):
        await accepting.stop(3600)

    assert losing.graces == [3600, None]
    assert "gRPC does not end by itself" in caplog.text


async def test_nor_does_a_connection_that_says_nothing(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    echo = await serving.composed(grace=3600)
    with socket.create_connection(("127.0.0.1", echo.server.port)):
        await said(echo, "the port has seen the other connection")
        async with asyncio.timeout(30):
            await echo.server.stop()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_looks_for_lost_calls_ends_with_the_stop() -> None:
    losing = Losing()
    losing.ended.set()
    accepting = _accepting(losing)
    await accepting.start()
    before = asyncio.all_tasks()
    await accepting.stop(3600)
    await asyncio.sleep(0)

    assert losing.graces == [3600]
    assert asyncio.all_tasks() == before


async def test_calls_that_run_and_answers_on_their_way_are_no_lost_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.server.accepting._LOOK", 0.001)
    looks = 0

    def still(calls: set[object]) -> Callable[[], set[object]]:
        def look() -> set[object]:
            nonlocal looks
            looks += 1
            return calls

        return look

    running: set[object] = {"running"}
    answering: set[object] = {"answering"}
    losing = Losing()
    accepting = Accepting(lambda: losing, running=still(running), lost=list, changed=list, given_up=print)
    monkeypatch.setattr("chassis.server.accepting._answering", still(answering))
    await accepting.start()
    stopping = asyncio.ensure_future(accepting.stop(3600))
    await until(lambda: looks > 20)
    assert losing.graces == [3600]
    running.clear()
    looks = 0
    await until(lambda: looks > 40)
    assert losing.graces == [3600]
    answering.clear()
    await stopping

    assert losing.graces == [3600, None]


async def test_grpc_names_the_task_in_which_it_answers_as_it_did(serving: Serving) -> None:
    seen = []

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        seen.append(len(accepting._answering()))
        return pb.EchoReply()

    echo = await serving.composed(servicer=Scripted(Echo=behave))
    await echo.stub.Echo(pb.EchoRequest())

    assert seen == [1]


async def test_a_start_that_is_cancelled_leaves_no_port_open(serving: Serving) -> None:
    echo = await serving.composed()
    await echo.server.stop()
    server = GrpcServer(lambda registrar: None, [], port=echo.server.port)
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0)  # it waits for grpc now
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    _bind(echo.server.port)


def _bind(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("127.0.0.1", port))
