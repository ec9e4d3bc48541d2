"""A service whose own code blocks its event loop: what its log, its metrics and its probes say of it."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc

from tests.process import Process, processes

PATIENCE = 20.0

SERVICE = """
import time
from chassis import ServiceChassis
from chassis.testing.echo import EchoServicer
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc as rpc

class Slow(ServiceChassis, rpc.EchoServiceServicer):
    name = "slow"
    def register(self, server):
        rpc.add_EchoServiceServicer_to_server(self, server)

    async def Echo(self, request, context):
        compute(request.delay_ms / 1000)
        return echo_pb2.EchoReply(text=request.text)

def compute(seconds):
    time.sleep(seconds)

class SlowToStop(Slow):
    async def on_stop(self):
        compute(2)
"""
LINE = SERVICE.splitlines().index("    time.sleep(seconds)") + 1
WARNING = "the event loop has been blocked for "


class Blocking:
    """A service, and what it is asked."""

    def __init__(self, process: Process) -> None:
        self.process = process
        ready = process.until("service started")
        self._grpc, self._http = ready["grpc_address"], ready["http_address"]

    def block(self, seconds: float) -> None:
        with grpc.insecure_channel(self._grpc) as channel:
            request = echo_pb2.EchoRequest(text="done", delay_ms=int(seconds * 1000))
            assert echo_pb2_grpc.EchoServiceStub(channel).Echo(request, timeout=PATIENCE).text == "done"

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self._http}{path}", timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def late(self, at_least: str) -> float:
        """How many times the loop was late by more than one of the bounds of the metric."""
        page = self.get("/metrics")[1]

        def value(sample: str) -> float:
            found = re.search(rf"^slow_event_loop_lag_seconds_{sample} (\S+)$", page, re.MULTILINE)
            assert found is not None, page
            return float(found[1])

        bound = value(rf'bucket\{{le="{re.escape(at_least)}",service="slow"\}}')
        return value(r'count\{service="slow"\}') - bound

    def end(self) -> tuple[int, list[dict[str, Any]]]:
        code, lines, err = self.process.end(by=signal.SIGTERM)
        assert err == ""
        return code, [line for line in lines if line.get("logger") == "chassis.loop"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Blocking]]:
    (tmp_path / "svc.py").write_text(SERVICE)
    with processes(tmp_path) as start:

        def run(target: str = "svc:Slow", **settings: str) -> Blocking:
            return Blocking(start("run", target, **settings))

        yield run


@pytest.mark.parametrize("uvloop", ["true", "false"])
def test_two_seconds_are_one_warning_with_the_line_and_a_late_loop_and_the_process_stays_alive(
    run: Callable[..., Blocking], tmp_path: Path, uvloop: str
) -> None:
    service = run(server_uvloop=uvloop)
    assert service.get("/health/live") == (200, '{"status":"alive"}\n')
    assert service.late("1.0") == 0
    service.block(2)
    assert service.get("/health/live") == (200, '{"status":"alive"}\n')
    assert service.late("1.0") == 1
    code, (line,) = service.end()
    assert code == 0
    assert (line["level"], line["file"], line["line"], line["function"]) == (
        "warn", str(tmp_path / "svc.py"), LINE, "compute",
    )  # fmt: skip
    assert f"by compute ({tmp_path / 'svc.py'}:{LINE})" in line["message"]
    assert re.search(r"svc\.py:\d+ in Slow\.Echo\n.*svc\.py:\d+ in compute$", line["stack"])


def test_the_warning_is_written_while_the_loop_still_stands_still(run: Callable[..., Blocking]) -> None:
    service = run(server_loop_lag_warning="100ms")
    with grpc.insecure_channel(service._grpc) as channel:
        stub = echo_pb2_grpc.EchoServiceStub(channel)
        call = stub.Echo.future(echo_pb2.EchoRequest(text="done", delay_ms=3000), timeout=PATIENCE)
        line = service.process.until(re.compile(rf"{WARNING}.*"))
        assert not call.done()
        assert call.result().text == "done"
    assert line["function"] == "compute"


def test_beyond_the_limit_the_process_is_stuck_and_probes_see_it(run: Callable[..., Blocking]) -> None:
    service = run(server_loop_lag_limit="1s")
    service.block(2)
    for _ in range(3):  # as many as an orchestrator wants to see
        status, body = service.get("/health/live")
        assert (status, json.loads(body)) == (
            503,
            {"status": "stuck", "message": "the event loop was blocked for longer than 1 s"},
        )
    status, body = service.get("/health")
    assert (status, json.loads(body)["liveness"]) == (503, "stuck")
    assert service.get("/health/ready")[0] == 200  # it serves, until it is restarted
    code, lines = service.end()
    assert code == 0
    assert [(line["level"], line["line"]) for line in lines] == [("warn", LINE), ("error", LINE)]


def test_a_process_that_was_stopped_and_goes_on_was_blocked_by_nobody(run: Callable[..., Blocking]) -> None:
    service = run(server_loop_lag_limit="1s", server_loop_lag_warning="500ms")
    service.process.send(signal.SIGSTOP)
    time.sleep(2.5)  # what an operator, a debugger or a lid that is closed does
    service.process.send(signal.SIGCONT)
    assert service.get("/health/live")[0] == 200
    service.block(0)
    assert service.get("/health/live")[0] == 200
    assert service.late("1.0") == 1  # callers had to wait all the same
    assert service.end() == (0, [])


def test_code_that_blocks_while_the_service_stops_is_named_and_the_stop_goes_on(run: Callable[..., Blocking]) -> None:
    service = run("svc:SlowToStop")
    code, (line,) = service.end()
    assert code == 0
    assert (line["level"], line["line"]) == ("warn", LINE)
    assert "SlowToStop.on_stop" in line["stack"]
    messages = [each["message"] for each in service.process.lines]
    assert messages.index("service stopping") < messages.index(line["message"]) < messages.index("service stopped")


def test_a_loop_that_never_goes_on_is_told_and_cut_off_by_the_stop(run: Callable[..., Blocking]) -> None:
    service = run("svc:SlowToStop", server_shutdown_timeout="1s", server_loop_lag_limit="600ms")
    code, lines = service.end()
    assert code == 1
    assert [line["level"] for line in lines] == ["warn", "error"]
    last = service.process.lines[-1]
    assert last["level"] == "error"
    assert "SlowToStop.on_stop" in last["message"]
