from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from chassis.bus.durable import Durable, Stored
from chassis.bus.streams import Stream, streams_for
from chassis.errors import ResourceExhausted

_log = logging.getLogger("chassis.bus")

# What Python needs for an event beside its bytes, about.
_OVERHEAD = 1024


class MemoryBroker:
    """Streams and durables in the memory of one process, shared by all who are given it.

    It has the streams given, or those of the platform; what belongs to none of them goes to the first.
    Events are kept as long as their stream says, also when they are settled, so that a durable that is made later
    sees them. A stream that has reached `max_messages` or `max_bytes` forgets the oldest that every durable has
    settled; where there is none, publishing fails with ResourceExhausted, since what was confirmed is not dropped.
    An event whose id was seen within `duplicate_window` (seconds) is not stored again. `clock` gives seconds.
    """

    def __init__(
        self,
        streams: Sequence[Stream] | None = None,
        *,
        max_messages: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        max_payload: int | None = 1024 * 1024,
        duplicate_window: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_payload = max_payload
        self._clock = clock
        self._logs = [_Log(stream, max_messages, max_bytes, duplicate_window) for stream in (streams or streams_for())]
        self._durables: dict[str, Durable] = {}
        self._by_subject: dict[str, list[Durable]] = {}

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        """Store an event and hand it to the durables of its subject; a subject of no stream goes to the first."""
        log = self._log_of(subject)
        event = log.append(subject, payload, headers, msg_id, self._clock())
        if event is None:
            return
        durables = self._by_subject.get(subject, ())
        event.unsettled = len(durables)
        log.look_at(event)
        for durable in durables:
            durable.add(event.sequence)

    def durable(self, name: str, subject: str) -> Durable:
        """The durable of this name, as it was left, or a new one on this subject."""
        durable = self._durables.get(name)
        if durable is None:
            log = self._log_of(subject)
            log.expire(self._clock())
            durable = self._durables[name] = Durable(name, subject, read=log.read, done=log.done)
            self._by_subject.setdefault(subject, []).append(durable)
            for sequence in log.kept(subject):
                durable.add(sequence)
        return durable

    def _log_of(self, subject: str) -> _Log:
        return next((log for log in self._logs if log.stream.takes(subject)), self._logs[0])


class _Kept(Stored):
    """An event, and who is still to be done with it."""

    __slots__ = ("published", "size", "unsettled")

    def __init__(
        self, stream: str, sequence: int, subject: str, payload: bytes, headers: Mapping[str, str], published: float
    ) -> None:
        super().__init__(stream, sequence, subject, payload, dict(headers))
        self.published = published
        self.size = size_of(payload, headers) + _OVERHEAD
        self.unsettled = 0  # durables that are not done with it


class _Log:
    """What one stream holds."""

    def __init__(self, stream: Stream, max_messages: int, max_bytes: int, duplicate_window: float) -> None:
        self.stream = stream
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._window = duplicate_window
        self._events: dict[int, _Kept] = {}
        self._settled: dict[int, _Kept] = {}
        self._recent: dict[str, float] = {}
        self._last = 0
        self._bytes = 0
        self._told = False

    def append(self, subject: str, payload: bytes, headers: Mapping[str, str], msg_id: str, now: float) -> _Kept | None:
        """Store an event; None for one that is here already."""
        self.expire(now)
        if msg_id in self._recent:
            return None
        event = _Kept(self.stream.name, self._last + 1, subject, payload, headers, now)
        self._make_room(event.size)
        self._last += 1
        self._events[self._last] = event
        self._bytes += event.size
        if msg_id:
            self._recent[msg_id] = now
        return event

    def read(self, sequence: int) -> Stored | None:
        """The event of a number, if it is still here."""
        return self._events.get(sequence)

    def kept(self, subject: str) -> list[int]:
        """What there is on a subject, for a new durable: nobody may be thought to be done with it any more."""
        events = [event for event in self._events.values() if event.subject == subject]
        for event in events:
            event.unsettled += 1
            self._settled.pop(event.sequence, None)
        return [event.sequence for event in events]

    def done(self, sequence: int) -> None:
        """One more durable is done with an event."""
        event = self._events.get(sequence)
        if event is not None:
            event.unsettled -= 1
            self.look_at(event)

    def look_at(self, event: _Kept) -> None:
        """Whether every durable is done with it, so that it may make room."""
        if not event.unsettled:
            self._settled[event.sequence] = event

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        while self._recent:
            msg_id, seen = next(iter(self._recent.items()))
            if now - seen < self._window:
                break
            del self._recent[msg_id]
        lost = 0
        while self._events:
            event = next(iter(self._events.values()))
            if now - event.published < self.stream.max_age:
                break
            lost += event.unsettled > 0
            self._forget(event)
        if lost:
            age = self.stream.max_age / 3600
            _log.warning("%d events of %s were %g h old and nobody had handled them", lost, self.stream.name, age)

    def _make_room(self, size: int) -> None:
        while len(self._events) >= self._max_messages or self._bytes + size > self._max_bytes:
            if not self._settled:
                raise ResourceExhausted(
                    f"the memory bus is full: {len(self._events)} events of {self.stream.name} are not handled yet"
                )
            if not self._told:
                self._told = True
                _log.warning(
                    "%s in memory is full: from now on the oldest events that are handled make room", self.stream.name
                )
            self._forget(next(iter(self._settled.values())))

    def _forget(self, event: _Kept) -> None:
        del self._events[event.sequence]
        self._settled.pop(event.sequence, None)
        self._bytes -= event.size


def size_of(payload: bytes, headers: Mapping[str, str]) -> int:
    """Bytes of an event with its headers."""
    return len(payload) + sum([len(name) + len(value) for name, value in headers.items()])
