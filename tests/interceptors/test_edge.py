"""What the client sees, and what is recorded, at the edge of a served RPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.call import Kind, Method, current_call
from chassis.errors import ChassisError, NotFound, PermissionDenied, ResourceExhausted, Temporary
from chassis.server import Limits
from interceptors import ErrorsInterceptor, RecoveryInterceptor
from interceptors.edge import ServedCall
from interceptors.edge import Serving as ServingCalls
from interceptors.handlers import ComposedHandler
from interceptors.status import error_of
from tests.interceptors.echo_kit import Behaviour, Recording, Scripted, Serving, Waiting, crash

REPLY = pb.EchoReply()


def raising(error: BaseException) -> Behaviour:
    async def behave(request: Any, context: Any) -> None:
        raise error

    return behave


async def abort(context: Any) -> None:
    await context.abort(StatusCode.NOT_FOUND, "said by abort")


async def replaces_an_abort(request: Any, context: Any) -> None:
    try:
        await abort(context)
    except BaseException:
        raise PermissionDenied("said too late") from None


async def crashes_behind_an_abort(request: Any, context: Any) -> None:
    try:
        await abort(context)
    finally:
        raise ValueError("in a finally block")


async def swallows_an_abort(request: Any, context: Any) -> pb.EchoReply:
    try:
        await abort(context)
    except BaseException:
        return REPLY
    raise AssertionError


async def sets_a_number(request: Any, context: Any) -> pb.EchoReply:
    context.set_code(5)
    context.set_details("said by a number")
    return REPLY


async def crashes_with_a_code(request: Any, context: Any) -> pb.EchoReply:
    context.set_code(StatusCode.NOT_FOUND)
    context.set_details("said before the crash")
    raise ValueError


async def raises_with_a_code(request: Any, context: Any) -> pb.EchoReply:
    context.set_code(StatusCode.DATA_LOSS)
    raise NotFound("of its own")


async def cancels_itself_with_a_code(request: Any, context: Any) -> pb.EchoReply:
    context.set_code(StatusCode.CANCELLED)
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("behaviour", "code", "message"),
    [
        (replaces_an_abort, "NOT_FOUND", "said by abort"),
        (crashes_behind_an_abort, "NOT_FOUND", "said by abort"),
        (swallows_an_abort, "NOT_FOUND", "said by abort"),
        (sets_a_number, "NOT_FOUND", "said by a number"),
        (crashes_with_a_code, "NOT_FOUND", "said before the crash"),
        (raises_with_a_code, "NOT_FOUND", "of its own"),
        (cancels_itself_with_a_code, "CANCELLED", "cancelled by the service"),
        (raising(asyncio.CancelledError()), "CANCELLED", "cancelled by the service"),
        (raising(SystemExit(3)), "INTERNAL", "internal error"),
        (raising(BaseExceptionGroup("several", [ValueError(), KeyboardInterrupt()])), "INTERNAL", "internal error"),
        (raising(NotFound("Ω≈ç 資産 🙈\nand a second line")), "NOT_FOUND", "Ω≈ç 資産 🙈\nand a second line"),
        (raising(NotFound("half a pair: \ud83d")), "NOT_FOUND", "half a pair: ?"),
        (raising(NotFound(KeyError("id"))), "NOT_FOUND", "'id'"),  # type: ignore[arg-type]
        (raising(NotFound("x" * 100_000)), "NOT_FOUND", "xxx"),
        (raising(NotFound("資" * 100_000)), "NOT_FOUND", "資資資"),
    ],
)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with errors"])
async def test_what_is_recorded_is_what_the_client_sees(
    serving: Serving, recording: Recording, behaviour: Behaviour, code: str, message: str, alone: bool
) -> None:
    around = [recording] if alone else [RecoveryInterceptor(), recording, ErrorsInterceptor()]
    echo = await serving.composed(*around, servicer=Scripted(Echo=behaviour))

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), timeout=10))

    assert error.code().name == code
    assert (error.details() or "").startswith(message)
    assert await recording.until(1) == [code]


async def test_details_and_the_time_to_retry_travel_in_the_status(serving: Serving) -> None:
    from google.rpc.error_details_pb2 import RetryInfo
    from grpc_status import rpc_status

    error = ResourceExhausted("later", retry_after=1.5, trailers=[("x-quota", "10")])
    echo = await serving.composed(servicer=Scripted(Echo=raising(error)))

    seen = await echo.fails(echo.stub.Echo(pb.EchoRequest()))

    status = rpc_status.from_call(seen)
    assert status is not None
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.5
    assert dict(seen.trailing_metadata() or ())["x-quota"] == "10"


@pytest.mark.parametrize(
    "trailer", [("X-Upper", "a"), ("x-umlaut", "ü"), ("x-line", "a\nb"), ("x-number", 3), ("x-bin", "text"), (3, "a")]
)
async def test_a_trailer_that_cannot_be_sent_costs_only_itself(
    serving: Serving, recording: Recording, caplog: pytest.LogCaptureFixture, trailer: Any
) -> None:
    error = NotFound("no such asset", trailers=[("x-good", "1"), trailer])
    echo = await serving.composed(recording, servicer=Scripted(Echo=raising(error)))

    seen = await echo.fails(echo.stub.Echo(pb.EchoRequest(), timeout=10))

    assert (seen.code(), seen.details()) == (StatusCode.NOT_FOUND, "no such asset")
    assert dict(seen.trailing_metadata() or ())["x-good"] == "1"
    assert await recording.until(1) == ["NOT_FOUND"]
    assert "was left out" in caplog.text


@pytest.mark.parametrize(
    "trailers", [(("x-line", "a\nb"),), (("X-Upper", "v"),), (("x-large", "x" * 7000),)], ids=["line", "name", "size"]
)
async def test_where_no_trailer_can_be_sent_the_error_is(
    serving: Serving, recording: Recording, caplog: pytest.LogCaptureFixture, trailers: Any
) -> None:
    async def behave(request: Any, context: Any) -> None:
        context.set_trailing_metadata(trailers)
        raise NotFound("no such asset")

    echo = await serving.composed(recording, servicer=Scripted(Echo=behave))

    seen = await echo.fails(echo.stub.Echo(pb.EchoRequest(), timeout=10))

    assert (seen.code(), seen.details()) == (StatusCode.NOT_FOUND, "no such asset")
    assert not seen.trailing_metadata()
    assert await recording.until(1) == ["NOT_FOUND"]
    assert "was left out" in caplog.text


async def test_details_that_are_no_messages_cost_only_themselves(
    serving: Serving, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    error = ResourceExhausted("later", details=["text"], retry_after=2)  # type: ignore[list-item]
    echo = await serving.composed(recording, servicer=Scripted(Echo=raising(error)))

    seen = await echo.fails(echo.stub.Echo(pb.EchoRequest(), timeout=10))

    assert (seen.code(), seen.details()) == (StatusCode.RESOURCE_EXHAUSTED, "later")
    told = error_of(seen.code(), "", list(seen.trailing_metadata() or ()))
    assert (told.retry_after, told.details) == (2, ())
    assert await recording.until(1) == ["RESOURCE_EXHAUSTED"]
    assert "str was left out" in caplog.text


async def test_more_details_than_clients_take_are_left_out(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    error = NotFound("no such asset", trailers=[("x-large-bin", b"x" * 20_000), ("x-good", "1")])
    echo = await serving.composed(servicer=Scripted(Echo=raising(error)))

    seen = await echo.fails(echo.stub.Echo(pb.EchoRequest()))

    assert seen.code() is StatusCode.NOT_FOUND
    assert "x-large-bin" not in dict(seen.trailing_metadata() or ())
    assert "more than clients take" in caplog.text


async def test_trailing_metadata_that_cannot_be_sent_is_a_crash_and_not_a_surprise(
    serving: Serving, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    async def behave(request: Any, context: Any) -> pb.EchoReply:
        context.set_trailing_metadata((("x-name", "Zoë"),))
        return REPLY

    echo = await serving.composed(RecoveryInterceptor(), recording, servicer=Scripted(Echo=behave))

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), timeout=10))

    assert error.code() is StatusCode.INTERNAL
    assert await recording.until(1) == ["INTERNAL"]
    assert "x-name" in caplog.text


async def test_an_error_of_grpc_is_answered_and_not_always_taken_for_a_client_that_is_gone(
    serving: Serving, recording: Recording
) -> None:
    echo = await serving.composed(recording, servicer=Scripted(Echo=raising(grpc.aio.InternalError("of another call"))))

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), timeout=10))

    assert error.code() is StatusCode.INTERNAL
    assert await recording.until(1) == ["INTERNAL"]


@pytest.mark.parametrize("method", ["Echo", "EchoStream"])
async def test_a_reply_that_is_too_large_is_recorded_as_that(
    serving: Serving, recording: Recording, method: str
) -> None:
    echo = await serving.composed(recording, limits=Limits(max_send_message_bytes=1000))
    request = pb.EchoRequest(padding=b"x" * 1001)

    call = echo.stub.Echo(request) if method == "Echo" else anext(aiter(echo.stub.EchoStream(request)))
    error = await echo.fails(call)

    assert error.code() is StatusCode.RESOURCE_EXHAUSTED
    assert "sends at most 1000" in (error.details() or "")
    assert await recording.until(1) == ["RESOURCE_EXHAUSTED"]


async def test_a_server_without_a_limit_sends_what_it_has(serving: Serving) -> None:
    echo = await serving.composed(limits=Limits(max_send_message_bytes=-1))

    reply = await echo.stub.Echo(pb.EchoRequest(padding=b"x" * 100_000))

    assert len(reply.padding) == 100_000


async def test_grpcs_own_context_goes_on_to_the_servicer(serving: Serving) -> None:
    seen: dict[str, Any] = {}

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        call: Any = current_call()
        context.set_compression(grpc.Compression.Gzip)
        context.set_trailing_metadata((("x-trailer", "1"),))
        seen.update(
            peers={context.peer(), call.peer}, auth=context.auth_context(), same=call.transport is context, call=call
        )
        return REPLY

    echo = await serving.composed(servicer=Scripted(Echo=behave))

    call = echo.stub.Echo(pb.EchoRequest(), metadata=[("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\xff")])
    await call

    assert dict(await call.trailing_metadata()) == {"x-trailer": "1"}
    assert seen["same"]
    assert len(seen["peers"]) == 1
    assert seen["call"].peer == ""  # the call is over
    assert seen["auth"]["transport_security_type"] == [b"insecure"]
    assert seen["call"].values("x-a") == ["1", "2"]
    assert seen["call"].metadata["x-a"] == "1"
    assert "x-b-bin" not in seen["call"].metadata
    assert seen["call"].deadline is None


async def test_metadata_is_the_calls_own_from_wherever_it_is_looked_at(serving: Serving) -> None:
    calls: dict[str, Any] = {}

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        calls[request.text] = current_call()
        # Nobody has looked at the first one's before, and this is the context of the second one.
        return pb.EchoReply(text=calls["first"].metadata["x-name"] if request.text == "second" else "")

    echo = await serving.composed(servicer=Scripted(Echo=behave))
    for name in ("first", "second"):
        reply = await echo.stub.Echo(pb.EchoRequest(text=name), metadata=[("x-name", name)])
    assert reply.text == "first"


async def test_a_server_started_within_a_call_serves_calls_of_its_own(serving: Serving) -> None:
    seen: list[Any] = []

    async def inner(request: Any, context: Any) -> pb.EchoReply:
        seen.append(current_call())
        return REPLY

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        seen.append(current_call())
        echo = await serving.composed(servicer=Scripted(Echo=inner))
        await echo.stub.Echo(pb.EchoRequest())
        return REPLY

    outer = await serving.composed(servicer=Scripted(Echo=behave))
    await outer.stub.Echo(pb.EchoRequest())

    assert len({id(call) for call in seen}) == 2


async def test_replies_are_written_while_the_generator_goes_on(serving: Serving) -> None:
    go_on = asyncio.Event()

    async def behave(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        yield pb.EchoReply(text="first")
        await go_on.wait()
        yield pb.EchoReply(text="second")

    echo = await serving.composed(servicer=Scripted(EchoStream=behave))
    replies = aiter(echo.stub.EchoStream(pb.EchoRequest()))

    first = await anext(replies)
    go_on.set()

    assert [first.text, *[reply.text async for reply in replies]] == ["first", "second"]


@pytest.mark.parametrize("error", [Temporary("remote"), NotFound("remote")], ids=["capacity", "another"])
async def test_the_answer_of_a_service_behind_this_one_is_not_its_own_even_without_errors(
    serving: Serving, recording: Recording, error: ChassisError
) -> None:
    error.remote = "/pkg.Prices/Get"
    echo = await serving.plain(recording, servicer=Scripted(Echo=raising(error)))

    seen = await echo.fails(echo.stub.Echo(pb.EchoRequest()))

    expected = "UNAVAILABLE" if isinstance(error, Temporary) else "INTERNAL"
    assert (seen.code().name, await recording.until(1)) == (expected, [expected])
    assert "remote" not in (seen.details() or "")


async def test_a_stack_is_logged_for_what_a_handler_raises_when_it_is_cancelled(
    serving: Serving, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Waiting(crash)
    echo = await serving.composed(RecoveryInterceptor(), recording, servicer=Scripted(Echo=waiting.behave))
    call = echo.stub.Echo(pb.EchoRequest())
    await waiting.begun.wait()
    call.cancel()

    assert await recording.until(1) == ["CANCELLED"]
    await echo.server._serving.idle()
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


async def test_trailing_metadata_of_the_handler_and_details_of_its_error_both_arrive(serving: Serving) -> None:
    async def behave(request: Any, context: Any) -> None:
        context.set_trailing_metadata((("x-of-the-handler", "kept"),))
        raise ResourceExhausted("later", retry_after=2)

    echo = await serving.composed(servicer=Scripted(Echo=behave))

    seen = await echo.fails(echo.stub.Echo(pb.EchoRequest()))

    assert {"x-of-the-handler", "grpc-status-details-bin"} <= set(dict(seen.trailing_metadata() or ()))


class AnsweringContext:
    """gRPC's side of a call, which remembers how often it was answered."""

    def __init__(self, *, done: bool = False, refuses: BaseException | None = None) -> None:
        self._done = done
        self._refuses = refuses
        self.answers: list[StatusCode] = []

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> tuple[()]:
        return ()

    def set_trailing_metadata(self, trailers: Any) -> None:
        assert trailers == ()

    def time_remaining(self) -> None:
        return None

    def code(self) -> int:
        return 0

    def done(self) -> bool:
        return self._done

    async def abort(self, code: StatusCode, details: str, trailing_metadata: Any = ()) -> None:
        self.answers.append(code)
        raise self._refuses or grpc.aio.AbortError("answered")


def _called_with(behave: Behaviour, context: AnsweringContext) -> Any:
    handler = grpc.unary_unary_rpc_method_handler(behave, pb.EchoRequest.FromString, pb.EchoReply.SerializeToString)
    method = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")
    return ComposedHandler(handler, method, []).unary_unary(b"", context)


async def test_what_has_been_answered_already_is_not_answered_again() -> None:
    context = AnsweringContext(done=True)

    await _called_with(raising(NotFound("said too late")), context)

    assert context.answers == []


async def test_who_is_gone_is_not_answered() -> None:
    context = AnsweringContext()
    waiting = Waiting(crash)
    call = asyncio.ensure_future(_called_with(waiting.behave, context))
    await waiting.begun.wait()
    call.cancel()
    await asyncio.wait({call})

    assert call.cancelled()
    assert context.answers == []


async def test_a_client_that_goes_while_it_is_answered_is_no_error_of_ours() -> None:
    context = AnsweringContext(refuses=grpc.aio.InternalError("the call is over"))

    with pytest.raises(asyncio.CancelledError):
        await _called_with(raising(NotFound("nobody listens")), context)

    assert context.answers == [StatusCode.NOT_FOUND]


@pytest.mark.parametrize(
    ("remaining", "code"),
    [(400, "CANCELLED"), (36.1, "CANCELLED"), (36, "DEADLINE_EXCEEDED"), (0.05, "DEADLINE_EXCEEDED")],
)
def test_who_cancels_a_long_call_a_little_early_has_cancelled_it(
    monkeypatch: pytest.MonkeyPatch, remaining: float, code: str
) -> None:
    call = ServedCall(Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server"))
    call.serving = ServingCalls()
    monkeypatch.setattr(call, "started", 1000.0)
    monkeypatch.setattr("time.perf_counter", lambda: 1000.0 + 3600 - remaining)
    monkeypatch.setattr("time.monotonic", lambda: 50.0)
    call.deadline = 50.0 + remaining

    assert call.code_of(asyncio.CancelledError()).name == code


async def test_a_generator_is_closed_before_its_call_is_recorded(serving: Serving, recording: Recording) -> None:
    recorded_by_then: list[list[str]] = []

    async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            yield "no message"
        finally:
            await asyncio.sleep(0)
            recorded_by_then.append(list(recording.codes))

    echo = await serving.composed(recording, servicer=Scripted(EchoStream=behave))

    await echo.fails(anext(aiter(echo.stub.EchoStream(pb.EchoRequest()))))

    assert await recording.until(1) == ["INTERNAL"]
    assert recorded_by_then == [[]]


async def test_of_a_header_that_came_twice_everybody_sees_the_first_and_who_asks_for_all_both(serving: Serving) -> None:
    seen: list[object] = []

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        call = current_call()
        assert call is not None
        seen.extend((call.metadata["x-twice"], call.values("x-twice")))
        return REPLY

    echo = await serving.composed(servicer=Scripted(Echo=behave))

    await echo.stub.Echo(pb.EchoRequest(), metadata=(("x-twice", "first"), ("x-twice", "second")))

    assert seen == ["first", ["first", "second"]]
