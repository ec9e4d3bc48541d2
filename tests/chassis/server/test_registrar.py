from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from chassis.auth import public
from chassis.server import GrpcServer, Registrar
from chassis.server.registrar import Handlers
from chassis.testing.echo import EchoServicer
from interceptors.edge import Serving as CallsServed
from tests.interceptors.echo_kit import Recording, Scripted, Serving

ECHO = "cqi.testing.v1.EchoService"


def server_of(servicer: Any, **options: Any) -> GrpcServer:
    return GrpcServer(lambda registrar: rpc.add_EchoServiceServicer_to_server(servicer, registrar), [], **options)


def test_what_generated_code_adds_is_kept_under_its_path() -> None:
    registrar = Registrar()
    rpc.add_EchoServiceServicer_to_server(EchoServicer(), registrar)

    assert registrar.services == (ECHO,)
    assert sorted(registrar.handlers) == [f"/{ECHO}/{name}" for name in ("Collect", "Converse", "Echo", "EchoStream")]


def test_a_service_has_one_servicer() -> None:
    registrar = Registrar()
    rpc.add_EchoServiceServicer_to_server(EchoServicer(), registrar)

    with pytest.raises(ValueError, match=f"{ECHO} is registered twice"):
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), registrar)


@pytest.mark.parametrize("name", ["add_insecure_port", "start", "wait_for_termination"])
def test_it_says_that_it_is_no_server(name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no '{name}': only pass it to generated"):
        getattr(Registrar(), name)


class Blocking(rpc.EchoServiceServicer):
    def Echo(self, request: Any, context: Any) -> pb.EchoReply:
        return pb.EchoReply()


class BlockingStream(rpc.EchoServiceServicer):
    def EchoStream(self, request: Any, context: Any) -> Any:
        yield pb.EchoReply()


class GeneratorForOne(rpc.EchoServiceServicer):
    async def Collect(self, request_iterator: Any, context: Any) -> Any:
        yield pb.EchoReply()


@pytest.mark.parametrize(
    ("servicer", "method", "expected"),
    [
        (Blocking(), "Echo", "it must be an async function"),
        (BlockingStream(), "EchoStream", "an async generator or an async function that writes"),
        (GeneratorForOne(), "Collect", "it must be an async function"),
    ],
)
def test_a_method_that_would_block_is_refused_when_it_is_registered(servicer: Any, method: str, expected: str) -> None:
    with pytest.raises(TypeError) as caught:
        server_of(servicer)

    text = str(caught.value)
    assert f"{type(servicer).__name__}.{method} serves /{ECHO}/{method}" in text
    assert expected in text
    assert "asyncio.to_thread" in text


async def test_methods_that_are_left_out_are_unimplemented_and_the_others_work(
    serving: Serving, recording: Recording
) -> None:
    class Half(rpc.EchoServiceServicer):
        async def Echo(self, request: Any, context: Any) -> pb.EchoReply:
            return pb.EchoReply(text="here")

    echo = await serving.composed(recording, servicer=Half())

    assert (await echo.stub.Echo(pb.EchoRequest())).text == "here"
    for call in (
        echo.stub.Collect(iter([])),
        anext(aiter(echo.stub.EchoStream(pb.EchoRequest()))),
    ):
        assert (await echo.fails(call)).code() is StatusCode.UNIMPLEMENTED
    # Of a bidirectional call that ends while it still sends, grpc's aio client is no witness.
    await echo.fails(anext(aiter(echo.stub.Converse(iter([])))))
    assert recording.codes == ["OK", *["UNIMPLEMENTED"] * 3]


async def test_a_method_of_no_known_name_goes_through_the_same_stack(serving: Serving, recording: Recording) -> None:
    echo = await serving.composed(recording)
    path = f"/{ECHO}/{'x' * 500}"

    error = await echo.fails(echo.channel.unary_unary(path)(b""))

    assert error.code() is StatusCode.UNIMPLEMENTED
    assert len(error.details() or "") < 300
    assert recording.codes == ["UNIMPLEMENTED"]
    (call,) = recording.calls
    assert (call.method.path, call.method.known) == ("unknown", False)


async def test_all_unknown_methods_are_one_method_to_observers(serving: Serving, recording: Recording) -> None:
    echo = await serving.composed(recording)
    for number in range(3):
        await echo.fails(echo.channel.unary_unary(f"/no.Service/Method{number}")(b""))

    assert len({id(call.method) for call in recording.calls}) == 1


def test_a_server_knows_its_own_paths() -> None:
    assert server_of(EchoServicer()).paths == {
        f"/{ECHO}/{name}" for name in ("Collect", "Converse", "Echo", "EchoStream")
    }


async def test_what_is_marked_public_and_what_is_listed_is(serving: Serving, recording: Recording) -> None:
    @public
    async def marked(request: Any, context: Any) -> pb.EchoReply:
        return pb.EchoReply()

    async def listed(request: Any, context: Any) -> pb.EchoReply:
        return pb.EchoReply()

    echo = await serving.composed(
        recording, servicer=Scripted(Echo=marked, Collect=listed), public=[f"/{ECHO}/Collect"]
    )
    await echo.stub.Echo(pb.EchoRequest())
    await echo.stub.Collect(iter([]))
    await echo.fails(anext(aiter(echo.stub.EchoStream(pb.EchoRequest()))))

    assert [call.method.public for call in recording.calls] == [True, True, False]


def test_grpcs_own_server_takes_the_same_registration() -> None:
    registrar = Registrar()
    handler = grpc.unary_unary_rpc_method_handler(EchoServicer().Echo)
    registrar.add_registered_method_handlers("a.Service", {"Method": handler})
    registrar.add_generic_rpc_handlers(())

    assert registrar.services == ("a.Service",)


def test_what_a_method_goes_through_is_put_together_once_and_not_for_each_call() -> None:
    registrar = Registrar()
    rpc.add_EchoServiceServicer_to_server(EchoServicer(), registrar)
    handlers = Handlers(registrar.handlers, [], serving=CallsServed())
    details = SimpleNamespace(method=f"/{ECHO}/Echo", invocation_metadata=())

    assert handlers.service(details) is handlers.service(details)
