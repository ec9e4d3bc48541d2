"""Tokens that expire while a call is served."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.auth import ApiKeyAuthenticator
from chassis.call import Call, Kind, Method, Principal, compose
from chassis.errors import Temporary, Unauthorized
from interceptors import AuthInterceptor, default_stack
from interceptors.auth import EXPIRED_CREDENTIALS
from tests.interceptors.echo_kit import Recording, Scripted, Serving
from tests.matrix.records import Observed

STREAMS = ["EchoStream", "Collect", "Converse"]
BEARER = [("authorization", "Bearer a-token")]


class Token:
    """A token, and the authenticator that accepts it; it is about to expire until the test says that it has."""

    def __init__(self, expires_at: float | None = 0.01) -> None:
        self.now = 0.0
        self.expires_at = expires_at
        self.looks = 0
        self.looked_often = asyncio.Event()

    def clock(self) -> float:
        self.looks += 1
        if self.looks == 5:
            self.looked_often.set()
        return self.now

    def expire(self) -> None:
        self.now = 1.0

    def authenticate(self, token: str) -> Principal:
        return Principal("7d5e", "user", "jwt", expires_at=self.expires_at, token=token)

    def auth(self) -> AuthInterceptor:
        return AuthInterceptor(self, clock=self.clock)


class Working:
    """A handler at work that does, once it is cancelled, what the test wants; in all kinds and both styles."""

    def __init__(self, on_cancel: Callable[[], Any] | None = None) -> None:
        self.begun = asyncio.Event()
        self.cleaned_up = 0
        self.context: Any = None
        self._on_cancel = on_cancel

    async def work(self, context: Any) -> None:
        self.context = context
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._on_cancel is None:
                raise
            await self._on_cancel()
        finally:
            await asyncio.sleep(0)  # `finally` blocks wait, too: for connections that go back to their pool
            self.cleaned_up += 1

    async def unary(self, request: Any, context: Any) -> pb.EchoReply:
        await self.work(context)
        return pb.EchoReply()

    async def generated(self, request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        yield pb.EchoReply()
        await self.work(context)

    async def written(self, request: Any, context: Any) -> None:
        await context.write(pb.EchoReply())
        await self.work(context)

    async def reading(self, requests: AsyncIterator[pb.EchoRequest], context: Any) -> AsyncIterator[pb.EchoReply]:
        self.begun.set()
        try:
            async for _ in requests:
                yield pb.EchoReply()
        finally:
            self.cleaned_up += 1

    def servicer(self) -> Scripted:
        return Scripted(Echo=self.unary, EchoStream=self.generated, Collect=self.unary, Converse=self.generated)


class Client:
    """grpc's synchronous client: the aio one misreports request streams that were answered while they still send."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._hang_up = threading.Event()

    def close(self) -> None:
        self._hang_up.set()
        self._channel.close()

    def begin(self, method: str) -> Any:
        """Begin a call whose requests, where it streams them, do not come to an end."""
        # On the wire a stream with one reply is the same as one reply.
        streams_requests = method in ("Collect", "Converse")
        make: Any = self._channel.stream_stream if streams_requests else self._channel.unary_stream
        start = make(f"/cqi.testing.v1.EchoService/{method}")
        return start(self._requests() if streams_requests else b"", metadata=BEARER, timeout=30)

    def _requests(self) -> Iterator[bytes]:
        yield b""
        self._hang_up.wait()


async def ending(call: Any) -> tuple[StatusCode, str]:
    """How the call ended; a client learns that of a stream once it has read what came before."""

    def read() -> tuple[StatusCode, str]:
        with contextlib.suppress(grpc.RpcError):
            for _ in call:
                pass
        return call.code(), call.details()

    return await asyncio.to_thread(read)


@pytest.fixture
def client() -> Iterator[Callable[[str], Client]]:
    made: list[Client] = []

    def make(address: str) -> Client:
        made.append(Client(address))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
async def observed() -> AsyncIterator[Observed]:
    records = Observed()
    await records.logs.start()
    yield records
    await records.logs.stop()


@pytest.mark.parametrize(
    ("method", "style"),
    [
        ("EchoStream", "generated"),
        ("EchoStream", "written"),
        ("Collect", "unary"),
        ("Converse", "generated"),
        ("Converse", "written"),
        ("Converse", "reading"),
    ],
)
async def test_a_stream_ends_when_its_token_expires_and_all_records_say_so(
    serving: Serving, client: Callable[[str], Client], observed: Observed, method: str, style: str
) -> None:
    token, working, inner = Token(), Working(), Recording()
    stack = default_stack(tracing=observed.tracing, metrics=observed.metrics, logs=observed.logs)
    stack[-2:-2] = [token.auth(), inner]  # where the list has it: before request ids and errors
    echo = await serving.composed(*stack, servicer=Scripted(**{method: getattr(working, style)}))

    call = client(echo.address).begin(method)
    await asyncio.wait_for(working.begun.wait(), 10)
    token.expire()

    assert await ending(call) == (StatusCode.UNAUTHENTICATED, EXPIRED_CREDENTIALS)
    assert working.cleaned_up == 1
    await echo.server._serving.idle()
    path = f"/cqi.testing.v1.EchoService/{method}"
    assert observed.counted("grpc_calls_total", "method", "status_code") == {(path, "UNAUTHENTICATED"): 1}
    assert observed.counted("auth_failures_total", "system", "status_code") == {("grpc", "UNAUTHENTICATED"): 1}
    ((line,),) = observed.logged("grpc call completed").values()
    assert (line["code"], line["level"], line["error"]) == ("UNAUTHENTICATED", "info", EXPIRED_CREDENTIALS)
    assert (line["principal"], "stack" in line, "a-token" in str(observed.lines)) == ("7d5e", False, False)
    (span,) = observed.spans.get_finished_spans()
    assert dict(span.attributes or {})["rpc.response.status_code"] == "UNAUTHENTICATED"


async def test_one_request_and_one_reply_outlive_their_token(serving: Serving, recording: Recording) -> None:
    token, go, begun = Token(), asyncio.Event(), asyncio.Event()

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        begun.set()
        await go.wait()
        return pb.EchoReply(text="done")

    echo = await serving.composed(recording, token.auth(), servicer=Scripted(Echo=behave))
    calls = [asyncio.ensure_future(_text(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER))) for _ in range(2)]
    await begun.wait()
    token.expire()
    # A stream under the same token has ended: so would the other call have, if it was to.
    error = await echo.fails(anext(aiter(echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER))))
    go.set()

    assert error.code() is StatusCode.UNAUTHENTICATED
    assert await asyncio.gather(*calls) == ["done", "done"]


async def _text(call: Any) -> str:
    return str((await call).text)


async def test_nothing_that_streams_begins_after_its_token_has_expired(serving: Serving) -> None:
    token, inner = Token(), Recording()
    token.expire()
    echo = await serving.composed(token.auth(), inner)

    error = await echo.fails(anext(aiter(echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER))))

    assert (error.code(), error.details()) == (StatusCode.UNAUTHENTICATED, EXPIRED_CREDENTIALS)
    assert inner.calls == []


async def test_a_calendar_that_is_set_forward_is_noticed(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interceptors.auth._LOOK_AT_LEAST_EVERY", 0.01)
    token, working = Token(3600.0), Working()
    echo = await serving.composed(token.auth(), servicer=working.servicer())
    call = echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER, timeout=10)
    await call.read()
    token.now = 4000.0  # a machine that slept for an hour

    assert await call.code() is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("expires_at", [None, 253_402_300_799.0, math.inf])
async def test_a_stream_goes_on_for_as_long_as_its_credentials_are_good(
    serving: Serving, expires_at: float | None
) -> None:
    token = Token(expires_at)
    token.expire()
    echo = await serving.composed(token.auth())

    replies = [reply.index async for reply in echo.stub.EchoStream(pb.EchoRequest(count=3), metadata=BEARER)]

    assert replies == [0, 1, 2]


async def test_a_time_that_is_none_is_over(serving: Serving) -> None:
    echo = await serving.composed(Token(math.nan).auth())

    error = await echo.fails(anext(aiter(echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER))))

    assert error.code() is StatusCode.UNAUTHENTICATED


async def test_no_clock_is_looked_at_for_api_keys_and_for_one_request_and_one_reply(serving: Serving) -> None:
    def clock() -> float:
        raise AssertionError("the clock was looked at")

    key = "key-of-a-caller-0123456789"
    keys = await serving.composed(AuthInterceptor(ApiKeyAuthenticator([key]), clock=clock))
    tokens = await serving.composed(AuthInterceptor(Token(), clock=clock))

    bearer = [("authorization", f"Bearer {key}")]
    assert [reply.index async for reply in keys.stub.EchoStream(pb.EchoRequest(count=2), metadata=bearer)] == [0, 1]
    assert (await tokens.stub.Echo(pb.EchoRequest(text="one"), metadata=BEARER)).text == "one"


async def test_a_reader_who_stopped_reading_does_not_keep_the_stream(
    serving: Serving, client: Callable[[str], Client], recording: Recording
) -> None:
    token, ended = Token(), asyncio.Event()

    async def flood(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        try:
            while True:
                yield pb.EchoReply(text="x" * 100_000)
        finally:
            ended.set()

    echo = await serving.composed(recording, token.auth(), servicer=Scripted(EchoStream=flood))
    call = client(echo.address).begin("EchoStream")
    await asyncio.to_thread(next, call)
    token.expire()

    await asyncio.wait_for(ended.wait(), 10)
    assert await recording.until(1) == ["UNAUTHENTICATED"]
    call.cancel()


@pytest.mark.parametrize("method", STREAMS)
@pytest.mark.parametrize("first", ["expired", "cancelled"])
async def test_a_caller_who_gives_up_in_the_same_moment_has_given_up(
    serving: Serving, client: Callable[[str], Client], recording: Recording, first: str, method: str
) -> None:
    token, both, cancelled = Token(), asyncio.Event(), asyncio.Event()

    async def on_cancel() -> None:
        # Cancelled a first time, and held until it is cancelled the second time.
        cancelled.set()
        try:
            await asyncio.Event().wait()
        finally:
            both.set()

    working = Working(on_cancel)
    echo = await serving.composed(recording, token.auth(), servicer=working.servicer())
    call = client(echo.address).begin(method)
    await asyncio.wait_for(working.begun.wait(), 10)

    steps = [token.expire, call.cancel]
    for step in steps if first == "expired" else reversed(steps):
        step()
        await asyncio.wait_for(cancelled.wait(), 10)
    await asyncio.wait_for(both.wait(), 10)

    assert await recording.until(1) == ["CANCELLED"]


async def test_a_server_that_is_cut_off_in_the_same_moment_is_not_available(
    serving: Serving, recording: Recording
) -> None:
    token, cancelled = Token(), asyncio.Event()

    async def on_cancel() -> None:
        cancelled.set()
        await asyncio.Event().wait()

    working = Working(on_cancel)
    echo = await serving.composed(recording, token.auth(), servicer=working.servicer(), grace=0.05)
    call = echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER)
    await call.read()
    token.expire()
    await cancelled.wait()
    with pytest.raises(TimeoutError):  # says that a call had to be cut off
        await echo.server.stop()

    assert recording.codes == ["UNAVAILABLE"]


@pytest.mark.parametrize("style", ["generated", "written"])
async def test_a_handler_that_takes_no_notice_of_being_cancelled_still_did_not_end_well(
    serving: Serving, recording: Recording, style: str
) -> None:
    async def ignore() -> None: ...

    token, working = Token(), Working(ignore)
    echo = await serving.composed(recording, token.auth(), servicer=Scripted(EchoStream=getattr(working, style)))
    call = echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER)
    await call.read()
    token.expire()

    assert (await call.code(), await recording.until(1)) == (StatusCode.UNAUTHENTICATED, ["UNAUTHENTICATED"])


async def test_what_a_handler_says_on_being_cancelled_is_in_the_log_alone(serving: Serving, observed: Observed) -> None:
    async def crash() -> None:
        raise RuntimeError("cleaning up failed")

    token, working = Token(), Working(crash)
    stack = default_stack(logs=observed.logs)
    stack[-2:-2] = [token.auth()]
    echo = await serving.composed(*stack, servicer=working.servicer())
    call = echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER)
    await call.read()
    token.expire()

    assert (await call.code(), await call.details()) == (StatusCode.UNAUTHENTICATED, EXPIRED_CREDENTIALS)
    await echo.server._serving.idle()
    ((line,),) = observed.logged("grpc call completed").values()
    assert line["code"] == "UNAUTHENTICATED"
    assert "internal error" in line["cause"]


async def test_what_a_handler_has_answered_by_then_stands(serving: Serving, recording: Recording) -> None:
    async def abort() -> None:
        await working.context.abort(StatusCode.ABORTED, "in words of its own")

    token, working = Token(), Working(abort)
    echo = await serving.composed(recording, token.auth(), servicer=working.servicer())
    call = echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER)
    await call.read()
    token.expire()

    assert (await call.code(), await call.details()) == (StatusCode.ABORTED, "in words of its own")
    assert await recording.until(1) == ["ABORTED"]


async def test_it_works_alone_on_a_plain_server(serving: Serving) -> None:
    token, working = Token(), Working()
    echo = await serving.plain(token.auth(), servicer=working.servicer())
    call = echo.stub.EchoStream(pb.EchoRequest(), metadata=BEARER)
    await call.read()
    token.expire()

    assert (await call.code(), await call.details()) == (StatusCode.UNAUTHENTICATED, EXPIRED_CREDENTIALS)


STREAM = Method.grpc("/pkg.Prices/Watch", Kind.UNARY_STREAM, "server")


def authorized(method: Method) -> Call:
    """A call with a header, outside of any transport."""
    return Call(method, metadata={"authorization": "Bearer a-token"})


async def test_an_error_that_comes_in_time_is_the_handlers_own() -> None:
    async def handle(call: Call) -> None:
        raise Temporary("no prices right now")

    with pytest.raises(Temporary, match="no prices right now"):
        await compose([Token().auth()], STREAM, handle)(authorized(STREAM))


async def test_a_result_that_comes_too_late_is_none() -> None:
    token = Token()

    async def handle(call: Call) -> str:
        token.expire()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "too late"
        return ""

    with pytest.raises(Unauthorized, match="expired during the call"):
        await compose([token.auth()], STREAM, handle)(authorized(STREAM))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_timer_that_is_ahead_of_the_calendar_ends_nothing() -> None:
    token = Token()

    async def handle(call: Call) -> str:
        await asyncio.wait_for(token.looked_often.wait(), 10)
        return "in time"

    assert await compose([token.auth()], STREAM, handle)(authorized(STREAM)) == "in time"


async def test_who_cancels_a_call_as_its_token_expires_has_cancelled_it() -> None:
    token, expired, begun = Token(), asyncio.Event(), asyncio.Event()

    async def handle(call: Call) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            expired.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(compose([token.auth()], STREAM, handle)(authorized(STREAM)))
    await begun.wait()
    token.expire()
    await asyncio.wait_for(expired.wait(), 10)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
