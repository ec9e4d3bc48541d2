"""The real servers that clients are measured with, and a place of its own in them for each client."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from chassis.dev import DevServers
from chassis.dev.servers import ServerName

Place = Mapping[str, object]
"""Where one client finds its servers, as the configuration of a service says it."""

_PLACES = 16  # as many databases as Redis has


@contextmanager
def backing(names: Sequence[ServerName]) -> Iterator[Callable[[], Place]]:
    """Run these servers, on the core that this process has.

    What it gives makes places: one of its own for each of sixteen clients, then the same ones again.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cq-chassis-bench-") as folder,
        DevServers(Path(folder), names, durable=False) as servers,
    ):
        numbers = itertools.count()
        if "nats" in names:
            servers.nats.add_accounts(*(f"bench_{number}" for number in range(_PLACES)))

        def place() -> Place:
            number = next(numbers) % _PLACES
            where: dict[str, object] = {}
            if "postgres" in names:
                servers.postgres.create_database(f"bench_{number}")
                where |= {
                    "database.host": servers.postgres.host,
                    "database.port": servers.postgres.port,
                    "database.user": servers.postgres.user,
                    "database.password": servers.postgres.password,
                    "database.database": f"bench_{number}",
                    "database.ssl_mode": "disable",
                }
            if "redis" in names:
                where |= {
                    "cache.host": servers.redis.host,
                    "cache.port": servers.redis.port,
                    "cache.password": servers.redis.password,
                    "cache.db": number,
                }
            if "nats" in names:
                where["eventbus.servers"] = [servers.nats.url_of(f"bench_{number}").reveal()]
            return where

        yield place
