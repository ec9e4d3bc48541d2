"""Interceptors around calls that go out."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc import StatusCode

from chassis.call import Call, Proceed
from chassis.errors import TABLE, ChassisError, InvalidInput, PermissionDenied, ResourceExhausted, Temporary
from interceptors import DeadlineInterceptor, ErrorsInterceptor, RpcInterceptor, client_interceptors
from tests.interceptors.echo_kit import Echo, Recording, Scripted, Serving, failing

KINDS = ["Echo", "EchoStream", "Collect", "Converse"]
Ask = Callable[[Echo, str, pb.EchoRequest], Awaitable[list[str]]]


async def ask(echo: Echo, kind: str, request: pb.EchoRequest) -> list[str]:
    """The texts that come back."""
    method = getattr(echo.stub, kind)
    call = method(iter([request]) if kind in ("Collect", "Converse") else request, timeout=10)
    if kind in ("EchoStream", "Converse"):
        return [reply.text async for reply in call]
    return [(await call).text]


async def ask_by_writing(echo: Echo, kind: str, request: pb.EchoRequest) -> list[str]:
    """The same with `write` and `read`, where there is a stream to do so."""
    texts: list[str] = []
    if kind in ("Echo", "EchoStream"):
        call = getattr(echo.stub, kind)(request, timeout=10)
    else:
        call = getattr(echo.stub, kind)(timeout=10)
        await call.write(request)
        await call.done_writing()
    if kind in ("Echo", "Collect"):
        return [(await call).text]
    while (reply := await call.read()) is not grpc.aio.EOF:
        texts.append(reply.text)
    return texts


@pytest.mark.parametrize("asking", [ask, ask_by_writing], ids=["iterators", "read and write"])
@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_all_kinds_go_through_one_chain(serving: Serving, kind: str, asking: Ask) -> None:
    recording = Recording()
    echo = await serving.composed(around_client=(recording,))

    assert await asking(echo, kind, pb.EchoRequest(text="hello")) == ["hello"]
    assert await recording.until(1) == ["OK"]
    assert recording.calls[0].method.path.endswith(kind)
    assert recording.calls[0].method.side == "client"


@pytest.mark.parametrize("asking", [ask, ask_by_writing], ids=["iterators", "read and write"])
@pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_class_that_was_raised_comes_out(
    serving: Serving, kind: str, cls: type[ChassisError], asking: Ask
) -> None:
    recording = Recording()
    echo = await serving.composed(around_client=(recording, ErrorsInterceptor()))

    with pytest.raises(cls, match="Zoë: no") as caught:
        await asking(echo, kind, failing(cls.meaning.code.name, "Zoë: no"))

    assert type(caught.value) is cls
    assert caught.value.code is cls.meaning.code
    assert caught.value.remote == f"/cqi.testing.v1.EchoService/{kind}"
    assert await recording.until(1) == [cls.meaning.code.name]


@pytest.mark.parametrize("kind", KINDS)
async def test_details_trailers_and_the_time_to_retry_survive(serving: Serving, kind: str) -> None:
    error = ResourceExhausted(
        "later", retry_after=2.5, details=[ErrorInfo(reason="QUOTA")], trailers=[("x-quota", "10")]
    )

    async def unary(request: Any, context: Any) -> None:
        raise error

    async def stream(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        raise error
        yield

    servicer = Scripted(Echo=unary, EchoStream=stream, Collect=unary, Converse=stream)
    echo = await serving.composed(servicer=servicer, around_client=(ErrorsInterceptor(),))

    with pytest.raises(ResourceExhausted) as caught:
        await ask(echo, kind, pb.EchoRequest())

    assert caught.value.retry_after == 2.5
    assert caught.value.details == (ErrorInfo(reason="QUOTA"),)
    assert ("x-quota", "10") in caught.value.trailers


async def test_the_field_that_is_wrong_survives(serving: Serving) -> None:
    async def behave(request: Any, context: Any) -> None:
        raise InvalidInput.field("symbol", "must not be empty")

    echo = await serving.composed(servicer=Scripted(Echo=behave), around_client=(ErrorsInterceptor(),))

    with pytest.raises(InvalidInput) as caught:
        await echo.stub.Echo(pb.EchoRequest())

    (detail,) = caught.value.details
    assert isinstance(detail, BadRequest)
    assert detail.field_violations[0].field == "symbol"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_interceptor_can_reject_before_anything_is_sent(serving: Serving, kind: str) -> None:
    class Closed(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            raise PermissionDenied("the breaker is open")

    outer, served = Recording(), Recording()
    echo = await serving.composed(served, around_client=(outer, Closed()))

    with pytest.raises(PermissionDenied, match="the breaker is open"):
        await ask(echo, kind, pb.EchoRequest())

    assert outer.codes == ["PERMISSION_DENIED"]
    assert served.calls == []


class Again(RpcInterceptor):
    """Tries until it goes well, three times at most."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    async def around(self, call: Call, proceed: Proceed) -> Any:
        for _ in range(2):
            try:
                return await proceed(call)
            except Temporary as error:
                self.errors.append(error)
                call.metadata["x-try"] = str(len(self.errors))
        return await proceed(call)


async def test_to_proceed_again_is_to_try_again(serving: Serving) -> None:
    tries: list[str] = []

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        tries.append(dict(context.invocation_metadata()).get("x-try", "0"))
        if len(tries) < 3:
            raise Temporary("not now")
        return pb.EchoReply(text="now")

    outer = Recording()
    echo = await serving.composed(servicer=Scripted(Echo=behave), around_client=(outer, Again(), ErrorsInterceptor()))

    assert (await echo.stub.Echo(pb.EchoRequest())).text == "now"
    assert tries == ["0", "1", "2"]
    assert outer.codes == ["OK"]


@pytest.mark.parametrize("kind", ["EchoStream", "Collect", "Converse"])
async def test_what_has_streams_is_tried_once_and_ends_as_it_did(serving: Serving, kind: str) -> None:
    served, again = Recording(), Again()
    echo = await serving.composed(served, around_client=(again, ErrorsInterceptor()))

    with pytest.raises(Temporary, match="not now"):
        await ask(echo, kind, failing("UNAVAILABLE", "not now"))

    assert served.codes == ["UNAVAILABLE"]
    assert [str(error) for error in again.errors] == ["not now"] * 2


async def test_a_stream_that_went_well_is_not_called_again(serving: Serving) -> None:
    class Twice(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            await proceed(call)
            return await proceed(call)

    echo = await serving.composed(around_client=(Twice(),))

    with pytest.raises(RuntimeError, match="EchoStream has streams and was called already"):
        await ask(echo, "EchoStream", pb.EchoRequest())


@pytest.mark.parametrize("kind", KINDS)
async def test_an_interceptor_may_answer_for_what_has_no_streams(serving: Serving, kind: str) -> None:
    class Cached(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            return pb.EchoReply(text="from the cache")

    echo = await serving.composed(around_client=(Cached(),))

    if kind == "Echo":
        assert await ask(echo, kind, pb.EchoRequest()) == ["from the cache"]
    else:
        with pytest.raises(TypeError, match=f"answered /cqi.testing.v1.EchoService/{kind} by itself"):
            await ask(echo, kind, pb.EchoRequest())


async def _end_of(call: Any, kind: str) -> None:
    if kind in ("EchoStream", "Converse"):
        async for _ in call:
            pass
    else:
        await call


async def test_the_other_sides_cancelled_is_an_answer_and_no_cancellation(serving: Serving) -> None:
    echo = await serving.composed(around_client=(Recording(),))

    error = await echo.fails(anext(aiter(echo.stub.EchoStream(failing("CANCELLED", "given up")))))

    assert (error.code(), error.details()) == (StatusCode.CANCELLED, "given up")


async def test_without_errors_what_comes_out_is_grpcs_own(serving: Serving) -> None:
    echo = await serving.composed(around_client=(Recording(),))

    for kind in KINDS:
        error = await echo.fails(ask(echo, kind, failing("NOT_FOUND", "gone")))
        assert (error.code(), error.details()) == (StatusCode.NOT_FOUND, "gone")


@pytest.mark.parametrize("kind", KINDS)
async def test_metadata_and_deadlines_that_interceptors_decide_on_are_sent(serving: Serving, kind: str) -> None:
    class Adding(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            assert call.metadata["x-mine"] == "1"
            call.metadata["x-added"] = "2"
            return await proceed(call)

    served = Recording()
    echo = await serving.composed(served, around_client=(DeadlineInterceptor(default=7), Adding()))
    method = getattr(echo.stub, kind)
    request = pb.EchoRequest()
    call = method(iter([request]) if kind in ("Collect", "Converse") else request, metadata=[("x-mine", "1")])
    await _end_of(call, kind)

    assert served.calls[0].metadata["x-mine"] == "1"
    assert served.calls[0].metadata["x-added"] == "2"
    assert 5 < served.calls[0].time_remaining() < 8


async def test_a_call_that_wants_no_deadline_gets_none(serving: Serving) -> None:
    served = Recording()
    echo = await serving.composed(served, around_client=(DeadlineInterceptor(default=7),))

    await echo.stub.Echo(pb.EchoRequest(), timeout=math.inf)

    assert served.calls[0].deadline is None


async def test_the_trailers_of_a_stream_can_be_read_as_on_a_bare_channel(serving: Serving) -> None:
    async def behave(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        context.set_trailing_metadata((("x-trailer", "1"),))
        yield pb.EchoReply()

    echo = await serving.composed(servicer=Scripted(EchoStream=behave), around_client=(Recording(),))
    call = echo.stub.EchoStream(pb.EchoRequest())
    await _end_of(call, "EchoStream")

    assert dict(await call.trailing_metadata()) == {"x-trailer": "1"}
    assert await call.code() is StatusCode.OK


def test_there_are_four_parts_and_each_is_of_one_kind() -> None:
    parts = client_interceptors([])

    bases = (
        grpc.aio.UnaryUnaryClientInterceptor,
        grpc.aio.UnaryStreamClientInterceptor,
        grpc.aio.StreamUnaryClientInterceptor,
        grpc.aio.StreamStreamClientInterceptor,
    )
    assert [[issubclass(type(part), base) for base in bases].count(True) for part in parts] == [1, 1, 1, 1]


async def test_an_interceptor_that_keeps_the_error_of_a_stream_for_itself_does_not_end_it_well(
    serving: Serving,
) -> None:
    class Swallowing(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            try:
                return await proceed(call)
            except grpc.aio.AioRpcError:
                return None

    echo = await serving.composed(around_client=(Swallowing(),))

    error = await echo.fails(ask(echo, "EchoStream", failing("NOT_FOUND", "gone")))

    assert error.details() == "gone"
