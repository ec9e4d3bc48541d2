from __future__ import annotations

import grpc
from cqi.testing.v1 import echo_pb2 as pb

from chassis.auth import ApiKeyAuthenticator
from chassis.call import Call, Interceptor, Kind, Method, Principal, compose
from interceptors import AuthInterceptor, IdentityInterceptor
from tests.interceptors.echo_kit import Recording, Serving

TOKEN = "key-of-a-caller-0123456789"
KNOWN = ApiKeyAuthenticator({"cqmd": [TOKEN]})
MADE = Method.grpc("/pkg.Prices/Get", Kind.UNARY_UNARY, "client")
SERVED = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")


async def sent(interceptor: Interceptor, parent: Call | None = None, **metadata: str) -> str | None:
    """The credentials that a call going out carries."""
    call = Call(MADE, parent=parent)
    call.metadata.update(metadata)

    async def handle(call: Call) -> str | None:
        return call.metadata.get("authorization")

    header: str | None = await compose([interceptor], MADE, handle)(call)
    return header


def served(token: str | None = "callers-own") -> Call:
    call = Call(SERVED)
    call.principal = Principal("cqmd", "service", "api_key", token=token)
    return call


async def test_a_service_says_who_it_is() -> None:
    assert await sent(IdentityInterceptor("mine")) == "Bearer mine"
    assert await sent(IdentityInterceptor("mine"), served()) == "Bearer mine"


async def test_a_token_that_changes_is_asked_for_each_time() -> None:
    tokens = iter(["first", "second"])
    identity = IdentityInterceptor(lambda: next(tokens))

    assert [await sent(identity), await sent(identity)] == ["Bearer first", "Bearer second"]


async def test_without_one_of_its_own_the_callers_credentials_are_passed_on() -> None:
    assert await sent(IdentityInterceptor(), served()) == "Bearer callers-own"
    assert await sent(IdentityInterceptor(), served(token=None)) is None
    assert await sent(IdentityInterceptor(), Call(SERVED)) is None
    assert await sent(IdentityInterceptor()) is None


async def test_targets_that_are_not_to_see_them_do_not() -> None:
    assert await sent(IdentityInterceptor(forward=False), served()) is None
    assert await sent(IdentityInterceptor("mine", forward=False), served()) == "Bearer mine"


async def test_a_function_that_has_no_token_right_now_does_not_hand_out_the_callers() -> None:
    assert await sent(IdentityInterceptor(lambda: None, forward=False), served()) is None  # type: ignore[arg-type, return-value]


async def test_credentials_that_the_call_has_are_kept() -> None:
    assert await sent(IdentityInterceptor("mine"), served(), authorization="Bearer given") == "Bearer given"


def test_identity_is_for_calls_going_out() -> None:
    publish = Method("event", "client", "topic", "memory", "publish", Kind.EVENT)

    assert IdentityInterceptor().applies(MADE)
    assert not IdentityInterceptor("mine").applies(SERVED)
    assert not IdentityInterceptor("mine").applies(publish)
    assert not IdentityInterceptor(forward=False).applies(MADE)


async def test_it_works_alone_on_a_channel(serving: Serving) -> None:
    recording = Recording()
    echo = await serving.composed(recording, AuthInterceptor(KNOWN), around_client=(IdentityInterceptor(TOKEN),))

    await echo.stub.Echo(pb.EchoRequest())
    await echo.stub.Collect(iter([pb.EchoRequest()]))

    assert [call.principal.id for call in recording.calls] == ["cqmd", "cqmd"]
    assert isinstance(echo.channel, grpc.aio.Channel)
