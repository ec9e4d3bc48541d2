"""The loads: h2load is called as it should be and is understood, and calls that failed give no figure."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from chassis.tracing import otlp
from tests.bench import load
from tests.bench.chassis_service import settling, started
from tests.bench.child import Child, Launcher, cpu_seconds_of, metered
from tests.bench.credentials import Credentials
from tests.bench.http2 import Failed
from tests.bench.nowhere import Nowhere
from tests.bench.servicer import UNARY, reply_bytes, request
from tests.bench.statistics import Sample
from tests.bench.suite import Variant

# h2load of nghttp2 1.52.0 wrote it about 64 calls of this load, all of which succeeded.
OUTPUT = """\
starting benchmark...
spawning thread #0: 4 total client(s). 64 total requests
Application protocol: h2c
progress: 93% done

finished in 16.26ms, 3936.28 req/s, 670.24KB/s
requests: 64 total, 64 started, 64 done, 64 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 64 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 10.90KB (11159) total, 492B (492) headers (space savings 90.51%), 7.00KB (7168) data
                     min         max         mean         sd        +/- sd
time for request:     4.06ms      9.95ms      6.39ms      1.56ms    75.00%
req/s           :    1014.55     1327.59     1163.47      133.84    50.00%
"""

TRACED = Variant("all spans", "chassis_service", settings={"tracing": 1}, environment={"CQ_BENCH": "told"})


def by_best(child: Child, path: str, body: bytes, calls: int) -> Sample:
    return load.closed_by_best(child, path, body, calls, h2load=load.has_h2load())


def at_rate(child: Child, path: str, body: bytes, calls: int) -> Sample:
    return load.at_rate(child, path, body, calls, 1000)


every_load = pytest.mark.parametrize("make", [load.closed, at_rate, by_best])


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Launcher(None, Credentials.new()).all_up([TRACED]) as up:
        yield up[TRACED.name]


def test_its_process_finds_in_the_environment_what_is_said_of_it(child: Child) -> None:
    assert b"CQ_BENCH=told" in Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")


def test_what_h2load_writes_is_understood() -> None:
    assert load.read_h2load(OUTPUT) == (3936.28, 64 * reply_bytes(request()))


def test_what_else_h2load_may_write_is_shown() -> None:
    with pytest.raises(Failed, match="cannot be read:\nconnection refused"):
        load.read_h2load("connection refused")


def test_h2load_makes_the_calls_that_our_own_client_makes() -> None:
    command = load.h2load_command(4711, UNARY, "t0ken", "/tmp/body", 500)
    assert command[:4] == ["h2load", "-n500", f"-c{load.CONNECTIONS}", f"-m{load.STREAMS}"]
    assert command[4:6] == ["-d", "/tmp/body"]
    headers = {command[place + 1] for place, word in enumerate(command) if word == "-H"}
    assert headers == {
        *("content-type: application/grpc", "te: trailers", "grpc-timeout: 30S"),
        "authorization: Bearer t0ken",
    }
    assert command[-1] == f"http://127.0.0.1:4711{UNARY}"


@every_load
def test_calls_are_made_and_metered(make: Callable[..., Sample], child: Child) -> None:
    before = child.cpu_seconds()
    sample = make(child, UNARY, request(), 64)
    assert sample.rate > 0
    used = child.cpu_seconds() - before
    assert 0 < sample.cpu_us * 64 / 1e6 <= used + 1e-9  # two ways to the same number, which differ in its last digit
    assert len(sample.times_ms) == (64 if make is at_rate else 0)


@every_load
def test_calls_that_fail_give_no_figure(make: Callable[..., Sample], child: Child) -> None:
    with pytest.raises(Failed, match=f"0 bytes and not {64 * reply_bytes(request())}"):
        make(child, "/no.Such/Method", request(), 64)


class Putting(Child):
    """A process that has used a second, two when a load is over, and ten when it has settled."""

    def __init__(self) -> None:
        self.clock = iter((1.0, 2.0, 10.0))
        self.told: list[str] = []

    def cpu_seconds(self) -> float:
        self.told.append("clock")
        return next(self.clock)

    def settle(self) -> None:
        self.told.append("settle")


def test_what_a_load_left_to_be_done_later_is_part_of_what_it_took() -> None:
    process = Putting()
    with metered(process) as meter:
        process.told.append("load")
    assert process.told == ["clock", "load", "clock", "settle", "clock"]
    assert (meter.cpu, meter.put_off) == (9.0, 8.0)
    # 100 calls in two seconds, and eight more in which it could not have answered any.
    assert meter.saturated(100, 2.0) == Sample(10.0, 90_000.0, 0.9)
    # At a fixed rate it had time left: nothing would have been slower.
    assert meter.sample(100, 20.0) == Sample(5.0, 90_000.0, 0.45)


async def test_a_service_that_settles_makes_the_spans_that_it_has_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ReadableSpan] = []

    def export(self: object, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        seen.extend(spans)
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(Nowhere, "export", export)
    monkeypatch.setattr(otlp, "otlp_exporter", None)  # is put back
    late = {"tracing.batch_timeout": "1h"}
    service = await started({"tracing": 1, "auth": False, "config": late, "place": {}}, "")
    try:
        async with grpc.aio.insecure_channel(service.grpc_address) as channel:
            await rpc.EchoServiceStub(channel).Echo(pb.EchoRequest(text="here"))
        assert seen == []
        settling(service)()
        assert [span.name for span in seen] == [UNARY[1:]]
    finally:
        await service.stop()


def test_the_cpu_of_a_process_is_read_without_asking_it() -> None:
    before = time.process_time()
    assert before <= cpu_seconds_of(os.getpid()) <= time.process_time()
