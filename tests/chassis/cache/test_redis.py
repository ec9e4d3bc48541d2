"""Redis that is dead, frozen, full or of another mind: a miss, within the time that was said, and never an error."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import Asset
from redis.asyncio import Redis

from chassis.cache import BackendFailure, Cache, cache_key
from chassis.cache.redis import RedisBackend
from chassis.call import Call, Kind, Method, enter, leave
from chassis.config import Secret
from chassis.dev import RedisServer
from chassis.errors import DeadlineExceeded, Temporary
from chassis.metrics import Metrics
from chassis.testing.servers import KeyspaceForTest, frozen
from tests.chassis.cache.fake_redis import Command, FakeRedis
from tests.proxy import Proxy

PATIENCE = 20.0
# What does not answer at all is waited for so long; what does answer has PATIENCE, as the machine may be busy.
SHORT = 0.05
KEY = cache_key("asset", "a-1")
BITCOIN = Asset(asset_id="a-1", symbol="BTC")


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that nobody else uses, to be frozen, filled and stopped."""
    server = RedisServer(Path(tmp_path_factory.mktemp("redis")), durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("cqar")


@pytest.fixture
async def caches(metrics: Metrics) -> AsyncIterator[Callable[..., Any]]:
    """Makes caches that run, and stops them."""
    running: list[Cache] = []

    async def make(server: Any, *, timeout: float = PATIENCE, **options: Any) -> Cache:
        password = getattr(server, "password", Secret(""))
        secret = Secret(password) if isinstance(password, str) else password
        backend = RedisBackend(server.host, server.port, password=secret, timeout=timeout, **options)
        cache = Cache(backend, metrics=metrics)
        await cache.start()
        running.append(cache)
        return cache

    yield make
    for cache in running:
        await cache.stop()


@pytest.fixture
async def proxy(redis_keyspace: KeyspaceForTest) -> AsyncIterator[Proxy]:
    """In front of the Redis of all tests."""
    async with Proxy(redis_keyspace.host, redis_keyspace.port) as proxy:
        proxy.password = redis_keyspace.password  # type: ignore[attr-defined]
        yield proxy


@pytest.fixture
async def redis(own_server: RedisServer) -> AsyncIterator[Any]:
    """What operators do to the own server."""
    client = Redis(host=own_server.host, port=own_server.port, password=own_server.password)
    yield client
    await client.aclose()


async def load() -> Asset:
    return BITCOIN


async def everything_degrades(cache: Cache, metrics: Metrics) -> None:
    """Whatever is asked, the caller gets on, and it is counted as what it is."""
    before = {name: metrics.value(f"cqar_cache_{name}_total", entity="asset") or 0 for name in ERRORS}
    assert await cache.get(KEY, Asset) is None
    assert await cache.exists(KEY) is False
    assert await cache.set(KEY, BITCOIN) is False
    assert await cache.get_or_load(KEY, Asset, load) == BITCOIN
    with pytest.raises(Temporary, match="the cache did not confirm that the old value is gone"):
        await cache.delete(KEY)
    counted = {name: metrics.value(f"cqar_cache_{name}_total", entity="asset") - before[name] for name in ERRORS}  # type: ignore[operator]
    assert counted == ERRORS


# Reads: get, exists, and that of get_or_load, which then does not ask a second time.
ERRORS = {"hit": 0, "miss": 0, "get_error": 3, "set_error": 1, "delete_error": 1, "skip": 1}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def works(cache: Cache) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await cache.set(KEY, BITCOIN):
            pass
    assert await cache.get(KEY, Asset) == BITCOIN


# Gone.


async def test_a_redis_that_refuses_is_a_miss_and_back_as_soon_as_it_is(
    proxy: Proxy, caches: Any, metrics: Metrics
) -> None:
    proxy.refuse()
    cache = await caches(proxy)
    await everything_degrades(cache, metrics)
    with pytest.raises(Temporary, match=r"^redis: it refuses connections$"):
        await cache.check()
    await proxy.heal()
    await works(cache)
    await cache.check()


async def test_a_host_without_an_address_is_a_miss(
    caches: Any, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    class Elsewhere:
        host, port = "cache-1.invalid", 6379

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    cache = await caches(Elsewhere)
    await everything_degrades(cache, metrics)
    with pytest.raises(Temporary, match=r"^redis: the name of its host is not known$"):
        await cache.check()


async def test_connections_that_are_reset_cost_nothing_once_that_is_known(proxy: Proxy, caches: Any) -> None:
    cache = await caches(proxy)
    await works(cache)
    proxy.reset()
    await until(lambda: not cache.backend.connections)
    assert await cache.get(KEY, Asset) == BITCOIN


async def test_a_command_whose_connection_is_lost_is_a_miss(proxy: Proxy, caches: Any, metrics: Metrics) -> None:
    cache = await caches(proxy)
    await works(cache)
    proxy.blackhole("down")
    reading = asyncio.ensure_future(cache.get(KEY, Asset))
    await passed_on(proxy, proxy.bytes_up)
    proxy.reset()
    assert await reading is None
    assert metrics.value("cqar_cache_get_error_total", entity="asset") == 1


async def test_with_retries_it_is_sent_again_on_a_new_connection(proxy: Proxy, caches: Any, metrics: Metrics) -> None:
    cache = await caches(proxy, max_retries=1)
    await works(cache)
    proxy.blackhole("down")
    reading = asyncio.ensure_future(cache.get(KEY, Asset))
    await passed_on(proxy, proxy.bytes_up)
    proxy.reset()
    await proxy.heal()
    assert await reading == BITCOIN
    assert metrics.value("cqar_cache_get_error_total", entity="asset") == 0


async def test_retries_end_where_their_number_does(proxy: Proxy, caches: Any) -> None:
    proxy.refuse()
    cache = await caches(proxy, max_retries=2, min_idle=0)
    assert await cache.get(KEY, Asset) is None


async def passed_on(proxy: Proxy, before: int) -> None:
    await until(lambda: proxy.bytes_up > before)


# There, and silent.


async def test_a_black_hole_is_a_miss_within_the_time_that_was_said(
    proxy: Proxy, caches: Any, metrics: Metrics
) -> None:
    cache = await caches(proxy, timeout=SHORT)
    await works(cache)
    proxy.blackhole()
    await everything_degrades(cache, metrics)
    with pytest.raises(Temporary, match=r"^redis: it did not answer in time$"):
        await cache.check()
    await proxy.heal()
    await works(cache)


async def test_a_black_hole_before_the_first_connection_is_one_too(proxy: Proxy, caches: Any, metrics: Metrics) -> None:
    proxy.blackhole()
    cache = await caches(proxy, timeout=SHORT, dial_timeout=SHORT)
    await everything_degrades(cache, metrics)
    await proxy.heal()
    await works(cache)


async def test_connecting_goes_on_where_those_who_asked_had_no_more_time(proxy: Proxy, caches: Any) -> None:
    proxy.delay(0.15)
    cache = await caches(proxy, timeout=SHORT, dial_timeout=PATIENCE, min_idle=0)
    assert await cache.get(KEY, Asset) is None
    proxy.delay(0)
    await works(cache)


async def test_a_frozen_redis_is_a_miss_and_works_when_it_goes_on(
    own_server: RedisServer, caches: Any, metrics: Metrics
) -> None:
    cache = await caches(own_server, timeout=SHORT)
    await works(cache)
    with frozen(own_server):
        await everything_degrades(cache, metrics)
    await works(cache)


async def test_callers_do_not_queue_behind_connections_that_are_frozen(
    own_server: RedisServer, caches: Any, metrics: Metrics
) -> None:
    cache = await caches(own_server, timeout=SHORT, pool_size=2)
    await works(cache)
    with frozen(own_server):
        # One after the other on two connections, these would take longer than the test has.
        batches = int(2.5 * PATIENCE / SHORT)
        async with asyncio.timeout(PATIENCE):
            callers = []
            for _ in range(batches):
                callers.append(asyncio.ensure_future(cache.get(KEY, Asset)))
                await asyncio.sleep(0)
            assert await asyncio.gather(*callers) == [None] * batches
    await works(cache)


async def test_large_values_that_a_frozen_redis_does_not_take_leave_nothing_behind(
    own_server: RedisServer, caches: Any
) -> None:
    cache = await caches(own_server, timeout=SHORT, dial_timeout=SHORT)
    await works(cache)
    large = Asset(description="x" * 20_000_000)
    with frozen(own_server):
        assert await cache.set("asset:large", large) is False
        async with asyncio.timeout(PATIENCE):
            while cache.backend.connections:
                await cache.get(KEY, Asset)
    await works(cache)


async def test_what_did_not_answer_is_not_asked_again_on_connections_from_before(proxy: Proxy, caches: Any) -> None:
    cache = await caches(proxy, timeout=SHORT, min_idle=4, pool_size=4)
    await until(lambda: cache.backend.connections == 4)
    proxy.blackhole()
    assert await cache.get(KEY, Asset) is None
    await until(lambda: not cache.backend.connections)


async def test_no_caller_ever_gets_the_answer_to_anothers_question(proxy: Proxy, caches: Any) -> None:
    keys = [cache_key("asset", number) for number in range(20)]
    cache = await caches(proxy, timeout=SHORT)
    await works(cache)
    async with asyncio.timeout(PATIENCE):
        for key in keys:
            while not await cache.set(key, Asset(asset_id=key)):
                pass
    # Answers come at about the time at which they are given up: some are read, some are too late.
    proxy.delay(SHORT, direction="down")
    for _ in range(10):
        found = await asyncio.gather(*(cache.get(key, Asset) for key in keys))
        assert all(message in (None, Asset(asset_id=key)) for key, message in zip(keys, found, strict=True))


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(caches: Any) -> None:
    owing: list[int] = []

    def answer(command: Command) -> bytes:
        if command[0] != b"MGET":
            return b"+OK\r\n"
        if command[1] == b"asset:1":
            owing.append(redis.connections)
            return b""
        value = Asset(asset_id="1" if [redis.connections] == owing else "2").SerializeToString()
        return b"*1\r\n$%d\r\n%s\r\n" % (len(value), value)

    async with FakeRedis(answer) as redis, asyncio.timeout(PATIENCE):
        cache = await caches(redis, timeout=SHORT, pool_size=1, min_idle=1)
        while not owing:
            assert await cache.get("asset:1", Asset) is None
        while (found := await cache.get("asset:2", Asset)) is None:
            pass
        assert found == Asset(asset_id="2")


# The time of the call.


@pytest.fixture
def served() -> Iterator[Call]:
    """A call that is being served here."""
    call = Call(Method.grpc("/pkg.Registry/Get", Kind.UNARY_UNARY, "server"))
    token = enter(call)
    yield call
    leave(token)


async def test_a_call_with_little_time_waits_no_longer_than_it_has(own_server: RedisServer, caches: Any) -> None:
    cache = await caches(own_server, timeout=1000.0)
    await works(cache)
    method = Method.grpc("/pkg.Registry/Get", Kind.UNARY_UNARY, "server")
    with frozen(own_server):
        call = Call(method)
        call.deadline = time.monotonic() + SHORT
        token = enter(call)
        assert await cache.get(KEY, Asset) is None
        assert await cache.get_or_load(KEY, Asset, load) == BITCOIN
        with pytest.raises(DeadlineExceeded):
            await cache.delete(KEY)
        leave(token)


async def test_a_call_whose_time_is_over_is_not_waited_for(redis_keyspace: KeyspaceForTest, caches: Any) -> None:
    cache = await caches(redis_keyspace, db=redis_keyspace.db)
    await works(cache)
    call = Call(Method.grpc("/pkg.Registry/Get", Kind.UNARY_UNARY, "server"))
    call.deadline = time.monotonic() - 1
    token = enter(call)
    assert await cache.get(KEY, Asset) is None
    leave(token)
    assert await cache.get(KEY, Asset) == BITCOIN


# There, and not willing.


def refusing(*commands: bytes, error: bytes) -> Callable[[Command], bytes]:
    def answer(command: Command) -> bytes:
        if command[0] in commands or not commands:
            return b"-" + error + b"\r\n"
        return b"*1\r\n$-1\r\n" if command[0] == b"MGET" else b"+OK\r\n"

    return answer


async def test_a_redis_that_loads_its_data_is_a_miss(caches: Any, metrics: Metrics) -> None:
    async with FakeRedis(refusing(error=b"LOADING Redis is loading the dataset in memory")) as redis:
        cache = await caches(redis)
        await everything_degrades(cache, metrics)
        with pytest.raises(Temporary, match=r"^redis: it is still loading its data$"):
            await cache.check()


async def test_one_that_loads_its_data_while_the_database_is_selected_is_a_miss(caches: Any, metrics: Metrics) -> None:
    async with FakeRedis(refusing(b"SELECT", error=b"LOADING Redis is loading the dataset in memory")) as redis:
        cache = await caches(redis, db=3)
        await everything_degrades(cache, metrics)
        redis.answer = lambda command: b"*1\r\n$-1\r\n" if command[0] == b"MGET" else b"+OK\r\n"
        assert await cache.set(KEY, BITCOIN) is True


async def test_a_full_redis_takes_nothing_and_is_read_from(
    own_server: RedisServer, redis: Any, caches: Any, metrics: Metrics
) -> None:
    cache = await caches(own_server)
    await cache.delete("asset:new")
    await works(cache)
    await redis.config_set("maxmemory", 1)
    try:
        assert await cache.get(KEY, Asset) == BITCOIN
        assert await cache.set("asset:new", BITCOIN) is False
        assert await cache.get_or_load("asset:new", Asset, load) == BITCOIN
        assert metrics.value("cqar_cache_set_error_total", entity="asset") == 2
        assert metrics.value("cqar_cache_get_error_total", entity="asset") == 0
        await cache.check()
    finally:
        await redis.config_set("maxmemory", 0)
    await works(cache)


async def test_a_replica_takes_no_writes_and_is_read_from(
    own_server: RedisServer, redis: Any, caches: Any, metrics: Metrics
) -> None:
    cache = await caches(own_server)
    await works(cache)
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert await cache.get(KEY, Asset) == BITCOIN
        assert await cache.set(KEY, BITCOIN) is False
        with pytest.raises(Temporary) as raised:
            await cache.delete(KEY)
        assert raised.value.detail == "redis: it is a replica, which takes no writes"
    finally:
        await redis.execute_command("REPLICAOF", "NO", "ONE")
    await works(cache)


async def test_a_wrong_password_is_a_miss_and_is_told_without_it(
    own_server: RedisServer, caches: Any, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong:
        host, port, password = own_server.host, own_server.port, "hunter2"

    cache = await caches(Wrong)
    await everything_degrades(cache, metrics)
    with pytest.raises(Temporary, match=r"^redis: it does not accept the password$") as raised:
        await cache.check()
    assert "hunter2" not in caplog.text + repr(raised.value.__cause__) + repr(cache.backend)
    assert str(own_server.port) not in caplog.text


async def test_a_missing_password_is_told(own_server: RedisServer, caches: Any) -> None:
    class Without:
        host, port, password = own_server.host, own_server.port, ""

    cache = await caches(Without)
    with pytest.raises(Temporary, match=r"^redis: it asks for a password, and none is configured$"):
        await cache.check()


async def test_a_database_that_it_does_not_have_is_told(own_server: RedisServer, caches: Any) -> None:
    cache = await caches(own_server, db=own_server.databases)
    with pytest.raises(Temporary, match=r"^redis: it answered ERR$"):
        await cache.check()


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n"])
async def test_what_speaks_otherwise_is_a_miss(caches: Any, metrics: Metrics, words: bytes) -> None:
    async with FakeRedis(lambda _: words) as redis:
        await everything_degrades(await caches(redis), metrics)


async def test_a_key_of_another_kind_is_a_miss_for_its_reader_alone(
    own_server: RedisServer, redis: Any, caches: Any, metrics: Metrics
) -> None:
    cache = await caches(own_server)
    await works(cache)
    await redis.delete("asset:list")
    await redis.rpush("asset:list", "one", "two")
    assert await asyncio.gather(cache.get("asset:list", Asset), cache.get(KEY, Asset)) == [None, BITCOIN]
    assert await cache.get_or_load("asset:list", Asset, load) == BITCOIN
    assert await cache.get("asset:list", Asset) == BITCOIN


# How it is asked.


async def test_what_is_asked_in_one_turn_of_the_loop_is_sent_at_once_and_all_gets_are_one(caches: Any) -> None:
    written: list[bytes] = []

    def answer(command: Command) -> bytes:
        written.append(command[0])
        return b"*%d\r\n" % (len(command) - 1) + b"$-1\r\n" * (len(command) - 1) if command[0] == b"MGET" else b":1\r\n"

    async with FakeRedis(answer) as redis:
        cache = await caches(redis)
        keys = [cache_key("asset", number) for number in range(1200)]
        await asyncio.gather(*(cache.get(key, Asset) for key in keys), cache.exists(KEY), cache.set(KEY, BITCOIN))
        assert written == [b"MGET", b"MGET", b"MGET", b"EXISTS", b"SET"]
        assert [key.decode() for command in redis.commands[:3] for key in command[1:]] == keys


async def test_what_nobody_waits_for_any_more_is_not_sent(caches: Any) -> None:
    async with FakeRedis(lambda command: b"*1\r\n$-1\r\n") as redis:
        cache = await caches(redis)
        kept, *gone = (asyncio.ensure_future(cache.get(key, Asset)) for key in ("asset:1", "asset:2", "asset:3"))
        await asyncio.sleep(0)
        for each in gone:
            each.cancel()
        assert await kept is None
        assert redis.commands == [[b"MGET", b"asset:1"]]
        alone = asyncio.ensure_future(cache.get("asset:4", Asset))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.wait({alone})
        assert await cache.get("asset:5", Asset) is None
        assert redis.commands == [[b"MGET", b"asset:1"], [b"MGET", b"asset:5"]]


async def test_values_are_bare_protobuf_under_the_very_key_with_their_time(
    redis_keyspace: KeyspaceForTest, caches: Any
) -> None:
    cache = await caches(redis_keyspace, db=redis_keyspace.db)
    client = Redis.from_url(redis_keyspace.url.reveal())
    await cache.set("asset:a-1", BITCOIN, ttl=3600)
    await cache.set("asset:default", BITCOIN)
    await cache.set("asset:ever", BITCOIN, ttl=0)
    assert await client.get("asset:a-1") == BITCOIN.SerializeToString()
    assert 3_500_000 < await client.pttl("asset:a-1") <= 3_600_000
    assert 200_000 < await client.pttl("asset:default") <= 300_000
    assert await client.pttl("asset:ever") == -1
    await client.set("venue_asset:v:a", BITCOIN.SerializeToString())
    assert await cache.get(cache_key("venue_asset", "v", "a"), Asset) == BITCOIN
    await client.aclose()


# Its connections.


async def test_the_start_does_not_wait_and_opens_those_that_are_kept(
    redis_keyspace: KeyspaceForTest, caches: Any
) -> None:
    cache = await caches(redis_keyspace, db=redis_keyspace.db, min_idle=3)
    assert cache.backend.connections == 0
    await until(lambda: cache.backend.connections == 3)


async def test_there_are_never_more_connections_than_the_pool_may_have(proxy: Proxy, caches: Any) -> None:
    cache = await caches(proxy, pool_size=3, min_idle=1)
    proxy.delay(0.02)

    async def caller(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await cache.get(KEY, Asset)

    await asyncio.gather(*(caller(turns) for turns in range(50)))
    assert proxy.accepted == 3


async def test_connections_that_are_kept_come_back_by_themselves(proxy: Proxy, caches: Any) -> None:
    cache = await caches(proxy, min_idle=2, keep_period=0.01)
    await until(lambda: cache.backend.connections == 2)
    proxy.reset()
    await until(lambda: proxy.accepted == 4 and cache.backend.connections == 2)


async def test_connections_beyond_those_are_closed_when_they_are_idle(
    proxy: Proxy, caches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisBackend, "IDLE_SECONDS", 0.0)
    cache = await caches(proxy, min_idle=1, pool_size=4, keep_period=0.01)
    proxy.delay(0.02)

    async def caller(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await cache.get(KEY, Asset)

    await asyncio.gather(*(caller(turns) for turns in range(20)))
    assert proxy.accepted > 1
    await until(lambda: cache.backend.connections == 1)
    proxy.delay(0)
    await works(cache)


async def test_the_stop_closes_all_connections_and_answers_who_waits(proxy: Proxy, caches: Any) -> None:
    cache = await caches(proxy)
    await works(cache)
    proxy.blackhole()
    sent = asyncio.ensure_future(cache.get(KEY, Asset))
    await passed_to(proxy)
    asked = asyncio.ensure_future(cache.get(KEY, Asset))
    await asyncio.sleep(0)
    await cache.stop()
    assert await sent is None
    assert await asked is None
    assert cache.backend.connections == 0


async def passed_to(proxy: Proxy) -> None:
    for _ in range(20):  # what was written has left
        await asyncio.sleep(0)


async def test_a_stop_while_it_connects_leaves_nothing(proxy: Proxy, caches: Any) -> None:
    proxy.blackhole()
    cache = await caches(proxy)
    await until(lambda: proxy.accepted)
    await cache.stop()
    assert cache.backend.connections == 0


async def test_a_stop_before_connecting_has_begun_leaves_room_for_it_after_the_next_start(
    redis_keyspace: KeyspaceForTest,
) -> None:
    backend = RedisBackend(
        redis_keyspace.host,
        redis_keyspace.port,
        password=redis_keyspace.password,
        db=redis_keyspace.db,
        timeout=PATIENCE,
        dial_timeout=PATIENCE,
        pool_size=1,
        min_idle=0,
    )
    await backend.start()
    answers = await asyncio.gather(backend.check(), backend.stop(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [BackendFailure, type(None)]
    await backend.start()
    await backend.check()
    await backend.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"dial_timeout": -1}, "dial_timeout must be more than 0"),
        ({"pool_size": 0, "min_idle": 0}, "pool_size must be at least 1"),
        ({"pool_size": 2, "min_idle": 3}, "min_idle from 0 to it"),
        ({"max_retries": -1}, "attempts must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedisBackend("127.0.0.1", **options)
