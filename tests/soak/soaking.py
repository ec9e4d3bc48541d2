"""Soaks the service: many calls, many streams that are given up, and then whether everything is back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

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
# Of connections to the database there are between two and eight: it opens some when there is much to do, and closes
# them when that is over. Those to the cache are opened at the start; the bus has one.
_LEAST, _MOST = 2, 8
_IDLE = "1s"  # after which one is closed that was not used
_OF_CACHE = 8
_OF_BUS = 1
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
    published: int  # events, between the two
    opened: int  # connections to the database, likewise

    @property
    def leaked(self) -> list[str]:
        """What is not back where it was."""
        return leaked(self.before, self.after)

    @property
    def report(self) -> str:
        """The table."""
        return "\n".join(table(self.before, self.after))


class Done(NamedTuple):
    """How many events a service has published so far, and how many connections to the database it has opened."""

    published: int
    opened: int


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
            "database.min_conns": _LEAST,
            "database.max_conns": _MOST,
            "database.max_conn_idle_time": _IDLE,
            "cache.min_idle_conns": _OF_CACHE,
            "cache.pool_size": _OF_CACHE,
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

    def figures(self) -> tuple[Figures, Done]:
        """What it holds now, and what it has done."""
        answer = self._asked.ask({"ask": "figures"})
        return Figures.of_json(answer), Done(int(answer["published"]), int(answer["opened"]))

    # For the load, which meters what it loads; nothing is made of that here.

    def cpu_seconds(self) -> float:
        """Nothing."""
        return 0.0

    def settle(self) -> None:
        """Nothing: whether it is settled is seen from its figures."""


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
        before, done_before = _settled(service, None, SETTLING)
        tell(f"warm after {sizes.warm_calls} calls and {sizes.warm_streams} cancelled streams")
        started = time.monotonic()
        for part in range(_PARTS):
            _load(service, _share(sizes.calls, part), _share(sizes.streams, part))
            tell(f"{(part + 1) * 100 // _PARTS:3} % after {time.monotonic() - started:.0f} s")
        after, done = _settled(service, before, settling)
        return Soaked(before, after, done.published - done_before.published, done.opened - done_before.opened)


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


def _settled(service: Service, before: Figures | None, settling: float) -> tuple[Figures, Done]:
    """The figures once everything is put away: as they were before, or idle and the same for two seconds."""
    until = time.monotonic() + settling
    seen: list[Figures] = []
    while True:
        figures, done = service.figures()
        if before is not None and not leaked(before, figures):
            return figures, done
        seen.append(figures)
        last = seen[-round(2 / _LOOK_EVERY) :]
        steady = len(seen) > len(last) and all(not leaked(one, figures) and not leaked(figures, one) for one in last)
        if time.monotonic() > until or (before is None and steady and _is_idle(figures)):
            return figures, done
        time.sleep(_LOOK_EVERY)


def _is_idle(figures: Figures) -> bool:
    connections = (figures.database_connections, figures.cache_connections, figures.bus_connections)
    return connections == (_LEAST, _OF_CACHE, _OF_BUS) and not (figures.connections_in_use or figures.unhandled)
