"""Calls going out that are given up, left early, or never read."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.call import Call, Proceed
from chassis.client import reading
from interceptors import ErrorsInterceptor, RpcInterceptor
from interceptors.client import _Part, _read
from tests.interceptors.echo_kit import WAIT, Echo, Recording, Serving, failing

KINDS = ["Echo", "EchoStream", "Collect", "Converse"]


def chains(echo: Echo) -> list[_Part]:
    return [
        part
        for name in ("_unary_unary", "_unary_stream", "_stream_unary", "_stream_stream")
        for part in getattr(echo.channel, f"{name}_interceptors")
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_its_caller_cancels_is_cancelled_on_both_sides(serving: Serving, kind: str) -> None:
    made, served = Recording(), Recording()
    echo = await serving.composed(served, around_client=(made, ErrorsInterceptor()))
    call = getattr(echo.stub, kind)(iter([WAIT]) if kind in ("Collect", "Converse") else WAIT)
    waiting = asyncio.ensure_future(_end_of(call, kind))
    await served.begun.wait()
    assert call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await made.until(1) == ["CANCELLED"]
    assert await served.until(1) == ["CANCELLED"]
    assert call.cancelled()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_that_is_cancelled_while_it_waits_ends_the_call(serving: Serving, kind: str) -> None:
    made, served = Recording(), Recording()
    echo = await serving.composed(served, around_client=(made, ErrorsInterceptor()))
    call = getattr(echo.stub, kind)(iter([WAIT]) if kind in ("Collect", "Converse") else WAIT)
    waiting = asyncio.ensure_future(_end_of(call, kind))
    await served.begun.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await made.until(1) == ["CANCELLED"]
    assert await served.until(1) == ["CANCELLED"]


async def _end_of(call: Any, kind: str) -> None:
    if kind in ("EchoStream", "Converse"):
        async for _ in call:
            pass
    else:
        await call


@pytest.mark.parametrize("kind", ["EchoStream", "Converse"])
async def test_a_stream_that_is_left_early_ends_with_its_block(serving: Serving, kind: str) -> None:
    made, served = Recording(), Recording()
    echo = await serving.composed(served, around_client=(made, ErrorsInterceptor()))
    request = pb.EchoRequest(text="on and on", count=1_000_000)
    call = getattr(echo.stub, kind)(iter([request]) if kind == "Converse" else request)

    async with reading(call) as replies:
        async for reply in replies:
            assert reply.text == "on and on"
            break

    assert await made.until(1) == ["CANCELLED"]
    assert await served.until(1) == ["CANCELLED"]
    await asyncio.sleep(0)  # the task of the chain takes leave
    assert all(not part._running for part in chains(echo))


async def test_a_stream_that_nobody_reads_ends_with_its_block(serving: Serving) -> None:
    made, served = Recording(), Recording()
    echo = await serving.composed(served, around_client=(made,))

    async with reading(echo.stub.EchoStream(WAIT)):
        await served.begun.wait()

    assert await served.until(1) == ["CANCELLED"]
    assert await made.until(1) == ["CANCELLED"]


async def test_a_stream_that_fails_and_that_nobody_reads_makes_no_noise(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    made = Recording()
    echo = await serving.composed(around_client=(made, ErrorsInterceptor()))
    gc.collect()  # what tests before have left behind makes its noise now
    await asyncio.sleep(0)
    caplog.clear()

    call = echo.stub.EchoStream(failing("NOT_FOUND"))
    await made.begun.wait()
    (task,) = chains(echo)[0]._running
    chain = weakref.ref(task)
    assert await made.until(1) == ["NOT_FOUND"]
    del call, task
    made.calls.clear()
    await echo.channel.close()
    # It is when the task is thrown away that asyncio complains.
    async with asyncio.timeout(10):
        while chain() is not None:
            gc.collect()
            await asyncio.sleep(0)

    assert "never retrieved" not in caplog.text


async def test_a_call_whose_caller_is_cancelled_before_it_was_sent_is_not_made(serving: Serving) -> None:
    held, entered = asyncio.Event(), asyncio.Event()

    class Slow(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            entered.set()
            await held.wait()
            return await proceed(call)

    served = Recording()
    echo = await serving.composed(served, around_client=(Slow(),))
    call = echo.stub.EchoStream(pb.EchoRequest())
    await entered.wait()
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await anext(aiter(call))
    held.set()
    assert served.calls == []


async def test_calls_that_run_when_the_program_ends_are_ended_on_the_server_too(serving: Serving) -> None:
    made, served = Recording(), Recording()
    echo = await serving.composed(served, around_client=(made,))
    call = echo.stub.EchoStream(WAIT)
    await served.begun.wait()

    for part in chains(echo):
        for task in part._running:  # as `asyncio.run` does it
            task.cancel()

    assert await made.until(1) == ["CANCELLED"]
    assert await served.until(1) == ["CANCELLED"]
    assert await call.code() is StatusCode.CANCELLED


async def test_to_close_the_iterator_of_a_stream_is_to_leave_it() -> None:
    class Rpc:
        cancelled = False

        async def __aiter__(self) -> AsyncIterator[str]:
            yield "first"
            yield "second"

        def cancel(self) -> None:
            self.cancelled = True

    rpc = Rpc()
    over: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    replies = _read(rpc, over)

    assert await anext(replies) == "first"
    await replies.aclose()  # type: ignore[attr-defined]

    assert rpc.cancelled
