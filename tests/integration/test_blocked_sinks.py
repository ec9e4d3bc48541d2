"""Whoever takes what a service says about itself may hang: the collector, the reader of its log, who scrapes it.

Calls go on, what cannot be delivered is dropped and counted, and the end comes within its time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc

PATIENCE = 30.0
CALLS = 300
_SIZE_OF_PIPE = 1031  # F_SETPIPE_SZ, which Python names on Linux alone

SERVICE = """
from chassis import ServiceChassis
from chassis.testing.echo import EchoServicer
from cqi.testing.v1 import echo_pb2_grpc as rpc

class Echo(ServiceChassis):
    name = "echo"
    def register(self, server):
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)
"""


class Service:
    """A service whose log may go where nobody reads it."""

    def __init__(self, folder: Path, streams: Mapping[str, int], **settings: str) -> None:
        (folder / "svc.py").write_text(textwrap.dedent(SERVICE))
        # The log may never say where it listens.
        ports = [_free_port(), _free_port()]
        self.grpc_address, self.http_address = (f"127.0.0.1:{port}" for port in ports)
        environment = {
            "CQI_SERVER_GRPC_PORT": str(ports[0]),
            "CQI_SERVER_HTTP_PORT": str(ports[1]),
            "CQI_SERVER_DRAIN_DELAY": "0s",
            "CQI_SERVER_SHUTDOWN_TIMEOUT": "8s",
            **{f"CQI_{name.upper()}": value for name, value in settings.items()},
        }
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "chassis.cli", "run", "svc:Echo"],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=streams.get("stdout", subprocess.DEVNULL),
            stderr=streams.get("stderr", subprocess.DEVNULL),
        )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert self.popen.poll() is None
            with contextlib.suppress(OSError):
                if self.get("/health/ready")[0] == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("it did not become ready")

    def get(self, path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://{self.http_address}{path}", timeout=PATIENCE) as response:
            return response.status, response.read().decode()

    def value(self, name: str) -> float:
        page = self.get("/metrics")[1]
        found = re.search(rf'^(?:echo_)?{name}(?:{{service="echo"}})? (\S+)$', page, re.MULTILINE)
        assert found is not None, page
        return float(found[1])

    def call(self, times: int = CALLS) -> None:
        """All of them are answered."""
        with grpc.insecure_channel(self.grpc_address) as channel:
            stub = echo_pb2_grpc.EchoServiceStub(channel)
            for number in range(times):
                reply = stub.Echo(echo_pb2.EchoRequest(text=str(number)), timeout=PATIENCE)
                assert reply.text == str(number)

    def end(self) -> int:
        """Exit code; within the time that a stop may take, or else it was not bounded."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(8 + 2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start(streams: Mapping[str, int] | None = None, **settings: str) -> Service:
        started.append(Service(tmp_path, streams or {}, **settings))
        return started[-1]

    yield start
    for service in started:
        if service.popen.poll() is None:
            service.popen.kill()
        service.popen.wait()


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
    service.call(2048 + CALLS)  # more than the queue has room for
    assert service.value("spans_dropped_total") >= CALLS
    assert service.get("/health/ready")[0] == 200
    assert service.end() == 1  # spans had to be given up, and the log names it


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end for writing of a pipe that nobody reads."""
    read, write = os.pipe()
    fcntl.fcntl(write, _SIZE_OF_PIPE, 4096)
    yield write
    os.close(write)
    os.close(read)


@pytest.mark.parametrize("output", ["stdout", "stderr"])
def test_a_log_that_nobody_reads_costs_lines_and_no_call(
    run: Callable[..., Service], full_pipe: int, output: str
) -> None:
    service = run({output: full_pipe}, log_output=output, log_buffer_records="50")
    service.call()
    # A batch is on its way, as many wait, and a few more are in the pipe.
    assert service.value("log_records_dropped_total") >= CALLS - 150
    assert service.get("/health/ready")[0] == 200
    assert service.end() == 0


def _scraper(address: str, requests: int) -> socket.socket:
    """Asks for the metrics again and again, and never reads."""
    host, _, port = address.partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
    return connection


# One asks for more than all buffers between the two ends have room for.
@pytest.mark.parametrize(("count", "requests"), [(1, 500), (50, 20)])
def test_scrapers_that_never_read_hold_up_no_call_and_no_other_scraper(
    run: Callable[..., Service], count: int, requests: int
) -> None:
    service = run()
    before = service.value("process_resident_memory_bytes")
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_scraper(service.http_address, requests))
        service.call()
        assert service.get("/health/live")[0] == 200
        assert service.value("process_resident_memory_bytes") - before < 64 * 2**20
        assert service.end() in (0, 1)
