from __future__ import annotations

from typing import TYPE_CHECKING

from chassis.cache.cache import Cache

if TYPE_CHECKING:
    from chassis.config import CacheConfig
    from chassis.metrics import Metrics
    from chassis.tracing import Tracing


def from_config(section: CacheConfig, *, metrics: Metrics | None = None, tracing: Tracing | None = None) -> Cache:
    """Make the cache that section `cache` of the configuration describes; nothing is connected yet."""
    # Imported here: only services with a cache in Redis need the driver.
    from chassis.cache.redis import RedisBackend

    backend = RedisBackend(
        section.host,
        section.port,
        password=section.password,
        db=section.db,
        timeout=section.timeout,
        dial_timeout=section.dial_timeout,
        max_retries=section.max_retries,
        pool_size=section.pool_size,
        min_idle=section.min_idle_conns,
    )
    return Cache(backend, default_ttl=section.default_ttl, metrics=metrics, tracing=tracing, required=section.required)
