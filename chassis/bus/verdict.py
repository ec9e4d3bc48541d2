from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar

from chassis.bus.backend import Backend, Delivery
from chassis.bus.dead_letter import dead_letter_of, is_dead_letter
from chassis.bus.event import EventCall
from chassis.bus.tries import Tries
from chassis.errors import Aborted, Cancelled, ChassisError, Verdict, classify
from chassis.metrics.catalogue import EVENT_DEAD_LETTERED, EVENT_REDELIVERED
from chassis.retry import Policy

if TYPE_CHECKING:
    from cqi.v1.dead_letter_pb2 import DeadLetter

    from chassis.metrics import Metrics

_log = logging.getLogger("chassis.bus")

PutAside = Callable[["DeadLetter", EventCall, str], Awaitable[None]]
"""Publishes a dead letter under an id and returns when the broker has it."""


class CutOff(Cancelled):
    """The service stops, and a handler was not done; no word about the event itself."""


class Endless(Aborted):
    """An event whose handler is not begun once more, since it never came to an end."""


class Settler:
    """What becomes of a delivery, by the table of `chassis.errors`.

    | verdict | |
    |---|---|
    | `ACK` | acknowledged |
    | `NAK` | given back at once |
    | `RETRY` | given back, to come again after the backoff |
    | `DEAD_LETTER` | published as a dead letter, and only then ended |

    An event whose handler has failed here `max_deliver` times becomes a dead letter, and so does one that fails when it
    was delivered twice as often: others will have seen it fail. Not where the service itself stopped, and not without
    a failure, however often it was delivered: most of that may never have reached the handler. If the dead letter
    cannot be published, the event is given back and comes again: it is never lost. A dead letter whose own handler
    fails is no dead letter once more: it comes again, after the longest wait.
    """

    RUNAWAY: ClassVar[int] = 2
    """Times `max_deliver` that an event is delivered at most, where those who have it see its handler fail."""

    def __init__(
        self,
        topic: str,
        *,
        service: str,
        durable: str,
        max_deliver: int,
        backoff: Policy,
        backend: Backend,
        put_aside: PutAside,
        metrics: Metrics | None = None,
    ) -> None:
        self._topic = topic
        self._service = service
        self._durable = durable
        self._max_deliver = max_deliver
        self._backoff = backoff
        self._backend = backend
        self._put_aside = put_aside
        self._dead_letter = is_dead_letter(topic)
        self._tries = Tries()
        self._redelivered = None if metrics is None else metrics.get(EVENT_REDELIVERED).labels(topic)
        self._dead_lettered = None if metrics is None else metrics.get(EVENT_DEAD_LETTERED)

    def redelivered(self) -> None:
        """Count an event that comes again."""
        if self._redelivered is not None:
            self._redelivered.inc()

    def doubts(self, delivery: Delivery) -> bool:
        """Whether it may be what ends the process: it came so often that it would be over, had its handler failed."""
        return delivery.deliveries > self.RUNAWAY * self._max_deliver and not self._dead_letter

    async def is_too_much(self, delivery: Delivery) -> bool:
        """Note that an event's handler is about to begin; whether it was begun in vain too often to begin it again."""
        before = await delivery.begun() - 1
        return self._tries.at_least(delivery, before) >= self._max_deliver

    def refusal(self, delivery: Delivery) -> ChassisError:
        """Why an event's handler is not begun once more."""
        return Endless(
            f"it was delivered {delivery.deliveries} times and never came to an end, and its handler was begun in vain "
            f"as often as it may be tried ({self._max_deliver}): each time the handler was cut off, or the process "
            "ended, or the dead letter could not be published"
        )

    async def judge(self, delivery: Delivery, call: EventCall, error: ChassisError) -> Verdict:
        """What is to become of an event that ended with this error; a dead letter is with the broker by then."""
        verdict = error.meaning.verdict if isinstance(error, CutOff) else self._verdict(delivery, error)
        if verdict is Verdict.DEAD_LETTER and not await self._bury(delivery, call, error):
            return Verdict.RETRY
        return verdict

    async def postpone(self, delivery: Delivery, why: Exception) -> None:
        """Give back what cannot be begun right now; its handler has no part in that."""
        said = {"topic": self._topic, "sequence": delivery.sequence}
        _log.warning("an event waits, as it cannot be noted that it is begun: %s", why, extra=said)
        with contextlib.suppress(Exception):  # it comes again when `ack_wait` is over
            await delivery.nak(self._backoff.longest)

    async def settle(self, delivery: Delivery, call: EventCall, verdict: Verdict, error: ChassisError | None) -> None:
        """Tell the broker."""
        try:
            if verdict is Verdict.ACK:
                await delivery.ack()
            elif verdict is Verdict.DEAD_LETTER:
                await delivery.term()
            elif verdict is Verdict.NAK:
                await delivery.nak()
            else:
                await delivery.nak(self._wait(delivery, error))
        except Exception as failure:
            # It comes again when `ack_wait` is over.
            fields = {"topic": self._topic, "event_id": call.event_id}
            _log.warning("the broker was not told what became of an event: %s", failure, extra=fields)

    def _verdict(self, delivery: Delivery, error: ChassisError) -> Verdict:
        verdict = error.meaning.verdict
        if verdict is Verdict.ACK:
            return verdict
        if isinstance(error, Endless):
            return Verdict.DEAD_LETTER
        tries = self._tries.one_more(delivery)
        if self._dead_letter:
            return Verdict.RETRY
        if tries >= self._max_deliver or delivery.deliveries >= self.RUNAWAY * self._max_deliver:
            return Verdict.DEAD_LETTER
        return verdict

    def _wait(self, delivery: Delivery, error: ChassisError | None) -> float:
        if self._dead_letter:
            return self._backoff.longest
        return self._backoff.delay(max(1, self._tries.of(delivery)), error)

    async def _bury(self, delivery: Delivery, call: EventCall, error: ChassisError) -> bool:
        letter = dead_letter_of(
            call, error, service=self._service, durable=self._durable, max_payload=self._backend.max_payload
        )
        fields = {
            "topic": self._topic,
            "event_id": letter.event_id,
            "request_id": call.request_id,
            "reason": letter.reason,
            "code": letter.code,
            "deliveries": letter.deliveries,
            "durable": self._durable,
        }
        # One dead letter for this event and durable, also if the process ends before the event itself is ended.
        letter_id = f"{self._durable}:{delivery.stream}:{delivery.sequence}:{delivery.stored.decode()}"
        try:
            await self._put_aside(letter, call, letter_id)
        except Exception as failure:
            said = classify(failure)
            _log.error(
                "a dead letter could not be published; the event will be delivered again: %s",
                said.message,
                extra=fields,
            )
            return False
        if self._dead_lettered is not None:
            self._dead_lettered.labels(self._topic, letter.code).inc()
        _log.error("event became a dead letter: %s", letter.reason, extra=fields)
        return True
