"""What one connection can ask of a server, from clients that keep to nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from chassis import ServiceChassis
from chassis.call import Kind
from chassis.client import channel
from chassis.errors import ResourceExhausted
from chassis.server import Limits
from chassis.testing import running
from chassis.testing.echo import EchoServicer
from tests.chassis.server.until import PATIENCE, until
from tests.hostile import GOAWAY, HEADERS, RST_STREAM, Hostile, message
from tests.interceptors.echo_kit import Recording, Scripted, Serving
from tests.interceptors.sync_kit import call

SERVICE = "cqi.testing.v1.EchoService"
ECHO = f"/{SERVICE}/Echo".encode()
STREAMS = 400
REFUSED = {7, 11}  # REFUSED_STREAM, or ENHANCE_YOUR_CALM where the client has not acknowledged the settings


class Crowd:
    """A handler that nobody comes out of; it knows how many are in it, and how many have been at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0

    async def work(self, request: Any, context: Any) -> pb.EchoReply:
        if request.text == "ordinary":
            return pb.EchoReply(text=request.text)
        self.now += 1
        self.all += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.Event().wait()
        finally:
            self.now -= 1
        raise AssertionError


def _flooded(hostile: Hostile, *, settings_first: bool) -> Counter[str]:
    """Open many streams, and see what becomes of those that are not let in; returns how they ended."""
    if settings_first:
        hostile.receive()
    for _ in range(STREAMS):
        hostile.call(ECHO, body=message(b""))
    ends: Counter[str] = Counter()
    while ends.total() < STREAMS - 100:
        frame = hostile.receive()
        if frame is None or frame.kind == GOAWAY:
            ends["connection"] += 1
            break
        if frame.kind == RST_STREAM:
            ends["refused" if int.from_bytes(frame.payload, "big") in REFUSED else repr(frame)] += 1
        elif frame.kind == HEADERS:
            ends[repr(frame)] += 1
    return ends


@pytest.mark.parametrize("settings_first", [True, False], ids=["keeps to the settings", "does not"])
async def test_of_400_calls_on_one_connection_as_many_run_as_are_allowed(
    serving: Serving, settings_first: bool
) -> None:
    crowd = Crowd()
    echo = await serving.composed(servicer=Scripted(Echo=crowd.work), limits=Limits(max_concurrent_streams=100))

    with Hostile(echo.server.port) as hostile:
        ends = await asyncio.to_thread(_flooded, hostile, settings_first=settings_first)
        await until(lambda: crowd.now == 100)
        other = await echo.stub.Echo(pb.EchoRequest(text="ordinary"), timeout=PATIENCE)

    assert ends == {"refused": STREAMS - 100}
    assert (crowd.most, crowd.all) == (100, 100)
    assert other.text == "ordinary"
    await until(lambda: crowd.now == 0)  # whose connection is gone


async def test_a_client_that_keeps_to_the_limit_has_its_calls_one_after_the_other(serving: Serving) -> None:
    inside, most = 0, 0
    go_on = asyncio.Event()

    async def work(request: Any, context: Any) -> pb.EchoReply:
        nonlocal inside, most
        if request.text:
            inside += 1
            most = max(most, inside)
            await go_on.wait()
            inside -= 1
        return pb.EchoReply(text=request.text)

    echo = await serving.composed(servicer=Scripted(Echo=work), limits=Limits(max_concurrent_streams=10))
    await echo.stub.Echo(pb.EchoRequest(), timeout=PATIENCE)  # with which the client learns of the limit
    calls = [echo.stub.Echo(pb.EchoRequest(text=str(number)), timeout=PATIENCE) for number in range(STREAMS)]
    await until(lambda: inside >= 10)
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(echo.address, options=own_connection) as other:
        for _ in range(20):  # long enough for more to come in, if they could
            await rpc.EchoServiceStub(other).Echo(pb.EchoRequest(), timeout=PATIENCE)
    assert inside == 10
    go_on.set()
    texts = [(await call).text for call in calls]

    assert texts == [str(number) for number in range(STREAMS)]
    assert most <= 10


@pytest.mark.parametrize("kind", ["Echo", "EchoStream", "Collect", "Converse", "Nothing"])
@pytest.mark.parametrize("settings_first", [True, False], ids=["keeps to the settings", "does not"])
async def test_too_much_metadata_is_refused_in_every_kind_of_call(
    serving: Serving, recording: Recording, kind: str, settings_first: bool
) -> None:
    echo = await serving.composed(recording)
    path = f"/cqi.testing.v1.EchoService/{kind}".encode()

    def attack() -> StatusCode | None:
        with Hostile(echo.server.port) as hostile:
            if settings_first:
                hostile.receive()
            end = hostile.end_of(hostile.call(path, [(b"x-large", b"x" * 65536)], body=message(b"")))
            return end.status if end is not None else None

    assert await asyncio.to_thread(attack) is StatusCode.RESOURCE_EXHAUSTED
    if not settings_first:
        assert recording.calls == [], "nobody looked at it"
    await until(lambda: echo.server.running == 0)
    assert (await echo.stub.Echo(pb.EchoRequest(text="others"))).text == "others"


@pytest.mark.parametrize(("count", "code"), [(12, StatusCode.OK), (13, StatusCode.RESOURCE_EXHAUSTED)])
async def test_the_size_of_metadata_is_that_of_all_names_and_values(
    serving: Serving, count: int, code: StatusCode
) -> None:
    echo = await serving.composed(limits=Limits(max_metadata_bytes=1300))
    headers = [(b"x-%02d" % number, b"x" * 64) for number in range(count)]  # 100 bytes each, as HTTP/2 counts

    def call() -> StatusCode | None:
        with Hostile(echo.server.port) as hostile:
            stream = hostile.call(ECHO, headers, body=message(b""))
            while (frame := hostile.receive()) is not None:
                if frame.stream == stream and frame.status is not None:
                    return frame.status
        return None

    assert await asyncio.to_thread(call) is code


# A first reply that is small enough, and a second one that is not; as streams are written in either way.


async def _yielding(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
    yield pb.EchoReply(text="small")
    yield pb.EchoReply(padding=b"x" * 2000)


async def _writing(request: Any, context: Any) -> None:
    await context.write(pb.EchoReply(text="small"))
    await context.write(pb.EchoReply(padding=b"x" * 2000))


@pytest.mark.parametrize("style", [_yielding, _writing])
@pytest.mark.parametrize("kind", [Kind.UNARY_STREAM, Kind.STREAM_STREAM], ids=lambda kind: kind.name.lower())
async def test_a_reply_within_a_stream_that_is_too_large_is_refused_and_recorded_as_that(
    serving: Serving, recording: Recording, kind: Kind, style: Any
) -> None:
    name = "EchoStream" if kind is Kind.UNARY_STREAM else "Converse"
    echo = await serving.composed(
        recording, servicer=Scripted(**{name: style}), limits=Limits(max_send_message_bytes=1000)
    )
    replies: list[Any] = []

    with pytest.raises(ResourceExhausted, match="sends at most 1000"):
        await call(echo.address, f"/{SERVICE}/{name}", kind, [pb.EchoRequest()], pb.EchoReply, received=replies)

    assert [reply.text for reply in replies] == ["small"]
    assert await recording.until(1) == ["RESOURCE_EXHAUSTED"]


@pytest.mark.parametrize("kind", ["Echo", "EchoStream", "Collect", "Converse"])
async def test_a_reply_that_is_too_large_for_the_shipped_client_is_raised_as_that(serving: Serving, kind: str) -> None:
    echo = await serving.composed(limits=Limits(max_receive_message_bytes=-1, max_send_message_bytes=-1))
    large = pb.EchoRequest(padding=b"x" * (4 * 1024 * 1024))
    made = Recording()

    async with channel(echo.address, interceptors=lambda default: [made, *default]) as shipped:
        method: Any = getattr(rpc.EchoServiceStub(shipped), kind)
        answer = method(iter([large]) if kind in ("Collect", "Converse") else large, timeout=PATIENCE)
        with pytest.raises(ResourceExhausted, match="larger than max"):
            await (anext(aiter(answer)) if kind in ("EchoStream", "Converse") else answer)

    assert made.codes == ["RESOURCE_EXHAUSTED"]


class Configured(ServiceChassis):
    name = "configured"

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)


LIMITS = {
    "max_receive_message_bytes": "2KiB",
    "max_send_message_bytes": "1KiB",
    "max_metadata_bytes": "1KiB",
    "max_concurrent_streams": 2,
}


@pytest.fixture(params=["file or code", "environment"])
async def configured(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    by_code = {f"server.{name}": value for name, value in LIMITS.items()}
    by_environment = {f"CQI_SERVER_{name.upper()}": str(value) for name, value in LIMITS.items()}
    from_code = request.param == "file or code"
    async with running(
        Configured, by_code if from_code else None, environ=None if from_code else by_environment
    ) as service:
        yield service


@pytest.mark.parametrize(
    ("padding", "metadata", "told"),
    [
        (2100, 0, "larger than max"),  # the request
        (1100, 0, "sends at most 1024"),  # the reply
        (0, 2000, "metadata size exceeds"),
    ],
    ids=["request", "reply", "metadata"],
)
async def test_the_limits_are_those_of_the_configuration(
    configured: Any, padding: int, metadata: int, told: str
) -> None:
    stub: Any = rpc.EchoServiceStub(configured.channel())
    request = pb.EchoRequest(padding=b"x" * padding)

    with pytest.raises(ResourceExhausted, match=told):
        await stub.Echo(request, metadata=[("x-large", "x" * metadata)], timeout=PATIENCE)
    assert (await stub.Echo(pb.EchoRequest(text="small"), timeout=PATIENCE)).text == "small"


async def test_the_limit_of_calls_is_that_of_the_configuration(configured: Any) -> None:
    port = int(configured.service.grpc_address.rpartition(":")[2])
    waiting = message(pb.EchoRequest(outcome=pb.OUTCOME_WAIT).SerializeToString())

    def refused() -> int:
        with Hostile(port) as hostile:
            hostile.receive()
            for _ in range(5):
                hostile.call(ECHO, body=waiting)
            count = 0
            while count < 3:
                frame = hostile.receive()
                assert frame is not None
                count += frame.kind == RST_STREAM
            return count

    assert await asyncio.to_thread(refused) == 3
