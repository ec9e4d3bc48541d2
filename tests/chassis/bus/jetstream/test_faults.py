"""Connections and brokers that go away, and what becomes of events then."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from typing import Any

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated
from nats.js import JetStreamContext

from chassis.bus import Bus
from chassis.bus.jetstream import JetStreamBackend
from chassis.bus.jetstream.address import Address
from chassis.bus.jetstream.client import Client
from chassis.bus.jetstream.connection import Connection
from chassis.config import SecretUrl
from chassis.dev import NatsServer
from chassis.errors import ChassisError, Temporary
from chassis.retry import Policy
from chassis.testing.servers import AccountForTest, ServersForTests
from tests.chassis.bus.jetstream.conftest import Services
from tests.chassis.bus.jetstream.waiting import PATIENCE, Seen, settled, until
from tests.proxy import Proxy

TOPIC = "cqc.events.v1.asset_created"
DURABLE = "cqar-asset_created"
KILLS = int(os.environ.get("CHASSIS_TEST_KILLS", "5"))
"""How often servers and consumers are killed."""


def through(proxy: Proxy, url: SecretUrl) -> SecretUrl:
    """The same account, by way of a proxy."""
    return SecretUrl(f"{url.reveal().rpartition('@')[0]}@{proxy.address}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "PING_INTERVAL", 0.2)
    monkeypatch.setattr(Connection, "PING_TIMEOUT", 0.3)
    monkeypatch.setattr(Connection, "CONNECT_TIMEOUT", 0.3)


async def healthy(bus: Any) -> None:
    async def is_healthy() -> bool:
        try:
            await bus.check()
        except ChassisError:
            return False
        return True

    await until(is_healthy)


async def test_nothing_that_was_confirmed_is_lost_when_the_server_is_killed_again_and_again(
    services: Services, own_server: NatsServer
) -> None:
    bus = await services.bus(own_server.url, ack_wait=2.0, publish_timeout=1.0)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen, concurrency=8)
    confirmed: set[str] = set()
    refused = 0
    stop = asyncio.Event()
    numbers = itertools.count()

    async def publish() -> None:
        nonlocal refused
        while not stop.is_set():
            text = str(next(numbers))
            try:
                await bus.publish(AssetCreated(source=text))
                confirmed.add(text)
            except Temporary:
                refused += 1
                await asyncio.sleep(0.01)

    publishing = [asyncio.create_task(publish()) for _ in range(4)]
    for _ in range(KILLS):
        before = len(confirmed)
        await until(lambda count=before: len(confirmed) > count + 50)
        await asyncio.to_thread(own_server.kill)
        await until(lambda count=refused: refused > count)
        with pytest.raises(Temporary):
            await bus.check()
        await asyncio.to_thread(own_server.start)
        async with asyncio.timeout(5):  # the promise
            text = f"back {before}"
            while True:
                try:
                    await bus.publish(AssetCreated(source=text))
                    break
                except Temporary:
                    await asyncio.sleep(0.05)
            await seen.all_of({text})
    stop.set()
    await asyncio.gather(*publishing)
    await seen.all_of(confirmed)


CONSUMER = """
import asyncio, sys
from chassis.bus import Bus
from chassis.bus.jetstream import JetStreamBackend
from chassis.config import SecretUrl
from cqc.events.v1.asset_events_pb2 import AssetCreated

async def handler(event):
    print("begun", event.source, flush=True)
    await asyncio.sleep(float(sys.argv[2]))
    print("done", event.source, flush=True)

async def main():
    bus = Bus(JetStreamBackend([SecretUrl(sys.argv[1])], client_name="killed"), service_name="cqar", ack_wait=1.0)
    await bus.start()
    await bus.subscribe(AssetCreated, handler, concurrency=4, prefetch=8)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_every_event_is_handled_although_its_consumer_is_killed_again_and_again(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    bus = await services.bus(nats_account.url, name="publisher")
    count = 20 * KILLS
    await bus.publish_all([AssetCreated(source=str(number)) for number in range(count)])
    done: list[str] = []

    async def run(kill_after: int | None) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CONSUMER, nats_account.url.reveal(), "0.01", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        begun = 0
        try:
            async with asyncio.timeout(PATIENCE):
                while len(set(done)) < count:
                    word, text = (await process.stdout.readline()).decode().split()
                    if word == "done":
                        done.append(text)
                    begun += word == "begun"
                    if begun == kill_after:
                        break
        finally:
            process.send_signal(signal.SIGKILL)
            rest, _ = await process.communicate()
        done.extend(line.split()[1] for line in rest.decode().splitlines() if line.startswith("done "))

    for _ in range(KILLS):
        await run(kill_after=10)
    await run(kill_after=None)
    assert set(done) == {str(number) for number in range(count)}
    assert len(done) - count <= 8 * KILLS  # what was under way each time


async def test_a_confirmation_that_is_lost_on_the_way_leaves_the_event_there_once(
    services: Services, peer: JetStreamContext, dev_servers: ServersForTests, nats_account: AccountForTest
) -> None:
    server = dev_servers.nats
    async with Proxy(server.host, server.port) as proxy:
        bus = await services.bus(through(proxy, nats_account.url), publish_timeout=PATIENCE)
        proxy.blackhole("down")
        publishing = asyncio.create_task(bus.publish(AssetCreated(event_id="once", source="a")))

        async def is_stored() -> bool:
            return (await peer.stream_info("cqc_events")).state.messages == 1

        await until(is_stored)
        proxy.reset()
        await proxy.heal()
        try:
            await publishing
        except Temporary:  # all attempts were over before the new connection was there
            await healthy(bus)
            await bus.publish(AssetCreated(event_id="once", source="a"))
        assert await is_stored()


async def test_a_connection_that_is_cut_comes_back_and_acknowledgements_given_meanwhile_count(
    services: Services, peer: JetStreamContext, dev_servers: ServersForTests, nats_account: AccountForTest
) -> None:
    server = dev_servers.nats
    async with Proxy(server.host, server.port) as proxy:
        bus = await services.bus(through(proxy, nats_account.url), ack_wait=3600.0)
        begun, release, runs = asyncio.Event(), asyncio.Event(), []

        async def handler(event: AssetCreated) -> None:
            runs.append(event.source)
            begun.set()
            await release.wait()

        await bus.subscribe(AssetCreated, handler)
        await bus.publish(AssetCreated(source="a"))
        await begun.wait()
        proxy.refuse()
        proxy.reset()
        await until(lambda: not bus.backend._connection.is_connected)
        release.set()
        with pytest.raises(Temporary, match="cannot be reached"):
            await bus.publish(AssetCreated(source="refused"))
        await proxy.heal()
        await settled(peer, DURABLE, 1)
        await healthy(bus)
        await bus.publish(AssetCreated(source="b"))
        await settled(peer, DURABLE, 2)
        assert runs == ["a", "b"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("direction", ["up", "down", None])
async def test_a_half_open_connection_is_noticed_and_replaced(
    services: Services,
    dev_servers: ServersForTests,
    nats_account: AccountForTest,
    direction: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = dev_servers.nats
    async with Proxy(server.host, server.port) as proxy:
        bus = await services.bus(through(proxy, nats_account.url), publish_timeout=1.0)
        seen = Seen()
        await bus.subscribe(AssetCreated, seen)
        proxy.blackhole(direction)
        with pytest.raises(Temporary):
            await bus.publish_all([AssetCreated(source="x" * 100_000) for _ in range(60)])
        await until(lambda: "was lost (no sign of life" in caplog.text)
        with pytest.raises(Temporary, match="cannot be reached"):
            await bus.check()
        await proxy.heal()
        await healthy(bus)
        await bus.publish(AssetCreated(source="healed"))
        await seen.all_of({"healed"})


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_is_lost_while_a_sign_of_life_is_waited_for_is_noticed_at_once(
    own_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "PING_INTERVAL", 0.01)
    monkeypatch.setattr(Connection, "PING_TIMEOUT", 10 * PATIENCE)
    connection, lost, asked = Connection([own_server.url], client_name="test"), asyncio.Event(), asyncio.Event()
    ping = Client.ping

    def pinging(client: Client, *arguments: Any) -> Any:
        asked.set()
        return ping(client, *arguments)

    monkeypatch.setattr(Client, "ping", pinging)
    connection.on_lost.append(lost.set)
    await connection.start()
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    asked.clear()
    async with asyncio.timeout(PATIENCE):
        await asked.wait()
        await asyncio.to_thread(own_server.kill)
        await lost.wait()
    await connection.stop()


@pytest.mark.parametrize("greeting", [b"INFO []\r\n", b"INFO 1\r\n", b'INFO {"connect_urls":[1]}\r\n', b"hello\r\n"])
async def test_a_server_that_greets_in_an_odd_way_does_not_end_the_connecting(
    own_server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, greeting: bytes
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.set()
        writer.write(greeting)
        await writer.drain()
        await reader.read()
        writer.close()

    monkeypatch.setattr("chassis.bus.jetstream.connection.random.shuffle", lambda addresses: None)
    monkeypatch.setattr(Connection, "CONNECT_TIMEOUT", 0.3)
    greeted = asyncio.Event()
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as odd:
        address = SecretUrl(f"nats://127.0.0.1:{odd.sockets[0].getsockname()[1]}")
        connection = Connection([address], client_name="test")
        await connection.start()
        assert greeted.is_set()
        assert "NATS cannot be reached at" in caplog.text
        connection._configured.append(Address.of(own_server.url))
        await until(lambda: connection.is_connected)
        await connection.stop()


async def test_a_connection_that_could_not_be_used_is_followed_by_another(
    own_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    connection, calls = Connection([own_server.url], client_name="test"), list[int]()

    def use() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise SystemError("unforeseen")

    connection.on_connected.append(use)
    await connection.start()
    await until(lambda: len(calls) == 2 and connection.is_connected)
    assert "could not be used" in caplog.text
    await connection.stop()


async def test_a_server_that_lets_everybody_in_and_out_again_is_not_asked_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[int] = []

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload":1048576,"headers":true}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
            if line.startswith(b"SUB"):
                break
        writer.close()

    def delay(policy: Policy, failures: int) -> float:
        waits.append(failures)
        return 0.0 if failures < 4 else 60.0

    monkeypatch.setattr(Policy, "delay", delay)
    monkeypatch.setattr(Connection, "SHORT_LIVED", 3600.0)  # however slow this machine is
    async with await asyncio.start_server(welcome, "127.0.0.1", 0) as door:
        address = SecretUrl(f"nats://127.0.0.1:{door.sockets[0].getsockname()[1]}")
        connection = Connection([address], client_name="test")
        await connection.start()
        await until(lambda: len(waits) == 4)
        await connection.stop()

    assert waits == [1, 2, 3, 4]


async def test_a_broker_that_is_not_there_at_the_start_is_found_when_it_comes(
    services: Services, own_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.stop()
    bus = await services.bus(own_server.url)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen)
    with pytest.raises(Temporary, match="the event bus cannot be reached") as raised:
        await bus.check()
    assert str(own_server.port) in str(raised.value.detail)
    with pytest.raises(Temporary, match="cannot be reached"):
        await bus.publish(AssetCreated(source="too early"))
    await asyncio.to_thread(own_server.start)
    await healthy(bus)
    await bus.publish(AssetCreated(source="there"))
    await seen.all_of({"there"})
    told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len([each for each in told if "cannot be reached" in each]) == 1
    assert own_server.password not in caplog.text


async def test_the_servers_of_the_list_are_tried_until_one_answers(
    services: Services, dev_servers: ServersForTests, nats_account: AccountForTest
) -> None:
    server = dev_servers.nats
    async with Proxy(server.host, server.port) as gone, Proxy(server.host, server.port) as there:
        gone.refuse()
        bus = await services.bus(through(gone, nats_account.url), through(there, nats_account.url))
        await bus.publish(AssetCreated(source="a"))
        await gone.heal()
        there.refuse()
        there.reset()
        await until(lambda: gone.accepted > 0)
        await healthy(bus)
        await bus.publish(AssetCreated(source="b"))


async def test_a_wrong_password_is_told_without_it(
    services: Services, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    user = nats_account.url.reveal().partition("://")[2].partition(":")[0]
    place = nats_account.url.reveal().rpartition("@")[2]
    bus = await services.bus(SecretUrl(f"nats://{user}:s3cret@{place}"))
    with pytest.raises(Temporary) as raised:
        await bus.check()
    assert "Authorization Violation" in str(raised.value.detail)
    assert "Authorization Violation" in caplog.text
    assert "s3cret" not in caplog.text + str(raised.value.detail)


async def test_a_password_with_odd_characters_is_unquoted(services: Services, own_server: NatsServer) -> None:
    quoted = "".join(f"%{ord(each):02x}" for each in own_server.password)
    bus = await services.bus(SecretUrl(f"nats://{own_server.user}:{quoted}@{own_server.host}:{own_server.port}"))
    await bus.check()


async def test_operators_see_the_service_by_its_name(
    services: Services, dev_servers: ServersForTests, nats_account: AccountForTest
) -> None:
    server = dev_servers.nats
    sent = bytearray()

    class Listening(Proxy):
        async def _deliver(self, chunks: Any, writer: Any, way: Any) -> None:
            write = writer.write
            writer.write = lambda data: (sent.extend(data), write(data))
            await super()._deliver(chunks, writer, way)

    async with Listening(server.host, server.port) as proxy:
        await services.bus(through(proxy, nats_account.url), name="asset-registry")
    assert b'"name": "asset-registry"' in sent


async def test_a_subscription_made_without_a_broker_says_so_when_it_cannot_be_served(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chassis.bus.jetstream.consumers import Consumers

    ensure = Consumers.ensure

    async def refuse(*arguments: Any, **named: Any) -> Any:
        raise Temporary("no leader")

    monkeypatch.setattr(Consumers, "ensure", refuse)
    bus = await services.bus(nats_account.url)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen)
    with pytest.raises(Temporary, match=f"events on {TOPIC} cannot be taken in: no leader"):
        await bus.check()
    monkeypatch.setattr(Consumers, "ensure", ensure)
    await bus.publish(AssetCreated(source="later"))
    await seen.all_of({"later"})
    await bus.check()


async def test_no_task_is_left_after_a_stop_without_a_broker(own_server: NatsServer, services: Services) -> None:
    before = asyncio.all_tasks()
    own_server.stop()
    other = Services()
    bus = await other.bus(own_server.url)
    await bus.subscribe(AssetCreated, Seen())
    await other.close()
    assert asyncio.all_tasks() == before


@pytest.mark.usefixtures("impatient")
async def test_a_start_that_is_given_up_leaves_nothing_behind(
    dev_servers: ServersForTests, nats_account: AccountForTest
) -> None:
    before = asyncio.all_tasks()
    server = dev_servers.nats
    async with Proxy(server.host, server.port) as proxy:
        proxy.blackhole()
        bus = Bus(JetStreamBackend([through(proxy, nats_account.url)], client_name="test"), service_name="cqar")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await bus.start()
    assert asyncio.all_tasks() == before


async def test_an_event_that_its_handler_takes_long_for_is_kept_by_one_instance(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    runs: list[str] = []
    buses = [await services.bus(nats_account.url, ack_wait=1.0) for _ in range(2)]

    async def slow(event: AssetCreated) -> None:
        runs.append(event.source)
        await asyncio.sleep(2.5)

    for bus in buses:
        await bus.subscribe(AssetCreated, slow)
    await buses[0].publish(AssetCreated(source="slow"))
    info = await settled(peer, DURABLE, 1)
    assert runs == ["slow"]
    assert info.num_redelivered == 0
