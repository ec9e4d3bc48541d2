from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from chassis.bus.backend import Consumer, Stream, streams_for
from chassis.bus.memory_durable import Durable, Message, size_of
from chassis.errors import ResourceExhausted

_log = logging.getLogger("chassis.bus")


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
        message = log.append(subject, payload, headers, msg_id, self._clock())
        if message is None:
            return
        durables = self._by_subject.get(subject, ())
        message.unsettled = len(durables)
        if not durables:
            log.settled(message)
        for durable in durables:
            durable.add(message)

    def durable(self, consumer: Consumer) -> Durable:
        """The durable of this name, new or as it was left; ValueError where it belongs to another subject."""
        durable = self._durables.get(consumer.durable)
        if durable is None:
            log = self._log_of(consumer.subject)
            log.expire(self._clock())
            durable = self._durables[consumer.durable] = Durable(consumer.durable, consumer.subject, log.settled)
            self._by_subject.setdefault(consumer.subject, []).append(durable)
            for message in log.kept(consumer.subject):
                durable.add(message)
        elif durable.subject != consumer.subject:
            raise ValueError(
                f"the durable {consumer.durable} takes events on {durable.subject}, not on {consumer.subject}"
            )
        durable.configure(consumer.ack_wait, consumer.max_ack_pending)
        return durable

    def _log_of(self, subject: str) -> _Log:
        return next((log for log in self._logs if log.stream.takes(subject)), self._logs[0])


class _Log:
    """What one stream holds."""

    def __init__(self, stream: Stream, max_messages: int, max_bytes: int, duplicate_window: float) -> None:
        self.stream = stream
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._window = duplicate_window
        self._messages: dict[int, Message] = {}
        self._settled: dict[int, Message] = {}
        self._recent: dict[str, float] = {}
        self._last = 0
        self._bytes = 0
        self._told = False

    def append(
        self, subject: str, payload: bytes, headers: Mapping[str, str], msg_id: str, now: float
    ) -> Message | None:
        """Store an event; None for one that is here already."""
        self.expire(now)
        if msg_id in self._recent:
            return None
        self._make_room(size_of(payload, headers))
        self._last += 1
        message = self._messages[self._last] = Message(self.stream.name, self._last, subject, payload, headers, now)
        self._bytes += message.size
        if msg_id:
            self._recent[msg_id] = now
        return message

    def kept(self, subject: str) -> list[Message]:
        """What there is on a subject, for a new durable: nobody may be thought to be done with it any more."""
        messages = [message for message in self._messages.values() if message.subject == subject]
        for message in messages:
            message.unsettled += 1
            self._settled.pop(message.sequence, None)
        return messages

    def settled(self, message: Message) -> None:
        """Every durable is done with it."""
        if not message.gone:
            self._settled[message.sequence] = message

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        while self._recent:
            msg_id, seen = next(iter(self._recent.items()))
            if now - seen < self._window:
                break
            del self._recent[msg_id]
        lost = 0
        while self._messages:
            message = next(iter(self._messages.values()))
            if now - message.published < self.stream.max_age:
                break
            lost += message.unsettled > 0
            self._forget(message)
        if lost:
            age = self.stream.max_age / 3600
            _log.warning("%d events of %s were %g h old and nobody had handled them", lost, self.stream.name, age)

    def _make_room(self, size: int) -> None:
        while len(self._messages) >= self._max_messages or self._bytes + size > self._max_bytes:
            if not self._settled:
                raise ResourceExhausted(
                    f"the memory bus is full: {len(self._messages)} events of {self.stream.name} are not handled yet"
                )
            if not self._told:
                self._told = True
                _log.warning(
                    "%s in memory is full: from now on the oldest events that are handled make room", self.stream.name
                )
            self._forget(next(iter(self._settled.values())))

    def _forget(self, message: Message) -> None:
        message.gone = True
        del self._messages[message.sequence]
        self._settled.pop(message.sequence, None)
        self._bytes -= message.size
