"""Whoever takes what a service says about itself may hang: the collector, the reader of its log, who scrapes it.

Calls go on, what cannot be delivered is dropped and counted, and the end comes within its time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import socket
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc

from tests.process import ECHO, PATIENCE, Process, processes, stopped

CALLS = 300
# Seconds from the signal to the exit: where nobody takes the last spans or lines, and where a request is under way.
ENDED, CUT_OFF = 5, 8 + 2
_SIZE_OF_PIPE = 1031  # F_SETPIPE_SZ, which Python names on Linux alone


class Service:
    """A service, and what it is asked; its log may go where nobody reads it."""

    def __init__(self, process: Process, ready: Mapping[str, Any], unhindered: Callable[[], Process]) -> None:
        self._process = process
        self._unhindered = unhindered
        self.grpc_address, self.http_address = ready["grpc_address"], ready["http_address"]

    def get(self, path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://{self.http_address}{path}", timeout=PATIENCE) as response:
            return response.status, response.read().decode()

    def value(self, name: str) -> float:
        page = self.get("/metrics")[1]
        found = re.search(rf'^(?:echo_)?{name}(?:{{service="echo"}})? (\S+)$', page, re.MULTILINE)
        assert found is not None, page
        return float(found[1])

    def until_no_scrape_goes_on(self) -> None:
        """Wait until all scrapers but this one have their answers, or nothing of them goes on any more."""
        served, quiet = -1.0, 0
        while quiet < 10:
            before, page = served, self.get("/metrics")[1]
            found = re.search(r'^echo_http_requests_total{[^}]*path="/metrics"[^}]*} (\S+)$', page, re.MULTILINE)
            served = 0.0 if found is None else float(found[1])
            quiet = quiet + 1 if served == before + 1 else 0

    def call(self, times: int = CALLS) -> list[float]:
        """All of them are answered; returns how many seconds each took."""
        took = []
        with grpc.insecure_channel(self.grpc_address) as channel:
            stub = echo_pb2_grpc.EchoServiceStub(channel)
            for number in range(times):
                began = time.monotonic()
                reply = stub.Echo(echo_pb2.EchoRequest(text=str(number)), timeout=PATIENCE)
                took.append(time.monotonic() - began)
                assert reply.text == str(number)
        return took

    def end(self, within: float) -> int:
        """Have it stop, within so many seconds; returns the exit code."""
        return stopped(self._process, self._unhindered, within=within)

    def errors(self) -> list[str]:
        """What its log has at error; once it has ended."""
        return [line["message"] for line in self._process.lines if line["level"] == "error"]


def as_before(during: list[float], before: list[float]) -> None:
    """Calls take no longer; with so much room that it is not the machine that is measured."""
    assert statistics.median(during) <= 3 * statistics.median(before) + 0.02


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    (tmp_path / "svc.py").write_text(ECHO)
    with processes(tmp_path) as start:

        def run(ready: Callable[[], Mapping[str, Any]] | None = None, **settings: Any) -> Service:
            process = start("run", "svc:Echo", **{"server_shutdown_timeout": "8s", **settings})
            told = ready() if ready else process.until("service started")
            return Service(process, told, partial(start, "run", "svc:Echo"))

        yield run


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of what accepts connections, and never reads nor answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("mode", ["grpc", "http"])
def test_a_collector_that_never_answers_costs_spans_and_no_call(
    run: Callable[..., Service], silent: str, mode: str
) -> None:
    service = run(
        tracing_enabled="true",
        tracing_sample_rate="1",
        tracing_endpoint=f"http://{silent}",
        tracing_export_mode=mode,
        tracing_batch_timeout="50ms",
    )
    took = service.call(2048 + CALLS)  # more than the queue has room for
    assert service.value("spans_dropped_total") >= CALLS
    as_before(took[-CALLS:], took[:CALLS])
    assert service.get("/health/ready")[0] == 200
    assert service.end(within=ENDED) == 1  # spans had to be given up, and the log names it
    (error,) = service.errors()
    assert error.startswith(f"tracing did not stop by itself: {silent} did not take the last ")


class Pipe:
    """A small pipe, of which nothing is read once the service has said where it listens."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        fcntl.fcntl(self.write, _SIZE_OF_PIPE, 4096)

    def ready(self) -> Mapping[str, Any]:
        text = ""
        while select.select([self._read], (), (), PATIENCE)[0] and (read := os.read(self._read, 4096)):
            text += read.decode()
            for line in text.split("\n")[:-1]:
                if '"message":"service started"' in line:
                    return dict(json.loads(line))
        raise AssertionError(f"it did not start: {text}")

    def close(self) -> None:
        os.close(self._read)
        os.close(self.write)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.mark.parametrize("output", ["stdout", "stderr"])
def test_a_log_that_nobody_reads_costs_lines_and_no_call(run: Callable[..., Service], pipe: Pipe, output: str) -> None:
    service = run(pipe.ready, **{output: pipe.write}, log_output=output, log_buffer_records="50")
    before = service.call(40)
    assert service.value("log_records_dropped_total") == 0
    during = service.call()
    # A batch is on its way, as many wait, and a few more are in the pipe.
    assert service.value("log_records_dropped_total") >= CALLS - 150
    as_before(during, before)
    assert service.get("/health/ready")[0] == 200
    assert service.end(within=ENDED) == 0


def _scraper(address: str, requests: int) -> socket.socket:
    """Asks for the metrics again and again, and never reads."""
    host, _, port = address.partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
    return connection


# One asks for more than all buffers between the two ends have room for: its request is under way until it is cut off.
# What the others ask for has room there, and nothing has to be waited for.
@pytest.mark.parametrize(
    ("count", "requests", "within", "code", "errors"),
    [
        (1, 1000, CUT_OFF, 1, ["http did not stop by itself: 1 requests had to be cut off"]),
        (50, 20, ENDED, 0, []),
    ],
)
def test_scrapers_that_never_read_hold_up_no_call_and_no_other_scraper(
    run: Callable[..., Service], count: int, requests: int, within: float, code: int, errors: list[str]
) -> None:
    service = run()
    memory = service.value("process_resident_memory_bytes")
    before = service.call()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_scraper(service.http_address, requests))
        during = service.call()
        assert service.get("/health/live")[0] == 200
        assert service.value("process_resident_memory_bytes") - memory < 64 * 2**20
        as_before(during, before)
        service.until_no_scrape_goes_on()
        assert service.end(within=within) == code
    assert service.errors() == errors
