"""The same for events: whatever a handler ends with, its verdict and the three records mean the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
from cqi.testing.v1.echo_pb2 import EchoHappened
from grpc import StatusCode

from chassis.bus import Bus, MemoryBackend, topic_for
from chassis.call import Interceptor
from chassis.errors import TABLE, ChassisError, Crash, DeadlineExceeded, Undecodable, Verdict
from interceptors import LoggingInterceptor, MetricsInterceptor, TracingInterceptor
from tests.contracts.bus_kit import AT_ONCE, Probe
from tests.matrix.records import OBSERVERS, Observed, Records, disagreements
from tests.matrix.stacks import authenticator, full

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOPIC = topic_for(EchoHappened)
# How the broker is told, and whether the event comes again: then it goes well.
SETTLED = {
    Verdict.ACK: (["ack"], False),
    Verdict.NAK: (["nak", "ack"], True),
    Verdict.RETRY: (["nak", "ack"], True),
    Verdict.DEAD_LETTER: (["term"], False),
}
ENDINGS: dict[str, type[ChassisError] | None] = {
    "ok": None,
    **{cls.__name__: cls for cls in TABLE},
    "crash": Crash,
    "undecodable": Undecodable,
    "deadline": DeadlineExceeded,
}
STACKS: dict[str, tuple[Callable[[Observed], Sequence[Interceptor]], tuple[str, ...]]] = {
    "tracing alone": (lambda observed: [TracingInterceptor(observed.tracing)], ("span",)),
    "metrics alone": (lambda observed: [MetricsInterceptor(observed.metrics)], ("metric",)),
    "logging alone": (lambda observed: [LoggingInterceptor(observed.logs)], ("log",)),
    "full stack": (lambda observed: full(observed, None), OBSERVERS),
    # Events come without credentials, so that auth changes nothing about them.
    "full stack with auth": (lambda observed: full(observed, authenticator()), OBSERVERS),
}


class Service:
    """A service that handles one kind of event, and ends as it is told to the first time."""

    def __init__(self, interceptors: Callable[[Observed], Sequence[Interceptor]]) -> None:
        self.observed = Observed()
        self._ending = ""
        self.probe = Probe(MemoryBackend())
        self._bus = Bus(
            self.probe,
            service_name="echo",
            around=interceptors(self.observed),
            backoff=AT_ONCE,
            handler_timeout=0.15,
        )

    async def start(self) -> None:
        self.observed.logs.install()
        await self._bus.subscribe(EchoHappened, self._handle)
        await self._bus.start()

    async def stop(self) -> None:
        await self._bus.stop()
        self.observed.logs.close()

    async def _handle(self, event: EchoHappened, call: Any) -> None:
        if call.deliveries > 1:
            return
        if self._ending == "crash":
            raise RuntimeError(event.text)
        if self._ending == "deadline":
            await asyncio.Event().wait()
        cls = ENDINGS[self._ending]
        if cls is not None:
            raise cls(event.text)

    async def play(self, ending: str, wire: list[str], settled: list[str]) -> Records:
        """Publish an event, and give what was recorded when the broker has been told this about it."""
        self._ending = ending
        self.observed.forget()
        self.probe.settled.clear()
        before = self._counted()
        headers = {"x-request-id": "r-1"}
        if ending == "undecodable":
            await self.probe.inner.publish(TOPIC, b"\xff\xff", headers, msg_id="not-protobuf", timeout=5)
        else:
            await self._bus.publish(EchoHappened(text="what happened"), headers=headers)
        await self.probe.until(lambda probe: len(probe.settled) >= len(settled))
        assert [how for how, topic, _ in self.probe.settled if topic == TOPIC] == settled
        self.observed.logs.flush(5)
        lines = [
            *self.observed.logged("event processed").get("r-1", []),
            *self.observed.logged("event processing failed").get("r-1", []),
        ]
        spans = [span for span in self.observed.spans.get_finished_spans() if span.kind.name == "CONSUMER"]
        codes = Records(
            " ".join(sorted(wire)),
            log=[line["code"] for line in lines],
            metric=[code for (code,) in (self._counted() - before).elements()],
            span=[str((span.attributes or {}).get("error.type", "OK")) for span in spans],
        )
        return Records(
            codes.wire,
            *([" ".join(sorted(said))] if said else [] for said in (codes.log, codes.metric, codes.span)),
        )

    def _counted(self) -> Any:
        return self.observed.counted("event_handled_total", "status_code")


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=STACKS)
async def service(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Service, str]]:
    service = Service(STACKS[request.param][0])
    await service.start()
    yield service, request.param
    await service.stop()


@pytest.mark.parametrize("ending", ENDINGS)
async def test_all_records_of_an_event_say_how_its_handler_ended(service: tuple[Service, str], ending: str) -> None:
    bus, stack = service
    cls = ENDINGS[ending]
    settled, again = SETTLED[Verdict.ACK if cls is None else cls.meaning.verdict]
    code = StatusCode.OK if cls is None else cls.meaning.code

    records = await bus.play(ending, [code.name, "OK"] if again else [code.name], settled)

    assert disagreements(records, STACKS[stack][1]) == []
