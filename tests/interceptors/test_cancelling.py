"""Callers that give up, deadlines that pass, and servers that stop, while a handler works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb

from chassis.errors import NotFound
from tests.interceptors.echo_kit import WAIT, Recording, Scripted, Serving, Waiting, crash

REPLY = pb.EchoReply()
TIMES = range(1, 4)  # of which the best counts: what else the machine does has nothing to do with it


class Working:
    """A handler at work, which notes how it ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.saw: list[str] = []
        self.ended: list[float] = []

    async def work(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.saw.append("cancelled")
            raise
        finally:
            self.ended.append(time.monotonic())

    async def unary(self, request: Any, context: Any) -> None:
        await self.work()

    async def stream(self, request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        yield REPLY
        await self.work()

    async def writing(self, request: Any, context: Any) -> None:
        await context.write(REPLY)
        await self.work()


@pytest.mark.parametrize(("method", "style"), [("Echo", "unary"), ("EchoStream", "stream"), ("EchoStream", "writing")])
async def test_a_handler_is_cancelled_when_the_client_cancels(
    serving: Serving, recording: Recording, method: str, style: str
) -> None:
    working = Working()
    echo = await serving.composed(recording, servicer=Scripted(**{method: getattr(working, style)}))

    seconds = []
    for count in TIMES:
        call = getattr(echo.stub, method)(pb.EchoRequest())
        if method == "EchoStream":
            await call.read()
        await working.begun.wait()
        working.begun.clear()
        cancelled = time.monotonic()
        call.cancel()
        assert await recording.until(count) == ["CANCELLED"] * count
        seconds.append(working.ended[-1] - cancelled)

    assert working.saw == ["cancelled"] * len(TIMES)
    assert min(seconds) < 1


@pytest.mark.parametrize("how", ["cancel", "deadline"])
@pytest.mark.parametrize("method", ["Collect", "Converse"])
async def test_an_upload_that_breaks_off_does_not_end_like_a_whole_one(
    serving: Serving, recording: Recording, method: str, how: str
) -> None:
    received, whole = asyncio.Event(), []

    async def take(requests: AsyncIterator[pb.EchoRequest]) -> None:
        async for _ in requests:
            received.set()
        whole.append(True)

    async def collect(requests: AsyncIterator[pb.EchoRequest], context: Any) -> pb.EchoReply:
        await take(requests)
        return REPLY

    async def converse(requests: AsyncIterator[pb.EchoRequest], context: Any) -> AsyncIterator[pb.EchoReply]:
        await take(requests)
        yield REPLY

    echo = await serving.composed(recording, servicer=Scripted(Collect=collect, Converse=converse))
    # Often enough: what ends the stream and what cancels the handler are told to it one after the other.
    for count in range(1, 11 if how == "cancel" else 4):
        received.clear()
        call = getattr(echo.stub, method)(timeout=1 if how == "deadline" else 10)
        await call.write(pb.EchoRequest())
        await received.wait()
        if how == "cancel":
            call.cancel()
        await recording.until(count)

    assert set(recording.codes) == {"CANCELLED" if how == "cancel" else "DEADLINE_EXCEEDED"}
    assert whole == []


@pytest.mark.parametrize("how", ["cancel", "deadline"])
@pytest.mark.parametrize("method", ["Collect", "Converse"])
async def test_an_upload_that_is_read_from_the_context_and_breaks_off_does_not_end_like_a_whole_one(
    serving: Serving, recording: Recording, method: str, how: str
) -> None:
    received, whole = asyncio.Event(), []

    async def take(context: Any) -> None:
        while await context.read() is not grpc.aio.EOF:
            received.set()
        whole.append(True)

    async def collect(requests: object, context: Any) -> pb.EchoReply:
        await take(context)
        return REPLY

    async def converse(requests: object, context: Any) -> None:
        await take(context)

    echo = await serving.composed(recording, servicer=Scripted(Collect=collect, Converse=converse))
    for count in range(1, 11 if how == "cancel" else 4):
        received.clear()
        call = getattr(echo.stub, method)(timeout=1 if how == "deadline" else 10)
        await call.write(pb.EchoRequest())
        await received.wait()
        if how == "cancel":
            call.cancel()
        await recording.until(count)

    assert set(recording.codes) == {"CANCELLED" if how == "cancel" else "DEADLINE_EXCEEDED"}
    assert whole == []


async def test_an_upload_that_is_read_from_the_context_ends_once_and_its_replies_are_written(
    serving: Serving, recording: Recording
) -> None:
    async def converse(requests: object, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(pb.EchoReply(text=request.text))
        assert await context.read() is grpc.aio.EOF
        context.set_trailing_metadata((("x-trailer", "1"),))

    echo = await serving.composed(recording, servicer=Scripted(Converse=converse))
    call = echo.stub.Converse(iter([pb.EchoRequest(text="a"), pb.EchoRequest(text="b")]))

    assert [reply.text async for reply in call] == ["a", "b"]
    assert dict(await call.trailing_metadata()) == {"x-trailer": "1"}
    assert await recording.until(1) == ["OK"]


def return_after_all() -> pb.EchoReply:
    return REPLY


def raise_an_error_of_its_own() -> None:
    raise NotFound("found out too late")


@pytest.mark.parametrize("then", [return_after_all, raise_an_error_of_its_own, crash])
async def test_what_a_handler_makes_of_its_cancellation_changes_no_record(
    serving: Serving, recording: Recording, then: Callable[[], Any]
) -> None:
    waiting = Waiting(then)
    echo = await serving.composed(recording, servicer=Scripted(Echo=waiting.behave))
    call = echo.stub.Echo(pb.EchoRequest())
    await waiting.begun.wait()
    call.cancel()

    assert await recording.until(1) == ["CANCELLED"]


async def test_a_write_to_a_client_that_is_gone_is_a_cancellation(serving: Serving, recording: Recording) -> None:
    async def behave(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        while True:
            yield pb.EchoReply(padding=b"x" * 10_000)

    echo = await serving.composed(recording, servicer=Scripted(EchoStream=behave))
    call = echo.stub.EchoStream(pb.EchoRequest())
    await call.read()
    call.cancel()

    assert await recording.until(1) == ["CANCELLED"]


async def test_a_deadline_ends_the_handler_and_is_recorded_as_that(serving: Serving, recording: Recording) -> None:
    working = Working()
    echo = await serving.composed(recording, servicer=Scripted(Echo=working.unary))

    overruns = []
    for count in TIMES:
        deadline = time.monotonic() + 0.3
        error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), timeout=0.3))
        told = time.monotonic()
        assert error.code().name == "DEADLINE_EXCEEDED"
        assert await recording.until(count) == ["DEADLINE_EXCEEDED"] * count
        assert min(told, working.ended[-1]) > deadline - 0.1
        overruns.append(max(told, working.ended[-1]) - deadline)

    assert working.saw == ["cancelled"] * len(TIMES)
    assert min(overruns) < 0.2
    assert recording.calls[0].deadline is not None


async def test_a_call_that_is_cut_off_by_the_stop_is_unavailable_for_everyone(
    serving: Serving, recording: Recording
) -> None:
    cleaned_up = []
    begun = asyncio.Event()

    async def behave(request: Any, context: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # the connection goes back, the transaction is rolled back
            cleaned_up.append(True)

    echo = await serving.composed(recording, servicer=Scripted(Echo=behave), grace=0.05)
    call = asyncio.ensure_future(echo.fails(echo.stub.Echo(pb.EchoRequest())))
    await begun.wait()
    assert echo.server.running == 1
    with pytest.raises(TimeoutError, match="1 calls had to be cut off"):
        await echo.server.stop()

    # What the handler still had to do is done when the server has stopped: pools may close behind it.
    assert cleaned_up == [True]
    assert echo.server.running == 0
    assert (await call).code().name == "UNAVAILABLE"
    assert recording.codes == ["UNAVAILABLE"]


async def test_a_call_that_ends_within_the_grace_is_not_cut(serving: Serving, recording: Recording) -> None:
    finish = asyncio.Event()
    begun = asyncio.Event()

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        begun.set()
        await finish.wait()
        return pb.EchoReply(text="in time")

    echo = await serving.composed(recording, servicer=Scripted(Echo=behave), grace=10)
    call = asyncio.ensure_future(_text(echo.stub.Echo(pb.EchoRequest())))
    await begun.wait()
    stopping = asyncio.ensure_future(echo.server.stop())
    await asyncio.sleep(0)
    finish.set()
    await stopping

    assert await call == "in time"
    assert recording.codes == ["OK"]


async def _text(call: Any) -> str:
    return str((await call).text)


async def test_a_handler_that_waits_says_so(serving: Serving) -> None:
    echo = await serving.composed()

    call = echo.stub.EchoStream(WAIT)
    told = dict(await call.initial_metadata())
    call.cancel()

    assert told == {"x-outcome": "OUTCOME_WAIT"}


async def test_a_call_goes_on_while_the_server_refuses_others_already(serving: Serving, recording: Recording) -> None:
    finish = asyncio.Event()
    begun = asyncio.Event()

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        if request.text == "long":
            begun.set()
            await finish.wait()
        return pb.EchoReply(text=request.text)

    echo = await serving.composed(recording, servicer=Scripted(Echo=behave), grace=10)
    call = asyncio.ensure_future(_text(echo.stub.Echo(pb.EchoRequest(text="long"))))
    await begun.wait()
    stopping = asyncio.ensure_future(echo.server.stop())
    refused = False
    while not refused:
        try:
            # gRPC can lose a call that arrives in this very moment: nobody answers it before the others have ended.
            await echo.stub.Echo(pb.EchoRequest(text="short"), timeout=1)
        except grpc.aio.AioRpcError:
            refused = True
    finish.set()
    await stopping

    assert await call == "long"
