from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from chassis.auth import ApiKeyAuthenticator
from chassis.call import Call, Kind, Method, Principal, compose, current_principal
from chassis.client import channel
from chassis.errors import (
    Cancelled,
    ChassisError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Permanent,
    PermissionDenied,
    ResourceExhausted,
    Temporary,
    Unauthorized,
)
from chassis.metrics import Metrics
from interceptors import AuthInterceptor, MetricsInterceptor
from tests.interceptors.echo_kit import Recording, Scripted, Serving, failing

TOKEN = "key-of-a-caller-0123456789"
BEARER = [("authorization", f"Bearer {TOKEN}")]
KNOWN = ApiKeyAuthenticator({"cqmd": [TOKEN]})
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
    "answer",
    [
        raising(RuntimeError(f"no connection, tried with {TOKEN}")),
        raising(KeyError(TOKEN)),
        lambda token: None,
        raising(Unreadable()),
        raising(StopIteration()),
        raising(asyncio.CancelledError()),
        raising(BaseExceptionGroup("several", [KeyError(TOKEN), asyncio.CancelledError()])),
        raising(NotFound.of("api key", TOKEN)),
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


@pytest.mark.parametrize(
    "cls", [NotFound, InvalidInput, ResourceExhausted, FailedPrecondition, Permanent, DeadlineExceeded, Cancelled]
)
async def test_an_error_with_a_meaning_that_is_none_of_the_call_is_a_failure_and_counted(
    serving: Serving, recording: Recording, cls: type[ChassisError]
) -> None:
    metrics = Metrics("svc")
    auth = AuthInterceptor(Answering(raising(cls(f"SELECT … WHERE key = {TOKEN}"))), metrics=metrics)
    echo = await serving.composed(MetricsInterceptor(metrics), recording, auth)

    error = await echo.fails(echo.stub.Echo(pb.EchoRequest(), metadata=BEARER, timeout=30))

    assert (error.code(), error.details()) == (StatusCode.UNAVAILABLE, "credentials can not be checked right now")
    assert recording.calls[0].error.detail.startswith(f"{cls.__name__} in raising.<locals>.answer (test_auth.py:")
    assert [line.split()[-1] for line in counted(metrics) if '"UNAVAILABLE"' in line] == ["1.0"]


async def test_a_call_that_is_over_by_then_is_no_failure_of_the_authenticators() -> None:
    metrics = Metrics("svc")
    begun = asyncio.Event()

    async def too_late(token: str) -> Principal:
        raise DeadlineExceeded("the deadline passed while the database was asked")

    async def given_up(token: str) -> Principal:
        begun.set()
        try:
            return await never(token)
        except asyncio.CancelledError:
            raise Cancelled("the caller gave up") from None

    async def handle(call: Call) -> None: ...

    def calling(answer: Callable[[str], Any], deadline: float | None = None) -> Any:
        call = Call(SERVED, metadata={"authorization": f"Bearer {TOKEN}"}, deadline=deadline)
        return compose([AuthInterceptor(Answering(answer), metrics=metrics)], SERVED, handle)(call)

    with pytest.raises(DeadlineExceeded, match="while the database was asked"):
        await calling(too_late, deadline=time.monotonic())
    task = asyncio.ensure_future(calling(given_up))
    await begun.wait()
    task.cancel()
    with pytest.raises(Cancelled, match="the caller gave up"):
        await task
    assert counted(metrics) == []


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

    call = echo.stub.Echo(pb.EchoRequest(), metadata=BEARER, timeout=1 if how == "deadline" else 30)
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
