"""Messages that break the rules of their .proto files are refused wherever they come in, with every field named."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession, web
from cqi.testing.v1 import echo_pb2 as echo
from cqi.v1.dead_letter_pb2 import DeadLetter
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode

from chassis import ServiceChassis
from chassis.bus import EventCall, subscribe
from chassis.call import Interceptor, Kind, Method
from chassis.errors import InvalidInput, Unauthorized
from chassis.server import GrpcServer
from chassis.testing import running
from interceptors import ErrorsInterceptor, ValidationInterceptor, behind_auth
from interceptors.validation import _has_rules
from tests.interceptors.rules_kit import orders
from tests.interceptors.sync_kit import call

pb, rpc = orders()
GOOD = pb.Order(symbol="silver", amount=2)
BAD = pb.Order(amount=-1)
SERVED = Method.grpc("/orders_for_tests.Orders/Place", Kind.UNARY_UNARY, "server")
KINDS = {
    "Place": Kind.UNARY_UNARY,
    "Quote": Kind.UNARY_STREAM,
    "PlaceAll": Kind.STREAM_UNARY,
    "Trade": Kind.STREAM_STREAM,
}


class Generating(rpc.Orders):
    """Reads streams by iterating over them, and yields."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def _see(self, order: Any) -> Any:
        self.seen.append(order.symbol)
        return pb.Placed(text=order.symbol)

    async def Place(self, request: Any, context: Any) -> Any:
        return self._see(request)

    async def Quote(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield self._see(request)

    async def PlaceAll(self, requests: Any, context: Any) -> Any:
        return pb.Placed(text=",".join([self._see(order).text async for order in requests]))

    async def Trade(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for order in requests:
            yield self._see(order)


class Writing(Generating):
    """Reads streams by the context, and writes to it."""

    async def Quote(self, request: Any, context: Any) -> None:  # type: ignore[override]
        await context.write(self._see(request))

    async def PlaceAll(self, requests: Any, context: Any) -> Any:
        texts = []
        while (order := await context.read()) is not grpc.aio.EOF:
            texts.append(self._see(order).text)
        return pb.Placed(text=",".join(texts))

    async def Trade(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        while (order := await context.read()) is not grpc.aio.EOF:
            await context.write(self._see(order))


class Exchange:
    """The service with rules around it."""

    def __init__(self, style: type[Generating], *, composed: bool) -> None:
        self.servicer = style()
        self._composed = composed

    async def __aenter__(self) -> Exchange:
        around = [ValidationInterceptor(), ErrorsInterceptor()]
        if self._composed:
            server = GrpcServer(self._register, around, grace=0.2)
            await server.start()
            self.address, self._stop = server.address, server.stop
        else:
            plain = grpc.aio.server(interceptors=around, options=[("grpc.so_reuseport", 0)])
            self._register(plain)
            self.address = f"127.0.0.1:{plain.add_insecure_port('127.0.0.1:0')}"
            await plain.start()
            self._stop = lambda: plain.stop(0)  # type: ignore[assignment,return-value]
        return self

    def _register(self, server: Any) -> None:
        rpc.add_OrdersServicer_to_server(self.servicer, server)

    async def __aexit__(self, *error: object) -> None:
        await self._stop()

    async def call(self, name: str, *requests: Any) -> list[str]:
        """Send these; gives the texts of the replies."""
        replies = await call(self.address, f"/orders_for_tests.Orders/{name}", KINDS[name], list(requests), pb.Placed)
        return [reply.text for reply in replies]


@pytest.fixture(params=[Generating, Writing], ids=["generators", "context"])
def style(request: pytest.FixtureRequest) -> type[Generating]:
    return request.param  # type: ignore[no-any-return]


def fields(error: InvalidInput) -> dict[str, str]:
    (told,) = (detail for detail in error.details if isinstance(detail, BadRequest))
    return {each.field: each.description for each in told.field_violations}


@pytest.fixture
def validation() -> ValidationInterceptor:
    return ValidationInterceptor()


@pytest.mark.parametrize("composed", [True, False], ids=["composed", "plain"])
@pytest.mark.parametrize("name", KINDS)
async def test_a_request_that_breaks_its_rules_never_reaches_the_handler(
    name: str, style: type[Generating], composed: bool
) -> None:
    async with Exchange(style, composed=composed) as exchange:
        assert await exchange.call(name, GOOD) == ["silver"]  # though the reply breaks a rule
        with pytest.raises(InvalidInput) as refused:
            await exchange.call(name, BAD)

    assert refused.value.code is StatusCode.INVALID_ARGUMENT
    assert fields(refused.value) == {"symbol": "must be at least 1 characters", "amount": "must be greater than 0"}
    assert exchange.servicer.seen == ["silver"]


@pytest.mark.parametrize("name", ["PlaceAll", "Trade"])
async def test_each_message_of_a_stream_is_checked_when_it_is_read(name: str, style: type[Generating]) -> None:
    async with Exchange(style, composed=True) as exchange:
        with pytest.raises(InvalidInput, match="invalid input for symbol"):
            await exchange.call(name, GOOD, GOOD, BAD, GOOD)
        assert exchange.servicer.seen == ["silver", "silver"]

        sent = await exchange.call(name, GOOD, GOOD)
        assert sent in (["silver,silver"], ["silver", "silver"])


def test_all_that_is_wrong_is_told_at_once_with_its_place(validation: ValidationInterceptor) -> None:
    order = pb.Order(
        symbol="gold",
        amount=-1,
        legs=[pb.Leg(number=1), pb.Leg(number=1, hedge=BAD)],
        by_venue={"binance": pb.Leg()},
    )

    with pytest.raises(InvalidInput) as refused:
        validation.check(order)

    assert fields(refused.value) == {
        "": "gold is not sold by less than 5",
        "amount": "must be greater than 0",
        "legs[1].hedge.symbol": "must be at least 1 characters",
        "legs[1].hedge.amount": "must be greater than 0",
        'by_venue["binance"].number': "must be greater than or equal to 1",
    }
    assert str(refused.value) == "invalid input: gold is not sold by less than 5, and 4 more"


def test_the_message_of_one_that_is_wrong_names_it(validation: ValidationInterceptor) -> None:
    with pytest.raises(InvalidInput, match=r"^invalid input for symbol: must be at least 1 characters$"):
        validation.check(pb.OrderPlaced())


async def test_what_is_told_of_many_violations_still_fits_into_an_answer() -> None:
    many = pb.Order(symbol="silver", amount=2, legs=[pb.Leg()] * 500)
    long = pb.Order(symbol="silver", amount=2, by_venue={"Ω" * 1500: pb.Leg()})
    async with Exchange(Generating, composed=True) as exchange:
        with pytest.raises(InvalidInput, match="and 499 more") as refused:
            await exchange.call("Place", many)
        assert 10 < len(fields(refused.value)) < 500
        with pytest.raises(InvalidInput) as refused:
            await exchange.call("Place", long)
        assert len(fields(refused.value)) == 1


def test_of_a_large_message_only_the_first_violation_is_looked_for(
    validation: ValidationInterceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    find = validation._find
    monkeypatch.setattr(validation, "_find", lambda *given, **how: asked.append(how) or find(*given, **how))

    with pytest.raises(InvalidInput) as refused:
        validation.check(pb.Order(symbol="silver", amount=2, legs=[pb.Leg()] * 100_000))

    assert fields(refused.value) == {"legs[0].number": "must be greater than or equal to 1"}
    assert asked == [{"fail_fast": True}]


@pytest.mark.parametrize(
    ("message", "ruled"),
    [
        (pb.Order, True),
        (pb.Basket, True),  # by what is in its map
        (pb.Either, True),  # by its oneof alone
        (pb.Chain, False),  # which can hold itself
        (echo.EchoRequest, False),
    ],
)
def test_whether_there_are_rules_is_seen_in_all_that_a_message_can_hold(message: Any, ruled: bool) -> None:
    assert _has_rules(message.DESCRIPTOR) is ruled


# A message with `(buf.validate.field).required = true`, and nobody who knows what that is.
BARE = """
from google.protobuf import descriptor_pb2, descriptor_pool
from interceptors.validation import _has_rules

def found(options):
    file = descriptor_pb2.FileDescriptorProto(name=f"{options}.proto", package="bare" + options)
    text = file.message_type.add(name="Bare").field.add(name="text", number=1, type=9, label=1)
    text.options.MergeFromString(bytes.fromhex(options))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return _has_rules(pool.FindMessageTypeByName(file.package + ".Bare"))

print(found("ba4803c80101"), found("1801"))
"""


def test_rules_are_seen_where_nobody_imported_what_they_are_written_in() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "True False"


def test_messages_without_rules_and_what_is_no_message_pass(validation: ValidationInterceptor) -> None:
    for thing in (echo.EchoRequest(), pb.Chain(), b"bytes", grpc.aio.EOF, None):
        validation.check(thing)


def test_what_is_sent_is_not_checked_and_neither_is_what_does_not_exist(validation: ValidationInterceptor) -> None:
    unknown = Method("grpc", "server", "unknown", "", "unknown", Kind.STREAM_STREAM, known=False)
    made = Method.grpc(SERVED.path, Kind.UNARY_UNARY, "client")
    published = Method("event", "client", "cqi.testing.v1.order_placed", "memory", "publish", Kind.EVENT)
    handled = Method("event", "server", published.path, "memory", "process", Kind.EVENT)

    assert [validation.applies(each) for each in (SERVED, handled)] == [True, True]
    assert [validation.applies(each) for each in (unknown, made, published)] == [False] * 3


def test_a_rule_that_cannot_be_evaluated_is_a_mistake_of_the_service(validation: ValidationInterceptor) -> None:
    with pytest.raises(Exception, match="error evaluating impossible") as raised:
        validation.check(pb.Impossible(number=1))

    assert not isinstance(raised.value, InvalidInput)


def test_where_the_package_is_missing_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "protovalidate", None)

    with pytest.raises(ImportError, match=r"pip install 'cq-chassis\[validation\]'"):
        ValidationInterceptor()


class Shop(ServiceChassis):
    name = "shop"
    uses = ("bus",)

    def interceptors(self, default: list[Interceptor]) -> list[Interceptor]:
        self.validation = ValidationInterceptor()
        return behind_auth(default, self.validation)

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_OrdersServicer_to_server(Generating(), server)

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/orders", self.post_order)

    async def post_order(self, request: web.Request) -> web.Response:
        order = pb.Order.FromString(await request.read())
        self.validation.check(order)
        return web.Response(text=order.symbol)

    async def on_start(self) -> None:
        self.seen: asyncio.Queue[str] = asyncio.Queue()

    @subscribe("cqi.testing.v1.order_placed", message_type=pb.OrderPlaced)
    async def on_order(self, event: Any, call: EventCall) -> None:
        await self.seen.put(f"{event.symbol}, delivery {call.deliveries}")

    @subscribe("cqi.dlq.shop.order_placed", message_type=DeadLetter)
    async def on_dead_letter(self, letter: DeadLetter) -> None:
        await self.seen.put(f"{letter.code}: {letter.reason}, delivery {letter.deliveries}")


CONFIG: Mapping[str, object] = {"auth.api_keys": ["test:the-key-of-the-test"], "log.output": "stderr"}


async def test_routes_check_what_they_decoded() -> None:
    async with running(Shop) as shop, ClientSession() as client:
        async with client.post(shop.http_url("/orders"), data=GOOD.SerializeToString()) as response:
            assert await response.text() == "silver"
        async with client.post(shop.http_url("/orders"), data=pb.Order(symbol="a").SerializeToString()) as response:
            assert response.status == 400
            assert (await response.json())["error"] == "invalid input for amount: must be greater than 0"


async def test_an_event_that_breaks_its_rules_is_a_dead_letter_at_once() -> None:
    async with running(Shop, {"log.output": "stderr"}) as shop:
        bus, seen = shop.service.bus, shop.service.seen
        async with asyncio.timeout(10):
            await bus.publish("cqi.testing.v1.order_placed", pb.OrderPlaced())
            told = await seen.get()
            await bus.publish("cqi.testing.v1.order_placed", pb.OrderPlaced(symbol="silver"))
            assert await seen.get() == "silver, delivery 1"

    reason = "invalid input for symbol: must be at least 1 characters"
    assert told == f"INVALID_ARGUMENT: {reason}, delivery 1"


async def test_who_may_not_call_does_not_learn_the_rules() -> None:
    async with running(Shop, CONFIG) as shop:
        stranger, known = (rpc.OrdersStub(shop.channel(token=token)) for token in (None, "the-key-of-the-test"))
        with pytest.raises(Unauthorized):
            await stranger.Place(BAD)
        with pytest.raises(InvalidInput):
            await known.Place(BAD)
