from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from chassis.background import end
from chassis.bus.backend import Backend, Consumer, Delivery, too_large
from chassis.bus.jetstream.api import NO_RESPONDERS, TOO_LARGE, Api
from chassis.bus.jetstream.connection import Connection
from chassis.bus.jetstream.consumers import Consumers
from chassis.bus.jetstream.intake import JetStreamIntake
from chassis.bus.jetstream.requests import Reply
from chassis.bus.jetstream.streams import Streams
from chassis.bus.jetstream.wire import encode_headers, status_of
from chassis.bus.streams import Stream, streams_for
from chassis.config import SecretUrl
from chassis.errors import ChassisError, InvalidInput, Temporary
from chassis.metrics.catalogue import EVENT_BACKLOG, EVENT_PULL_REBOUND

if TYPE_CHECKING:
    from chassis.metrics import Metrics

_log = logging.getLogger("chassis.bus")

_MSG_ID = "Nats-Msg-Id"
_BAD_SUBJECT = re.compile(r"[\s*>]|^$")


class JetStreamBackend(Backend):
    """The event bus over NATS JetStream.

    `servers` are those of one cluster, with credentials in them where they are needed; `client_name` is what
    operators see at the server. Without `streams` they are those of the platform. It connects in the background, to
    whichever server answers, and again whenever the connection is lost; meanwhile publishing fails at once.

    Raises ValueError for what is no address of a server.
    """

    system = "nats"

    CHECK_TIMEOUT: ClassVar[float] = 2.0
    """Seconds in which JetStream has to answer to be taken for healthy."""

    MAX_SUBJECTS: ClassVar[int] = 10_000
    """Subjects that are remembered to have a stream; for others it is asked each time."""

    def __init__(
        self,
        servers: Sequence[SecretUrl],
        *,
        client_name: str,
        streams: Sequence[Stream] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        wanted = tuple(streams_for() if streams is None else streams)
        self._connection = Connection(servers, client_name=client_name)
        api = Api(self._connection)
        self._streams = Streams(api, wanted)
        self._wanted = wanted
        self._taken: set[str] = set()
        self._finding: dict[str, asyncio.Task[str]] = {}
        self._consumers = Consumers(api, self._streams)
        self._metrics = metrics
        self._intakes: list[JetStreamIntake] = []
        self._ensuring: asyncio.Task[None] | None = None
        self._connection.on_connected.append(self._connected)

    @property
    def max_payload(self) -> int | None:
        """As the server says; before the first connection, what servers say that nobody told otherwise."""
        return self._connection.max_payload

    async def start(self) -> None:
        """Begin to connect, and make the streams that are missing; a broker that is not there is looked for on."""
        try:
            await self._connection.start()
            if self._ensuring is not None:
                await asyncio.wait({self._ensuring})
        except BaseException:  # cancelled: nothing may be left running
            await self.stop()
            raise

    async def stop(self) -> None:
        """Send what is left to send, and disconnect."""
        for intake in list(self._intakes):
            await intake.stop()
        await end(self._ensuring, *self._finding.values())
        await self._connection.stop()

    async def check(self) -> None:
        """Raise if JetStream cannot be reached, or if one of the subscriptions cannot be served, right now."""
        try:
            await self._streams.check(self.CHECK_TIMEOUT)
        except TimeoutError as error:
            raise Temporary("the event bus does not answer") from error
        for intake in self._intakes:
            if intake.trouble is not None:
                raise Temporary(intake.trouble)

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str], *, msg_id: str, timeout: float
    ) -> None:
        """Return when the stream has it; raises Temporary, TimeoutError, or InvalidInput for what never fits."""
        if msg_id and _MSG_ID not in headers:
            headers = {**headers, _MSG_ID: msg_id}
        encoded = encode_headers(headers)
        size, limit = len(encoded) + len(payload), self._connection.max_payload
        if size > limit:
            raise too_large(subject, size, limit)
        if subject not in self._taken:
            await self._find(subject, timeout)
        reply = await self._connection.request(subject, payload, headers=encoded, timeout=timeout)
        # `{"stream":"cqc_events","seq":17}`: a glance is enough for nearly all of them.
        if reply.payload.startswith(b'{"stream":') and b'"error"' not in reply.payload:
            return
        status = status_of(reply.headers)
        if status is not None and status.code == NO_RESPONDERS:
            async with asyncio.timeout(timeout):
                reply = await self._publish_anew(subject, payload, encoded, timeout)
        _check_confirmed(subject, reply)

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> JetStreamIntake:
        """Begin to take in; ValueError for a durable of this name that cannot be used."""
        if _BAD_SUBJECT.search(consumer.subject):
            raise ValueError(f"{consumer.subject!r} is no subject to subscribe to: it has wildcards or spaces")
        intake = JetStreamIntake(
            consumer,
            self._connection,
            self._consumers,
            deliver,
            rebound=self._counter(consumer.subject),
            stopped=self._intakes.remove,
        )
        if self._metrics is not None:
            backlog = self._metrics.get(EVENT_BACKLOG).labels(consumer.subject, consumer.durable)
            backlog.set_function(lambda: intake.backlog)
        self._intakes.append(intake)
        try:
            await intake.start()
        except BaseException:
            await intake.stop()
            raise
        return intake

    async def _publish_anew(self, subject: str, payload: bytes, headers: bytes, timeout: float) -> Reply:
        # Nobody answered: the stream was deleted, and is made again, or it has no leader.
        stream = await self._streams.taking(subject)
        reply = await self._connection.request(subject, payload, headers=headers, timeout=timeout)
        if status_of(reply.headers) is not None:
            raise Temporary(
                f"the stream {stream} of the event bus does not take events right now", detail="it has no leader"
            )
        return reply

    async def _find(self, subject: str, timeout: float) -> None:
        if _BAD_SUBJECT.search(subject):
            raise ValueError(f"{subject!r} is no subject to publish on: it has wildcards or spaces")
        if any(stream.takes(subject) for stream in self._wanted):
            self._remember(subject)
            return
        # All who wait for it go on in the same turn of the loop and in the order in which they came, so that the first
        # events on a subject are stored in the order of their publishing.
        finding = self._finding.get(subject)
        if finding is None:
            finding = asyncio.get_running_loop().create_task(self._streams.taking(subject))
            self._finding[subject] = finding
            finding.add_done_callback(lambda task: self._found(subject, task))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(finding)
        except asyncio.CancelledError:
            if not finding.cancelled():
                raise
            raise self._connection.unreachable() from None

    def _found(self, subject: str, finding: asyncio.Task[str]) -> None:
        del self._finding[subject]
        if not finding.cancelled() and finding.exception() is None:
            self._remember(subject)

    def _remember(self, subject: str) -> None:
        if len(self._taken) < self.MAX_SUBJECTS:
            self._taken.add(subject)

    def _counter(self, topic: str) -> Callable[[], None]:
        if self._metrics is None:
            return lambda: None
        return self._metrics.get(EVENT_PULL_REBOUND).labels(topic).inc

    def _connected(self) -> None:
        if self._ensuring is not None:
            self._ensuring.cancel()
        self._ensuring = asyncio.get_running_loop().create_task(self._ensure())

    async def _ensure(self) -> None:
        try:
            await self._streams.ensure()
        except (ChassisError, OSError) as error:
            # Whoever publishes or subscribes tries again, and is told.
            said = getattr(error, "detail", None) or error
            _log.warning("the streams of the event bus could not be looked after: %s", said)


def _check_confirmed(subject: str, reply: Reply) -> None:
    try:
        answer: Any = json.loads(reply.payload)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Temporary(f"what answered to the event on {subject} is no stream: another service listens there, too")
    error = answer.get("error")
    if isinstance(error, dict):
        said = error.get("description", "no reason given")
        if error.get("err_code") in TOO_LARGE:
            raise InvalidInput(f"the event on {subject} is larger than its stream takes: {said}")
        raise Temporary(f"the event bus did not take the event on {subject}: {said}")
    if "stream" not in answer or "seq" not in answer:
        raise Temporary(f"the event bus gave an answer to the event on {subject} that is not understood")
