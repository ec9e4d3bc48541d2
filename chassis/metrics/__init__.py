"""What operators see in numbers: one catalogue of what the chassis records, and a service's own counters beside it.

>>> from chassis.metrics import GRPC_CALLS, Metrics
>>> metrics = Metrics("cqar")
>>> metrics.get(GRPC_CALLS).labels("/pkg.Greeter/Greet", "OK").inc()
>>> metrics.value("cqar_grpc_calls_total", method="/pkg.Greeter/Greet", status_code="OK")
1.0

In a service, `self.metrics` is a `Metrics`; declare what you count once and keep what `labels` returns:

>>> waiting = metrics.gauge("waiting", "Orders that wait for a price.", subsystem="orders")
>>> waiting.set(3)
>>> with metrics.histogram("pricing_seconds", "Time to price an order.", subsystem="orders").time():
...     pass
>>> content_type, page = metrics.exposition()
>>> [line for line in page.decode().splitlines() if line.startswith("cqar_orders_waiting")]
['cqar_orders_waiting{service="cqar"} 3.0']
"""

from chassis.metrics.catalogue import (
    AUTH_FAILURES,
    BUILD_INFO,
    CACHE_DELETE_ERRORS,
    CACHE_GET_ERRORS,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_OPERATION_DURATION,
    CACHE_SET_ERRORS,
    CACHE_SKIPS,
    CACHE_UNDECODABLE,
    CATALOGUE,
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
    EVENT_BACKLOG,
    EVENT_DEAD_LETTERED,
    EVENT_HANDLE_DURATION,
    EVENT_HANDLED,
    EVENT_IN_FLIGHT,
    EVENT_LOOP_LAG,
    EVENT_PUBLISH_DURATION,
    EVENT_PUBLISH_ERRORS,
    EVENT_PUBLISHED,
    EVENT_PULL_REBOUND,
    EVENT_REDELIVERED,
    GRPC_CALL_DURATION,
    GRPC_CALLS,
    GRPC_CALLS_IN_FLIGHT,
    GRPC_CLIENT_CALL_DURATION,
    GRPC_CLIENT_CALLS,
    GRPC_PORT_LOST,
    HEALTH_CHECK_UP,
    HTTP_REQUEST_DURATION,
    HTTP_REQUEST_SIZE,
    HTTP_REQUESTS,
    HTTP_RESPONSE_SIZE,
    LOG_RECORDS_DROPPED,
    SPANS_DROPPED,
    TASK_CRASHES,
    UNKNOWN,
)
from chassis.metrics.declaration import LATENCY_BUCKETS, Instrument
from chassis.metrics.instruments import Counter, Gauge, Histogram
from chassis.metrics.naming import namespace_of
from chassis.metrics.registry import Metrics
from chassis.metrics.series import CounterSeries, GaugeSeries, HistogramSeries

__all__ = [
    "AUTH_FAILURES",
    "BUILD_INFO",
    "CACHE_DELETE_ERRORS",
    "CACHE_GET_ERRORS",
    "CACHE_HITS",
    "CACHE_MISSES",
    "CACHE_OPERATION_DURATION",
    "CACHE_SET_ERRORS",
    "CACHE_SKIPS",
    "CACHE_UNDECODABLE",
    "CATALOGUE",
    "DB_CONNECTIONS_CLOSED",
    "DB_CONNECTIONS_OPENED",
    "DB_ERRORS",
    "DB_POOL_ACQUIRE_DURATION",
    "DB_POOL_ACQUIRE_TIMEOUTS",
    "DB_POOL_ACTIVE_CONNECTIONS",
    "DB_POOL_IDLE_CONNECTIONS",
    "DB_POOL_MAX_CONNECTIONS",
    "DB_QUERY_DURATION",
    "DB_RETRIES",
    "DB_TRANSACTION_DURATION",
    "EVENT_BACKLOG",
    "EVENT_DEAD_LETTERED",
    "EVENT_HANDLED",
    "EVENT_HANDLE_DURATION",
    "EVENT_IN_FLIGHT",
    "EVENT_LOOP_LAG",
    "EVENT_PUBLISHED",
    "EVENT_PUBLISH_DURATION",
    "EVENT_PUBLISH_ERRORS",
    "EVENT_PULL_REBOUND",
    "EVENT_REDELIVERED",
    "GRPC_CALLS",
    "GRPC_CALLS_IN_FLIGHT",
    "GRPC_CALL_DURATION",
    "GRPC_CLIENT_CALLS",
    "GRPC_CLIENT_CALL_DURATION",
    "GRPC_PORT_LOST",
    "HEALTH_CHECK_UP",
    "HTTP_REQUESTS",
    "HTTP_REQUEST_DURATION",
    "HTTP_REQUEST_SIZE",
    "HTTP_RESPONSE_SIZE",
    "LATENCY_BUCKETS",
    "LOG_RECORDS_DROPPED",
    "SPANS_DROPPED",
    "TASK_CRASHES",
    "UNKNOWN",
    "Counter",
    "CounterSeries",
    "Gauge",
    "GaugeSeries",
    "Histogram",
    "HistogramSeries",
    "Instrument",
    "Metrics",
    "namespace_of",
]
