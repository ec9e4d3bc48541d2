from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import Message

from chassis.cache.backend import Backend, BackendFailure
from chassis.cache.flight import Flight, Flights
from chassis.cache.key import encode_key
from chassis.cache.recording import EntitySeries, Operation, Recording
from chassis.cache.value import decode
from chassis.cache.warnings import Warnings
from chassis.call import time_left
from chassis.component import Component
from chassis.errors import Cancelled, DeadlineExceeded, Temporary
from chassis.metrics import Metrics
from chassis.tracing.client_spans import client_spans

if TYPE_CHECKING:
    from chassis.tracing import Tracing

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_UNANSWERED: Final[Any] = object()  # the backend failed, where None is an answer

# The words of OpenTelemetry's semantic conventions for Redis.
_COMMANDS: Final[Mapping[Operation, str]] = {"get": "GET", "set": "SET", "delete": "DEL", "exists": "EXISTS"}


class Cache(Component):
    """Keeps protobuf messages under keys for a time, and is never the reason why a call fails.

    | | |
    |---|---|
    | `default_ttl` | seconds that a value is kept where the code does not say; 0 for ever |
    | `metrics`, `tracing` | where hits, misses, errors, times and spans go |
    | `required` | whether the service is ready without it |

    A cache that does not answer is a miss for those who read and nothing for those who store; what can be read from the
    source is read there. Only a deletion that failed is told, as others would go on reading what is no longer so.
    """

    name = "cache"

    def __init__(
        self,
        backend: Backend,
        *,
        default_ttl: float = 300.0,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        required: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backend = backend
        self.required = required
        self._default_ttl = _check_ttl(default_ttl)
        self._recording = Recording(metrics or Metrics("cache", enabled=False))
        where = backend.span_attributes
        self._spans = client_spans(tracing, {"db.system.name": backend.system, **where}) if where else None
        self._warnings = Warnings(clock)
        self._flights = Flights()

    # What users ask for.

    async def get(self, key: str, message_type: type[M]) -> M | None:
        """The message kept under a key, or None: there is none, it is none of this type, or the cache did not answer.

        Raises `InvalidInput` for what cannot be a key.
        """
        name = encode_key(key)
        found = await self._read(name, message_type, self._recording.of(key))
        return None if found is _UNANSWERED else found

    async def set(self, key: str, message: Message, ttl: float | None = None) -> bool:
        """Keep a message for `ttl` seconds: None for the configured time, 0 for ever. Returns whether it was stored.

        Where it was not, readers get what was there before, until that ends: after a change at the source, `delete`
        is what says so. Raises `InvalidInput` for what cannot be a key, ValueError for a ttl that makes no sense.
        """
        name = encode_key(key)
        if not isinstance(message, Message):
            raise TypeError(f"a cache keeps protobuf messages, not {type(message).__name__}")
        self._flights.changed([name])
        return await self._store(name, message, self._ttl(ttl), self._recording.of(key))

    async def delete(self, *keys: str) -> int:
        """Forget what is kept under these keys; returns how many of them there were.

        Raises `Temporary` where the cache did not confirm it (readers may see the old values until they end), and
        `DeadlineExceeded` where it was the time of the call being served that ran out.
        """
        names = [encode_key(key) for key in keys]
        if not names:
            return 0
        self._flights.changed(names)
        try:
            return await self._ask("delete", self.backend.delete, names)
        except BackendFailure as failure:
            for key in keys:
                self._recording.of(key).delete_errors.inc()
            self._warnings.failing(failure)
            error = DeadlineExceeded if _is_over(time_left()) else Temporary
            raise error(
                "the cache did not confirm that the old value is gone", detail=f"{self.backend.system}: {failure}"
            ) from failure

    async def exists(self, key: str) -> bool:
        """Whether something is kept under a key; False also where the cache did not answer.

        Raises `InvalidInput` for what cannot be a key.
        """
        name = encode_key(key)
        try:
            return await self._ask("exists", self.backend.exists, name)
        except BackendFailure as failure:
            self._recording.of(key).get_errors.inc()
            self._warnings.failing(failure)
            return False

    async def get_or_load(
        self, key: str, message_type: type[M], loader: Callable[[], Awaitable[M]], ttl: float | None = None
    ) -> M:
        """The message kept under a key, or else what `loader()` gives, which is then kept for `ttl` seconds (as `set`).

        Of all that miss a key at the same time one calls its loader, and all get what it gave, each a message of its
        own, or its error. A cancelled caller does not end a load that others wait for; what was loaded while the key
        was set or deleted is not kept. A task that a loader begins is a part of it, also where nobody waits for it.

        Raises what `loader` raises, `InvalidInput` for what cannot be a key, RuntimeError for loaders in a circle.

        >>> import asyncio
        >>> from google.protobuf.wrappers_pb2 import StringValue
        >>> from chassis.cache import Cache, MemoryBackend
        >>> async def load():
        ...     print("loading")
        ...     return StringValue(value="gold")
        >>> async def main():
        ...     cache = Cache(MemoryBackend())
        ...     await cache.start()
        ...     await cache.get_or_load("asset:1", StringValue, load)
        ...     print((await cache.get_or_load("asset:1", StringValue, load)).value)
        >>> asyncio.run(main())
        loading
        gold
        """
        name = encode_key(key)
        seconds = self._ttl(ttl)
        series = self._recording.of(key)
        while True:
            flight = self._flights.board(name, message_type)
            leads = False
            try:
                if not flight.is_loading:
                    found = await self._read(name, message_type, series)
                    if found is not None and found is not _UNANSWERED:
                        return found
                    if not flight.is_loading:  # somebody may have been faster
                        leads = True
                        keep = found is not _UNANSWERED
                        flight.load(self._load(name, flight, loader, seconds, series, keep=keep))
                loaded = await flight.result()
                return loaded if leads else _copy(loaded)
            except (DeadlineExceeded, Cancelled):
                # The time of the call that began the load was over; ours may not be.
                if leads or not flight.ran_out or _is_over(time_left()):
                    raise
            finally:
                self._flights.leave(name, flight)

    # Its life.

    async def start(self) -> None:
        """Begin to connect; a cache that cannot be reached neither delays nor fails the start."""
        await self.backend.start()

    async def stop(self) -> None:
        """End the loads that still run, and close the connections."""
        await self._flights.stop()
        await self.backend.stop()

    async def check(self) -> None:
        """Raise `Temporary` if the cache does not answer."""
        try:
            await self.backend.check()
        except BackendFailure as failure:
            raise Temporary(f"{self.backend.system}: {failure}") from failure

    # How it is done.

    async def _read(self, name: bytes, message_type: type[M], series: EntitySeries) -> M | None:
        try:
            data = await self._ask("get", self.backend.get, name)
        except BackendFailure as failure:
            series.get_errors.inc()
            self._warnings.failing(failure)
            return _UNANSWERED  # type: ignore[no-any-return]
        if data is None:
            series.misses.level += 1
            return None
        message = decode(data, message_type)
        if message is None:
            series.undecodable.inc()
            self._warnings.foreign(series.entity, message_type)
            return None
        series.hits.level += 1  # on this thread alone
        return message

    async def _store(self, name: bytes, message: Message, ttl: float, series: EntitySeries) -> bool:
        try:
            await self._ask("set", self.backend.set, name, message.SerializeToString(), ttl)
        except BackendFailure as failure:
            series.set_errors.inc()
            self._warnings.failing(failure)
            return False
        return True

    async def _load(
        self,
        name: bytes,
        flight: Flight[M],
        loader: Callable[[], Awaitable[M]],
        ttl: float,
        series: EntitySeries,
        *,
        keep: bool,
    ) -> M:
        try:
            message = await loader()
            if not isinstance(message, flight.message_type):
                wanted, given = flight.message_type.__name__, type(message).__name__
                raise TypeError(f"a loader gave {given} where {wanted} is kept; what does not exist is a NotFound")
            # A cache that has just cost the caller its patience is not asked a second time.
            flight.storing = keep and not flight.stale
            if flight.storing:
                await self._store(name, message, ttl, series)
                if flight.stale:
                    await self._take_back(name, series)
            else:
                series.skips.inc()
            return message
        finally:
            self._flights.land(name, flight)

    async def _take_back(self, name: bytes, series: EntitySeries) -> None:
        """Delete what was stored while the entry was changed: on another connection, a deletion may have been first."""
        series.skips.inc()
        try:
            # Whatever time the call that began the load has left: others would go on reading what is no longer so.
            await self.backend.delete([name], None)
        except BackendFailure as failure:
            series.delete_errors.inc()
            self._warnings.failing(failure)

    async def _ask(self, operation: Operation, request: Callable[..., Awaitable[T]], *arguments: object) -> T:
        left = time_left()
        spans, span = self._spans, None
        if spans is not None:
            command = _COMMANDS[operation]
            span = spans.begin(command, {"db.operation.name": command})
        started = time.perf_counter()
        failure: BaseException | None = None
        try:
            if _is_over(left):
                raise BackendFailure("the time of the call is over")
            return await request(*arguments, left)
        except BaseException as error:
            failure = error
            raise
        finally:
            seconds = time.perf_counter() - started
            trace_id = None
            if spans is not None and span is not None:
                reason = str(failure) if isinstance(failure, BackendFailure) else None
                trace_id = spans.end(span, None if failure is None else type(failure).__name__, reason)
            self._recording.durations[operation].observe(seconds, trace_id)

    def _ttl(self, ttl: float | None) -> float:
        return self._default_ttl if ttl is None else _check_ttl(ttl)


def _is_over(time_left: float | None) -> bool:
    return time_left is not None and time_left <= 0


def _check_ttl(ttl: float) -> float:
    if not 0 <= ttl < math.inf:
        raise ValueError(f"a value is kept for a number of seconds, 0 for ever, not {ttl}")
    return ttl


def _copy(message: M) -> M:
    # Messages can be changed: what one caller does to its own must not be seen by the others.
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
