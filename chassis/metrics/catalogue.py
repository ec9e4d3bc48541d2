"""Every metric that the chassis records, declared once; dashboards, alerts and docs/metrics.md are made from it.

The name on the endpoint is `{namespace}_{name}`, where the namespace is the service's name with `_` for `-`:

>>> GRPC_CALLS.name, GRPC_CALLS.labels
('grpc_calls_total', ('method', 'status_code'))
>>> [instrument.name for instrument in CATALOGUE if instrument.kind == "gauge" and not instrument.labels]
['db_pool_active_connections', 'db_pool_idle_connections', 'db_pool_max_connections']
"""

from __future__ import annotations

from typing import Any

from chassis.metrics.declaration import Instrument, counter, gauge, histogram

SIZE_BUCKETS: tuple[float, ...] = tuple(100.0 * 10**power for power in range(8))
"""Bytes, from 100 B to 1 GB."""

UNKNOWN = "unknown"
"""The one label value for methods and paths that do not exist: callers choose their names freely."""

# Calls served and made over gRPC. `method` is the full path, `/package.Service/Method`; `status_code` the code's
# name as it went over the wire, `NOT_FOUND`. A stream counts once, at its end.

GRPC_CALLS = counter("grpc_calls_total", "RPCs served, by how they ended.", ("method", "status_code"))
GRPC_CALL_DURATION = histogram(
    "grpc_call_duration_seconds",
    "Time from an RPC's arrival to its end.",
    ("method", "status_code"),
)
GRPC_CALLS_IN_FLIGHT = gauge("grpc_calls_in_flight", "RPCs being served right now.", ("method",))
GRPC_CLIENT_CALLS = counter(
    "grpc_client_calls_total", "RPCs made to other services, by how they ended.", ("method", "status_code")
)
GRPC_CLIENT_CALL_DURATION = histogram(
    "grpc_client_call_duration_seconds",
    "Time from an outgoing RPC's start to its end.",
    ("method", "status_code"),
)

# HTTP requests served. `method` is the verb, `path` the route's template, `status_code` the HTTP status.

HTTP_REQUESTS = counter(
    "http_requests_total", "HTTP requests served, by their status.", ("method", "path", "status_code")
)
HTTP_REQUEST_DURATION = histogram(
    "http_request_duration_seconds",
    "Time from an HTTP request's arrival to its end.",
    ("method", "path", "status_code"),
)
HTTP_REQUEST_SIZE = histogram(
    "http_request_size_bytes",
    "Size of the body of HTTP requests: what arrived of it, without its compression.",
    ("method", "path"),
    SIZE_BUCKETS,
)
HTTP_RESPONSE_SIZE = histogram(
    "http_response_size_bytes",
    "Size of the body of HTTP responses, where it is known.",
    ("method", "path", "status_code"),
    SIZE_BUCKETS,
)

# Events. `status_code` has the same spelling as for RPCs.

EVENT_PUBLISHED = counter("event_published_total", "Events that the broker confirmed.", ("topic",))
EVENT_PUBLISH_ERRORS = counter(
    "event_publish_errors_total",
    "Events whose publisher was told that they were not published.",
    ("topic", "status_code"),
)
EVENT_PUBLISH_DURATION = histogram(
    "event_publish_duration_seconds",
    "Time from publish to the broker's confirmation, or to the error.",
    ("topic",),
)
EVENT_HANDLED = counter(
    "event_handled_total",
    "Deliveries of events that a handler has seen, by how it ended; a redelivery counts again.",
    ("topic", "status_code"),
)
EVENT_HANDLE_DURATION = histogram(
    "event_handle_duration_seconds",
    "Time that the handling of one delivery took.",
    ("topic", "status_code"),
)
EVENT_IN_FLIGHT = gauge("event_in_flight", "Events being handled right now.", ("topic",))
EVENT_REDELIVERED = counter("event_redelivered_total", "Deliveries that were not the first of their event.", ("topic",))
EVENT_DEAD_LETTERED = counter(
    "event_dead_lettered_total",
    "Events given up and put aside as dead letters, by the code of their last failure.",
    ("topic", "status_code"),
)
EVENT_BACKLOG = gauge(
    "event_backlog", "Events that are stored and were not yet delivered to a durable.", ("topic", "durable")
)
EVENT_PULL_REBOUND = counter(
    "event_pull_rebound_total",
    "Times that pulling events was begun anew because the broker went silent, or forgot about it.",
    ("topic",),
)

# The database. `statement` is the name given in `query(…, name="get_asset")`, or else the verb, `SELECT`;
# `sqlstate_class` the first two characters of what the server answered, or `none`.

DB_POOL_ACTIVE_CONNECTIONS = gauge("db_pool_active_connections", "Connections to the database that are in use.")
DB_POOL_IDLE_CONNECTIONS = gauge("db_pool_idle_connections", "Connections to the database that wait to be used.")
DB_POOL_MAX_CONNECTIONS = gauge("db_pool_max_connections", "The most connections to the database at a time.")
DB_POOL_ACQUIRE_DURATION = histogram(
    "db_pool_acquire_duration_seconds", "Time that a statement or a transaction waited for a connection."
)
DB_POOL_ACQUIRE_TIMEOUTS = counter(
    "db_pool_acquire_timeouts_total", "Statements and transactions that were refused as no connection became free."
)
DB_CONNECTIONS_OPENED = counter("db_connections_opened_total", "Connections to the database that were opened.")
DB_CONNECTIONS_CLOSED = counter(
    "db_connections_closed_total",
    "Connections to the database that ended: idle, lifetime, session (it could not be reset), unanswered, lost or "
    "stopped.",
    ("reason",),
)
DB_QUERY_DURATION = histogram(
    "db_query_duration_seconds",
    "Time from sending a statement to the end of its answer.",
    ("statement", "status_code"),
)
DB_TRANSACTION_DURATION = histogram(
    "db_transaction_duration_seconds",
    "Time from BEGIN to the end of a transaction: committed, rolled_back, or unknown (COMMIT was not answered).",
    ("outcome",),
)
DB_ERRORS = counter(
    "db_errors_total", "Statements and connects that failed, by class of SQLSTATE.", ("sqlstate_class",)
)
DB_RETRIES = counter(
    "db_retries_total",
    "Repetitions: of a read or a BEGIN whose connection was lost, or of a transaction after a conflict.",
    ("what",),
)

# The cache. `entity` is the first part of the key: of `asset:a-1` it is `asset`, of a key without `:` it is `unknown`.
# A read is a hit, a miss, undecodable or an error, and never two of them.

CACHE_HITS = counter("cache_hit_total", "Reads that found a value.", ("entity",))
CACHE_MISSES = counter("cache_miss_total", "Reads that found no value.", ("entity",))
CACHE_UNDECODABLE = counter(
    "cache_undecodable_total",
    "Reads that found what is no message of the expected type and schema, and took it for no value.",
    ("entity",),
)
CACHE_GET_ERRORS = counter("cache_get_error_total", "Reads that the cache did not answer.", ("entity",))
CACHE_SET_ERRORS = counter("cache_set_error_total", "Values that the cache did not take.", ("entity",))
CACHE_DELETE_ERRORS = counter("cache_delete_error_total", "Deletions that the cache did not confirm.", ("entity",))
CACHE_SKIPS = counter(
    "cache_skip_total",
    "Loaded values that were not stored, because the cache had not answered or the entry was changed meanwhile.",
    ("entity",),
)
CACHE_OPERATION_DURATION = histogram(
    "cache_operation_duration_seconds",
    "Time that the cache took to answer, or to be given up.",
    ("operation",),
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)

# The service itself. `system` is `grpc` or `http`.

AUTH_FAILURES = counter(
    "auth_failures_total",
    "Calls refused because nobody proved who they are, or a token expired meanwhile (UNAUTHENTICATED), because they "
    "may not (PERMISSION_DENIED), or because credentials could not be checked (UNAVAILABLE).",
    ("system", "status_code"),
)
EVENT_LOOP_LAG = histogram(
    "event_loop_lag_seconds",
    "How late the event loop got round to a timer, sampled several times a second; blocked for long, it is late once.",
)
GRPC_PORT_LOST = counter(
    "grpc_port_lost_total",
    "Times that the gRPC port closed by itself, as after a request that grpc cannot stand, and had to be opened again.",
)
TASK_CRASHES = counter("task_crashes_total", "Background tasks of the service that crashed.", ("task",))
HEALTH_CHECK_UP = gauge(
    "health_check_up", "1 where the last check of this part succeeded, 0 where it failed.", ("check",)
)
LOG_RECORDS_DROPPED = counter("log_records_dropped_total", "Log records lost because the sink was too slow.")
SPANS_DROPPED = counter("spans_dropped_total", "Spans lost because the collector was too slow or did not answer.")
BUILD_INFO = gauge(
    "build_info",
    "Always 1; the labels say what is running.",
    ("version", "chassis_version", "python_version"),
)

CATALOGUE: tuple[Instrument[Any], ...] = tuple(
    each for each in globals().copy().values() if isinstance(each, Instrument)
)
"""All instruments of the chassis, in the order in which the reference shows them."""
