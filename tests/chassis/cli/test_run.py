"""`chassis run` as an operator meets it: a process, its lines, its signals and its exit code."""

from __future__ import annotations

import signal
import socket
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc

from tests.process import Process, processes

PATIENCE = 20.0

SERVICE = """
import asyncio, time
from chassis import ServiceChassis
from chassis.component import Component
from chassis.testing.echo import EchoServicer
from cqi.testing.v1 import echo_pb2_grpc as rpc

class Echo(ServiceChassis):
    name = "echo"
    def register(self, server):
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)

class Crashing(Echo):
    async def on_start(self):
        self.spawn(self.work(), name="prices")
    async def work(self):
        raise RuntimeError("no prices")

class SlowToStop(Echo):
    async def on_stop(self):
        await asyncio.sleep(60)

class Blocked(Echo):
    async def on_stop(self):
        time.sleep(60)

class SlowToStart(Echo):
    async def on_start(self):
        self.log.info("preparing")
        await asyncio.sleep(60)

class Wrong(Echo):
    async def on_start(self):
        raise ValueError("no reference data")

not_a_service = 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(textwrap.dedent(SERVICE))
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Iterator[Any]:
    with processes(folder) as start:

        def run(target: str | None = "svc:Echo", **settings: str) -> Process:
            return start("run", *([target] if target else []), **settings)

        yield run


def test_it_says_where_it_listens_serves_and_ends_with_0_on_sigterm(run: Any) -> None:
    process = run()
    ready = process.until("service started")
    with grpc.insecure_channel(ready["grpc_address"]) as channel:
        reply = echo_pb2_grpc.EchoServiceStub(channel).Echo(echo_pb2.EchoRequest(text="hi"), timeout=PATIENCE)
    assert reply.text == "hi"
    with urllib.request.urlopen(f"http://{ready['http_address']}/health/live", timeout=PATIENCE) as response:
        assert response.read() == b'{"status":"alive"}\n'
    process.send(signal.SIGTERM)
    code, lines, err = process.end()
    assert (code, err) == (0, "")
    assert lines[-1]["message"] == "service stopped"


def test_sigint_ends_it_as_sigterm_does(run: Any) -> None:
    process = run()
    process.until("service started")
    process.send(signal.SIGINT)
    assert process.end()[0] == 0


def test_a_call_that_runs_when_it_is_told_to_stop_is_finished(run: Any) -> None:
    process = run()
    ready = process.until("service started")
    with grpc.insecure_channel(ready["grpc_address"]) as channel:
        stub = echo_pb2_grpc.EchoServiceStub(channel)
        replies = stub.EchoStream(echo_pb2.EchoRequest(text="last", count=3, delay_ms=200), timeout=PATIENCE)
        assert next(replies).text == "last"
        process.send(signal.SIGTERM)
        assert len(list(replies)) == 2
    assert process.end()[0] == 0


def test_a_call_that_does_not_end_in_time_is_cut_off_and_named_and_the_exit_code_is_1(run: Any) -> None:
    process = run(server_shutdown_timeout="1s")
    ready = process.until("service started")
    with grpc.insecure_channel(ready["grpc_address"]) as channel:
        stub = echo_pb2_grpc.EchoServiceStub(channel)
        replies = stub.EchoStream(echo_pb2.EchoRequest(text="on", count=1000, delay_ms=100), timeout=PATIENCE)
        next(replies)
        process.send(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            list(replies)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    code, lines, _ = process.end()
    assert code == 1
    cut = [line for line in lines if line["message"] == "call cut off by the stop of the server"]
    assert [line["method"] for line in cut] == ["/cqi.testing.v1.EchoService/EchoStream"]
    access = next(line for line in lines if line.get("method", "").endswith("EchoStream") and "code" in line)
    assert access["code"] == "UNAVAILABLE"


@pytest.mark.parametrize("target", ["svc:SlowToStop", "svc:Blocked"])
def test_a_hook_that_does_not_return_is_named_and_does_not_hold_up_the_end(run: Any, target: str) -> None:
    process = run(target, server_shutdown_timeout="1s")
    process.until("service started")
    process.send(signal.SIGTERM)
    code, lines, _ = process.end()
    assert code == 1
    errors = [line["message"] for line in lines if line["level"] == "error"]
    assert any(f"{target.partition(':')[2]}.on_stop" in message for message in errors), errors


def test_a_second_signal_ends_it_at_once_with_130(run: Any) -> None:
    process = run("svc:SlowToStop")
    process.until("service started")
    process.send(signal.SIGINT)
    process.until("service stopping")
    process.send(signal.SIGINT)
    assert process.end()[0] == 130


def test_a_signal_during_the_start_rolls_it_back(run: Any) -> None:
    process = run("svc:SlowToStart")
    process.until("preparing")
    process.send(signal.SIGTERM)
    code, lines, err = process.end()
    assert (code, err) == (0, "")
    assert "service started" not in [line["message"] for line in lines]


def test_a_crash_of_background_work_ends_it_with_1(run: Any) -> None:
    code, lines, _ = run("svc:Crashing").end()
    assert code == 1
    crash = next(line for line in lines if line["message"] == "background task crashed")
    assert (crash["level"], crash["task"]) == ("error", "prices")


def test_a_start_that_fails_ends_it_with_1_and_one_line_that_says_why(run: Any) -> None:
    code, lines, err = run("svc:Wrong").end()
    assert (code, err) == (1, "")
    failed = next(line for line in lines if line["message"] == "service did not start")
    assert "no reference data" in failed["error"]


@pytest.mark.parametrize("which", ["grpc", "http"])
def test_a_port_in_use_is_told_in_one_line_and_nothing_is_left_half_started(run: Any, which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, lines, err = run(**{f"server_{which}_port": str(port)}).end()
    assert (code, err) == (1, "")
    message = lines[-1]["message"]
    assert message.startswith("service did not start:")
    assert str(port) in message
    assert f"server.{which}_port" in message


def test_configuration_errors_are_told_all_at_once_with_exit_code_2_and_no_traceback(run: Any) -> None:
    code, lines, err = run(server_grpc_port="many", server_drain_delay="5").end()
    assert (code, lines) == (2, [])
    assert "server.grpc_port (CQI_SERVER_GRPC_PORT)" in err
    assert "server.drain_delay (CQI_SERVER_DRAIN_DELAY)" in err
    assert "Traceback" not in err


def test_a_configuration_error_that_shows_only_when_the_service_is_put_together_is_told_alike(run: Any) -> None:
    code, _, err = run(auth_public_methods="/cqi.testing.v1.EchoService/Nothing").end()
    assert code == 2
    assert "auth.public_methods (CQI_AUTH_PUBLIC_METHODS): /cqi.testing.v1.EchoService/Nothing is no method" in err
    assert "Traceback" not in err


def test_an_unknown_variable_under_the_prefix_is_one_warning_line(run: Any) -> None:
    process = run(server_grcp_port="1")
    process.until("service started")
    warnings = [line["message"] for line in process.lines if line["level"] == "warn"]
    assert len(warnings) == 1
    assert "CQI_SERVER_GRCP_PORT" in warnings[0]


def test_listening_wider_without_tls_is_one_warning_line(run: Any) -> None:
    process = run(server_host="0.0.0.0")
    process.until("service started")
    assert [line for line in process.lines if line["level"] == "warn" and "without TLS" in line["message"]]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:Echo", "there is no module 'nowhere', looked for in"),
        ("svc:Ecko", "there is no 'Ecko' in svc"),
        ("svc:not_a_service", "svc:not_a_service is no service: it is a int"),
        ("svc", "'svc' names no service: write MODULE:CLASS"),
        (None, "which service? Say MODULE:CLASS"),
    ],
)
def test_a_target_that_is_no_service_is_one_line_that_says_what_was_looked_for(
    run: Any, target: str | None, said: str
) -> None:
    code, _, err = run(target).end()
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1


def test_without_a_target_pyproject_names_the_service(run: Any, folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.chassis]\nservice = "svc:Echo"\n')
    process = run(None)
    process.until("service started")
    process.send(signal.SIGTERM)
    assert process.end()[0] == 0


def test_the_file_config_yaml_in_the_current_folder_is_read(run: Any, folder: Path) -> None:
    (folder / "config.yaml").write_text("service:\n  name: from-the-file\n")
    ready = run().until("service started")
    assert ready["service_name"] == "from-the-file"
