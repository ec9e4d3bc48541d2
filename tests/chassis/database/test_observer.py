from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chassis.database import Database
from chassis.errors import AlreadyExists, ChassisError, DeadlineExceeded
from chassis.metrics import Metrics
from chassis.testing.servers import DatabaseForTest
from chassis.tracing import Tracing
from tests.chassis.database.kit import TABLE, database_on, started, until

ADD = "INSERT INTO asset VALUES ($1, $2)"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("cqar")


async def test_statements_are_timed_by_name_and_outcome(place: DatabaseForTest, metrics: Metrics) -> None:
    async with started(database_on(place, metrics=metrics)) as db:
        await db.execute(f"DROP TABLE IF EXISTS asset; {TABLE}")
        await db.execute(ADD, 1, "BTC", name="add_asset")
        await db.execute(ADD, 2, "ETH")
        with pytest.raises(AlreadyExists):
            await db.execute(ADD, 1, "BTC", name="add_asset")
        with pytest.raises(DeadlineExceeded):
            await db.query("SELECT pg_sleep(3600)", timeout=0.02)

    def count(statement: str, code: str) -> float | None:
        return metrics.value("cqar_db_query_duration_seconds_count", statement=statement, status_code=code)

    assert count("add_asset", "OK") == 1
    assert count("add_asset", "ALREADY_EXISTS") == 1
    assert count("INSERT", "OK") == 1
    assert count("SELECT", "DEADLINE_EXCEEDED") == 1
    assert metrics.value("cqar_db_errors_total", sqlstate_class="23") == 1
    assert metrics.value("cqar_db_errors_total", sqlstate_class="none") == 1


async def test_the_pool_shows_its_sizes(place: DatabaseForTest, metrics: Metrics) -> None:
    async with started(database_on(place, metrics=metrics, max_conns=3)) as db:
        pool = db._pool
        assert pool is not None

        def sizes() -> list[float | None]:
            return [metrics.value(f"cqar_db_pool_{size}_connections") for size in ("active", "idle", "max")]

        await until(lambda: sizes() == [0, 1, 3])
        async with db.transaction():
            assert sizes() == [1, 0, 3]
        assert sizes() == [0, 1, 3]
        assert metrics.value("cqar_db_connections_opened_total") == 1
    assert sizes() == [0, 0, 3]
    assert metrics.value("cqar_db_connections_closed_total", reason="stopped") == 1


async def test_transactions_are_timed_by_how_they_ended(place: DatabaseForTest, metrics: Metrics) -> None:
    async with started(database_on(place, metrics=metrics)) as db:
        async with db.transaction():
            pass
        with pytest.raises(ValueError, match="no"):
            async with db.transaction():
                raise ValueError("no")
    for outcome in ("committed", "rolled_back"):
        assert metrics.value("cqar_db_transaction_duration_seconds_count", outcome=outcome) == 1


async def test_without_metrics_and_tracing_all_works(db: Database) -> None:
    assert len(await db.query("SELECT 1")) == 1


async def traced(place: DatabaseForTest, sample_rate: float, work: str) -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Tracing("cqar", sample_rate=sample_rate, exporter=exporter)
    await tracing.start()
    async with started(database_on(place, tracing=tracing, metrics=Metrics("cqar"))) as db:
        with tracing.tracer.start_as_current_span("call"):
            if work == "transaction":
                async with db.transaction() as tx:
                    await tx.query("SELECT 1 WHERE $1::int > 0 AND 'ann' <> ''", 1, name="positive")
            else:
                with suppress(ChassisError):
                    await db.query(work)
    await tracing.stop()
    return exporter.get_finished_spans()


async def test_every_statement_of_a_recorded_call_has_a_span_within_it(place: DatabaseForTest) -> None:
    begin, positive, commit, call = await traced(place, 1, "transaction")
    assert [span.name for span in (begin, positive, commit)] == ["BEGIN", "positive", "COMMIT"]
    for span in (begin, positive, commit):
        assert span.parent is not None
        assert call.context is not None
        assert span.parent.span_id == call.context.span_id
        assert span.kind is SpanKind.CLIENT
    assert dict(positive.attributes or {}) == {
        "db.system.name": "postgresql",
        "db.namespace": place.name,
        "db.operation.name": "SELECT",
        "db.query.summary": "positive",
        "db.query.text": "SELECT ? WHERE $1::int > ? AND ? <> ?",
        "server.address": place.host,
        "server.port": place.port,
    }


async def test_a_span_tells_of_an_error_and_hides_values(place: DatabaseForTest) -> None:
    span, _ = await traced(place, 1, "SELECT 'secret' FROM nowhere")
    attributes = dict(span.attributes or {})
    assert span.status.status_code is StatusCode.ERROR
    assert attributes["db.response.status_code"] == attributes["error.type"] == "42P01"
    assert attributes["db.query.text"] == "SELECT ? FROM nowhere"
    assert "secret" not in span.to_json()


async def test_what_is_asked_outside_of_calls_begins_no_trace(place: DatabaseForTest) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("cqar", sample_rate=1, exporter=exporter)
    await tracing.start()
    async with started(database_on(place, tracing=tracing)) as db:
        await asyncio.get_running_loop().create_task(db.query("SELECT 1"), context=Context())
    await tracing.stop()
    assert not exporter.get_finished_spans()


async def test_how_long_statements_took_has_a_trace_to_look_at_also_where_they_failed(place: DatabaseForTest) -> None:
    metrics = Metrics("cqar")
    tracing = Tracing("cqar", sample_rate=1, exporter=InMemorySpanExporter())
    async with started(database_on(place, tracing=tracing, metrics=metrics)) as db:
        with tracing.tracer.start_as_current_span("call") as call:
            await db.query("SELECT 1", name="good")
            with suppress(ChassisError):
                await db.query("SELECT * FROM nowhere", name="bad")
    _, page = metrics.exposition("application/openmetrics-text")
    trace = f"{call.get_span_context().trace_id:032x}"
    seen = [line for line in page.decode().splitlines() if trace in line]
    assert {name for name in ("good", "bad") for line in seen if f'"{name}"' in line} == {"good", "bad"}


async def test_a_call_that_is_not_recorded_has_no_spans(place: DatabaseForTest) -> None:
    assert not await traced(place, 0, "SELECT 1")
