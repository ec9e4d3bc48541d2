"""Services on real servers, in the moments of their lives that operators fear."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc

from chassis import ServiceChassis
from chassis.client import channel
from chassis.errors import Temporary
from chassis.testing import Running, running
from chassis.testing.servers import AccountForTest, DatabaseForTest, KeyspaceForTest
from tests.process import ECHO, Process, processes, stopped
from tests.proxy import Proxy

PATIENCE = 20.0
LOAD = 8
HANGING_COLLECTOR = 5  # seconds from the signal to the exit, with no drain delay


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    (tmp_path / "svc.py").write_text(ECHO)
    with processes(tmp_path) as start:
        yield partial(start, "run", "svc:Echo")


async def test_a_rolling_restart_under_load_fails_no_call_of_clients_that_watch_health(
    run: Callable[..., Process],
) -> None:
    first, second = run(server_drain_delay="1s"), run(server_drain_delay="1s")
    ports = [process.until("service started")["grpc_address"] for process in (first, second)]
    answered, failed = 0, []
    stop, progress = asyncio.Event(), asyncio.Event()

    async def call(stub: Any) -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                await stub.Echo(echo_pb2.EchoRequest(text="hi"), timeout=PATIENCE)
                answered += 1
                progress.set()
            except Exception as error:
                failed.append(error)

    async def enough(count: int) -> None:
        until = answered + count
        while answered < until:
            progress.clear()
            await progress.wait()

    async with channel(f"ipv4:{','.join(ports)}") as both:
        stub = echo_pb2_grpc.EchoServiceStub(both)
        calling = [asyncio.create_task(call(stub)) for _ in range(LOAD)]
        await asyncio.wait_for(enough(200), PATIENCE)
        for process in (first, second):
            process.send(signal.SIGTERM)
            code, _, _ = await asyncio.to_thread(process.end)
            assert code == 0
            if process is first:
                # Back on its port, as a restarted instance is, before the next one goes.
                again = run(server_grpc_port=ports[0].rpartition(":")[2], server_drain_delay="0s")
                await asyncio.to_thread(again.until, "service started")
                await asyncio.wait_for(enough(200), PATIENCE)
                await asyncio.wait_for(_reached(again), PATIENCE)
        stop.set()
        await asyncio.gather(*calling)
    assert failed == []
    assert answered > 400


async def _reached(process: Process) -> None:
    """Wait until clients have found an instance."""
    await asyncio.to_thread(process.until, "grpc call completed")


async def test_a_collector_that_never_answers_does_not_hold_up_the_end(run: Callable[..., Process]) -> None:
    async with Proxy("127.0.0.1", 9) as collector:
        collector.blackhole()
        process = run(
            tracing_enabled="true",
            tracing_endpoint=f"http://{collector.address}",
            tracing_sample_rate="1",
            server_shutdown_timeout="10s",
        )
        ready = await asyncio.to_thread(process.until, "service started")
        async with channel(ready["grpc_address"]) as ch:
            await echo_pb2_grpc.EchoServiceStub(ch).Echo(echo_pb2.EchoRequest(), timeout=PATIENCE)
        code = await asyncio.to_thread(stopped, process, run, within=HANGING_COLLECTOR)
    lines = process.lines
    errors = [line for line in lines if line["level"] == "error"]
    assert (code, [line["component"] for line in errors]) == (1, ["tracing"])
    assert lines[-1]["message"] == "service stopped"


class Using(ServiceChassis):
    """A service that needs all three servers."""

    name = "using"
    uses = ("database", "cache", "bus")


@pytest.fixture
async def between(
    postgres_database: DatabaseForTest, redis_keyspace: KeyspaceForTest, nats_account: AccountForTest
) -> AsyncIterator[tuple[Mapping[str, object], dict[str, Proxy]]]:
    """The configuration for all three servers, with a proxy in front of each."""
    url = nats_account.url.reveal()
    credentials, _, address = url.rpartition("@")
    nats_port = int(address.rpartition(":")[2].strip("/"))
    async with AsyncExitStack() as stack:
        proxies = {
            name: await stack.enter_async_context(Proxy("127.0.0.1", port))
            for name, port in (
                ("database", postgres_database.port),
                ("cache", redis_keyspace.port),
                ("event_bus", nats_port),
            )
        }
        config = {
            **postgres_database.overrides,
            **redis_keyspace.overrides,
            "database.port": proxies["database"].port,
            "cache.port": proxies["cache"].port,
            "eventbus.servers": [f"{credentials}@{proxies['event_bus'].address}"],
            "log.level": "error",
        }
        yield config, proxies


async def _get(service: Running[Using], path: str) -> tuple[int, dict[str, Any]]:
    async with ClientSession() as session, session.get(service.http_url(path)) as response:
        return response.status, await response.json()


async def _until(service: Running[Using], status: int) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            found, body = await _get(service, "/health/ready")
            if found == status:
                return body
            await asyncio.sleep(0.05)


async def test_with_all_servers_away_it_starts_and_lives_and_becomes_ready_by_itself(
    between: tuple[Mapping[str, object], dict[str, Proxy]], postgres_database: DatabaseForTest
) -> None:
    config, proxies = between
    for proxy in proxies.values():
        proxy.refuse()
    async with running(Using, config) as service:
        assert await _get(service, "/health/live") == (200, {"status": "alive"})
        body = await _until(service, 503)
        for name in proxies:
            assert body["checks"][name]["status"] == "error"
        assert postgres_database.password.reveal() not in str(body)
        for proxy in proxies.values():
            await proxy.heal()
        await _until(service, 200)


@pytest.mark.parametrize("name", ["database", "cache", "event_bus"])
async def test_readiness_follows_a_server_that_is_lost_and_comes_back(
    between: tuple[Mapping[str, object], dict[str, Proxy]], name: str
) -> None:
    config, proxies = between
    async with running(Using, config) as service:
        await _until(service, 200)
        proxies[name].refuse()
        proxies[name].reset()  # the connections that are there, too
        body = await _until(service, 503)
        assert [each for each, check in body["checks"].items() if check["status"] == "error"] == [name]
        assert (await _get(service, "/health/live"))[0] == 200
        await proxies[name].heal()
        await _until(service, 200)


async def test_what_is_not_required_is_named_and_leaves_the_service_ready(
    between: tuple[Mapping[str, object], dict[str, Proxy]],
) -> None:
    config, proxies = between
    proxies["cache"].refuse()
    async with running(Using, {**config, "cache.required": False}) as service:
        body = await _until(service, 200)
        assert body["checks"]["cache"]["status"] == "error"


class Slow(ServiceChassis, echo_pb2_grpc.EchoServiceServicer):
    """Its handler uses the database when it is cut off."""

    name = "slow"
    uses = ("database",)

    def register(self, server: grpc.aio.Server) -> None:
        echo_pb2_grpc.add_EchoServiceServicer_to_server(self, server)

    async def on_start(self) -> None:
        self.working = asyncio.Event()
        self.cleaned_up: list[int] = []

    async def Echo(self, request: echo_pb2.EchoRequest, context: Any) -> echo_pb2.EchoReply:
        try:
            self.working.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            row = await self.db.query_row("SELECT 1 AS one")
            assert row is not None
            self.cleaned_up.append(row["one"])
        return echo_pb2.EchoReply()


async def test_the_cleaning_up_of_a_call_that_is_cut_off_is_done_before_the_pool_closes(
    postgres_database: DatabaseForTest,
) -> None:
    overrides = {**postgres_database.overrides, "server.grpc_port": 0, "server.http_port": 0}
    quiet = {"server.drain_delay": 0, "server.shutdown_timeout": "8s", "log.level": "error"}
    service = Slow(Slow.configure(environ={}, overrides={**overrides, **quiet}))
    await asyncio.create_task(service.start())
    async with channel(service.grpc_address) as ch:
        call = echo_pb2_grpc.EchoServiceStub(ch).Echo(echo_pb2.EchoRequest(), timeout=PATIENCE)
        await asyncio.wait_for(service.working.wait(), PATIENCE)
        failures = await asyncio.create_task(service.stop())
        with pytest.raises(Temporary):
            await call
    assert service.cleaned_up == [1]
    assert [failure.name for failure in failures] == ["grpc"]
