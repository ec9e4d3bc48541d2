from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode
from grpc_health.v1 import health_pb2

from chassis.auth import ApiKeyAuthenticator
from chassis.call import Call, Kind, Method, Principal, compose, current_principal
from chassis.client import channel
from chassis.errors import PermissionDenied, Temporary, Unauthorized
from chassis.metrics import Metrics
from interceptors import AuthInterceptor, MetricsInterceptor
from tests.interceptors.echo_kit import Recording, Scripted, Serving, failing

TOKEN = "key-of-a-caller-0123456789"
BEARER = [("authorization", f"Bearer {TOKEN}")]
KNOWN = ApiKeyAuthenticator({"cqmd": [TOKEN]})
MADE = Method.grpc("/pkg.Prices/Get", Kind.UNARY_UNARY, "client")
SERVED = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")


class Answering:
    """An authenticator that does what it is told."""

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self._answer = answer

    def authenticate(self, token: str) -> Any:
        return self._answer(token)


def raising(error: BaseException) -> Callable[[str], Any]:
    def answer(token: str) -> Any:
        raise error

    return answer


async def later(token: str) -> Principal:
    return Principal("later", "service", "api_key")


async def nobody_later(token: str) -> None: ...


async def failing_later(token: str) -> Principal:
    raise RuntimeError(f"no connection, tried with {token}")


async def never(token: str) -> Principal:
    await asyncio.Event().wait()
    raise AssertionError


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def test_the_principal_is_known_to_the_handler(serving: Serving) -> None:
    seen: list[Any] = []

    async def behave(request: Any, context: Any) -> pb.EchoReply:
        seen.append(current_principal())
        return pb.EchoReply()

    echo = await serving.composed(AuthInterceptor(KNOWN), servicer=Scripted(Echo=behave))
    await echo.stub.Echo(pb.EchoRequest(), metadata=BEARER)

    assert seen[0].actor_id == "service:cqmd"


@pytest.mark.parametrize(
    "metadata", [[], [("authorization", "Bearer wrong")], [*BEARER, *BEARER], [("authorization", "Basic abc")]]
)
async def test_who_does_not_say_who_they_are_gets_nowhere(
    serving: Serving, recording: Recording, metadata: list[tuple[str, str]]
) -> None:
    inner = Recording()
    echo = await serving.composed(recording, AuthInterceptor(KNOWN), inner)

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=metadata))

    assert error.code() is StatusCode.UNAUTHENTICATED
    assert recording.codes == ["UNAUTHENTICATED"]
    assert inner.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/cqi.testing.v1.EchoService/Nothing",
        "/grpc.health.v1.Health/../x",
        "/grpc.health.v1.Health/check",
        "/grpc.health.v1.health/Check",
        "/grpc.health.v1.Health/Check/",
        "//grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Check?",
        "/grpc.health.v1.Health/Check#",
        "/grpc.health.v1.Health/Check;x=y",
        "/grpc.health.v1.Health/Check ",
        " /grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health//Check",
        "/grpc.health.v1.Health/./Check",
        "/x/../grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health",
        "/grpc.health.v1.Health/",
        "/Health/Check",
        "/grpc.health.v1.Health/%43heck",
        "/grpc.health.v1.Health%2FCheck",
        "%2Fgrpc.health.v1.Health/Check",
        "/GRPC.HEALTH.V1.HEALTH/CHECK",
        "/grpc.health.v1.Health/Ch\u00e9ck",
        "/grpc.health.v1.Health/\u0421heck",
        "/grpc.health.v2.Health/Check",
        "/grpc.health.v1.Health/Checks",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo/",
        "/grpc.reflection.v1.ServerReflection/serverReflectionInfo",
        "/grpc.reflection.v2.ServerReflection/ServerReflectionInfo",
        "/",
        "/x",
    ],
)
async def test_what_only_looks_like_an_exempt_name_needs_credentials(serving: Serving, path: str) -> None:
    echo = await serving.composed(AuthInterceptor(KNOWN), reflection=True)
    method = echo.channel.unary_unary(path)

    without = await echo.fails(method(b""))
    given = await echo.fails(method(b"", metadata=BEARER))

    assert (without.code(), given.code()) == (StatusCode.UNAUTHENTICATED, StatusCode.UNIMPLEMENTED)


@pytest.mark.parametrize("name", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_health_and_reflection_need_no_credentials(serving: Serving, name: str) -> None:
    echo = await serving.composed(AuthInterceptor(KNOWN), reflection=True)
    check = echo.channel.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    reflect = echo.channel.stream_stream(f"/{name}.ServerReflection/ServerReflectionInfo")

    assert (await check(b"")).status == health_pb2.HealthCheckResponse.SERVING
    assert [answer async for answer in reflect(iter([]))] == []


async def test_other_names_can_be_open_or_none_at_all(serving: Serving) -> None:
    closed = await serving.composed(AuthInterceptor(KNOWN, public=()))
    opened = await serving.composed(AuthInterceptor(KNOWN, public=["/cqi.testing.v1.EchoService/Echo"]))

    error = await closed.fails(closed.channel.unary_unary("/grpc.health.v1.Health/Check")(b""))

    assert error.code() is StatusCode.UNAUTHENTICATED
    assert (await opened.stub.Echo(pb.EchoRequest(text="open"))).text == "open"


async def test_methods_that_the_server_was_told_are_public_are(serving: Serving) -> None:
    echo = await serving.composed(AuthInterceptor(KNOWN), public=["/cqi.testing.v1.EchoService/Echo"])

    assert (await echo.stub.Echo(pb.EchoRequest(text="open"))).text == "open"
    error = await echo.fails(anext(aiter(echo.stub.EchoStream(pb.EchoRequest()))))
    assert error.code() is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "answer",
    [
        raising(RuntimeError(f"no connection, tried with {TOKEN}")),
        raising(KeyError(TOKEN)),
        lambda token: None,
        raising(Unreadable()),
        raising(StopIteration()),
        raising(asyncio.CancelledError()),
        raising(BaseExceptionGroup("several", [KeyError(TOKEN), asyncio.CancelledError()])),
        lambda token: "cqmd",
        lambda token: True,
        lambda token: Principal,
        nobody_later,
        failing_later,
    ],
)
async def test_an_authenticator_that_fails_lets_nobody_through(
    serving: Serving, recording: Recording, answer: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    inner = Recording()
    echo = await serving.composed(recording, AuthInterceptor(Answering(answer)), inner)

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER))

    assert error.code() is StatusCode.UNAVAILABLE
    assert inner.calls == []
    assert TOKEN not in f"{error.details()}{recording.calls[0].error!r}{recording.calls[0].error.detail}{caplog.text}"


async def test_what_an_authenticator_failed_with_is_counted_and_told_to_the_log_alone(
    serving: Serving, recording: Recording
) -> None:
    metrics = Metrics("svc")
    auth = AuthInterceptor(Answering(raising(KeyError(TOKEN))), metrics=metrics)
    echo = await serving.composed(MetricsInterceptor(metrics), recording, auth)

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER))

    assert error.details() == "credentials can not be checked right now"
    detail = recording.calls[0].error.detail
    assert re.fullmatch(r"KeyError in raising\.<locals>\.answer \(test_auth\.py:\d+\)", detail)
    lines = counted(metrics)
    assert [line.split()[-1] for line in lines if 'status_code="UNAVAILABLE",system="grpc"' in line] == ["1.0"]
    assert len(lines) == 1


def counted(metrics: Metrics) -> list[str]:
    _, page = metrics.exposition("")
    return [line for line in page.decode().splitlines() if line.startswith("svc_auth_failures_total{")]


@pytest.mark.parametrize(
    ("remote", "code", "message"),
    [
        ("UNAUTHENTICATED", "UNAUTHENTICATED", "invalid or expired credentials"),
        ("PERMISSION_DENIED", "UNAVAILABLE", "credentials can not be checked right now"),
        ("NOT_FOUND", "UNAVAILABLE", "credentials can not be checked right now"),
        ("INTERNAL", "UNAVAILABLE", "credentials can not be checked right now"),
        ("UNAVAILABLE", "UNAVAILABLE", "credentials can not be checked right now"),
    ],
)
async def test_what_a_service_says_that_an_authenticator_asks_is_not_said_of_the_call(
    serving: Serving, recording: Recording, remote: str, code: str, message: str
) -> None:
    identity, inner, metrics = await serving.composed(), Recording(), Metrics("svc")

    async with channel(identity.address) as to_identity:
        stub = rpc.EchoServiceStub(to_identity)

        async def ask(token: str) -> Principal:
            await stub.Echo(failing(remote, f"nothing is known of {token}"))
            raise AssertionError("it does not fail")

        auth = AuthInterceptor(Answering(ask), metrics=metrics)
        echo = await serving.composed(MetricsInterceptor(metrics), recording, auth, inner)
        error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER))

    assert (error.code().name, error.details(), recording.codes) == (code, message, [code])
    assert recording.calls[0].error.detail == f"/cqi.testing.v1.EchoService/Echo answered {remote}"
    assert inner.calls == []
    assert [line.split()[-1] for line in counted(metrics) if f'"{code}"' in line] == ["1.0"]
    assert len(counted(metrics)) == 1


async def test_a_database_of_an_authenticator_that_is_away_is_counted(serving: Serving, recording: Recording) -> None:
    metrics = Metrics("svc")
    auth = AuthInterceptor(Answering(raising(Temporary("no connection"))), metrics=metrics)
    echo = await serving.composed(MetricsInterceptor(metrics), recording, auth)

    await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER))

    assert recording.codes == ["UNAVAILABLE"]
    assert [line.split()[-1] for line in counted(metrics) if '"UNAVAILABLE"' in line] == ["1.0"]


async def test_an_authenticator_that_does_not_answer_lets_nobody_through(
    serving: Serving, recording: Recording
) -> None:
    inner = Recording()
    echo = await serving.composed(recording, AuthInterceptor(Answering(never), timeout=0.01), inner)

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER))

    assert (error.code(), recording.codes) == (StatusCode.UNAVAILABLE, ["UNAVAILABLE"])
    assert inner.calls == []
    with pytest.raises(ValueError, match="more than 0 seconds"):
        AuthInterceptor(KNOWN, timeout=0)


@pytest.mark.parametrize(("how", "code"), [("deadline", "DEADLINE_EXCEEDED"), ("cancel", "CANCELLED")])
async def test_who_gives_up_waiting_for_an_authenticator_has_given_up(
    serving: Serving, recording: Recording, how: str, code: str
) -> None:
    inner = Recording()
    echo = await serving.composed(recording, AuthInterceptor(Answering(never)), inner)

    call = echo.stub.Echo(pb.EchoRequest(), metadata=BEARER, timeout=0.2 if how == "deadline" else 30)
    await asyncio.wait_for(recording.begun.wait(), 10)
    if how == "cancel":
        call.cancel()

    assert await recording.until(1) == [code]
    assert inner.calls == []


async def test_a_call_that_is_cancelled_while_credentials_are_checked_is_cancelled() -> None:
    asked = asyncio.Event()

    async def ask(token: str) -> Principal:
        asked.set()
        return await never(token)

    async def handle(call: Call) -> None: ...

    call = Call(SERVED)
    call.metadata["authorization"] = f"Bearer {TOKEN}"
    task = asyncio.ensure_future(compose([AuthInterceptor(Answering(ask))], SERVED, handle)(call))
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("cls", [Unauthorized, PermissionDenied])
async def test_what_an_authenticator_says_is_answered(serving: Serving, cls: type[Any]) -> None:
    echo = await serving.composed(AuthInterceptor(Answering(raising(cls("not you")))))

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER))

    assert (error.code(), error.details()) == (cls.meaning.code, "not you")


async def test_an_authenticator_may_have_to_wait(serving: Serving, recording: Recording) -> None:
    echo = await serving.composed(recording, AuthInterceptor(Answering(later)))

    await echo.stub.Echo(pb.EchoRequest(), metadata=BEARER)

    assert recording.calls[0].principal.id == "later"


def test_auth_is_for_requests_that_are_served() -> None:
    auth = AuthInterceptor(KNOWN)
    event = Method("event", "server", "topic", "memory", "process", Kind.EVENT)
    public = Method("http", "server", "/docs", "", "GET", Kind.UNARY_UNARY, public=True)

    assert auth.applies(SERVED)
    assert [auth.applies(method) for method in (MADE, event, public)] == [False] * 3
