"""Who calls too often is told when to try again; what is promised holds for any sequence of times."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession, web
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from chassis import ServiceChassis
from chassis.bus import subscribe
from chassis.call import Call, Interceptor, Kind, Method, Principal, compose
from chassis.errors import ResourceExhausted
from chassis.limits import SlidingWindow, TokenBucket
from chassis.testing import running
from chassis.testing.echo import EchoServicer, WritingEchoServicer
from interceptors import ErrorsInterceptor, RateLimitInterceptor, Rule, behind_auth
from tests.interceptors.around_kit import EVENT, MADE, SERVED
from tests.interceptors.echo_kit import Echo, Serving
from tests.interceptors.sync_kit import call

SECOND = 1_000_000_000
ONE_A_MINUTE = SlidingWindow(limit=1, window=60)
OTHER = Method.grpc("/pkg.Greeter/Part", Kind.STREAM_STREAM, "server")
UNKNOWN = Method("grpc", "server", "unknown", "", "unknown", Kind.STREAM_STREAM, known=False)

buckets = st.builds(TokenBucket, rate=st.floats(0.01, 1000), burst=st.integers(1, 5))
windows = st.builds(SlidingWindow, limit=st.integers(1, 5), window=st.floats(0.001, 60))
# Short and long against the limits above, and some at the same moment.
gaps = st.lists(st.one_of(st.just(0), st.integers(0, SECOND // 50), st.integers(0, 40 * SECOND)), max_size=60)


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class From(Call):
    """A call of somebody, from somewhere."""

    def __init__(self, who: str = "", host: str = "ipv4:10.0.0.1", method: Method = SERVED, parent: Any = None) -> None:
        super().__init__(method, parent=parent)
        self.principal = Principal(who, "service", "api_key") if who else None
        self._host = host

    @property
    def peer(self) -> str:
        return f"{self._host}:50123"


class Limited:
    """Rate limits around a handler that does nothing, on a clock of the test's own."""

    def __init__(self, *rules: Rule, **options: Any) -> None:
        self.clock = Clock()
        self.interceptor = RateLimitInterceptor(*rules, clock=self.clock, **options)

    def refused(self, call: Call) -> float | None:
        """None for a call that passed, else the seconds to wait. Runs to its end at once: nothing may be awaited."""

        async def handle(call: Call) -> None:
            """Do nothing."""

        going: Any = compose([self.interceptor], call.method, handle)(call)
        with pytest.raises((StopIteration, ResourceExhausted)) as ended:
            going.send(None)
        error = ended.value
        if isinstance(error, ResourceExhausted):
            assert error.retry_after is not None
            return error.retry_after
        return None

    def passes(self, *calls: Call) -> list[bool]:
        return [self.refused(call) is None for call in calls]


def promised(limit: TokenBucket | SlidingWindow, nanoseconds: int) -> Fraction:
    """The most calls that may pass within so long a time, both its ends included."""
    if isinstance(limit, TokenBucket):
        return limit.burst + Fraction(limit.rate) * Fraction(nanoseconds, SECOND)
    span = Fraction(nanoseconds, SECOND) / Fraction(limit.window)
    return limit.limit * (span.__floor__() + Fraction(1))


def keeps_its_promise(limit: TokenBucket | SlidingWindow, passed: list[int]) -> bool:
    return all(
        last - first + 1 <= promised(limit, passed[last] - passed[first])
        for first in range(len(passed))
        for last in range(first, len(passed))
    )


@given(limit=st.one_of(buckets, windows), gaps=gaps)
def test_no_time_sees_more_calls_than_were_promised(limit: TokenBucket | SlidingWindow, gaps: list[int]) -> None:
    limited = Limited(Rule(limit))
    passed = []
    for gap in gaps:
        limited.clock.now += gap
        if limited.refused(From("cqmd")) is None:
            passed.append(limited.clock.now)

    assert keeps_its_promise(limit, passed)


@given(limits=st.lists(st.one_of(buckets, windows), min_size=1, max_size=3), gaps=gaps)
def test_who_waits_as_long_as_was_said_passes(limits: list[TokenBucket | SlidingWindow], gaps: list[int]) -> None:
    limited = Limited(*(Rule(limit) for limit in limits))
    for gap in gaps:
        limited.clock.now += gap
        if (wait := limited.refused(From("cqmd"))) is not None:
            limited.clock.now += int(wait * 1e9)  # as it is sent
            assert limited.refused(From("cqmd")) is None


@given(
    limit=st.one_of(buckets, windows),
    calls=st.lists(st.tuples(st.integers(0, 5 * SECOND), st.sampled_from("abcdefgh"))),
    most=st.integers(1, 4),
)
def test_nobody_gets_more_than_promised_by_pushing_others_out(
    limit: TokenBucket | SlidingWindow, calls: list[tuple[int, str]], most: int
) -> None:
    limited = Limited(Rule(limit), max_keys=most)
    passed: dict[str, list[int]] = defaultdict(list)
    for gap, who in calls:
        limited.clock.now += gap
        if limited.refused(From(who)) is None:
            passed[who].append(limited.clock.now)
        assert sum(len(counters) for _, counters in limited.interceptor._counters) <= most

    assert all(keeps_its_promise(limit, each) for each in passed.values())


def test_a_bucket_passes_its_burst_and_then_its_rate() -> None:
    limited = Limited(Rule(TokenBucket(rate=2, burst=3)))

    assert limited.passes(*[From("cqmd")] * 4) == [True, True, True, False]
    assert limited.refused(From("cqmd")) == pytest.approx(0.5, abs=0.002)
    limited.clock.now += SECOND
    assert limited.passes(*[From("cqmd")] * 3) == [True, True, False]


def test_a_window_passes_its_limit_until_the_oldest_call_leaves_it() -> None:
    limited = Limited(Rule(SlidingWindow(limit=2, window=10)))
    assert limited.refused(From("cqmd")) is None
    limited.clock.now += 6 * SECOND

    assert limited.passes(From("cqmd"), From("cqmd")) == [True, False]
    assert limited.refused(From("cqmd")) == pytest.approx(4, abs=0.002)
    limited.clock.now += 4 * SECOND + 1
    assert limited.passes(From("cqmd"), From("cqmd")) == [True, False]


def test_calls_that_are_counted_as_one_count_until_the_last_of_them_is_old() -> None:
    limited = Limited(Rule(SlidingWindow(limit=2, window=64)))
    assert limited.refused(From("cqmd")) is None
    limited.clock.now += SECOND * 9 // 10
    assert limited.refused(From("cqmd")) is None
    limited.clock.now = SECOND * 129 // 2

    assert limited.passes(From("cqmd"), From("cqmd")).count(True) <= 1


def test_a_rate_that_is_no_whole_number_of_nanoseconds_is_kept() -> None:
    limit = TokenBucket(rate=3)
    bucket, now, passed = limit.new(), 0, []
    for _ in range(1000):
        now += bucket.wait(now)
        bucket.take(now)
        passed.append(now)

    assert len(passed) <= promised(limit, passed[-1])


def test_a_large_limit_takes_little_memory() -> None:
    limited = Limited(Rule(SlidingWindow(limit=100_000, window=60)))
    for _ in range(10_000):
        limited.clock.now += SECOND // 200
        assert limited.refused(From("cqmd")) is None

    ((_, counters),) = limited.interceptor._counters
    assert len(counters._young[_key_of("cqmd")]._entries) <= 65


@pytest.mark.parametrize(
    ("per", "of_the_method", "of_the_caller", "of_neither"),
    [
        ((), False, False, False),
        (("method",), False, True, True),
        (("principal",), True, False, True),
        (("principal", "method"), True, True, True),
    ],
    ids=str,
)
def test_a_rule_says_what_calls_are_counted_by(
    per: Any, of_the_method: bool, of_the_caller: bool, of_neither: bool
) -> None:
    def second(call: Call) -> bool:
        limited = Limited(Rule(ONE_A_MINUTE, per=per))
        return limited.passes(From("cqmd"), call)[1]

    assert not second(From("cqmd"))
    assert second(From("cqpm")) is of_the_method
    assert second(From("cqmd", method=OTHER)) is of_the_caller
    assert second(From("cqpm", method=OTHER)) is of_neither


def test_a_user_and_a_service_of_one_name_are_two() -> None:
    limited = Limited(Rule(ONE_A_MINUTE))
    user = From("cqmd")
    user.principal = Principal("cqmd", "user", "jwt")

    assert limited.passes(From("cqmd"), user) == [True, True]


def test_strangers_are_counted_by_their_host() -> None:
    limited = Limited(Rule(ONE_A_MINUTE))

    assert limited.passes(From(), From(), From(host="ipv6:%5B::1%5D")) == [True, False, True]


def test_a_call_that_one_rule_refuses_counts_for_none() -> None:
    limited = Limited(
        Rule(SlidingWindow(limit=2, window=60), per=("principal",)), Rule(ONE_A_MINUTE, methods=(SERVED.path,))
    )

    assert limited.passes(From("cqmd"), From("cqmd"), From("cqmd")) == [True, False, False]
    assert limited.passes(From("cqmd", method=OTHER), From("cqmd", method=OTHER)) == [True, False]


def test_the_longest_wait_of_all_rules_is_told() -> None:
    limited = Limited(Rule(ONE_A_MINUTE), Rule(SlidingWindow(limit=1, window=600)), Rule(TokenBucket(rate=1)))

    assert limited.passes(From("cqmd"))
    assert limited.refused(From("cqmd")) == pytest.approx(600, abs=0.002)


def test_a_rule_is_for_the_methods_that_it_names() -> None:
    limited = Limited(Rule(ONE_A_MINUTE, methods=("/pkg.Gr*",)))
    other = Method.grpc("/pkg.Prices/Get", Kind.UNARY_UNARY, "server")

    assert limited.interceptor.applies(SERVED)
    assert not limited.interceptor.applies(other)
    assert limited.passes(*[From("cqmd")] * 2, *[From("cqmd", method=other)] * 2) == [True, False, True, True]


def test_who_is_idle_is_forgotten() -> None:
    limited = Limited(Rule(ONE_A_MINUTE), max_keys=1000)
    ((_, counters),) = limited.interceptor._counters
    for number in range(1000):
        assert limited.refused(From(f"caller-{number}")) is None
    assert len(counters) == 1000

    for _ in range(2):
        limited.clock.now += 61 * SECOND
        assert limited.refused(From("cqmd")) is None

    assert len(counters) == 1


def test_when_there_are_too_many_callers_newcomers_share_one_limit_and_the_others_keep_theirs() -> None:
    limited = Limited(Rule(SlidingWindow(limit=2, window=60)), max_keys=2)

    assert limited.passes(From("a"), From("b")) == [True, True]
    assert limited.passes(From("c"), From("d"), From("e")) == [True, True, False]
    assert limited.passes(From("a"), From("b"), From("a")) == [True, True, False]


def test_who_shared_a_limit_gets_no_second_one_when_there_is_room_again() -> None:
    limited = Limited(Rule(SlidingWindow(limit=2, window=60)), max_keys=1)
    assert limited.passes(From("a")) == [True]
    limited.clock.now = 61 * SECOND
    assert limited.passes(From("c")) == [True]
    limited.clock.now = 120 * SECOND
    assert limited.passes(From("c")) == [True]
    limited.clock.now = 122 * SECOND  # `a` is forgotten
    assert limited.passes(From("c"), From("c")) == [True, False]

    ((_, counters),) = limited.interceptor._counters
    assert list(counters._young) == [_key_of("c")]


def _key_of(who: str) -> Any:
    return (SERVED.path, SERVED.name), ("service", who)


def test_nobody_is_forgotten_who_would_still_be_refused() -> None:
    limited = Limited(Rule(ONE_A_MINUTE))
    assert limited.passes(From("a")) == [True]
    for _ in range(59):
        limited.clock.now += SECOND
        limited.refused(From("b"))
    assert limited.passes(From("a")) == [False]


def test_probes_are_never_limited() -> None:
    limited = RateLimitInterceptor(Rule(ONE_A_MINUTE, per=()))
    for path in ("/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
        assert not limited.applies(Method.grpc(path, Kind.UNARY_UNARY, "server"))
    assert not limited.applies(Method("http", "server", "/figures", "", "GET", Kind.UNARY_UNARY, probe=True))
    assert limited.applies(Method("http", "server", "/metrics", "", "GET", Kind.UNARY_UNARY))
    assert limited.applies(UNKNOWN)


def test_events_are_limited_where_they_are_published_and_not_where_they_are_handled() -> None:
    published = Method("event", "client", EVENT.path, "memory", "publish", Kind.EVENT)
    served, made = RateLimitInterceptor(Rule(ONE_A_MINUTE)), RateLimitInterceptor(Rule(ONE_A_MINUTE), side="client")

    assert [each.applies(EVENT) for each in (served, made)] == [False, False]
    assert [each.applies(published) for each in (served, made)] == [False, True]
    assert [each.applies(MADE) for each in (served, made)] == [False, True]


def test_calls_going_out_are_counted_by_whom_they_are_made_for() -> None:
    limited = Limited(Rule(ONE_A_MINUTE), side="client")
    calls = [From(method=MADE, parent=From(who)) for who in ("cqmd", "cqmd", "cqpm")]

    assert limited.passes(*calls) == [True, False, True]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TokenBucket(rate=0), "rate must be"),
        (lambda: TokenBucket(rate=float("nan")), "rate must be"),
        (lambda: TokenBucket(rate=1, burst=0), "burst must be"),
        (lambda: SlidingWindow(limit=0, window=1), "limit must be"),
        (lambda: SlidingWindow(limit=1, window=float("inf")), "window must be"),
        (lambda: Rule(ONE_A_MINUTE, per="method"), "per must be"),  # type: ignore[arg-type]
        (lambda: Rule(ONE_A_MINUTE, per=("user",)), "per must be"),  # type: ignore[arg-type]
        (lambda: Rule(ONE_A_MINUTE, methods="/pkg.Greeter/Greet"), "methods must be several paths"),
        (lambda: RateLimitInterceptor(), "needs a rule"),
        (lambda: RateLimitInterceptor(Rule(ONE_A_MINUTE), max_keys=0), "max_keys"),
    ],
    ids=range(10),
)
def test_limits_that_make_no_sense_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


# Over the wire.

KINDS = {
    "Echo": Kind.UNARY_UNARY,
    "EchoStream": Kind.UNARY_STREAM,
    "Collect": Kind.STREAM_UNARY,
    "Converse": Kind.STREAM_STREAM,
}


async def begun(echo: Echo, kind: Kind) -> None:
    """Make a call of this kind, to its end."""
    one = pb.EchoRequest(text="hello")
    if kind is Kind.UNARY_UNARY:
        await echo.stub.Echo(one)
    elif kind is Kind.UNARY_STREAM:
        _ = [reply async for reply in echo.stub.EchoStream(one)]
    elif kind is Kind.STREAM_UNARY:
        await echo.stub.Collect(iter([one, one]))
    else:
        _ = [reply async for reply in echo.stub.Converse(iter([one, one]))]


@pytest.mark.parametrize("style", [EchoServicer, WritingEchoServicer])
@pytest.mark.parametrize("composed", [True, False], ids=["composed", "plain"])
@pytest.mark.parametrize("name", KINDS)
async def test_callers_of_every_kind_are_told_when_to_try_again(
    serving: Serving, name: str, composed: bool, style: type
) -> None:
    limit = RateLimitInterceptor(Rule(ONE_A_MINUTE))
    make = serving.composed if composed else serving.plain
    echo = await make(limit, ErrorsInterceptor(), servicer=style())
    asked = (f"/cqi.testing.v1.EchoService/{name}", KINDS[name], [pb.EchoRequest(text="hello")] * 2, pb.EchoReply)

    assert await call(echo.address, *asked)
    with pytest.raises(ResourceExhausted) as refused:
        await call(echo.address, *asked)

    assert str(refused.value) == "too many calls; the limit is 1 in 60 s for each principal and method"
    assert 50 < (refused.value.retry_after or 0) <= 60.001


async def test_unknown_methods_are_limited_as_one_and_probes_are_not(serving: Serving) -> None:
    echo = await serving.composed(RateLimitInterceptor(Rule(ONE_A_MINUTE)))
    names = [echo.channel.unary_unary(f"/cqi.testing.v1.EchoService/Nothing{number}") for number in range(2)]
    probe = health_pb2_grpc.HealthStub(echo.channel)

    codes = [(await echo.fails(name(b""))).code().name for name in names]

    assert codes == ["UNIMPLEMENTED", "RESOURCE_EXHAUSTED"]
    for _ in range(3):
        await probe.Check(health_pb2.HealthCheckRequest())


async def test_calls_going_out_are_refused_before_they_leave(serving: Serving) -> None:
    limit = RateLimitInterceptor(Rule(ONE_A_MINUTE), side="client")
    echo = await serving.composed(around_client=(limit, ErrorsInterceptor()))

    for kind in KINDS.values():
        await begun(echo, kind)
        with pytest.raises(ResourceExhausted):
            await begun(echo, kind)


class Shop(ServiceChassis):
    name = "shop"
    uses = ("bus",)

    def interceptors(self, default: list[Interceptor]) -> list[Interceptor]:
        limits = [RateLimitInterceptor(Rule(ONE_A_MINUTE))]
        limits += [RateLimitInterceptor(Rule(SlidingWindow(limit=3, window=60), per=()), side="client")]
        return behind_auth(default, *limits)

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/orders/{id}", self.get_order)

    async def on_start(self) -> None:
        self.seen: asyncio.Queue[str] = asyncio.Queue()

    async def get_order(self, request: web.Request) -> web.Response:
        return web.Response(text=request.match_info["id"])

    @subscribe(pb.EchoHappened)
    async def on_echo(self, event: pb.EchoHappened) -> None:
        await self.seen.put(event.text)


CONFIG: Mapping[str, object] = {"auth.api_keys": ["a:the-key-of-caller-a", "b:the-key-of-caller-b"]}


class Exchange(ServiceChassis):
    name = "exchange"

    def interceptors(self, default: list[Interceptor]) -> list[Interceptor]:
        return behind_auth(default, RateLimitInterceptor(Rule(TokenBucket(rate=1 / 60, burst=2))))

    def register(self, server: Any) -> None:
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)


async def test_a_caller_without_tokens_is_told_when_to_come_again_and_the_other_has_all_of_its_own() -> None:
    async with (
        running(Exchange, CONFIG) as exchange,
        grpc.aio.insecure_channel(exchange.service.grpc_address) as opened,
    ):
        stub: Any = rpc.EchoServiceStub(opened)

        async def ask(key: str) -> Any:
            return await stub.Echo(
                pb.EchoRequest(), metadata=[("authorization", f"Bearer the-key-of-caller-{key}")], timeout=20
            )

        told = [(await ask(key)).facts["principal"] for key in ("a", "a", "b")]
        assert told == ["service:a", "service:a", "service:b"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask("a")
        await ask("b")  # its second one

    assert refused.value.code() is StatusCode.RESOURCE_EXHAUSTED
    seen: Any = refused.value
    status, retry = rpc_status.from_call(seen), RetryInfo()
    assert status is not None
    assert any(detail.Unpack(retry) for detail in status.details)
    assert 30 < retry.retry_delay.ToTimedelta().total_seconds() <= 60


async def test_http_requests_are_refused_with_429_and_the_time_to_wait() -> None:
    async with running(Shop, CONFIG) as shop, ClientSession() as client:

        async def ask(path: str, key: str) -> tuple[int, str | None]:
            headers = {"Authorization": f"Bearer the-key-of-caller-{key}"}
            async with client.get(shop.http_url(path), headers=headers) as response:
                return response.status, response.headers.get("Retry-After")

        assert await ask("/orders/1", "a") == (200, None)
        status, wait = await ask("/orders/2", "a")  # another path, and the same route
        assert status == 429
        assert 50 < int(wait or 0) <= 61
        assert await ask("/orders/1", "b") == (200, None)
        assert [(await ask("/health/live", "a"))[0] for _ in range(3)] == [200] * 3


async def test_no_event_that_was_published_is_lost_to_a_limit() -> None:
    async with running(Shop) as shop:
        for number in range(3):
            await shop.service.bus.publish(pb.EchoHappened(text=str(number)))
        with pytest.raises(ResourceExhausted):
            await shop.service.bus.publish(pb.EchoHappened(text="one too many"))

        async with asyncio.timeout(10):
            assert [await shop.service.seen.get() for _ in range(3)] == ["0", "1", "2"]
