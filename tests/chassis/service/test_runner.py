"""The end of a service under signals, whatever its code is doing just then."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process import ECHO, Process, processes

PATIENCE = 30.0

SERVICES = """
import asyncio, time
from chassis.component import Component
class Blocking(Echo):
    def routes(self, app):
        app.router.add_get("/block", self.block)
    async def block(self, request):
        self.log.info("blocking")
        time.sleep(60)

class Threaded(Echo):
    async def on_start(self):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)

class Starting(Echo):
    async def on_start(self):
        self.log.info("starting")
        await asyncio.sleep(60)

class Stuck(Starting):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.add(StuckPart())

class StuckPart(Component):
    name = "stuck"
    async def stop(self):
        await asyncio.sleep(60)
"""

CRASHED = """
import os, signal, threading
from chassis import ServiceChassis
from chassis.service import run

class Crashing(ServiceChassis):
    name = "crashing"
    async def on_start(self):
        self.spawn(self.work())
    async def work(self):
        raise RuntimeError("no prices")
    async def on_stop(self):
        os.kill(os.getpid(), signal.SIGTERM)

overrides = {"server.grpc_port": 0, "server.http_port": 0, "server.drain_delay": 0, "server.shutdown_timeout": "1s"}
code = run(Crashing(Crashing.configure(environ={}, overrides={**overrides, "log.output": "stderr"})))
for thread in threading.enumerate():
    if thread is not threading.main_thread() and thread.name.startswith("chassis"):
        thread.join()
print("went on after", code)
"""

PORTLESS = """
import asyncio, time
from chassis import ServiceChassis
from chassis.service import assembly, run

assembly._WITHOUT_A_PORT = 0.2

class Portless(ServiceChassis):
    name = "portless"
    async def on_start(self):
        self.spawn(self.lose_it(), on_crash="unready")
    async def lose_it(self):
        self._assembly._without_a_port("the gRPC port could not be opened again")
        time.sleep(60)

overrides = {"server.grpc_port": 0, "server.http_port": 0, "server.shutdown_timeout": "1h"}
run(Portless(Portless.configure(environ={}, overrides=overrides)))
"""

PORTLESS_AT_THE_END = """
import asyncio, os, signal, sys
from chassis import ServiceChassis
from chassis.service import assembly, run

assembly._WITHOUT_A_PORT = 0.2

class Stopping(ServiceChassis):
    name = "stopping"
    async def on_start(self):
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    async def on_stop(self):
        self._assembly._without_a_port("the gRPC port could not be opened again")
        await asyncio.sleep(1.5)

overrides = {"server.grpc_port": 0, "server.http_port": 0, "server.drain_delay": 0}
sys.exit(run(Stopping(Stopping.configure(environ={}, overrides=overrides))))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    (tmp_path / "svc.py").write_text(ECHO + SERVICES)
    with processes(tmp_path) as start:
        yield start


def blocked(start: Callable[..., Process], **settings: str) -> Process:
    process = start("run", "svc:Blocking", **settings)
    address = process.until("service started")["http_address"]
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        process.until("blocking")
    return process


@pytest.mark.parametrize("uvloop", ["true", "false"])
def test_code_that_blocks_the_event_loop_is_named_and_does_not_hold_up_the_end(
    start: Callable[..., Process], uvloop: str
) -> None:
    process = blocked(start, server_shutdown_timeout="1s", server_uvloop=uvloop)
    code, lines, _ = process.end(by=signal.SIGTERM)
    assert code == 1
    told = lines[-1]
    assert told["level"] == "error"
    assert told["message"].startswith("the stop took too long: Blocking.block (")
    assert "svc.py:" in told["message"]


@pytest.mark.parametrize("uvloop", ["true", "false"])
def test_a_second_signal_ends_it_at_once_even_while_the_event_loop_is_blocked(
    start: Callable[..., Process], uvloop: str
) -> None:
    process = blocked(start, server_shutdown_timeout="1h", server_uvloop=uvloop)
    process.send(signal.SIGINT)
    assert process.until("signal received")["signal"] == "SIGINT"  # told at once, too
    code, lines, _ = process.end(by=signal.SIGTERM)
    assert code == 130
    assert lines[-1]["message"] == "second signal: exiting at once"


def test_a_thread_that_the_event_loop_waits_for_does_not_hold_up_the_end(start: Callable[..., Process]) -> None:
    process = start("run", "svc:Threaded", server_shutdown_timeout="1s")
    process.until("service started")
    code, lines, err = process.end(by=signal.SIGTERM)
    assert (code, lines[-1]["message"]) == (1, "service stopped")
    assert "or a thread that it waits for" in err


def test_a_start_that_is_given_up_for_a_signal_ends_well(start: Callable[..., Process]) -> None:
    process = start("run", "svc:Starting")
    process.until("starting")
    code, _, _ = process.end(by=signal.SIGTERM)
    assert code == 0


def test_a_part_that_does_not_end_while_a_start_is_given_up_is_told_by_the_exit_code(
    start: Callable[..., Process],
) -> None:
    process = start("run", "svc:Stuck", server_shutdown_timeout="200ms")
    process.until("starting")
    code, lines, _ = process.end(by=signal.SIGTERM)
    assert (code, lines[-1]["message"]) == (1, "stuck did not stop by itself: did not stop in time")


def test_a_signal_after_a_crash_leaves_nothing_behind_that_ends_the_process_later() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CRASHED], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "went on after 1\n"), ended.stderr


def test_a_service_that_gives_up_its_port_ends_in_time_though_its_code_blocks_the_event_loop_from_then_on() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PORTLESS], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "the stop took too long" in ended.stdout


def test_a_stop_that_has_begun_keeps_its_time_where_the_port_is_lost_meanwhile() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PORTLESS_AT_THE_END], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
