"""Callers that give up, and deadlines that pass, while a handler works with a database or with another service."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from chassis import ServiceChassis
from chassis.testing import running
from chassis.testing.echo import EchoServicer
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import others, until, until_none

PATIENCE = 20.0
TIMES = range(1, 4)  # of which the best counts: what else the machine does has nothing to do with it
OVERRUN = 0.2  # seconds that work may go on beyond its deadline


class Storing(ServiceChassis, rpc.EchoServiceServicer):
    """Its handlers stop in the middle of a transaction: in the database itself (`query`) or beside it."""

    name = "storing"
    uses = ("database",)
    schema = "CREATE TABLE IF NOT EXISTS echo (text text)"

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_EchoServiceServicer_to_server(self, server)

    async def on_start(self) -> None:
        self.begun = asyncio.Event()
        self.ended: list[str] = []
        self.ended_at = 0.0

    async def work(self, text: str) -> None:
        try:
            async with self.db.transaction() as tx:
                await tx.execute("INSERT INTO echo VALUES ($1)", text)
                self.begun.set()
                if text == "query":
                    await tx.query("SELECT pg_sleep(3600)")
                await asyncio.Event().wait()
        except BaseException as error:
            self.ended.append(type(error).__name__)
            self.ended_at = time.monotonic()  # with the transaction
            raise

    async def Echo(self, request: Any, context: Any) -> Any:
        await self.work(request.text)

    async def EchoStream(self, request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:  # type: ignore[override]
        yield pb.EchoReply(text="first")
        await self.work(request.text)

    async def Collect(self, request_iterator: Any, context: Any) -> Any:
        async for request in request_iterator:
            await self.work(request.text)

    async def Converse(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.EchoReply]:  # type: ignore[override]
        async for request in request_iterator:
            yield pb.EchoReply(text="first")
            await self.work(request.text)


async def _nothing_left(service: Storing) -> None:
    """Wait until no connection is used, and the server knows of no transaction."""
    await until(lambda: service.metrics.value("storing_db_pool_active_connections") == 0)
    await until_none(service.db, "idle in transaction%")
    await until_none(service.db, "active")
    assert await others(service.db, "%") <= 1
    row = await service.db.query_row("SELECT count(*) FROM echo")
    assert row is not None
    assert row[0] == 0


def _counted(service: Any, method: str, code: str) -> float | None:
    labels = {"method": f"/cqi.testing.v1.EchoService/{method}", "status_code": code}
    value: float | None = service.metrics.value(f"{service.name}_grpc_calls_total", **labels)
    return value


@pytest.mark.parametrize("where", ["query", "beside it"])
@pytest.mark.parametrize("method", ["Echo", "EchoStream", "Collect", "Converse"])
async def test_a_call_that_is_cancelled_gives_connection_and_transaction_back(
    postgres_database: DatabaseForTest, method: str, where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config = {**postgres_database.overrides, "database.max_conns": 2, "log.level": "info"}
    async with running(Storing, config) as running_service:
        service = running_service.service
        async with grpc.aio.insecure_channel(service.grpc_address) as channel:
            request = pb.EchoRequest(text=where)
            streams = method in ("Collect", "Converse")
            call = getattr(rpc.EchoServiceStub(channel), method)(iter([request]) if streams else request)
            await asyncio.wait_for(service.begun.wait(), PATIENCE)
            call.cancel()

            await until(lambda: service.ended == ["CancelledError"])
            await _nothing_left(service)
        await until(lambda: _counted(service, method, "CANCELLED") == 1)

    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["level"] for line in lines if line["message"] == "grpc call completed"] == ["info"]
    assert [line for line in lines if line["level"] == "error"] == []


@pytest.mark.parametrize("where", ["query", "beside it"])
async def test_a_deadline_ends_the_work_in_the_database_too(postgres_database: DatabaseForTest, where: str) -> None:
    async with running(Storing, postgres_database.overrides) as running_service:
        service = running_service.service
        async with grpc.aio.insecure_channel(service.grpc_address) as channel:
            stub: Any = rpc.EchoServiceStub(channel)
            overruns = []
            for count in TIMES:
                service.begun.clear()
                seconds = 3 if count == 1 else 1  # time enough to come into the transaction
                deadline = time.monotonic() + seconds
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Echo(pb.EchoRequest(text=where), timeout=seconds)
                told = time.monotonic()
                assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
                await until(lambda count=count: len(service.ended) == count)  # type: ignore[misc]
                assert service.begun.is_set()
                overruns.append(max(told, service.ended_at) - deadline)
                await until(lambda count=count: _counted(service, "Echo", "DEADLINE_EXCEEDED") == count)  # type: ignore[misc]

        assert min(overruns) < OVERRUN
        await _nothing_left(service)


class Noting(EchoServicer):
    """The echo service, which knows when its calls ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[float] = []

    async def Echo(self, request: Any, context: Any) -> Any:
        try:
            return await super().Echo(request, context)
        finally:
            self.ended.append(time.monotonic())


class Behind(ServiceChassis):
    name = "behind"

    def register(self, server: grpc.aio.Server) -> None:
        self.echo = Noting()
        rpc.add_EchoServiceServicer_to_server(self.echo, server)


class Gateway(ServiceChassis, rpc.EchoServiceServicer):
    """It has something to do itself, for as long as it is told, before it asks the service behind."""

    name = "gateway"

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_EchoServiceServicer_to_server(self, server)

    async def on_start(self) -> None:
        self.target = ""
        self.spent: list[float] = []
        self.ended: list[float] = []

    async def Echo(self, request: Any, context: Any) -> Any:
        began = time.monotonic()
        try:
            await asyncio.sleep(request.delay_ms / 1000)
            self.spent.append(time.monotonic() - began)
            asked = pb.EchoRequest(text=request.text, outcome=request.outcome)
            return await rpc.EchoServiceStub(self.channel(self.target)).Echo(asked)
        finally:
            self.ended.append(time.monotonic())


async def test_the_service_behind_gets_the_time_that_is_left() -> None:
    async with running(Behind) as behind, running(Gateway) as gateway:
        gateway.service.target = behind.service.grpc_address
        async with grpc.aio.insecure_channel(gateway.service.grpc_address) as channel:
            stub: Any = rpc.EchoServiceStub(channel)
            told = await stub.Echo(pb.EchoRequest(text="in time", delay_ms=1000), timeout=5)

        # Times are rounded up by 1 % at most where they are sent, which is done twice.
        left = float(told.facts["time_remaining"])
        assert 0 < left <= 1.01 * (1.01 * 5 - gateway.service.spent[0])


async def test_a_deadline_ends_the_work_of_the_service_behind_as_well() -> None:
    async with running(Behind) as behind, running(Gateway) as gateway:
        gateway.service.target = behind.service.grpc_address
        async with grpc.aio.insecure_channel(gateway.service.grpc_address) as channel:
            stub: Any = rpc.EchoServiceStub(channel)
            overruns = []
            for count in TIMES:
                deadline = time.monotonic() + 1
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Echo(pb.EchoRequest(outcome=pb.OUTCOME_WAIT), timeout=1)
                told = time.monotonic()
                assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
                for service in (behind.service, gateway.service):
                    await until(
                        lambda service=service, count=count: _counted(service, "Echo", "DEADLINE_EXCEEDED") == count  # type: ignore[misc]
                    )
                overruns.append(max(told, behind.service.echo.ended[-1], gateway.service.ended[-1]) - deadline)

        assert min(overruns) < OVERRUN
