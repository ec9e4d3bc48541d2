from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Unpack, overload

from google.protobuf.message import Message

from chassis.bus.arguments import own_headers, topic_and_event
from chassis.bus.backend import Backend
from chassis.bus.consumer import RunningSubscription
from chassis.bus.dead_letter import dead_letter_subject, token
from chassis.bus.declaration import Handler, Options, Subscription, durable_of, subscription_to, subscriptions_of
from chassis.bus.envelope import Sealer, check_header
from chassis.bus.event import ACTOR_ID, CONTENT_TYPE, MESSAGE_TYPE, PROTOBUF, Envelope, EventCall
from chassis.bus.publisher import Publisher
from chassis.bus.verdict import Settler
from chassis.call import Interceptor, current_call
from chassis.component import Component
from chassis.errors import Temporary
from chassis.retry import Policy

if TYPE_CHECKING:
    from cqi.v1.dead_letter_pb2 import DeadLetter

    from chassis.metrics import Metrics

REDELIVERY = Policy(attempts=None, initial=1.0, multiplier=5.0, maximum=60.0, jitter=0.25)
"""How long an event that failed waits before it is delivered again: about 1, 5, 25, 60 seconds."""

PUBLISHING = Policy(attempts=3, initial=0.05, maximum=1.0)
"""How often, and after which waits, a confirmation that did not come is asked for again."""


class Bus(Component):
    """Publishes events and hands those of others to their handlers: typed both ways, at least once, over any backend.

    | | |
    |---|---|
    | `service_name` | names the service in dead letters, and as `service:{name}` in events that nobody else caused |
    | `around` | what every event that is published or handled goes through, outermost first |
    | `consumer_name` | begins the name of each durable, by which instances share the work; the service's name |
    | `max_deliver`, `ack_wait`, `backoff` | see `Subscription`; what holds where a subscription does not say |
    | `max_ack_pending` | how many events of a durable may be unsettled at a time, over all instances |
    | `handler_timeout` | seconds that a handler may take; 10 times `ack_wait` unless said |
    | `publish_timeout`, `publish_retry` | seconds in which an event has to be confirmed, and how that is tried |
    | `grace` | seconds that handlers have to finish when the bus stops, if it was not drained before |

    An event is handled at least once: after a crash, or where the broker forgot an acknowledgement, it comes again,
    so a handler has to bear seeing an event twice (`call.event_id` is the same each time).
    """

    name = "event_bus"

    def __init__(
        self,
        backend: Backend,
        *,
        service_name: str,
        around: Sequence[Interceptor] = (),
        metrics: Metrics | None = None,
        consumer_name: str | None = None,
        max_deliver: int = 3,
        ack_wait: float = 30.0,
        max_ack_pending: int = 1000,
        backoff: Policy = REDELIVERY,
        handler_timeout: float | None = None,
        publish_timeout: float = 5.0,
        publish_retry: Policy = PUBLISHING,
        grace: float = 20.0,
        required: bool = True,
    ) -> None:
        if max_deliver < 1:
            raise ValueError(f"max_deliver must be at least 1, not {max_deliver}")
        if max_ack_pending < 1:
            raise ValueError(f"max_ack_pending must be at least 1, not {max_ack_pending}")
        for name, seconds in (("ack_wait", ack_wait), ("handler_timeout", handler_timeout)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {seconds}")
        self.backend = backend
        self.service_name = service_name
        self.required = required
        self._actor = check_header("service_name", f"service:{service_name}")
        self._around = tuple(around)
        self._metrics = metrics
        self._consumer_name = token(consumer_name or service_name)
        self._max_deliver = max_deliver
        self._ack_wait = ack_wait
        self._max_ack_pending = max_ack_pending
        self._backoff = backoff
        self._handler_timeout = handler_timeout
        self._grace = grace
        self._sealer = Sealer()
        self._publisher = Publisher(backend, self._around, timeout=publish_timeout, retry=publish_retry)
        self._topics: dict[type, str] = {}
        self._subscriptions: dict[str, RunningSubscription] = {}
        self._started = False
        self._draining = False

    # Publishing.

    @overload
    async def publish(
        self, message: Message, /, *, headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> str: ...
    @overload
    async def publish(
        self, topic: str, message: Message, /, *, headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> str: ...
    async def publish(
        self,
        topic_or_message: str | Message,
        message: Message | None = None,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Publish an event, on the topic of its type or on the one given; returns its id once the broker has it.

        `event_id`, `timestamp` and `actor_id` (who makes the call being served, or else this service) are filled in
        on the wire where the message has them and they are not set; the message itself stays as it is. `timeout` is
        in seconds, and never longer than the call being served has left.

        Raises `Temporary` if the broker did not confirm it (it may be there all the same: publishing again under the
        same `event_id` does no harm), `DeadlineExceeded` if the time of the call ran out, `InvalidInput` for an event
        that is too large, and TypeError or ValueError for what is no message or no topic.
        """
        event_id, confirmed = self._send(topic_or_message, message, headers, timeout)
        await confirmed
        return event_id

    async def publish_all(
        self, events: Iterable[Message | tuple[str, Message]], *, window: int = 256, timeout: float | None = None
    ) -> list[str]:
        """Publish many events, or (topic, event) pairs, `window` of them at a time; returns their ids, in order.

        They are sent in the order given. When one fails, or `events` itself, no further ones are begun, those under way
        are waited for, and the error is raised with a note that says how many were confirmed.
        """
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        remaining = enumerate(events)
        ids: dict[int, str] = {}
        failures: list[Exception] = []

        async def work() -> None:
            try:
                for index, event in remaining:
                    if failures:
                        return
                    topic_or_message, message = event if isinstance(event, tuple) else (event, None)
                    event_id, confirmed = self._send(topic_or_message, message, None, timeout)
                    await confirmed
                    ids[index] = event_id
            except Exception as error:  # of an event, or of what the events come from
                failures.append(error)

        size = min(window, len(events)) if isinstance(events, Sized) else window
        async with asyncio.TaskGroup() as group:
            for _ in range(size):
                group.create_task(work())
        if failures:
            failures[0].add_note(f"{len(ids)} of the events were published before")
            raise failures[0]
        return [ids[index] for index in sorted(ids)]

    def _send(
        self,
        topic_or_message: str | Message,
        message: Message | None,
        headers: Mapping[str, str] | None,
        timeout: float | None,
    ) -> tuple[str, Awaitable[None]]:
        topic = self._topics.get(type(topic_or_message)) if message is None else None
        if topic is not None:
            assert isinstance(topic_or_message, Message)
            event = topic_or_message
        else:
            topic, event = topic_and_event(topic_or_message, message)
            if message is None:
                self._topics[type(event)] = topic
        if not self._started:
            raise Temporary(f"the event bus is not running, and the event on {topic} was not published")
        call = current_call()
        principal = None if call is None else call.principal
        envelope = self._sealer.seal(event, self._actor if principal is None else principal.actor_id)
        if headers:
            envelope.headers.update(own_headers(headers))
        return envelope.event_id, self._publisher.send(topic, event, envelope, parent=call, timeout=timeout)

    # Subscribing.

    async def subscribe(
        self,
        event: type[Message] | str,
        handler: Handler,
        *,
        message_type: type[Message] | None = None,
        **options: Unpack[Options],
    ) -> RunningSubscription:
        """Have `handler(event)`, or `handler(event, call)`, called for each event, given as its type or its topic.

        The options are those of `Subscription`. Before the bus is started it is remembered and begins with it. Raises
        TypeError, LookupError or ValueError for what cannot work, two handlers that would share one durable included.
        """
        return await self._add(subscription_to(event, message_type, **options), handler)

    async def subscribe_all(self, service: object) -> list[RunningSubscription]:
        """Subscribe all handlers of an object that `@subscribe` marked."""
        return [await self._add(subscription, handler) for subscription, handler in subscriptions_of(service)]

    async def _add(self, subscription: Subscription, handler: Handler) -> RunningSubscription:
        if self._draining:
            raise RuntimeError("the event bus is stopping, and takes no more subscriptions")
        durable = durable_of(self._consumer_name, subscription)
        if durable in self._subscriptions:
            raise ValueError(
                f"{subscription.topic} has two handlers that would share its events by the durable {durable}; "
                'give one of them a name of its own: durable="audit"'
            )
        ack_wait = self._ack_wait if subscription.ack_wait is None else subscription.ack_wait
        timeout = 10 * ack_wait if self._handler_timeout is None else self._handler_timeout
        settler = Settler(
            subscription.topic,
            service=self.service_name,
            durable=durable,
            max_deliver=self._max_deliver if subscription.max_deliver is None else subscription.max_deliver,
            backoff=self._backoff if subscription.backoff is None else subscription.backoff,
            backend=self.backend,
            put_aside=self._put_aside,
            metrics=self._metrics,
        )
        running = RunningSubscription(
            subscription,
            handler,
            settler,
            system=self.backend.system,
            durable=durable,
            ack_wait=ack_wait,
            timeout=timeout if subscription.timeout is None else subscription.timeout,
            max_ack_pending=self._max_ack_pending,
            around=self._around,
        )
        self._subscriptions[durable] = running
        if self._started:
            try:
                await running.start(self.backend)
            except BaseException:  # it may be tried again
                if self._subscriptions.get(durable) is running:
                    del self._subscriptions[durable]
                raise
        return running

    async def _put_aside(self, letter: DeadLetter, call: EventCall, letter_id: str) -> None:
        headers = {CONTENT_TYPE: PROTOBUF, MESSAGE_TYPE: letter.DESCRIPTOR.full_name, ACTOR_ID: self._actor}
        subject = dead_letter_subject(self.service_name, call.topic)
        envelope = Envelope(letter.SerializeToString(), letter_id, headers)
        await self._publisher.send(subject, letter, envelope, parent=call)

    # Its life.

    async def start(self) -> None:
        """Connect, and begin to take in events for the subscriptions made so far."""
        await self.backend.start()
        self._started, self._draining = True, False
        try:
            for running in list(self._subscriptions.values()):
                await running.start(self.backend)
        except BaseException:
            await self.stop()
            raise

    async def drain(self, grace: float | None = None) -> list[str]:
        """Take nothing in any more, and let handlers finish for `grace` seconds; publishing still works.

        What was fetched and not begun is given back at once, what is not done in time is cut off and given back.
        Returns, in words, what was cut off.
        """
        self._draining = True
        seconds = self._grace if grace is None else grace
        running = list(self._subscriptions.values())
        self._subscriptions.clear()
        results = await asyncio.gather(*(each.drain(seconds) for each in running))
        return [cut for result in results for cut in result]

    async def stop(self) -> None:
        """Drain, if that was not done before, and close the connection."""
        try:
            await self.drain()
        finally:
            self._started = False
            await self.backend.stop()

    async def check(self) -> None:
        """Raise if the broker cannot be reached right now."""
        if not self._started:
            raise Temporary("the event bus is not running")
        await self.backend.check()
