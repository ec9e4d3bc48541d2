"""Between the configuration of a service and its servers: which it needs, and where they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from chassis.config import Config, Given
from chassis.dev.servers import DevServers, ServerName

ORIGIN: Final = "--dev"


def wanted_for(uses: Collection[str], config: Config) -> tuple[ServerName, ...]:
    """Give the servers for the parts in `uses` that `config` has no address for.

    A bus whose backend was said to be `memory` needs none.
    """
    wanted: list[ServerName] = []
    if "database" in uses and not config.database.host:
        wanted.append("postgres")
    if "cache" in uses and not config.cache.host:
        wanted.append("redis")
    if "bus" in uses and not config.eventbus.servers and not _memory_was_asked_for(config):
        wanted.append("nats")
    return tuple(wanted)


def overrides_for(servers: DevServers, uses: Collection[str], config: Config) -> Mapping[str, Given]:
    """Give the addresses of `servers`, for `load(overrides=…)` of the configuration that they were wanted for.

    The database has the service's name unless `config` says another; see `database_of`.
    """
    wanted = wanted_for(uses, config)
    values: dict[str, object] = {}
    if "postgres" in wanted:
        values |= servers.postgres.overrides(database_of(config))
    if "redis" in wanted:
        values |= servers.redis.overrides()
    if "nats" in wanted:
        values |= servers.nats.overrides()
    return {key: Given(value, ORIGIN, value) for key, value in values.items()}


def database_of(config: Config) -> str:
    """Give the name of the service's database: the configured one, or the service's own."""
    return config.database.database or config.service.name


def _memory_was_asked_for(config: Config) -> bool:
    return config.eventbus.backend == "memory" and not config.is_default("eventbus.backend")
