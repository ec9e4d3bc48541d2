"""What is measured of events: all that the chassis does for one that is published, and for one that is handled.

The bus, its backend for JetStream and the concerns around both, and nothing of the network, the server or the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from types import SimpleNamespace
from typing import Any

from cqc.events.v1.asset_events_pb2 import AssetCreated

from chassis.bus import Bus
from chassis.bus.jetstream import JetStreamBackend
from chassis.bus.jetstream.client import Client
from chassis.bus.jetstream.consumers import Bound
from chassis.bus.jetstream.wire import encode_headers
from chassis.config import SecretUrl
from tests.bench.credentials import Credentials
from tests.guard.subject import Around, concerns, finish

_TOPIC = "cqc.events.v1.asset_created"
_HEADERS = {
    "Nats-Msg-Id": "6f1e8d7c-5b4a-4392-8170-0f1e2d3c4b5a",
    "content-type": "application/protobuf",
    "cqi-message-type": "cqc.events.v1.AssetCreated",
    "x-request-id": "0123456789abcdef0123456789abcdef",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
}


class _Wire(Client):
    """A client that is connected to nobody: what it sends is thrown away, and what it receives is told to it."""

    def __init__(self) -> None:
        super().__init__()
        self._status = self.CONNECTED
        self.inboxes: list[str] = []

    async def subscribe(self, subject: str, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        self._sid += 1
        self.inboxes.append(subject.removesuffix("*"))

    def receive(self, data: bytes) -> None:
        """Take in what a server would have sent."""
        self._pending.clear()  # what was sent until now would pile up
        self._pending_data_size = 0
        finish(self._ps.parse(data))

    def message(self, inbox: int, last: str, payload: bytes, reply: str = "", headers: bytes = b"") -> bytes:
        """A message to the `inbox`th subscription, as it comes from the server."""
        subject = _TOPIC if reply else f"{self.inboxes[inbox]}{last}"
        sizes = f"{len(headers)} {len(headers) + len(payload)}" if headers else f"{len(payload)}"
        head = f"{'HMSG' if headers else 'MSG'} {subject} {inbox + 1} {reply} {sizes}\r\n"
        return b"".join((head.encode(), headers, payload, b"\r\n"))


class _Backend(JetStreamBackend):
    def __init__(self, wire: _Wire) -> None:
        super().__init__([SecretUrl("nats://127.0.0.1:4222")], client_name="guard")
        self._wire = wire
        # What JetStream's API would say of a durable.
        self._consumers = SimpleNamespace(ensure=self._bound)  # type: ignore[assignment]

    async def start(self) -> None:
        await self._connection._requests.begin(self._wire)
        self._connection._client = self._wire

    @staticmethod
    async def _bound(*_: Any, **__: Any) -> Bound:
        return Bound("cqc_events", 0, 0)


class _Loop:
    """Keeps the tasks that are made, to be run by whoever measures."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.made: Coroutine[Any, Any, None] | None = None
        self._context = Context()
        self._task = object()

    def create_task(self, work: Coroutine[Any, Any, None], *, name: str, context: Context) -> Any:
        self.made, self._context = work, context
        return self._task

    def run(self) -> None:
        """Run the task that was made; raises AssertionError where it has to wait for something."""
        assert self.made is not None
        self._context.run(finish, self.made)

    def call_later(self, delay: float, call: Callable[[], object]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay, call)


class Published:
    """An event whose stream confirms it at once."""

    def __init__(self, bus: Bus, wire: _Wire) -> None:
        self._publish = bus.publish
        self._wire = wire
        self._event = AssetCreated(source="guard")
        self._number = 0

    def call(self) -> None:
        """Publish one."""
        publishing: Any = self._publish(self._event)
        publishing.send(None)
        self._number += 1
        self._wire.receive(self._wire.message(0, str(self._number), b'{"stream":"cqc_events","seq":17}'))
        assert finish(publishing)


class Handled:
    """An event that is acknowledged."""

    def __init__(self, wire: _Wire, loop: _Loop) -> None:
        self._wire = wire
        self._loop = loop
        self._payload = AssetCreated(source="guard", event_id=_HEADERS["Nats-Msg-Id"]).SerializeToString()
        self._headers = encode_headers(_HEADERS)
        self.handled = 0
        self._number = 1000

    def call(self) -> None:
        """Have one delivered and handled."""
        before = self.handled
        self._number += 1
        reply = f"$JS.ACK.cqc_events.guard-asset_created.1.{self._number}.{self._number}.1795000000000000000.3"
        self._wire.receive(self._wire.message(1, "1", self._payload, reply, self._headers))
        self._loop.run()
        assert self.handled == before + 1


@contextmanager
def event_published(*, around: Around = list) -> Iterator[Published]:
    """The publishing of an event, to be used within a running event loop; `around` may change the concerns."""
    with concerns(Credentials.new().public_key, sampled=False, around=around) as stack:
        bus, wire = _bus(stack)
        yield Published(bus, wire)


@contextmanager
def event_handled(*, around: Around = list) -> Iterator[Handled]:
    """The handling of an event, likewise."""
    with concerns(Credentials.new().public_key, sampled=False, around=around) as stack:
        bus, wire = _bus(stack)
        loop = _Loop()
        subject = Handled(wire, loop)

        async def handle(event: AssetCreated) -> None:
            subject.handled += 1

        running: Any = finish(bus.subscribe(AssetCreated, handle))
        running._loop = loop
        yield subject


def _bus(stack: Any) -> tuple[Bus, _Wire]:
    wire = _Wire()
    bus = Bus(_Backend(wire), service_name="guard", around=stack)
    finish(bus.start())
    return bus, wire
