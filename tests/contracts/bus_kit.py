"""What the contract suite of the event bus needs of a backend, and a place between the two to look and to interfere.

A further backend is one more class here, with `backend`, `close` and what it `cannot`, and one more line in KITS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from chassis.bus import Backend, Bus, Consumer, Delivery, Intake, MemoryBackend, MemoryBroker
from chassis.retry import Policy
from chassis.testing.servers import AccountForTest
from tests.contracts.append_only import AppendOnlyFile

PATIENCE = 20.0
"""Seconds after which a test stops waiting for what should have happened long before."""

AT_ONCE = Policy(waits=(0.0,), jitter=0)


LIMIT_EVENTS = "limit the size of an event"
"""What a backend can say that it cannot: tests that are marked `needs(…)` with it leave that backend out."""


class MemoryKit:
    """Backends that reach one broker in this process."""

    cannot: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._broker = MemoryBroker()

    def backend(self) -> Backend:
        return MemoryBackend(self._broker)

    async def close(self) -> None:
        pass


class JetStreamKit:
    """Backends that reach one account of a NATS server."""

    cannot: frozenset[str] = frozenset()

    def __init__(self, account: AccountForTest) -> None:
        self._account = account

    def backend(self) -> Backend:
        from chassis.bus.jetstream import JetStreamBackend

        return JetStreamBackend([self._account.url], client_name="contract suite")

    async def close(self) -> None:
        pass


class FileKit:
    """One backend over a file, for all services of the test."""

    cannot = frozenset({LIMIT_EVENTS})

    def __init__(self, folder: Path) -> None:
        self._file = AppendOnlyFile(folder / "events")

    def backend(self) -> Backend:
        return self._file

    async def close(self) -> None:
        self._file.close()


# The kit, for what it cannot, and how one is made.
KITS: dict[str, tuple[Any, Callable[[pytest.FixtureRequest], Any]]] = {
    "memory": (MemoryKit, lambda request: MemoryKit()),
    "jetstream": (JetStreamKit, lambda request: JetStreamKit(request.getfixturevalue("nats_account"))),
    "file": (FileKit, lambda request: FileKit(request.getfixturevalue("tmp_path"))),
}


def needs(*abilities: str) -> Callable[[Any], Any]:
    """Mark a test that not every backend can pass, with what it takes."""
    return pytest.mark.parametrize(
        "world", [name for name, (kit, _) in KITS.items() if kit.cannot.isdisjoint(abilities)], indirect=True
    )


class World:
    """Services on one broker, stopped at the end of the test."""

    def __init__(self, kit: Any) -> None:
        self._kit = kit
        self._services: list[Service] = []

    async def service(self, name: str = "cqar", **options: Any) -> Service:
        service = Service(self._kit.backend(), name, options)
        await service.bus.start()
        self._services.append(service)
        return service

    async def close(self) -> None:
        for service in self._services:
            service.probe.refused = ()
            await service.bus.drain(0)
            await service.bus.stop()
        await self._kit.close()


class Service:
    """One service: its bus, and the probe between the bus and its backend."""

    def __init__(self, backend: Backend, name: str, options: dict[str, Any]) -> None:
        self.probe = Probe(backend)
        self.bus = Bus(
            self.probe,
            service_name=name,
            **{"publish_retry": Policy(attempts=3, waits=(0.0,)), "backoff": AT_ONCE} | options,
        )


class Probe:
    """A backend that keeps a record of what goes through it, and goes wrong where it is told to."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.settled: list[tuple[str, str, float]] = []  # how, topic, delay
        self.published: list[tuple[str, str]] = []  # topic, id; those that failed included
        self.delivered: list[str] = []
        self.signals = 0
        self.refused: tuple[str, ...] = ()
        self.lost_confirmations = 0
        self.deaf = False  # signs of life do not reach the broker
        self.dead = False  # as after kill -9: nothing reaches the broker any more
        self._intakes: list[Intake] = []
        self._changed = asyncio.Condition()

    @property
    def system(self) -> str:
        return self.inner.system

    @property
    def max_payload(self) -> int | None:
        return self.inner.max_payload

    async def start(self) -> None:
        await self.inner.start()

    async def stop(self) -> None:
        await self.inner.stop()

    async def check(self) -> None:
        await self.inner.check()

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str], *, msg_id: str, timeout: float
    ) -> None:
        self.published.append((subject, msg_id))
        await self._tell()
        if self.dead or any(subject.startswith(prefix) for prefix in self.refused):
            raise TimeoutError
        await self.inner.publish(subject, payload, headers, msg_id=msg_id, timeout=timeout)
        if self.lost_confirmations:
            self.lost_confirmations -= 1
            raise TimeoutError

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> Intake:
        def pass_on(delivery: Delivery) -> None:
            self.delivered.append(delivery.subject)
            self._telling = asyncio.ensure_future(self._tell())
            deliver(ProbedDelivery(delivery, self))

        intake = await self.inner.subscribe(consumer, pass_on)
        self._intakes.append(intake)
        return intake

    async def die(self) -> None:
        """From here on it is to the broker as if the process had been killed."""
        self.dead = True
        for intake in self._intakes:
            await intake.stop()

    async def until(self, condition: Callable[[Probe], bool]) -> None:
        """Wait until this is so."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class ProbedDelivery:
    def __init__(self, inner: Delivery, probe: Probe) -> None:
        self._inner = inner
        self._probe = probe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def ack(self) -> None:
        await self._settle("ack", 0.0, self._inner.ack)

    async def nak(self, delay: float = 0.0) -> None:
        await self._settle("nak", delay, lambda: self._inner.nak(delay))

    async def term(self) -> None:
        await self._settle("term", 0.0, self._inner.term)

    async def in_progress(self) -> None:
        self._probe.signals += 1
        await self._probe._tell()
        if not (self._probe.deaf or self._probe.dead):
            await self._inner.in_progress()

    async def _settle(self, how: str, delay: float, settle: Callable[[], Any]) -> None:
        if self._probe.dead:
            return
        await settle()
        self._probe.settled.append((how, self._inner.subject, delay))
        await self._probe._tell()


class Inbox:
    """A handler that remembers what it saw, and ends as it is told to for each event in turn, or well."""

    def __init__(self, *endings: BaseException | None) -> None:
        self._endings = list(endings)
        self.events: list[Any] = []
        self.calls: list[Any] = []
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self, event: Any, call: Any) -> None:
        self.events.append(event)
        self.calls.append(call)
        self._queue.put_nowait(event)
        ending = self._endings.pop(0) if self._endings else None
        if ending is not None:
            raise ending

    async def next(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._queue.get()
