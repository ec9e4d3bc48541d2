"""What needs credentials, and which names do not."""

from __future__ import annotations

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode
from grpc_health.v1 import health_pb2

from chassis.auth import ApiKeyAuthenticator
from chassis.call import Kind, Method
from interceptors import AuthInterceptor
from tests.interceptors.echo_kit import Serving

TOKEN = "key-of-a-caller-0123456789"
BEARER = [("authorization", f"Bearer {TOKEN}")]
KNOWN = ApiKeyAuthenticator({"cqmd": [TOKEN]})
MADE = Method.grpc("/pkg.Prices/Get", Kind.UNARY_UNARY, "client")
SERVED = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")


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


def test_auth_is_for_requests_that_are_served() -> None:
    auth = AuthInterceptor(KNOWN)
    event = Method("event", "server", "topic", "memory", "process", Kind.EVENT)
    public = Method("http", "server", "/docs", "", "GET", Kind.UNARY_UNARY, public=True)

    assert auth.applies(SERVED)
    assert [auth.applies(method) for method in (MADE, event, public)] == [False] * 3
