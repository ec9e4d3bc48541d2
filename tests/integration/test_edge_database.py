"""Callers that give up, and deadlines that pass, while a handler works with a database or with another service."""

from __future__ import annotations

import asyncio
import json
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
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                # Time enough to come into the transaction.
                await stub.Echo(pb.EchoRequest(text=where), timeout=3)

        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
        await until(lambda: len(service.ended) == 1)
        await until(lambda: _counted(service, "Echo", "DEADLINE_EXCEEDED") == 1)
        await _nothing_left(service)


class Behind(ServiceChassis):
    name = "behind"

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)


class Gateway(ServiceChassis, rpc.EchoServiceServicer):
    name = "gateway"

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_EchoServiceServicer_to_server(self, server)

    async def on_start(self) -> None:
        self.target = ""

    async def Echo(self, request: Any, context: Any) -> Any:
        return await rpc.EchoServiceStub(self.channel(self.target)).Echo(request)


async def test_a_deadline_ends_the_work_of_the_service_behind_as_well() -> None:
    async with running(Behind) as behind, running(Gateway) as gateway:
        gateway.service.target = behind.service.grpc_address
        async with grpc.aio.insecure_channel(gateway.service.grpc_address) as channel:
            stub: Any = rpc.EchoServiceStub(channel)
            told = await stub.Echo(pb.EchoRequest(text="in time"), timeout=PATIENCE)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Echo(pb.EchoRequest(outcome=pb.OUTCOME_WAIT), timeout=1)

        assert 0 < float(told.facts["time_remaining"]) <= PATIENCE * 1.01, "the service behind got what was left"
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
        for service in (behind.service, gateway.service):
            await until(lambda service=service: _counted(service, "Echo", "DEADLINE_EXCEEDED") == 1)  # type: ignore[misc]
