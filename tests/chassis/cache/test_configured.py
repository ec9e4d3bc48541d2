from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import Asset

from chassis.cache import from_config
from chassis.config import CacheConfig, ConfigurationError, Secret, load
from chassis.metrics import Metrics
from chassis.testing.servers import KeyspaceForTest


def made(**options: Any) -> Any:
    return from_config(CacheConfig(**options))


def test_every_option_of_the_section_is_taken() -> None:
    cache = made(
        host="cache-1",
        port=6380,
        password=Secret("hunter2"),
        db=3,
        required=False,
        timeout=0.25,
        max_retries=2,
        pool_size=7,
        min_idle_conns=4,
        dial_timeout=0.5,
        default_ttl=60.0,
    )
    backend = cache.backend
    taken = (
        backend._host,
        backend._port,
        backend._password,
        backend._db,
        cache.required,
        backend.timeout,
        backend._retry.attempts,
        backend._pool_size,
        backend._min_idle,
        backend._dial_timeout,
        cache._default_ttl,
    )
    assert taken == ("cache-1", 6380, Secret("hunter2"), 3, False, 0.25, 3, 7, 4, 0.5, 60.0)
    assert len(taken) == len(CacheConfig.__dataclass_fields__), "an option that nobody takes"


def test_the_defaults_are_for_a_request_path() -> None:
    cache = made(host="cache-1")
    assert cache.backend.timeout <= 0.1
    assert cache.backend._retry.attempts == 1


@pytest.mark.parametrize("key", ["read_timeout", "write_timeout"])
def test_the_go_siblings_timeouts_of_parts_are_refused_with_what_to_use(key: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"service: {{name: cqar}}\ncache: {{{key}: 3s}}\n")
    with pytest.raises(ConfigurationError, match=rf"cache\.{key}.*use cache\.timeout"):
        load(file=file, environ={})


async def test_it_works_with_what_a_test_is_given(redis_keyspace: KeyspaceForTest) -> None:
    metrics = Metrics("cqar")
    config = load(environ={}, overrides={"service.name": "cqar", **redis_keyspace.overrides, "cache.timeout": "20s"})
    cache = from_config(config.cache, metrics=metrics)
    await cache.start()
    await cache.check()
    assert await cache.set("asset:1", Asset(asset_id="1"))
    assert await asyncio.gather(cache.get("asset:1", Asset), cache.get("asset:2", Asset)) == [Asset(asset_id="1"), None]
    assert metrics.value("cqar_cache_hit_total", entity="asset") == 1
    await cache.stop()
