"""Interceptors given to a plain grpc.aio server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.call import Call, Interceptor, Method, PerMethod, Proceed, current_call
from chassis.errors import PermissionDenied, Unauthorized
from interceptors import RpcInterceptor
from interceptors.edge import ServedCall
from tests.interceptors.echo_kit import Recording, Scripted, Serving, failing

UNKNOWN = "/cqi.testing.v1.EchoService/Nothing"


class Tracking(RpcInterceptor):
    """Notes when it is entered and left, and the call."""

    def __init__(self, name: str, seen: list[str], calls: list[Call]) -> None:
        self._name, self._seen, self._calls = name, seen, calls

    async def around(self, call: Call, proceed: Proceed) -> Any:
        self._seen.append(f"into {self._name}")
        self._calls.append(call)
        try:
            return await proceed(call)
        finally:
            self._seen.append(f"out of {self._name}")


class Foreign(grpc.aio.ServerInterceptor):
    """Someone else's, which wraps handlers as grpc's documentation says."""

    def __init__(self) -> None:
        self.seen = 0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)

        async def wrapped(request: Any, context: Any) -> Any:
            self.seen += 1
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(wrapped, handler.request_deserializer, handler.response_serializer)


async def test_several_become_one_chain_in_their_order_with_one_edge(serving: Serving) -> None:
    seen: list[str] = []
    calls: list[Call] = []
    echo = await serving.plain(*(Tracking(name, seen, calls) for name in "abc"))

    await echo.stub.Echo(pb.EchoRequest())

    assert seen == ["into a", "into b", "into c", "out of c", "out of b", "out of a"]
    # One edge makes one call, and all see the same.
    assert len({id(call) for call in calls}) == 1
    assert isinstance(calls[0], ServedCall)


async def test_they_are_composed_once_for_a_method_and_not_for_each_call(serving: Serving) -> None:
    asked: list[str] = []

    class Choosy(RpcInterceptor):
        def applies(self, method: Method) -> bool:
            asked.append(method.name)
            return method.name != "Echo"

    recording = Recording()
    echo = await serving.plain(Choosy(), recording)
    for _ in range(3):
        await echo.stub.Echo(pb.EchoRequest())

    assert asked == ["Echo"]
    assert len({id(call.method) for call in recording.calls}) == 1


async def test_one_error_is_answered_once_and_seen_by_all_in_the_same_way(serving: Serving) -> None:
    outer, inner = Recording(), Recording()
    echo = await serving.plain(outer, inner)

    error = await echo.fails(echo.stub.Echo(failing("NOT_FOUND", "gone")))

    assert (error.code(), error.details()) == (StatusCode.NOT_FOUND, "gone")
    assert (outer.codes, inner.codes) == (["NOT_FOUND"], ["NOT_FOUND"])


async def test_unknown_methods_go_through_all_of_them_and_nothing_is_kept_of_their_names(serving: Serving) -> None:
    outer, inner = Recording(), Recording()
    echo = await serving.plain(outer, inner)

    for number in range(3):
        error = await echo.fails(echo.channel.unary_unary(f"{UNKNOWN}{number}")(b""))
        assert error.code() is StatusCode.UNIMPLEMENTED
        assert f"Nothing{number}" in (error.details() or "")

    assert outer.codes == inner.codes == ["UNIMPLEMENTED"] * 3
    assert not outer.calls[0].method.known
    assert "_composed" not in outer.__dict__ or not outer.__dict__["_composed"]


async def test_an_unknown_method_can_be_called_in_any_kind(serving: Serving, recording: Recording) -> None:
    echo = await serving.plain(recording)

    error = await echo.fails(echo.channel.stream_unary(UNKNOWN)(iter([b"a", b"b"])))

    assert error.code() is StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("foreign_at", [0, 1, 2])
async def test_interceptors_of_others_may_stand_anywhere_between(serving: Serving, foreign_at: int) -> None:
    foreign, first, second = Foreign(), Recording(), Recording()
    given: list[Any] = [first, second]
    given.insert(foreign_at, foreign)
    echo = await serving.plain(*given)

    error = await echo.fails(echo.stub.Echo(failing("NOT_FOUND")))
    reply = await echo.stub.Echo(pb.EchoRequest(text="hello"))

    assert reply.text == "hello"
    assert error.code() is StatusCode.NOT_FOUND
    assert foreign.seen == 2
    # What stands outside of someone else's edge sees what grpc sends on from there.
    assert second.codes == ["NOT_FOUND", "OK"]


async def test_handlers_that_are_made_anew_for_each_call_pile_up_nowhere(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PerMethod, "MAX", 2)
    recording = Recording()
    echo = await serving.plain(recording)

    await echo.stub.Echo(pb.EchoRequest())
    _ = [reply async for reply in echo.stub.EchoStream(pb.EchoRequest())]
    await echo.stub.Collect(iter([pb.EchoRequest()]))
    _ = [reply async for reply in echo.stub.Converse(iter([pb.EchoRequest()]))]

    assert recording.codes == ["OK"] * 4
    assert len(recording.__dict__["_composed"]) <= 2


async def test_an_interceptor_can_answer_by_itself_or_reject(serving: Serving) -> None:
    reached = []

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        reached.append(request.text)
        return pb.EchoReply()

    class Guard(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            if call.request.text == "cached":
                return pb.EchoReply(text="from the cache").SerializeToString()
            if call.request.text == "rejected":
                raise PermissionDenied("not you")
            return await proceed(call)

    outer = Recording()
    echo = await serving.plain(outer, Guard(), servicer=Scripted(Echo=behave))

    assert (await echo.stub.Echo(pb.EchoRequest(text="cached"))).text == "from the cache"
    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(text="rejected")))
    await echo.stub.Echo(pb.EchoRequest(text="through"))

    assert error.code() is StatusCode.PERMISSION_DENIED
    assert reached == ["through"]
    assert outer.codes == ["OK", "PERMISSION_DENIED", "OK"]


async def test_those_outside_see_what_one_made_of_a_success_or_of_an_error(serving: Serving) -> None:
    class Turning(RpcInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            try:
                await proceed(call)
            except PermissionDenied:
                return pb.EchoReply(text="forgiven").SerializeToString()
            raise Unauthorized("on second thoughts")

    outer, inner = Recording(), Recording()
    echo = await serving.plain(outer, Turning(), inner)

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest()))
    reply = await echo.stub.Echo(failing("PERMISSION_DENIED"))

    assert (error.code(), reply.text) == (StatusCode.UNAUTHENTICATED, "forgiven")
    assert (outer.codes, inner.codes) == (["UNAUTHENTICATED", "OK"], ["OK", "PERMISSION_DENIED"])


async def test_generated_methods_that_a_servicer_left_out_are_unimplemented(
    serving: Serving, recording: Recording
) -> None:
    echo = await serving.plain(recording, servicer=Scripted())

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest()))
    _ = await echo.fails(anext(aiter(echo.stub.Converse(iter([pb.EchoRequest()])))))

    assert error.code() is StatusCode.UNIMPLEMENTED
    assert error.details() == "/cqi.testing.v1.EchoService/Echo is not implemented by this service"
    assert recording.codes == ["UNIMPLEMENTED"] * 2


async def test_generic_handlers_without_messages_pass_bytes_on(serving: Serving, recording: Recording) -> None:
    async def behave(request: bytes, context: Any) -> bytes:
        return request[::-1]

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request

    server = grpc.aio.server(interceptors=[recording])
    handlers = {
        "Turn": grpc.unary_unary_rpc_method_handler(behave),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("raw.Service", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    echo = await serving.client(f"127.0.0.1:{port}")
    try:
        assert await echo.channel.unary_unary("/raw.Service/Turn")(b"abc") == b"cba"
        assert [each async for each in echo.channel.unary_stream("/raw.Service/Stream")(b"abc")] == [b"abc"]
    finally:
        await server.stop(0)
    assert current_call() is None


def test_the_base_class_is_only_a_concern_like_any_other() -> None:
    assert issubclass(RpcInterceptor, Interceptor)
    assert issubclass(RpcInterceptor, grpc.aio.ServerInterceptor)
