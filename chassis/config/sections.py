"""The sections of every service's configuration: each knob with its type, default, documentation and check.

Lengths of time are seconds here (`float`), written with a unit in files and variables; sizes are bytes.

>>> ServerConfig().grpc_port
9000
"""

# ruff: noqa: RUF009  (knob() makes a field; the rule knows the standard library's own function only)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from chassis.config.knobs import Check, at_least, between, each, knob, longer_than_zero, matching
from chassis.config.quantities import ByteSize, Duration
from chassis.config.secret import Secret, SecretUrl

ApiKeys = Annotated[tuple[Secret, ...], "api keys"]
"""`key`, `name:key` or `name:sha256:HEX`, as a list; or a mapping from names to a key or a list of keys."""

Pem = Annotated[Secret, "PEM text"]
"""Text between `-----BEGIN` and `-----END` lines; on one line, `\\n` stands for a line's end."""

_MEBIBYTE = 1024 * 1024
_LARGEST_MESSAGE = 2**31 - 1
_HOST = matching(r"[^\s/@?#,\[\]]+", "a host name or an address, without scheme, port or brackets,")
_OPTIONAL_HOST = matching(r"[^\s@?#,:\[\]]*|[0-9A-Fa-f:.%]+", "a host name or an address, without scheme or port,")
_OPTIONAL_PORT = between(0, 65535, "a port (0 for a free one)")
_PORT = between(1, 65535, "a port")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """Who the service is, in logs, metrics and traces."""

    name: str = knob(
        doc="Name of the service, in every log line, metric and span.",
        default_doc="the service class's `name`",
        check=matching(r"[A-Za-z][A-Za-z0-9_-]{0,62}", "a name of letters, digits, - and _, with a letter first,"),
    )
    version: str = knob("", doc="Version of the service, in metrics and traces.")
    env: str = knob("development", doc="Environment that it runs in, such as production.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where the service listens, what it accepts, and how it stops."""

    host: str = knob("127.0.0.1", doc="Address to listen on; 0.0.0.0 or :: for all.", check=_HOST)
    grpc_port: int = knob(9000, doc="Port for gRPC; 0 takes a free one.", check=_OPTIONAL_PORT)
    http_port: int = knob(8080, doc="Port for health, metrics and routes; 0 takes a free one.", check=_OPTIONAL_PORT)
    drain_delay: Duration = knob(
        5.0, doc="How long it goes on serving after it said that it stops, so that clients go elsewhere."
    )
    shutdown_timeout: Duration = knob(
        25.0,
        doc="How long a stop may take in all, drain_delay included; what still runs then is cut.",
        check=longer_than_zero(),
    )
    enable_reflection: bool = knob(False, doc="Whether clients may ask gRPC for the services and their messages.")
    uvloop: bool = knob(True, doc="Whether to run on uvloop, where it is there for the platform.")
    max_receive_message_bytes: ByteSize = knob(
        4 * _MEBIBYTE, doc="The largest gRPC message that is accepted.", check=between(1, _LARGEST_MESSAGE, "a size")
    )
    max_send_message_bytes: ByteSize = knob(
        4 * _MEBIBYTE, doc="The largest gRPC message that is sent.", check=between(1, _LARGEST_MESSAGE, "a size")
    )
    max_metadata_bytes: ByteSize = knob(
        16 * 1024,
        doc="The most metadata of a gRPC call, and the longest HTTP header field.",
        check=between(1024, _LARGEST_MESSAGE, "a size"),
    )
    max_concurrent_streams: int = knob(
        256, doc="Calls that one connection may have open at a time.", check=between(1, 2**31 - 1, "a number of calls")
    )
    keepalive_time: Duration = knob(
        60.0,
        doc="A connection that was silent for so long is asked for a sign of life.",
        check=Check(lambda seconds: seconds >= 1, "a duration of at least 1s"),
    )
    keepalive_timeout: Duration = knob(
        20.0, doc="A connection that gives no sign of life for so long is closed.", check=longer_than_zero()
    )
    keepalive_min_time: Duration = knob(
        10.0, doc="Clients that ask for signs of life more often than this are disconnected."
    )
    http_max_body_bytes: ByteSize = knob(
        _MEBIBYTE, doc="The largest body of an HTTP request that is accepted.", check=at_least(1, "a size")
    )
    http_request_timeout: Duration = knob(
        60.0, doc="How long an HTTP request may take, websockets left aside; 0 for any time."
    )
    loop_lag_warning: Duration = knob(
        0.5, doc="Code that blocks the event loop for so long is named in a warning; 0 for never."
    )
    loop_lag_limit: Duration = knob(
        10.0, doc="An event loop that was blocked for so long fails liveness for a minute; 0 for never."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """PostgreSQL, for services that use `database`."""

    host: str = knob("", doc="Host of PostgreSQL, or the folder of its socket.", check=_OPTIONAL_HOST)
    port: int = knob(5432, doc="Port of PostgreSQL.", check=_PORT)
    database: str = knob("", doc="Name of the database.")
    user: str = knob("", doc="User to log in as.")
    password: Secret = knob(Secret(""), doc="The user's password.")
    required: bool = knob(True, doc="Whether the service is ready only while PostgreSQL answers.")
    ssl_mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = knob(
        "prefer", doc="Whether the connection is encrypted, and whether the server has to prove who it is."
    )
    max_conns: int = knob(25, doc="The most connections at a time.", check=at_least(1))
    min_conns: int = knob(2, doc="Connections that are kept open.", check=at_least(0))
    max_conn_lifetime: Duration = knob(3600.0, doc="A connection older than this is replaced; 0 for no limit.")
    max_conn_idle_time: Duration = knob(600.0, doc="A connection unused for so long is closed; 0 for no limit.")
    connect_timeout: Duration = knob(30.0, doc="How long connecting may take.", check=longer_than_zero())
    acquire_timeout: Duration = knob(
        5.0, doc="How long to wait for a connection when all are in use.", check=longer_than_zero()
    )
    query_timeout: Duration = knob(
        30.0, doc="How long a statement may take where the call has no earlier deadline.", check=longer_than_zero()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """Redis, for services that use `cache`."""

    host: str = knob("", doc="Host of Redis.", check=_OPTIONAL_HOST)
    port: int = knob(6379, doc="Port of Redis.", check=_PORT)
    password: Secret = knob(Secret(""), doc="Password of Redis.")
    db: int = knob(0, doc="Number of the database within Redis.", check=at_least(0))
    required: bool = knob(True, doc="Whether the service is ready only while Redis answers.")
    timeout: Duration = knob(
        0.1,
        doc="How long any operation may take, connecting included; what takes longer is a miss.",
        check=longer_than_zero(),
    )
    max_retries: int = knob(
        0, doc="How often a command is sent again whose connection was lost, within timeout.", check=at_least(0)
    )
    pool_size: int = knob(10, doc="The most connections at a time.", check=at_least(1))
    min_idle_conns: int = knob(2, doc="Connections that are opened at the start and kept open.", check=at_least(0))
    dial_timeout: Duration = knob(
        1.0,
        doc="How long connecting may take; operations wait for it no longer than timeout.",
        check=longer_than_zero(),
    )
    default_ttl: Duration = knob(300.0, doc="How long an entry lives where the code does not say; 0 for ever.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBusConfig:
    """Events, for services that use `bus`."""

    backend: Literal["memory", "jetstream"] = knob(
        "memory",
        doc="What carries events: this process's memory or NATS JetStream.",
        default_doc="memory; jetstream with servers",
    )
    servers: tuple[SecretUrl, ...] = knob(
        (),
        doc="Addresses of NATS, such as nats://user:password@nats-1:4222.",
        check=each(matching(r"((nats|tls|ws|wss)://)?[^\s/,]+/?", "a NATS address such as nats://nats-1:4222")),
    )
    required: bool = knob(True, doc="Whether the service is ready only while the broker answers.")
    stream_name: str = knob(
        "cqc_events",
        doc="Stream that events are kept in.",
        check=matching(r"[A-Za-z0-9_-]{1,200}", "a name of letters, digits, - and _"),
    )
    consumer_name: str = knob(
        "",
        doc="Instances with the same one share the events; services need different ones.",
        default_doc="service.name",
        check=matching(r"[A-Za-z0-9_-]{1,100}", "a name of letters, digits, - and _"),
    )
    max_deliver: int = knob(
        3, doc="Times that an event's handler may fail before the event is a dead letter.", check=at_least(1)
    )
    ack_wait: Duration = knob(
        30.0, doc="An event that nothing is heard of for so long is delivered again.", check=longer_than_zero()
    )
    max_ack_pending: int = knob(1000, doc="Events that may be under way at a time.", check=at_least(1))
    backoff: tuple[Duration, ...] = knob(
        (1.0, 5.0, 30.0),
        doc="Waits before the second, third, … try of an event, at least one; the last is used from there on.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Log lines: how many, how they look, and where they go."""

    level: Literal["debug", "info", "warn", "error"] = knob("info", doc="The least level that is written.")
    format: Literal["json", "console"] = knob("json", doc="One JSON object a line, or lines for people.")
    output: Literal["stdout", "stderr"] = knob("stdout", doc="Where log lines go.")
    buffer_records: int = knob(
        10_000, doc="Records that wait for a slow output; beyond, they are dropped and counted.", check=at_least(1)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Metrics, served on `server.http_port`."""

    enabled: bool = knob(True, doc="Whether metrics are recorded and served.")
    path: str = knob(
        "/metrics", doc="Path that they are served at.", check=matching(r"/[^\s?#{}]*", "a path such as /metrics")
    )
    namespace: str = knob(
        "",
        doc="What the names of metrics begin with; - becomes _.",
        default_doc="service.name",
        check=matching(r"[A-Za-z_:-][A-Za-z0-9_:-]*", "a name of letters, digits, - and _, with no digit first,"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfig:
    """Traces, sent to an OpenTelemetry collector."""

    enabled: bool = knob(False, doc="Whether spans are recorded and sent.")
    endpoint: SecretUrl = knob(SecretUrl(""), doc="Address of the collector, such as http://collector:4317.")
    sample_rate: float = knob(
        0.1, doc="Share of traces that is recorded, where the caller has not decided.", check=between(0, 1)
    )
    service_name: str = knob("", doc="Name of the service in traces.", default_doc="service.name")
    environment: str = knob("", doc="Environment in traces.", default_doc="service.env")
    export_mode: Literal["grpc", "http"] = knob("grpc", doc="Protocol that the collector is spoken to with.")
    insecure: bool = knob(False, doc="Whether the collector is spoken to without TLS.")
    batch_timeout: Duration = knob(5.0, doc="The longest that a span waits to be sent.", check=longer_than_zero())


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Who may call: off unless keys are given."""

    api_keys: ApiKeys = knob(
        (), doc="Keys of callers: key, name:key or name:sha256:HEX; or a mapping of names to keys."
    )
    jwt_public_key: Pem = knob(Secret(""), doc="Public key that tokens are verified with, as PEM text.")
    jwt_public_key_path: Path | None = knob(None, doc="File with that key, instead.")
    jwt_algorithms: tuple[str, ...] = knob(
        (),
        doc="Signature algorithms that are accepted; for an RSA key RS256, RS384 and RS512 if not said.",
        default_doc="by the kind of key",
    )
    jwt_issuer: str = knob("", doc="Issuer that tokens must name; empty for any.")
    jwt_audience: tuple[str, ...] = knob(
        (), doc="Audiences of which tokens must name one; where it is empty, tokens that name one are refused."
    )
    jwt_leeway: Duration = knob(0.0, doc="How far clocks may differ when the times of a token are checked.")
    public_methods: tuple[str, ...] = knob(
        (),
        doc="Methods that need no credentials, by full name.",
        check=each(matching(r"/[A-Za-z_][\w.]*/[A-Za-z_]\w*", "a full method name such as /package.Service/Method")),
    )


SECTIONS: Final[dict[str, type]] = {
    "service": ServiceConfig,
    "server": ServerConfig,
    "database": DatabaseConfig,
    "cache": CacheConfig,
    "eventbus": EventBusConfig,
    "log": LogConfig,
    "metrics": MetricsConfig,
    "tracing": TracingConfig,
    "auth": AuthConfig,
}
