"""Messages kept near at hand for a time: read from Redis where it has them, and from their source where it has not.

>>> import asyncio
>>> from google.protobuf.wrappers_pb2 import StringValue
>>> async def main():
...     cache = Cache(MemoryBackend())
...     await cache.start()
...     key = cache_key("asset", "a-1")
...     await cache.set(key, StringValue(value="gold"), ttl=60)
...     print((await cache.get(key, StringValue)).value, await cache.exists(key))
...     await cache.delete(key)
...     print(await cache.get(key, StringValue))
>>> asyncio.run(main())
gold True
None

`from_config` makes the cache of a service, in Redis, from its section `cache`.
"""

from __future__ import annotations

from chassis.cache.backend import Backend, BackendFailure
from chassis.cache.cache import Cache
from chassis.cache.configured import from_config
from chassis.cache.key import cache_key
from chassis.cache.memory import MemoryBackend

__all__ = ["Backend", "BackendFailure", "Cache", "MemoryBackend", "cache_key", "from_config"]
