"""What must hold between options, where each of them alone is good."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

PARTS: Final = {"database": "database.host", "cache": "cache.host", "bus": None}
"""The parts that a service can use, each with the option without which it cannot be reached."""

HEALTH: Final = "/health"
LIVE: Final = "/health/live"
READY: Final = "/health/ready"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules look at: values by key, which keys were given, and what the service uses."""

    values: Mapping[str, Any]
    given: Collection[str]
    uses: Collection[str]
    dev: bool
    prefix: str


Findings = Iterator[tuple[str, str]]
"""Keys, each with the message about it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on some keys; it is not asked while one of them has a problem of its own."""

    keys: tuple[str, ...]
    test: Callable[[Facts], Findings]


def findings(facts: Facts, bad: Collection[str]) -> Findings:
    """Give key and message for all that does not fit together."""
    for rule in RULES:
        if not any(key in bad for key in rule.keys):
            yield from rule.test(facts)


def _parts_have_addresses(facts: Facts) -> Findings:
    for part in facts.uses:
        key = PARTS[part]
        if key is not None and not facts.values[key] and not facts.dev:
            variable = f"{facts.prefix}_{key.upper().replace('.', '_')}"
            yield key, f"an address is expected, as the service uses {part}: set it in the file or as {variable}"


def _database_has_user_and_name(facts: Facts) -> Findings:
    if facts.values["database.host"]:
        for key in ("database.user", "database.database"):
            if not facts.values[key]:
                yield key, "a name is expected, as database.host is set"


def _connections_are_ordered(facts: Facts) -> Findings:
    for low, high in (("database.min_conns", "database.max_conns"), ("cache.min_idle_conns", "cache.pool_size")):
        if facts.values[low] > facts.values[high]:
            yield low, f"no more than {high} is expected, which is {facts.values[high]}"


def _ports_differ(facts: Facts) -> Findings:
    port = facts.values["server.grpc_port"]
    if port and port == facts.values["server.http_port"]:
        yield "server.http_port", f"another port than server.grpc_port is expected, both are {port}"


def _drain_ends_before_the_stop(facts: Facts) -> Findings:
    if facts.values["server.drain_delay"] > facts.values["server.shutdown_timeout"]:
        yield "server.drain_delay", "no more than server.shutdown_timeout is expected, of which it is a part"


def _tracing_has_an_endpoint(facts: Facts) -> Findings:
    if facts.values["tracing.enabled"] and not facts.values["tracing.endpoint"]:
        yield "tracing.endpoint", "the address of a collector is expected, as tracing.enabled is true"


def _jetstream_has_servers(facts: Facts) -> Findings:
    if facts.values["eventbus.backend"] == "jetstream" and not facts.values["eventbus.servers"] and not facts.dev:
        yield "eventbus.servers", "addresses of NATS are expected, as eventbus.backend is jetstream"


def _failed_events_wait(facts: Facts) -> Findings:
    if not facts.values["eventbus.backoff"]:
        yield "eventbus.backoff", "at least one wait is expected, such as 1s; without the option it is 1s, 5s, then 30s"


def _metrics_path_is_free(facts: Facts) -> Findings:
    if facts.values["metrics.path"].rstrip("/") in (HEALTH, LIVE, READY):
        yield "metrics.path", "another path than those of health is expected"


RULES: Final = (
    Rule(("database.host", "cache.host"), _parts_have_addresses),
    Rule(("database.host", "database.user", "database.database"), _database_has_user_and_name),
    Rule(
        ("database.min_conns", "database.max_conns", "cache.min_idle_conns", "cache.pool_size"),
        _connections_are_ordered,
    ),
    Rule(("server.grpc_port", "server.http_port"), _ports_differ),
    Rule(("server.drain_delay", "server.shutdown_timeout"), _drain_ends_before_the_stop),
    Rule(("tracing.enabled", "tracing.endpoint"), _tracing_has_an_endpoint),
    Rule(("eventbus.backend", "eventbus.servers"), _jetstream_has_servers),
    Rule(("eventbus.backoff",), _failed_events_wait),
    Rule(("metrics.path",), _metrics_path_is_free),
)
