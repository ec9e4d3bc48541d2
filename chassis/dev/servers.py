from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, Self, TypeVar, get_args

from chassis.component import Component
from chassis.dev.error import DevError
from chassis.dev.nats import NatsServer
from chassis.dev.postgres import PostgresServer
from chassis.dev.redis import RedisServer
from chassis.dev.server import Server
from chassis.errors import Permanent

ServerName = Literal["postgres", "nats", "redis"]

FOLDER: Final = Path(".chassis")
"""Where a project's servers keep their data, below the folder in which the service is run."""

_log = logging.getLogger("chassis.dev")

_Server = TypeVar("_Server", bound=Server)


def stop_all(servers: Iterable[Server]) -> None:
    """Stop servers side by side, and wait until all of them are gone."""
    servers = tuple(servers)
    for server in servers:
        server.begin_stop()
    for server in servers:
        server.finish_stop()


class DevServers(Component):
    """The servers of a project folder, started and stopped together; a component, and a context manager of both kinds.

    There is one set for each folder: DevError is raised where another process has it, and where a server can not be
    had; then none is running.
    """

    name = "dev"
    required = False

    def __init__(self, folder: Path, wanted: Iterable[ServerName], *, durable: bool = True) -> None:
        """Take `folder`, which need not exist; nothing is started. `durable`: see `Server`."""
        self.folder = folder.absolute()
        names = tuple(dict.fromkeys(wanted))
        known = get_args(ServerName)
        for name in names:
            if name not in known:
                raise ValueError(f"there is no server {name!r}, but {', '.join(known)}")
        self._servers: dict[str, Server] = {}
        if "postgres" in names:
            self._servers["postgres"] = PostgresServer(self.folder, durable=durable)
        if "nats" in names:
            self._servers["nats"] = NatsServer(self.folder, durable=durable)
        if "redis" in names:
            self._servers["redis"] = RedisServer(self.folder, durable=durable)
        self._lock: int | None = None

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def postgres(self) -> PostgresServer:
        """PostgreSQL; raises LookupError where it was not wanted."""
        return self._get("postgres", PostgresServer)

    @property
    def nats(self) -> NatsServer:
        """NATS; likewise."""
        return self._get("nats", NatsServer)

    @property
    def redis(self) -> RedisServer:
        """Redis; likewise."""
        return self._get("redis", RedisServer)

    def open(self) -> None:
        """Start them side by side, and wait until all can be used."""
        if not self._servers:
            return
        self._take_folder()
        try:
            for server in self:
                server.begin_start()
            for server in self:
                server.finish_start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop them side by side, and wait until all of them are gone."""
        stop_all(self)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def log_addresses(self) -> None:
        """Write a record for each server: what runs where, with its data in which folder."""
        for server in self:
            where = _short(server.folder)
            _log.info(
                "%s on %s:%d, data in %s",
                server.version,
                server.host,
                server.port,
                where,
                extra={"server": server.name, "address": f"{server.host}:{server.port}", "folder": str(where)},
            )

    async def start(self) -> None:
        # In a thread, because it waits for other processes. One that is cancelled has to have ended before the stop.
        opening = asyncio.ensure_future(asyncio.to_thread(self.open))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            for server in self:
                server.begin_stop()
            await asyncio.wait({opening})
            if not opening.cancelled() and opening.exception() is None:
                await asyncio.to_thread(self.close)
            raise
        self.log_addresses()

    async def stop(self) -> None:
        await asyncio.to_thread(self.close)

    async def check(self) -> None:
        ended = [server for server in self if not server.is_running]
        if ended:
            raise Permanent(", ".join(f"{server.name} ended, see {_short(server.log_file)}" for server in ended))

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _get(self, name: str, kind: type[_Server]) -> _Server:
        server = self._servers.get(name)
        if not isinstance(server, kind):
            raise LookupError(f"{name} was not wanted: these servers are {', '.join(self._servers) or 'none'}")
        return server

    def _take_folder(self) -> None:
        # Held by this process alone: where it is killed the folder is free, and the servers are awaited by the next.
        file = self.folder / "lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError as error:
            raise DevError(
                f"{error.filename} belongs to another user, such as root, who ran it before: delete {self.folder}, or "
                "give it back with chown -R"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise DevError(
                f"the servers in {self.folder} are in use by process {holder or 'unknown'}: stop that first, run this "
                "one in another folder, or configure it with their addresses, which are in the log of the other"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock


class DevWatch(Component):
    """Servers that were started before the service and are stopped after it: told in its log, and watched."""

    name = "dev"
    required = False

    def __init__(self, servers: DevServers) -> None:
        self._servers = servers

    async def start(self) -> None:
        self._servers.log_addresses()

    async def check(self) -> None:
        await self._servers.check()


def _short(path: Path) -> Path:
    """Give a path as people would write it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
