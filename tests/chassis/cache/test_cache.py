"""What the cache makes of a backend that fails, and of calls that end; the rest is in tests/contracts/test_cache.py."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import Asset
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from chassis.cache import BackendFailure, Cache, MemoryBackend
from chassis.cache.recording import Recording
from chassis.call import Call, Kind, Method, enter
from chassis.errors import Cancelled, DeadlineExceeded, Temporary
from chassis.metrics import Metrics
from chassis.tracing import Tracing
from tests.assets import BITCOIN

KEY = "asset:a-1"
METHOD = Method.grpc("/pkg.Registry/Get", Kind.UNARY_UNARY, "server")


class Failing(MemoryBackend):
    """Fails with `reason`, as long as there is one; remembers what it was asked, and for how long."""

    system = "redis"
    span_attributes: Mapping[str, str | int] = {"server.address": "cache-1", "server.port": 6379, "db.namespace": "0"}

    def __init__(self, reason: str = "") -> None:
        super().__init__()
        self.reason = reason
        self.asked: list[tuple[str, float | None]] = []

    async def check(self) -> None:
        await super().check()
        if self.reason:
            raise BackendFailure(self.reason)

    async def get(self, key: bytes, timeout: float | None) -> bytes | None:
        self.asked.append(("get", timeout))
        return await super().get(key, timeout)

    async def set(self, key: bytes, value: bytes, ttl: float, timeout: float | None) -> None:
        self.asked.append(("set", timeout))
        await super().set(key, value, ttl, timeout)

    async def delete(self, keys: Sequence[bytes], timeout: float | None) -> int:
        self.asked.append(("delete", timeout))
        return await super().delete(keys, timeout)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def made(backend: MemoryBackend, **options: Any) -> Cache:
    cache = Cache(backend, **options)
    await cache.start()
    return cache


def serve(seconds: float | None) -> Call:
    """Be within a call that has so much time left."""
    call = Call(METHOD)
    call.deadline = None if seconds is None else time.monotonic() + seconds
    enter(call)
    return call


async def load() -> Asset:
    return BITCOIN


# A backend that fails.


async def test_a_cache_that_did_not_answer_is_not_asked_to_store_what_was_loaded() -> None:
    backend = Failing("it is on fire")
    metrics = Metrics("cqar")
    cache = await made(backend, metrics=metrics)
    assert await cache.get_or_load(KEY, Asset, load) == BITCOIN
    assert [what for what, _ in backend.asked] == ["get"]
    assert metrics.value("cqar_cache_skip_total", entity="asset") == 1
    assert metrics.value("cqar_cache_get_error_total", entity="asset") == 1
    assert metrics.value("cqar_cache_miss_total", entity="asset") == 0


async def test_a_cache_that_does_not_take_a_value_costs_the_caller_nothing() -> None:
    class Full(Failing):
        async def set(self, key: bytes, value: bytes, ttl: float, timeout: float | None) -> None:
            raise BackendFailure("its memory is full")

    metrics = Metrics("cqar")
    cache = await made(Full(), metrics=metrics)
    assert await cache.get_or_load(KEY, Asset, load) == BITCOIN
    assert await cache.set(KEY, BITCOIN) is False
    assert metrics.value("cqar_cache_set_error_total", entity="asset") == 2
    assert metrics.value("cqar_cache_miss_total", entity="asset") == 1


async def test_a_deletion_that_failed_is_told_and_counted_for_each_key() -> None:
    metrics = Metrics("cqar")
    cache = await made(Failing("it is on fire"), metrics=metrics)
    with pytest.raises(Temporary, match="did not confirm") as raised:
        await cache.delete("asset:1", "asset:2", "venue:1")
    assert raised.value.detail == "redis: it is on fire"
    assert "fire" not in raised.value.message
    assert metrics.value("cqar_cache_delete_error_total", entity="asset") == 2
    assert metrics.value("cqar_cache_delete_error_total", entity="venue") == 1


async def test_a_failing_cache_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    backend = Failing("it is on fire")
    cache = await made(backend, clock=clock)
    for now in (0.0, 1.0, 29.9, 30.1):
        clock.now = now
        await cache.get(KEY, Asset)
    backend.reason = "its memory is full"
    await cache.set(KEY, BITCOIN)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "the cache is of no use right now: it is on fire; values come from their sources"),
        (logging.WARNING, "the cache is of no use right now: it is on fire; values come from their sources"),
        (logging.WARNING, "the cache is of no use right now: its memory is full; values come from their sources"),
    ]


async def test_a_value_that_is_none_is_told_without_its_key(caplog: pytest.LogCaptureFixture) -> None:
    cache = await made(MemoryBackend())
    await cache.backend.set(KEY.encode(), b"\xff", 0, None)
    for _ in range(3):
        await cache.get(KEY, Asset)
    assert [record.getMessage() for record in caplog.records] == [
        "a value of the entity asset is no cqc.assets.v1.Asset of this schema and is taken for a miss"
    ]


async def test_the_check_says_what_is_wrong() -> None:
    cache = await made(Failing("it is on fire"))
    with pytest.raises(Temporary, match=r"^redis: it is on fire$"):
        await cache.check()


def test_it_is_required_unless_said_otherwise() -> None:
    assert Cache(MemoryBackend()).required is True
    assert Cache(MemoryBackend(), required=False).required is False
    assert Cache.name == "cache"


def test_a_default_time_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        Cache(MemoryBackend(), default_ttl=-1)


async def test_the_default_time_is_the_one_that_was_configured() -> None:
    clock = Clock()
    cache = await made(MemoryBackend(clock=clock), default_ttl=7)
    await cache.set("asset:1", BITCOIN)
    await cache.set("asset:2", BITCOIN, ttl=0)
    await cache.get_or_load("asset:3", Asset, load)
    await cache.get_or_load("asset:4", Asset, load, 8)
    clock.now = 7.5
    assert [await cache.exists(f"asset:{number}") for number in (1, 2, 3, 4)] == [False, True, False, True]


async def test_a_thousand_callers_of_a_dead_cache_still_cause_one_load() -> None:
    cache = await made(Failing("it is on fire"))
    loads = 0
    begun, go = asyncio.Event(), asyncio.Event()

    async def count() -> Asset:
        nonlocal loads
        loads += 1
        begun.set()
        await go.wait()
        return BITCOIN

    callers = [asyncio.ensure_future(cache.get_or_load(KEY, Asset, count)) for _ in range(1000)]
    await begun.wait()
    go.set()
    assert await asyncio.gather(*callers) == [BITCOIN] * 1000
    assert loads == 1


async def test_whoever_learns_late_that_the_key_is_missing_gets_what_was_loaded_meanwhile() -> None:
    class Slow(Failing):
        """Answers the second reader when it is told to, and keeps nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.second = asyncio.Event()

        async def get(self, key: bytes, timeout: float | None) -> bytes | None:
            self.asked.append(("get", timeout))
            if len(self.asked) == 2:
                await self.second.wait()
            return None

        async def set(self, key: bytes, value: bytes, ttl: float, timeout: float | None) -> None:
            raise BackendFailure("its memory is full")

    backend = Slow()
    cache = await made(backend)
    loads = []

    async def count() -> Asset:
        loads.append(1)
        return BITCOIN

    first, second = (asyncio.ensure_future(cache.get_or_load(KEY, Asset, count)) for _ in range(2))
    assert await first == BITCOIN
    backend.second.set()
    assert await second == BITCOIN
    assert len(loads) == 1


# The calls that ask.


@pytest.mark.parametrize("seconds", [None, 5.0])
async def test_the_backend_knows_how_long_the_caller_can_wait(seconds: float | None) -> None:
    backend = Failing()
    cache = await made(backend)
    serve(seconds)
    await cache.get(KEY, Asset)
    await cache.set(KEY, BITCOIN)
    await cache.delete(KEY)
    assert [what for what, _ in backend.asked] == ["get", "set", "delete"]
    for _, timeout in backend.asked:
        assert timeout is None if seconds is None else timeout is not None and 0 < timeout <= seconds


async def test_a_call_whose_time_is_over_asks_nobody() -> None:
    backend = Failing()
    cache = await made(backend)
    serve(-1)
    assert await cache.get(KEY, Asset) is None
    assert await cache.set(KEY, BITCOIN) is False
    with pytest.raises(DeadlineExceeded):
        await cache.delete(KEY)
    assert backend.asked == []


@pytest.mark.parametrize("error", [DeadlineExceeded, Cancelled])
async def test_those_who_have_time_try_again_where_the_time_of_the_first_was_over(
    error: type[DeadlineExceeded | Cancelled],
) -> None:
    cache = await made(MemoryBackend())
    begun, go = asyncio.Event(), asyncio.Event()
    first_call = Call(METHOD)

    async def of_the_first() -> Asset:
        begun.set()
        await go.wait()
        raise error("the query had no more time")

    async def first() -> Asset:
        enter(first_call)
        first_call.deadline = time.monotonic() + 1000
        return await cache.get_or_load(KEY, Asset, of_the_first)

    leader = asyncio.ensure_future(first())
    await begun.wait()
    followers = [asyncio.ensure_future(cache.get_or_load(KEY, Asset, load)) for _ in range(10)]
    await asyncio.sleep(0)
    for flight in cache._flights._flights.values():
        flight._deadline = time.monotonic() - 1
    go.set()
    with pytest.raises(error, match="no more time"):
        await leader
    assert await asyncio.gather(*followers) == [BITCOIN] * 10


async def test_an_error_of_the_source_itself_is_everybodys() -> None:
    cache = await made(MemoryBackend())
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> Asset:
        begun.set()
        await go.wait()
        raise DeadlineExceeded("the source gave up")

    callers = [asyncio.ensure_future(cache.get_or_load(KEY, Asset, slow)) for _ in range(3)]
    await begun.wait()
    go.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [DeadlineExceeded] * 3


async def test_a_loader_that_cancels_itself_is_a_failure_and_nobodys_cancellation() -> None:
    cache = await made(MemoryBackend())

    async def cancelled() -> Asset:
        raise asyncio.CancelledError

    with pytest.raises(Temporary, match="its loader was cancelled"):
        await cache.get_or_load(KEY, Asset, cancelled)
    assert len(cache._flights) == 0


async def test_nothing_is_left_of_loads_that_are_over() -> None:
    cache = await made(MemoryBackend())
    await asyncio.gather(*(cache.get_or_load(f"asset:{number % 10}", Asset, load) for number in range(100)))
    await asyncio.gather(*(cache.get_or_load(f"asset:{number}", Asset, load) for number in range(10)))
    assert len(cache._flights) == 0


async def test_the_stop_ends_a_load_whose_entry_was_changed_meanwhile() -> None:
    cache = await made(MemoryBackend())
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never() -> Asset:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, never))
    await begun.wait()
    await cache.set(KEY, BITCOIN)
    await cache.stop()
    assert ended.is_set()
    with pytest.raises(Temporary, match="was not loaded"):
        await caller


async def test_two_types_under_one_key_are_loaded_each_by_its_own_loader() -> None:
    from cqc.venues.v1.venue_pb2 import Venue

    cache = await made(MemoryBackend())
    go = asyncio.Event()

    async def asset() -> Asset:
        await go.wait()
        return BITCOIN

    async def venue() -> Venue:
        await go.wait()
        return Venue(venue_id="v-1")

    both = asyncio.gather(cache.get_or_load("x:1", Asset, asset), cache.get_or_load("x:1", Venue, venue))
    await asyncio.sleep(0)
    go.set()
    assert await both == [BITCOIN, Venue(venue_id="v-1")]


# What is recorded.


def test_entities_beyond_a_number_share_one_series() -> None:
    metrics = Metrics("cqar")
    recording = Recording(metrics)
    for number in range(Recording.MAX_ENTITIES + 50):
        recording.of(f"entity{number}:1").hits.inc()
    assert metrics.value("cqar_cache_hit_total", entity="entity99") == 1
    assert metrics.value("cqar_cache_hit_total", entity="entity100") is None
    assert metrics.value("cqar_cache_hit_total", entity="overflow") == 50


async def test_spans_are_made_within_traces_that_are_recorded() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("cqar", sample_rate=1.0, exporter=exporter)
    await tracing.start()
    backend = Failing()
    metrics = Metrics("cqar")
    cache = await made(backend, tracing=tracing, metrics=metrics)
    # No loop or task outside of calls begins a trace with it.
    await asyncio.get_running_loop().create_task(cache.get(KEY, Asset), context=Context())
    with tracing.tracer.start_as_current_span("around"):
        await cache.set(KEY, BITCOIN)
        await cache.exists(KEY)
        backend.reason = "it is on fire"
        await cache.get(KEY, Asset)
    await tracing.stop()
    stored, looked, read, around = exporter.get_finished_spans()
    assert [span.name for span in (stored, looked, read, around)] == ["SET", "EXISTS", "GET", "around"]
    assert stored.kind is SpanKind.CLIENT
    assert stored.parent is not None
    assert around.context is not None
    assert stored.parent.span_id == around.context.span_id
    common = {
        "db.system.name": "redis",
        "server.address": "cache-1",
        "server.port": 6379,
        "db.namespace": "0",
    }
    assert stored.attributes == common | {"db.operation.name": "SET"}
    assert read.attributes == common | {"db.operation.name": "GET", "error.type": "BackendFailure"}
    assert (stored.status.is_ok, read.status.is_ok, read.status.description) == (True, False, "it is on fire")
    _, page = metrics.exposition("application/openmetrics-text")
    seen = [line for line in page.decode().splitlines() if f"{around.context.trace_id:032x}" in line]
    assert {line.partition('operation="')[2].partition('"')[0] for line in seen} == {"set", "exists", "get"}


async def test_without_tracing_and_in_memory_there_are_no_spans() -> None:
    off = Tracing("cqar", enabled=False)
    on = Tracing("cqar", sample_rate=1.0)
    assert Cache(Failing(), tracing=off)._spans is None
    assert Cache(MemoryBackend(), tracing=on)._spans is None


def test_the_driver_is_imported_where_a_cache_in_redis_is_made_and_not_before() -> None:
    program = "import sys, chassis.cache; print({'redis', 'hiredis', 'tenacity'} & {*sys.modules} or None)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
