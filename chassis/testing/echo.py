"""An echo service with one method of each of the four kinds, which ends its calls as their requests say.

Try an interceptor of your own on all of them:

>>> import asyncio, grpc
>>> from cqi.testing.v1 import echo_pb2 as pb, echo_pb2_grpc as rpc
>>> from interceptors import ErrorsInterceptor
>>> async def main():
...     server = grpc.aio.server(interceptors=[ErrorsInterceptor()])
...     rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)
...     port = server.add_insecure_port("127.0.0.1:0")
...     await server.start()
...     async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
...         stub = rpc.EchoServiceStub(channel)
...         print((await stub.Echo(pb.EchoRequest(text="hello"))).text)
...         missing = pb.EchoRequest(text="no such asset", outcome=pb.OUTCOME_DOMAIN_ERROR, code="NOT_FOUND")
...         try:
...             await stub.Echo(missing)
...         except grpc.aio.AioRpcError as error:
...             print(error.code().name, error.details())
...     await server.stop(None)
>>> asyncio.run(main())
hello
NOT_FOUND no such asset

There are two servicers because there are two ways to write streams with grpc.aio, and an interceptor must do for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn

import grpc
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from chassis.call import current_call
from chassis.errors import from_status

OUTCOME_KEY = "x-outcome"
"""Names the outcome that was asked for, in the trailing metadata of each call that ends by error, abort or code, and in
the initial metadata of a call that waits."""

_ENDS_WELL = (pb.OUTCOME_UNSPECIFIED, pb.OUTCOME_OK)


def facts() -> dict[str, str]:
    """What a handler knows of the call that it serves, as texts; empty where nothing tells it.

    >>> facts()
    {}
    """
    call = current_call()
    if call is None:
        return {}
    known = {"request_id": call.request_id}
    if call.principal is not None:
        known["principal"] = call.principal.actor_id
    if call.trace is not None:
        known["trace_id"] = call.trace.trace_id
    if (remaining := call.time_remaining()) is not None:
        known["time_remaining"] = f"{remaining:.3f}"
    return known


class EchoServicer(rpc.EchoServiceServicer):
    """The echo service with streams as async generators, as most servicers are written.

    `tell_facts=False` leaves `facts` out of the replies, where what they cost would be in the way of a measurement.
    """

    def __init__(self, *, tell_facts: bool = True) -> None:
        self._facts = facts if tell_facts else dict

    async def Echo(self, request: pb.EchoRequest, context: Any) -> Any:
        """Answer one request with one reply."""
        return await _answer(request, context, self._facts())

    async def EchoStream(self, request: pb.EchoRequest, context: Any) -> AsyncIterator[pb.EchoReply]:
        """Answer one request with as many replies as it asks for."""
        known = self._facts()
        for index in range(_count(request)):
            yield await _reply(request, index, known)
        for reply in await _end(request, context, begun=request.fail_after > 0):
            yield reply

    async def Collect(self, request_iterator: AsyncIterator[pb.EchoRequest], context: Any) -> Any:
        """Answer any number of requests with one reply, whose text is theirs joined."""
        collected = pb.EchoRequest()
        async for request in request_iterator:
            if request.outcome not in _ENDS_WELL:
                return await _answer(request, context, self._facts())
            _collect(collected, request)
        return await _reply(collected, 0, self._facts())

    async def Converse(
        self, request_iterator: AsyncIterator[pb.EchoRequest], context: Any
    ) -> AsyncIterator[pb.EchoReply]:
        """Answer each request with as many replies as it asks for, while more come in."""
        known = self._facts()
        index = 0
        async for request in request_iterator:
            for _ in range(_count(request)):
                yield await _reply(request, index, known)
                index += 1
            if request.outcome not in _ENDS_WELL:
                for reply in await _end(request, context, begun=index > 0):
                    yield reply
                return


class WritingEchoServicer(rpc.EchoServiceServicer):
    """The same service with streams read and written by `context.read()` and `context.write(reply)`."""

    def __init__(self, *, tell_facts: bool = True) -> None:
        self._facts = facts if tell_facts else dict

    async def Echo(self, request: pb.EchoRequest, context: Any) -> Any:
        """Answer one request with one reply."""
        return await _answer(request, context, self._facts())

    async def EchoStream(self, request: pb.EchoRequest, context: Any) -> None:  # type: ignore[override]
        """Answer one request with as many replies as it asks for."""
        known = self._facts()
        for index in range(_count(request)):
            await context.write(await _reply(request, index, known))
        for reply in await _end(request, context, begun=request.fail_after > 0):
            await context.write(reply)

    async def Collect(self, request_iterator: object, context: Any) -> Any:
        """Answer any number of requests with one reply, whose text is theirs joined."""
        collected = pb.EchoRequest()
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.outcome not in _ENDS_WELL:
                return await _answer(request, context, self._facts())
            _collect(collected, request)
        return await _reply(collected, 0, self._facts())

    async def Converse(self, request_iterator: object, context: Any) -> None:  # type: ignore[override]
        """Answer each request with as many replies as it asks for, while more come in."""
        known = self._facts()
        index = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            for _ in range(_count(request)):
                await context.write(await _reply(request, index, known))
                index += 1
            if request.outcome not in _ENDS_WELL:
                for reply in await _end(request, context, begun=index > 0):
                    await context.write(reply)
                return


# What the request asks for; the same in both styles.


def _count(request: pb.EchoRequest) -> int:
    if request.outcome not in _ENDS_WELL:
        return request.fail_after
    return request.count if request.HasField("count") else 1


def _collect(collected: pb.EchoRequest, request: pb.EchoRequest) -> None:
    collected.text += request.text
    collected.padding += request.padding
    collected.delay_ms += request.delay_ms


async def _answer(request: pb.EchoRequest, context: Any, known: Mapping[str, str]) -> Any:
    for reply in await _end(request, context, begun=False):
        return reply
    return await _reply(request, 0, known)


async def _reply(request: pb.EchoRequest, index: int, known: Mapping[str, str]) -> pb.EchoReply:
    if request.delay_ms:
        await asyncio.sleep(request.delay_ms / 1000)
    return pb.EchoReply(text=request.text, index=index, facts=known, padding=request.padding)


async def _end(request: pb.EchoRequest, context: Any, *, begun: bool) -> tuple[Any, ...]:
    """End the call as the request says; gives one more reply where that is what ends it."""
    outcome = request.outcome
    if outcome in _ENDS_WELL:
        return ()
    if outcome == pb.OUTCOME_BAD_REPLY:
        return ("no message",)
    if outcome == pb.OUTCOME_CRASH:
        raise RuntimeError(f"crashed: {request.text}")
    told = ((OUTCOME_KEY, pb.Outcome.Name(outcome)),)
    if outcome == pb.OUTCOME_WAIT:
        # Told first, so that a caller can know that the handler waits.
        if not begun:
            await context.send_initial_metadata(told)
        await asyncio.get_running_loop().create_future()
    if outcome == pb.OUTCOME_NOT_IMPLEMENTED:
        context.set_trailing_metadata(told)
        _as_generated(context)
    code = _code(request)
    if outcome == pb.OUTCOME_ABORT:
        await context.abort(code, request.text, told)
    if outcome == pb.OUTCOME_ABORT_WITH_STATUS:
        await context.abort_with_status(_Status(code, request.text, told))
    context.set_trailing_metadata(told)
    if outcome == pb.OUTCOME_DOMAIN_ERROR:
        raise from_status(code, request.text)
    if outcome == pb.OUTCOME_SET_CODE:
        context.set_code(code)
        context.set_details(request.text)
    return ()


class _Status(grpc.Status):
    def __init__(self, code: StatusCode, details: str, trailing_metadata: tuple[tuple[str, str], ...]) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


def _code(request: pb.EchoRequest) -> StatusCode:
    try:
        return StatusCode[request.code]
    except KeyError:
        raise from_status(
            StatusCode.INVALID_ARGUMENT, f"code {request.code!r} is the name of no gRPC status code, such as NOT_FOUND"
        ) from None


def _as_generated(context: Any) -> NoReturn:
    # Word for word what protoc's plugin writes for a method that a servicer leaves out.
    context.set_code(StatusCode.UNIMPLEMENTED)
    context.set_details("Method not implemented!")
    raise NotImplementedError("Method not implemented!")
