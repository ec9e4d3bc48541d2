"""The service that is soaked, as a process: `python -m tests.soak.service`, told by lines of JSON what to be.

The first line has its configuration and the leaks that are planted; the answer is its port. Each further line
asks for the figures of the process. It ends when there is nothing more to read.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import json
import os
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cqc.events.v1.asset_events_pb2 import AssetCreated
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

from chassis import ServiceChassis
from chassis.bus import subscribe
from chassis.cache import cache_key
from chassis.metrics.catalogue import DB_CONNECTIONS_OPENED, DB_POOL_ACTIVE_CONNECTIONS
from chassis.tracing import otlp
from tests.bench.nowhere import Nowhere
from tests.soak.connections import connections_to
from tests.soak.figures import Figures

_KEYS = 100  # entries of the cache that are read
_TTL = 0.5  # seconds; short, so that they are loaded again and again
_LEAK_EVERY = 100  # calls
_NATS = 4222  # its port where none is named


class Soak(ServiceChassis):
    """An echo service whose calls use the cache, the database and the bus."""

    name = "soak"
    uses = ("database", "cache", "bus")
    schema = "CREATE TABLE soak (id bigint PRIMARY KEY, text text NOT NULL)"
    leaks: frozenset[str] = frozenset()

    def register(self, server: Any) -> None:
        rpc.add_EchoServiceServicer_to_server(_Servicer(self), server)

    async def on_start(self) -> None:
        self.published = 0
        self.under_way: set[str] = set()  # events that were published and not handled yet
        await self.db.execute("INSERT INTO soak SELECT number, 'text' FROM generate_series(0, $1) number", _KEYS)

    @subscribe(AssetCreated)
    async def on_asset_created(self, event: AssetCreated) -> None:
        self.under_way.discard(event.event_id)  # it may come twice

    async def publish(self) -> None:
        """Publish an event, and remember it until it is handled."""
        event = AssetCreated(event_id=str(uuid.uuid4()))
        self.under_way.add(event.event_id)
        await self.bus.publish(event)
        self.published += 1


class _Servicer(rpc.EchoServiceServicer):
    def __init__(self, service: Soak) -> None:
        self._service = service
        self._calls = itertools.count(1)
        self._streams = itertools.count(1)
        self._kept: list[Any] = []
        self._lent: Any = None

    async def Echo(self, request: pb.EchoRequest, context: Any) -> pb.EchoReply:
        """Read through the cache; every fourth call writes, every tenth publishes."""
        service, number = self._service, next(self._calls)
        key = number % _KEYS

        async def load() -> pb.EchoReply:
            row = await service.db.query_row("SELECT text FROM soak WHERE id = $1", key, name="load")
            assert row is not None
            return pb.EchoReply(text=row["text"])

        await service.cache.get_or_load(cache_key("soak", str(key)), pb.EchoReply, load, ttl=_TTL)
        if number % 4 == 0:
            async with service.db.transaction() as transaction:
                await transaction.execute(
                    "UPDATE soak SET text = $2 WHERE id = $1", key, f"text {number}", name="write"
                )
        if number % 10 == 0:
            await service.publish()
        if service.leaks and number % _LEAK_EVERY == 0:
            await self._leak()
        return pb.EchoReply(text=request.text)

    async def EchoStream(self, request: pb.EchoRequest, context: Any) -> AsyncIterator[pb.EchoReply]:
        """Answer once and then wait, until the caller gives up: in a statement, in a transaction, or for nothing."""
        service, number = self._service, next(self._streams)
        if number % 20 == 0:
            yield pb.EchoReply(text=request.text)
            await service.db.execute("SELECT pg_sleep(600)", name="wait", timeout=600)
        elif number % 4 == 0:
            async with service.db.transaction(readonly=True) as transaction:
                await transaction.query("SELECT text FROM soak WHERE id = $1", number % _KEYS, name="read")
                yield pb.EchoReply(text=request.text)
                await _forever()
        else:
            yield pb.EchoReply(text=request.text)
            await _forever()

    async def _leak(self) -> None:
        # What a servicer might forget; the soak has to tell.
        leaks = self._service.leaks
        if "task" in leaks:
            self._kept.append(asyncio.ensure_future(_forever()))
        if "descriptor" in leaks:
            self._kept.append(Path(os.devnull).open())  # noqa: ASYNC230, SIM115
        if "socket" in leaks:
            address = (self._service.config.cache.host, self._service.config.cache.port)
            self._kept.append(socket.create_connection(address))
        if "event" in leaks:
            self._service.under_way.add(str(uuid.uuid4()))
        if "memory" in leaks:
            self._kept.append(os.urandom(1 << 20))
        if "connection" in leaks and self._lent is None:  # the others are for the calls that go on
            self._lent = self._service.db.connection()
            await self._lent.__aenter__()


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


def _figures(service: Soak) -> Figures:
    gc.collect()
    _give_back_memory()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    config = service.config
    return Figures(
        tasks=len(asyncio.all_tasks()),
        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        connections_in_use=int(service.metrics.get(DB_POOL_ACTIVE_CONNECTIONS).labels().value),
        database_connections=connections_to(config.database.port),
        cache_connections=connections_to(config.cache.port),
        bus_connections=connections_to(urlsplit(config.eventbus.servers[0].reveal()).port or _NATS),
        unhandled=len(service.under_way),
        threads=threading.active_count(),
        system_threads=int(status["Threads"]),
        memory_mb=int(status["VmRSS"].split()[0]) / 1024,
    )


def _give_back_memory() -> None:
    # What the allocator keeps for later looks like a leak.
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library than GNU's
        return


async def _serve(order: dict[str, Any], answers: IO[str]) -> None:
    # The chassis' own queue and batches, with nothing at their end.
    otlp.otlp_exporter = lambda *_, **__: Nowhere()
    Soak.leaks = frozenset(order["leaks"])
    service = Soak(Soak.configure(environ={}, overrides=order["overrides"]))
    await service.start()
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def answer(facts: dict[str, Any]) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    def asked() -> None:
        # Never more than one question waits for its answer, so that nothing is left behind in the buffer.
        if not sys.stdin.readline():
            loop.remove_reader(sys.stdin)
            over.set_result(None)
            return
        opened = int(service.metrics.get(DB_CONNECTIONS_OPENED).labels().value)
        answer({**_figures(service).as_json(), "published": service.published, "opened": opened})

    loop.add_reader(sys.stdin, asked)
    answer({"port": int(service.grpc_address.rpartition(":")[2])})
    await over
    await service.stop()


def main() -> None:
    """Be the service that the first line asks for."""
    order = json.loads(sys.stdin.readline())
    # Lines of the log go nowhere, at the cost of writing them; the answers keep the output that was here before.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(order, answers))


if __name__ == "__main__":
    main()
