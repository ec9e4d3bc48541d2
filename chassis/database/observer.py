"""What operators see of the database: durations by the name of the statement, errors by SQLSTATE, and spans."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from chassis.database.sqlstate import sqlstate_of
from chassis.database.statement import Statement
from chassis.errors import ChassisError
from chassis.metrics import Metrics
from chassis.metrics.catalogue import (
    DB_CONNECTIONS_CLOSED,
    DB_CONNECTIONS_OPENED,
    DB_ERRORS,
    DB_POOL_ACQUIRE_DURATION,
    DB_POOL_ACQUIRE_TIMEOUTS,
    DB_POOL_ACTIVE_CONNECTIONS,
    DB_POOL_IDLE_CONNECTIONS,
    DB_POOL_MAX_CONNECTIONS,
    DB_QUERY_DURATION,
    DB_RETRIES,
    DB_TRANSACTION_DURATION,
)
from chassis.tracing.client_spans import client_spans

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from chassis.database.pool import Pool
    from chassis.metrics import HistogramSeries
    from chassis.tracing import Tracing
    from chassis.tracing.client_spans import ClientSpans

NO_SQLSTATE: Final = "none"
"""The label of errors that the server did not answer with: connections lost, time run out."""


class Observer:
    """Records what happens to one database; what is off costs nothing."""

    def __init__(self, metrics: Metrics | None, tracing: Tracing | None, attributes: dict[str, str | int]) -> None:
        metrics = metrics or Metrics("database", enabled=False)
        self._durations = metrics.get(DB_QUERY_DURATION)
        self._errors = metrics.get(DB_ERRORS)
        self._transactions = metrics.get(DB_TRANSACTION_DURATION)
        self._gauges = [
            metrics.get(gauge).labels()
            for gauge in (DB_POOL_ACTIVE_CONNECTIONS, DB_POOL_IDLE_CONNECTIONS, DB_POOL_MAX_CONNECTIONS)
        ]
        self._closed = metrics.get(DB_CONNECTIONS_CLOSED)
        self._retries = metrics.get(DB_RETRIES)
        self.opened = metrics.get(DB_CONNECTIONS_OPENED).labels()
        self.waited = metrics.get(DB_POOL_ACQUIRE_DURATION).labels()
        self.timeouts = metrics.get(DB_POOL_ACQUIRE_TIMEOUTS).labels()
        self._ok: dict[str, HistogramSeries] = {}
        spans = client_spans(tracing, {"db.system.name": "postgresql", **attributes})
        self.spans = None if spans is None else StatementSpans(spans)

    def watch(self, pool: Pool) -> None:
        """Have the gauges show this pool."""
        for gauge, size in zip(self._gauges, ("active", "idle", "max_size"), strict=True):
            gauge.set_function(partial(_number, pool, size))

    def succeeded(self, statement: Statement, seconds: float, span: Span | None) -> None:
        """A statement was answered."""
        label = statement.label
        series = self._ok.get(label)
        if series is None:
            series = self._ok[label] = self._durations.labels(label, "OK")
        trace_id = None if span is None or self.spans is None else self.spans.end(span)
        series.observe(seconds, trace_id)

    def failed(self, statement: Statement, seconds: float, span: Span | None, error: BaseException) -> None:
        """A statement was not answered, or with an error; `error` is one of ours, with its cause, or a cancellation."""
        code = error.code.name if isinstance(error, ChassisError) else "CANCELLED"
        if not isinstance(error, ChassisError | asyncio.CancelledError):
            code = "INTERNAL"
        sqlstate = sqlstate_of(error)
        if code != "CANCELLED":
            self.error(sqlstate[:2] if sqlstate else NO_SQLSTATE)
        trace_id = None if span is None or self.spans is None else self.spans.fail(span, code, sqlstate)
        self._durations.labels(statement.label, code).observe(seconds, trace_id)

    def error(self, sqlstate_class: str) -> None:
        """Something failed."""
        self._errors.labels(sqlstate_class).inc()

    def closed(self, reason: str) -> None:
        """A connection is gone."""
        self._closed.labels(reason).inc()

    def retried(self, what: str) -> None:
        """A read or a transaction is tried again."""
        self._retries.labels(what).inc()

    def transaction(self, outcome: str, seconds: float) -> None:
        """A transaction ended: committed, rolled_back, or unknown."""
        self._transactions.labels(outcome).observe(seconds)


class StatementSpans:
    """Spans of statements, by OpenTelemetry's semantic conventions 1.44 for database clients and PostgreSQL."""

    def __init__(self, spans: ClientSpans) -> None:
        self._spans = spans
        self.end = spans.end

    def begin(self, statement: Statement) -> Span | None:
        """Begin a span; None where there is nothing to record."""
        if not self._spans.are_wanted():
            return None
        attributes = {"db.operation.name": statement.verb, "db.query.summary": statement.label}
        if statement.shown is not None:
            attributes["db.query.text"] = statement.shown
        return self._spans.begin(statement.label, attributes)

    def fail(self, span: Span, code: str, sqlstate: str | None) -> str:
        """End a span with an error; returns the id of its trace."""
        if sqlstate is not None:
            span.set_attribute("db.response.status_code", sqlstate)
        return self._spans.end(span, sqlstate or code)


def _number(pool: Pool, size: str) -> float:
    return float(getattr(pool, size))
