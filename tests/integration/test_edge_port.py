"""A service whose gRPC port was closed by a request: what operators see, and how it ends where it cannot be mended."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.hostile import Hostile
from tests.integration.edge_kit import PATIENCE, EchoProcess, echo_process
from tests.process import ECHO, processes

NO_TEXT = b"/\xff\xfe"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVED_AGAIN = 2.0  # seconds until everybody else is served again

HELD_UP = """
import asyncio, time
class Threaded(Echo):
    async def on_start(self):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)

class Blocking(Echo):
    async def on_stop(self):
        time.sleep(60)
"""


class Thief:
    """Somebody else on this machine, who takes a port in the moment in which it is let go."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        # Bound before the service is, which the system allows for as long as only one of them listens.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._given_up = threading.Event()
        self.has_it = threading.Event()
        self._waiting = threading.Thread(target=self._wait, daemon=True)

    def begin(self) -> None:
        """Lie in wait."""
        self._waiting.start()

    def let_go(self) -> None:
        """Leave the port to others."""
        self._given_up.set()
        if self._waiting.ident is not None:
            self._waiting.join(PATIENCE)
        self._socket.close()

    def _wait(self) -> None:
        while not self._given_up.is_set():
            try:
                self._socket.listen()
            except OSError:
                continue
            self.has_it.set()
            return


@contextmanager
def robbed(folder: Path, **settings: str) -> Iterator[tuple[EchoProcess, Thief]]:
    """A service whose port somebody else has just taken."""
    thief = Thief()
    try:
        with echo_process(folder, server_grpc_port=str(thief.port), **settings) as process:
            yield process, thief
    finally:
        thief.let_go()


def lost_to(thief: Thief, process: EchoProcess) -> float:
    """Have the port taken, and wait until the service knows; returns when that was."""
    rob(process, thief)
    began = time.monotonic()
    # The first answer that is another: there may be none after it.
    while (answer := ready(process))[0] == 200:
        pass
    status, body = answer
    assert (status, '"grpc":{"status":"error","message":"the gRPC port is closed"}' in body) == (503, True)
    return began


def rob(process: EchoProcess, thief: Thief) -> None:
    """Close the port, until somebody else was there first."""
    thief.begin()
    for _ in range(100):
        attack(process)
        if thief.has_it.wait(0.5):
            return
    raise AssertionError("the service was always first")


def attack(process: EchoProcess) -> None:
    try:
        with Hostile(process.port) as hostile:
            hostile.end_of(hostile.call(NO_TEXT))
    except OSError:
        pass  # closed already


def ready(process: EchoProcess) -> tuple[int, str]:
    try:
        with urlopen(f"{process.http}/health/ready", timeout=PATIENCE) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def messages(process: EchoProcess, level: str) -> list[str]:
    return [line["message"] for line in process.lines if line["level"] == level and line["logger"] == "chassis.server"]


def counted(process: EchoProcess) -> str:
    with urlopen(f"{process.http}/metrics", timeout=PATIENCE) as response:
        lines = response.read().decode().splitlines()
    return next(line.rpartition(" ")[2] for line in lines if line.startswith("echo_grpc_port_lost_total"))


def said(process: EchoProcess, channel: grpc.Channel) -> str:
    stub: Any = rpc.EchoServiceStub(channel)
    return str(stub.Echo(pb.EchoRequest(text="hi"), wait_for_ready=True, timeout=PATIENCE).text)


def answered(channel: grpc.Channel) -> str:
    """How a call ends."""
    stub: Any = rpc.EchoServiceStub(channel)
    call = stub.Echo.future(pb.EchoRequest(), wait_for_ready=True, timeout=PATIENCE)
    return str(call.code().name)


def test_it_is_open_again_counted_and_told_and_the_end_is_clean(tmp_path: Path) -> None:
    with echo_process(tmp_path) as process, grpc.insecure_channel(process.address) as channel:
        assert counted(process) == "0.0"
        assert said(process, channel) == "hi"
        attack(process)
        while counted(process) == "0.0":
            pass  # one request after the other, until it has noticed
        assert said(process, channel) == "hi"
        assert ready(process)[0] == 200
        assert counted(process) == "1.0"
        assert process.end() == 0
        (error,) = messages(process, "error")
        assert error.startswith("the gRPC port closed by itself and is being opened again: UnicodeDecodeError")


def test_others_are_served_again_within_two_seconds(tmp_path: Path) -> None:
    with echo_process(tmp_path) as process, grpc.insecure_channel(process.address) as channel:
        assert said(process, channel) == "hi"
        seconds = []
        for number in range(1, 4):  # the middle one counts: what else the machine does has nothing to do with it
            began = time.monotonic()
            with Hostile(process.port) as hostile:  # who does not let go of the connection meanwhile
                hostile.call(NO_TEXT)
                while counted(process) != f"{number}.0":
                    pass  # one request after the other, until it has noticed
                while (end := answered(channel)) != "OK":
                    assert end in ("CANCELLED", "UNAVAILABLE")  # it was on its way when the port closed
                seconds.append(time.monotonic() - began)

        assert sorted(seconds)[1] <= SERVED_AGAIN, seconds


@contextmanager
def a_call_that_waits(process: EchoProcess) -> Iterator[None]:
    with grpc.insecure_channel(process.address) as channel:
        stub: Any = rpc.EchoServiceStub(channel)
        call = stub.EchoStream(pb.EchoRequest(outcome=pb.OUTCOME_WAIT))
        call.initial_metadata()
        yield
        call.cancel()


@pytest.mark.parametrize("meanwhile", [nullcontext, a_call_that_waits])
def test_a_port_that_somebody_else_has_ends_the_service_with_1_within_ten_seconds(
    tmp_path: Path, meanwhile: Callable[[EchoProcess], AbstractContextManager[None]]
) -> None:
    # Times as they are without a configuration: a stop could last 25 s.
    with (
        robbed(tmp_path, server_drain_delay="5s", server_shutdown_timeout="25s") as (process, thief),
        meanwhile(process),
    ):
        began = lost_to(thief, process)

        assert process.ended() == 1
        assert time.monotonic() - began < 10

        told = f"grpc port {thief.port} is in use on 127.0.0.1: set server.grpc_port"
        assert f"the gRPC port could not be opened again: {told}" in messages(process, "error")
        assert process.lines[-1]["message"] == "service stopped"


@pytest.mark.parametrize("service", ["Threaded", "Blocking"])
def test_it_ends_within_ten_seconds_whatever_still_runs_in_it(tmp_path: Path, service: str) -> None:
    (tmp_path / "held_up.py").write_text(ECHO + HELD_UP)
    thief = Thief()
    try:
        with processes(tmp_path) as start:
            settings = {"server_grpc_port": str(thief.port), "server_shutdown_timeout": "25s"}
            process = EchoProcess(start("run", f"held_up:{service}", **settings))
            began = lost_to(thief, process)

            assert process.ended() == 1
            assert time.monotonic() - began < 10
    finally:
        thief.let_go()


def test_who_watches_health_is_told_while_the_port_is_somebody_elses(tmp_path: Path) -> None:
    with robbed(tmp_path) as (process, thief), grpc.insecure_channel(process.address) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        replies = iter(watching)
        assert next(replies).status == SERVING
        rob(process, thief)
        while next(replies).status != NOT_SERVING:
            pass
        while ready(process)[0] == 200:
            pass
        thief.let_go()
        while next(replies).status != SERVING:
            pass
        watching.cancel()
        with grpc.insecure_channel(process.address) as again:
            assert said(process, again) == "hi"
        assert process.end() == 0
