"""The echo service, in both styles."""

from __future__ import annotations

from typing import Any

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.testing.echo import OUTCOME_KEY, EchoServicer, WritingEchoServicer
from tests.interceptors.echo_kit import Echo, Serving

KINDS = ["Echo", "EchoStream", "Collect", "Converse"]
STREAMS = ["EchoStream", "Converse"]


@pytest.fixture(params=[EchoServicer, WritingEchoServicer])
def servicer(request: pytest.FixtureRequest) -> type[Any]:
    cls: type[Any] = request.param
    return cls


@pytest.fixture(params=["bare", "composed"])
async def echo(request: pytest.FixtureRequest, serving: Serving, servicer: type[Any]) -> Echo:
    start = serving.plain if request.param == "bare" else serving.composed
    return await start(servicer=servicer())


async def ask(echo: Echo, kind: str, *requests: pb.EchoRequest) -> tuple[list[pb.EchoReply], Any]:
    """What comes back, and the error that it ends with."""
    method = getattr(echo.stub, kind)
    call = method(iter(requests) if kind in ("Collect", "Converse") else requests[0], timeout=10)
    replies: list[pb.EchoReply] = []

    async def read() -> None:
        if kind in STREAMS:
            async for reply in call:
                replies.append(reply)
        else:
            replies.append(await call)

    try:
        await read()
    except Exception as error:
        return replies, error
    return replies, None


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_said_comes_back(echo: Echo, kind: str) -> None:
    replies, error = await ask(echo, kind, pb.EchoRequest(text="hello", padding=b"123"))

    assert error is None
    assert [(reply.text, reply.index, reply.padding) for reply in replies] == [("hello", 0, b"123")]


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("count", [0, 1, 3])
async def test_streams_give_as_many_replies_as_are_asked_for(echo: Echo, kind: str, count: int) -> None:
    replies, _ = await ask(echo, kind, pb.EchoRequest(text="hello", count=count, delay_ms=1))

    assert [reply.index for reply in replies] == list(range(count))


async def test_what_is_collected_comes_back_joined(echo: Echo) -> None:
    replies, _ = await ask(
        echo, "Collect", pb.EchoRequest(text="a", padding=b"1"), pb.EchoRequest(text="b", padding=b"2")
    )
    nothing, _ = await ask(echo, "Collect")

    assert [(reply.text, reply.padding) for reply in replies] == [("ab", b"12")]
    assert [reply.text for reply in nothing] == [""]


async def test_in_a_conversation_each_is_answered(echo: Echo) -> None:
    replies, _ = await ask(echo, "Converse", pb.EchoRequest(text="a", count=2), pb.EchoRequest(text="b"))

    assert [(reply.text, reply.index) for reply in replies] == [("a", 0), ("a", 1), ("b", 2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (pb.OUTCOME_ABORT, "OUT_OF_RANGE"),
        (pb.OUTCOME_ABORT_WITH_STATUS, "OUT_OF_RANGE"),
        (pb.OUTCOME_SET_CODE, "OUT_OF_RANGE"),
        (pb.OUTCOME_NOT_IMPLEMENTED, "UNIMPLEMENTED"),
    ],
)
async def test_calls_end_as_they_are_asked_to(echo: Echo, kind: str, outcome: pb.Outcome, code: str) -> None:
    request = pb.EchoRequest(text="the end", outcome=outcome, code="OUT_OF_RANGE")

    _, error = await ask(echo, kind, request)

    assert error.code().name == code
    assert dict(error.trailing_metadata())[OUTCOME_KEY] == pb.Outcome.Name(outcome)
    if code == "OUT_OF_RANGE":
        assert error.details() == "the end"


@pytest.mark.parametrize("kind", STREAMS)
async def test_streams_fail_behind_as_many_replies_as_are_asked_for(echo: Echo, kind: str) -> None:
    request = pb.EchoRequest(text="a", outcome=pb.OUTCOME_ABORT, code="ABORTED", fail_after=2)

    replies, error = await ask(echo, kind, request)

    assert [reply.index for reply in replies] == [0, 1]
    assert error.code() is StatusCode.ABORTED


@pytest.mark.parametrize("kind", KINDS)
async def test_a_code_that_there_is_not_is_told(serving: Serving, servicer: type[Any], kind: str) -> None:
    echo = await serving.composed(servicer=servicer())

    _, error = await ask(echo, kind, pb.EchoRequest(outcome=pb.OUTCOME_DOMAIN_ERROR, code="NOT_THERE"))

    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert "'NOT_THERE' is the name of no gRPC status code" in error.details()


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_can_wait_behind_its_replies(serving: Serving, servicer: type[Any], kind: str) -> None:
    echo = await serving.composed(servicer=servicer())
    request = pb.EchoRequest(text="then", outcome=pb.OUTCOME_WAIT, fail_after=1)
    call = getattr(echo.stub, kind)(iter([request]) if kind == "Converse" else request)

    assert (await call.read()).text == "then"
    call.cancel()


async def test_facts_are_told_unless_they_are_not_to_be(serving: Serving, servicer: type[Any]) -> None:
    telling = await serving.composed(servicer=servicer())
    silent = await serving.composed(servicer=servicer(tell_facts=False))
    traceparent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    metadata = [("x-request-id", "r-1"), traceparent]

    told = await telling.stub.Echo(pb.EchoRequest(), metadata=metadata, timeout=5)
    untold = await silent.stub.Echo(pb.EchoRequest(), metadata=metadata)

    assert told.facts["request_id"] == "r-1"
    assert told.facts["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert 0 < float(told.facts["time_remaining"]) < 6
    assert dict(untold.facts) == {}
