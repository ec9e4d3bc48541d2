from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar

from chassis.bus.backend import Backend, Delivery
from chassis.bus.dead_letter import dead_letter_of, is_dead_letter
from chassis.bus.event import EventCall
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


class Settler:
    """What becomes of a delivery, by the table of `chassis.errors`.

    | verdict | |
    |---|---|
    | `ACK` | acknowledged |
    | `NAK` | given back at once |
    | `RETRY` | given back, to come again after the backoff |
    | `DEAD_LETTER` | published as a dead letter, and only then ended |

    An event that was given back `max_deliver` times becomes a dead letter; not where the service itself stopped. If the
    dead letter cannot be published, the event is given back and comes again: it is never lost. A dead letter whose
    own handler fails is no dead letter once more: it comes again, after the longest wait.
    """

    RUNAWAY: ClassVar[int] = 3
    """Times `max_deliver` after which an event is not handled once more: it has never come to any end."""

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
        self._redelivered = None if metrics is None else metrics.get(EVENT_REDELIVERED).labels(topic)
        self._dead_lettered = None if metrics is None else metrics.get(EVENT_DEAD_LETTERED)

    def redelivered(self) -> None:
        """Count an event that comes again."""
        if self._redelivered is not None:
            self._redelivered.inc()

    def refuses(self, delivery: Delivery) -> ChassisError | None:
        """Why an event is not to be handled once more, or None."""
        if delivery.deliveries <= self.RUNAWAY * self._max_deliver or self._dead_letter:
            return None
        return Aborted(
            f"delivered {delivery.deliveries} times and never settled: each time its handler was cut off, "
            "or the process ended, or its dead letter could not be published"
        )

    async def judge(self, delivery: Delivery, call: EventCall, error: ChassisError) -> Verdict:
        """What is to become of an event that ended with this error; a dead letter is with the broker by then."""
        verdict = self._verdict(delivery, error)
        if verdict is Verdict.DEAD_LETTER and not await self._bury(delivery, call, error):
            return Verdict.RETRY
        return verdict

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
        if verdict is Verdict.ACK or isinstance(error, CutOff):
            return verdict
        if self._dead_letter:
            return Verdict.RETRY
        if verdict is not Verdict.DEAD_LETTER and delivery.deliveries >= self._max_deliver:
            return Verdict.DEAD_LETTER
        return verdict

    def _wait(self, delivery: Delivery, error: ChassisError | None) -> float:
        if self._dead_letter:
            return self._backoff.longest
        return self._backoff.delay(delivery.deliveries, error)

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
        letter_id = f"{self._durable}:{delivery.stream}:{delivery.sequence}"
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
