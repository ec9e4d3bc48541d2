"""Soaks the service: many calls, many streams that are given up, and then whether everything is back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import grpc
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

from tests.bench.asked import Asked
from tests.bench.child import Child
from tests.bench.credentials import Credentials
from tests.bench.load import CONNECTIONS, STREAMS, closed
from tests.bench.servicer import UNARY, request
from tests.soak.figures import Figures, leaked, table

_PATIENCE = 30.0  # seconds for a stream
SETTLING = 20.0  # seconds that it may take to put away what was under way
_LOOK_EVERY = 0.2
_POOL = 8  # connections, all opened at the start: how many there are does not depend on the load
_CHANNELS = 4
_STREAMS_AT_A_TIME = 16  # a quarter of them may need a connection
_PARTS = 10  # after each of which progress is told


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done, and how much of it before the first look."""

    calls: int
    streams: int
    warm_calls: int
    warm_streams: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was found."""

    before: Figures
    after: Figures
    handled: int

    @property
    def leaked(self) -> list[str]:
        """What is not back where it was."""
        return leaked(self.before, self.after)

    @property
    def report(self) -> str:
        """The table."""
        return "\n".join(table(self.before, self.after))


class Service:
    """The service's process."""

    def __init__(self, overrides: Mapping[str, object], leaks: Iterable[str] = ()) -> None:
        self.credentials = Credentials.new()
        settings = {
            "server.grpc_port": 0,
            "server.http_port": 0,
            "server.drain_delay": 0,
            "auth.jwt_public_key": self.credentials.public_key,
            "tracing.enabled": True,
            "tracing.endpoint": "http://127.0.0.1:4317",
            "tracing.insecure": True,
            "database.min_conns": _POOL,
            "database.max_conns": _POOL,
            "cache.min_idle_conns": _POOL,
            "cache.pool_size": _POOL,
            **overrides,
        }
        order = {"overrides": settings, "leaks": [*leaks]}
        self._asked = Asked("tests.soak.service", "the service", order)
        self.port = 0

    def __enter__(self) -> Self:
        try:
            self.port = int(self._asked.answer()["port"])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._asked.close()

    def figures(self) -> tuple[Figures, int]:
        """What it holds now, and how many events it has handled."""
        answer = self._asked.ask({"ask": "figures"})
        return Figures.of_json(answer), int(answer["handled"])

    def cpu_seconds(self) -> float:
        """For the load, which meters what it loads; nothing is made of it here."""
        return 0.0


def soak(
    overrides: Mapping[str, object],
    sizes: Sizes,
    *,
    leaks: Iterable[str] = (),
    settling: float = SETTLING,
    tell: Callable[[str], None] = lambda line: None,
) -> Soaked:
    """Run the service, put it under load, and look at what it holds before and after.

    `overrides` are the addresses of its servers, `settling` the seconds that it may take to put everything away.
    Raises RuntimeError where the service or its answers fail.
    """
    with Service(overrides, leaks) as service:
        _load(service, sizes.warm_calls, sizes.warm_streams)
        before, handled_before = _settled(service, None, SETTLING)
        tell(f"warm after {sizes.warm_calls} calls and {sizes.warm_streams} cancelled streams")
        started = time.monotonic()
        for part in range(_PARTS):
            _load(service, _share(sizes.calls, part), _share(sizes.streams, part))
            tell(f"{(part + 1) * 100 // _PARTS:3} % after {time.monotonic() - started:.0f} s")
        after, handled = _settled(service, before, settling)
        return Soaked(before, after, handled - handled_before)


def _share(count: int, part: int) -> int:
    return count * (part + 1) // _PARTS - count * part // _PARTS


def _load(service: Service, calls: int, streams: int) -> None:
    at_a_time = min(STREAMS, calls // CONNECTIONS)
    closed(cast(Child, service), UNARY, request(), calls, streams=at_a_time)
    asyncio.run(_cancelled_streams(service, streams))


async def _cancelled_streams(service: Service, count: int) -> None:
    """Begin streams, read one reply of each, and give them up."""
    metadata = (("authorization", f"Bearer {service.credentials.token}"),)
    left = iter(range(count))
    async with contextlib.AsyncExitStack() as stack:
        stubs = [
            rpc.EchoServiceStub(
                await stack.enter_async_context(
                    grpc.aio.insecure_channel(
                        f"127.0.0.1:{service.port}", options=[("grpc.use_local_subchannel_pool", 1)]
                    )
                )
            )
            for _ in range(_CHANNELS)
        ]

        async def work(stub: Any) -> None:
            for _ in left:
                stream = stub.EchoStream(pb.EchoRequest(text="soak"), metadata=metadata, timeout=_PATIENCE)
                reply = await stream.read()
                if reply is grpc.aio.EOF:
                    raise RuntimeError(f"a stream ended before its first reply: {await stream.code()}")
                stream.cancel()

        async with asyncio.TaskGroup() as group:
            for number in range(_STREAMS_AT_A_TIME):
                group.create_task(work(stubs[number % _CHANNELS]))


def _settled(service: Service, before: Figures | None, settling: float) -> tuple[Figures, int]:
    """The figures once everything is put away: as they were before, or the same for two seconds."""
    until = time.monotonic() + settling
    seen: list[tuple[Figures, int]] = []
    while True:
        figures, handled = service.figures()
        if before is not None and not leaked(before, figures):
            return figures, handled
        seen.append((figures, handled))
        last = seen[-round(2 / _LOOK_EVERY) :]
        steady = len(seen) > len(last) and all(not leaked(one, figures) and not leaked(figures, one) for one, _ in last)
        if time.monotonic() > until or (before is None and steady and figures.connections_in_use == 0):
            return figures, handled
        time.sleep(_LOOK_EVERY)
