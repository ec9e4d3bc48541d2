"""Those who read protobuf messages from Redis: redis-py with bytes decoded by hand, and the cache of a service."""

from __future__ import annotations

from typing import Any

from cqc.events.v1.asset_events_pb2 import AssetCreated

from tests.bench.events import event
from tests.bench.measured import Client, Reader

_VALUES = 100
_TTL = 3600.0


async def build(settings: dict[str, Any], public_key: str) -> Client:
    """Make it, and store messages of 196 bytes. Settings: `by` (redis or chassis), `at_once`."""
    values = {f"asset:{number}": event(number) for number in range(_VALUES)}
    keys = list(values)
    if settings["by"] == "redis":
        from redis.asyncio import Redis

        place = settings["place"]
        redis = Redis(
            host=place["cache.host"],
            port=place["cache.port"],
            password=place["cache.password"],
            db=place["cache.db"],
        )
        for key, value in values.items():
            await redis.set(key, value.SerializeToString(), ex=int(_TTL))

        async def get(number: int) -> bool:
            message = AssetCreated.FromString(await redis.get(keys[number % _VALUES]))
            return bool(message.source)

        return Reader(get, redis.aclose, settings["at_once"])
    from tests.bench.chassis_service import settling, started

    # A miss is no answer here: the machine may stand still for longer than the tenth of a second that is usual.
    config = {"cache.timeout": "5s"}
    service = await started({"uses": ["cache"], "config": config, **settings}, public_key)
    cache = service.cache
    for key, value in values.items():
        if not await cache.set(key, value, _TTL):
            raise RuntimeError("the cache did not store what is to be read")

    async def get_decoded(number: int) -> bool:
        message = await cache.get(keys[number % _VALUES], AssetCreated)
        return message is not None and bool(message.source)

    return Reader(get_decoded, service.stop, settings["at_once"], settling(service))
