from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from chassis.call import Call, Kind, Method
from chassis.component import Components
from chassis.tracing import Tracing
from chassis.tracing.conventions import SpanShape


class Collector(SpanExporter):
    """Takes spans as it is told to; tells when it is asked."""

    def __init__(self, answer: Callable[[], SpanExportResult] = lambda: SpanExportResult.SUCCESS) -> None:
        self.answer = answer
        self.asked = threading.Semaphore(0)
        self.closed = 0
        self.batches: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.release()
        self.batches.append(len(spans))
        return self.answer()

    def shutdown(self) -> None:
        self.closed += 1


class Hanging(Collector):
    """A collector that accepts the connection and never answers."""

    def __init__(self) -> None:
        self.released = threading.Event()
        super().__init__(self._hang)

    def _hang(self) -> SpanExportResult:
        self.released.wait()
        return SpanExportResult.SUCCESS


def tracing_to(collector: SpanExporter, **options: float) -> Tracing:
    return Tracing("cqar", sample_rate=1, exporter=collector, **options)  # type: ignore[arg-type]


def work(tracing: Tracing, times: int = 1) -> None:
    for _ in range(times):
        tracing.tracer.start_span("work").end()


METHOD = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")
SHAPE = SpanShape(METHOD)


def serve(tracing: Tracing, times: int = 1) -> None:
    """Calls whose spans are only noted down."""
    recorder = tracing.recorder
    assert recorder is not None
    for _ in range(times):
        call = Call(METHOD)
        token, span, own = recorder.open_served(call, SHAPE)
        assert token is not None
        assert span is not None
        recorder.detach(token)
        recorder.close(call, SHAPE, span, own)


async def test_spans_of_calls_are_handed_over_after_a_moment() -> None:
    collector = Collector()
    tracing = tracing_to(collector, batch_timeout=0.01)
    await tracing.start()
    serve(tracing, 3)
    await asyncio.to_thread(collector.asked.acquire)  # though nobody flushes, and nothing stops
    await tracing.stop()
    assert (tracing.exported, tracing.dropped, sum(collector.batches)) == (3, 0, 3)


async def test_many_of_them_are_handed_over_at_once() -> None:
    collector = Hanging()
    tracing = tracing_to(collector, queue_size=10, stop_timeout=0.01)
    await tracing.start()
    serve(tracing, 1000)
    assert tracing._delivery is not None
    assert len(tracing._delivery._ended_just_now) < 64
    assert tracing.dropped == 990
    with pytest.raises(TimeoutError):
        await tracing.stop()
    assert (tracing.exported, tracing.dropped) == (0, 1000)
    collector.released.set()


async def test_whoever_wants_them_now_gets_all_of_them() -> None:
    collector = Collector()
    tracing = tracing_to(collector)
    await tracing.start()
    assert tracing.recorder is not None
    serve(tracing, 3)
    assert await asyncio.to_thread(tracing.recorder.provider.force_flush)
    assert (tracing.exported, collector.batches) == (3, [3])
    serve(tracing, 2)
    await tracing.stop()
    assert (tracing.exported, tracing.dropped, collector.batches) == (5, 0, [3, 2])


async def test_what_waits_is_delivered_when_it_stops() -> None:
    collector = Collector()
    tracing = tracing_to(collector)
    await tracing.start()
    work(tracing, 3)
    await tracing.stop()
    assert (tracing.exported, tracing.dropped, collector.batches, collector.closed) == (3, 0, [3], 1)
    await tracing.stop()
    assert collector.closed == 1


async def test_a_hanging_collector_holds_up_neither_calls_nor_the_stop() -> None:
    collector = Hanging()
    tracing = tracing_to(collector, stop_timeout=0.05, queue_size=10)
    await tracing.start()
    work(tracing, 10)
    await asyncio.to_thread(collector.asked.acquire)
    work(tracing, 25)
    assert tracing.dropped == 25
    with pytest.raises(TimeoutError, match=r"Hanging did not take the last 10 spans within 0.05 s"):
        await tracing.stop()
    assert not collector.released.is_set()
    assert (tracing.exported, tracing.dropped) == (0, 35)
    collector.released.set()


async def test_what_a_collector_takes_after_it_was_given_up_is_not_counted_twice() -> None:
    collector = Hanging()
    tracing = tracing_to(collector, stop_timeout=0.01)
    await tracing.start()
    work(tracing)
    with pytest.raises(TimeoutError):
        await tracing.stop()
    before = {thread for thread in threading.enumerate() if "chassis-tracing" in thread.name}
    collector.released.set()
    for thread in before:
        await asyncio.to_thread(thread.join, 10)
    assert (tracing.exported, tracing.dropped, collector.closed) == (0, 1, 1)


async def test_a_stop_that_is_cut_short_counts_what_was_lost() -> None:
    collector = Hanging()
    tracing = tracing_to(collector, stop_timeout=60)
    components = Components()
    await components.start(tracing)
    work(tracing)
    failures = await components.stop(deadline=0)
    await asyncio.sleep(0)
    assert [failure.name for failure in failures] == ["tracing"]
    assert tracing.dropped == 1
    collector.released.set()


@pytest.mark.parametrize("make", [work, serve])
async def test_spans_that_end_after_the_stop_are_counted_as_dropped(make: Callable[[Tracing, int], None]) -> None:
    tracing = tracing_to(Collector())
    await tracing.start()
    await tracing.stop()
    make(tracing, 2)
    assert (tracing.exported, tracing.dropped) == (0, 2)


def _refuse() -> SpanExportResult:
    return SpanExportResult.FAILURE


def _raise() -> SpanExportResult:
    raise OSError("connection refused")


@pytest.mark.parametrize(("answer", "told"), [(_refuse, "no reason given"), (_raise, "OSError: connection refused")])
async def test_a_refusing_collector_is_told_of_in_one_line(
    answer: Callable[[], SpanExportResult], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector = Collector(answer)
    tracing = tracing_to(collector, batch_timeout=0.01)
    await tracing.start()
    for number in range(3):
        work(tracing)
        await asyncio.to_thread(collector.asked.acquire)
        assert len(collector.batches) == number + 1
    await tracing.stop()
    assert (tracing.exported, tracing.dropped) == (0, 3)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"spans are lost: Collector does not take them ({told}); 1 so far"]
    with pytest.raises(RuntimeError, match="3 were lost"):
        await tracing.check()


async def test_a_collector_that_comes_back_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chassis.tracing")
    collector = Collector(_refuse)
    tracing = tracing_to(collector, batch_timeout=0.01)
    await tracing.start()
    work(tracing)
    await asyncio.to_thread(collector.asked.acquire)
    collector.answer = lambda: SpanExportResult.SUCCESS
    work(tracing)
    await tracing.stop()
    await tracing.check()
    assert caplog.messages[-1] == "Collector takes spans again; 1 were lost"


async def test_spans_that_come_too_fast_are_counted_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    collector = Hanging()
    tracing = tracing_to(collector, queue_size=1, stop_timeout=0)
    await tracing.start()
    work(tracing, 5)
    assert caplog.messages == ["spans are dropped: Hanging does not take them as fast as they come"]
    assert tracing.dropped == 4
    collector.released.set()


class Chatty(Collector):
    __module__ = "chatty"  # loggers are known by it
    log = logging.getLogger("chatty")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.log.error("Failed to export: deadline exceeded")
        return super().export(spans)


async def test_what_the_exporter_says_is_the_reason_and_no_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    tracing = tracing_to(Chatty(_refuse))
    await tracing.start()
    Chatty.log.warning("others are not kept quiet")
    work(tracing)
    await tracing.stop()
    assert caplog.messages == [
        "others are not kept quiet",
        "spans are lost: Chatty does not take them (Failed to export: deadline exceeded); 1 so far",
    ]
    assert Chatty.log.filters == []


class BadEnd(Collector):
    def shutdown(self) -> None:
        raise OSError("already gone")


async def test_an_exporter_that_cannot_be_closed_fails_no_stop() -> None:
    tracing = tracing_to(BadEnd())
    await tracing.start()
    work(tracing)
    await tracing.stop()
    assert tracing.exported == 1


@pytest.mark.parametrize("mode", ["grpc", "http"])
def test_a_process_ends_though_its_collector_hangs(mode: str) -> None:
    program = f"""
import asyncio, socket
from chassis.tracing import Tracing

listener = socket.create_server(("127.0.0.1", 0))

async def main():
    endpoint = "http://127.0.0.1:%d" % listener.getsockname()[1]
    tracing = Tracing("cqar", sample_rate=1, endpoint=endpoint, export_mode={mode!r}, stop_timeout=0.2)
    await tracing.start()
    tracing.tracer.start_span("work").end()
    try:
        await tracing.stop()
    except TimeoutError as error:
        print(str(error).replace(endpoint[7:], "ADDRESS"), tracing.dropped)

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout.splitlines() == ["ADDRESS did not take the last 1 spans within 0.2 s: they are lost 1"]
    assert (ran.returncode, ran.stderr) == (0, "")
