from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from nats import errors as nats_errors

from chassis.background import end
from chassis.bus.jetstream.address import Address, places_of
from chassis.bus.jetstream.client import Client, Listening
from chassis.bus.jetstream.parser import Receive
from chassis.bus.jetstream.requests import Reply, Requests
from chassis.config import SecretUrl
from chassis.errors import Temporary
from chassis.retry import Policy

_log = logging.getLogger("chassis.bus")

_DEFAULT_MAX_PAYLOAD = 1024 * 1024
_CONNECTED = Client.CONNECTED
_PUB = b"PUB %b %d\r\n%b\r\n"


class Connection:
    """A connection to one server of a list, made again on another whenever it is lost, for ever.

    While there is none, everything fails at once with `Temporary`, but for `settle`, which is kept until there is one
    again. `connected` and `lost` are called as it comes and goes. Each connection is a new one, without anything that
    was left over in the one before it.
    """

    CONNECT_TIMEOUT: ClassVar[float] = 2.0
    """Seconds for each step of connecting."""

    PING_INTERVAL: ClassVar[float] = 5.0
    """Seconds between the times when the server is asked for a sign of life."""

    PING_TIMEOUT: ClassVar[float] = 5.0
    """Seconds after which a server that gives none is given up."""

    FIRST_WAIT: ClassVar[float] = 5.0
    """The longest that a start waits for the first connection."""

    AGAIN: ClassVar[Policy] = Policy(attempts=None, initial=0.1, maximum=1.0, jitter=0.25)
    """Waits between rounds of connecting."""

    SHORT_LIVED: ClassVar[float] = 0.5
    """Seconds within which a connection that ends counts as one that failed."""

    MAX_KEPT: ClassVar[int] = 10_000
    """Acknowledgements that are kept while there is no connection."""

    def __init__(self, servers: Sequence[SecretUrl], *, client_name: str) -> None:
        self._configured = [Address.of(server) for server in servers]
        if not self._configured:
            raise ValueError("the event bus needs the address of at least one NATS server")
        random.shuffle(self._configured)
        self._discovered: list[Address] = []
        self._name = client_name
        self.on_connected: list[Callable[[], None]] = []
        self.on_lost: list[Callable[[], None]] = []
        self.max_payload = _DEFAULT_MAX_PAYLOAD
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._trouble = "it is not started"
        self._told = False
        self._kept: deque[tuple[bytes, bytes]] = deque()
        self._requests = Requests()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._client is not None and self._client.is_connected

    async def start(self) -> None:
        """Begin to connect; returns when it is connected, or it is known that it is not to be right now."""
        self._tried.clear()
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="nats")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.FIRST_WAIT):
                await self._tried.wait()

    async def stop(self) -> None:
        """Send what is left to send, and disconnect."""
        if self._task is None:
            return
        if self._client is not None:
            with contextlib.suppress(TimeoutError, Temporary):
                await self.round_trip(self.CONNECT_TIMEOUT)
        task, self._task = self._task, None
        await end(task)
        self._trouble = "it is stopped"
        self._kept.clear()

    # What can be done with it.

    def unreachable(self) -> Temporary:
        """The error for what cannot be done without a connection."""
        return Temporary(
            "the event bus cannot be reached", detail=f"NATS at {places_of(self._configured)}: {self._trouble}"
        )

    def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message without waiting for anything."""
        self._connected().send(subject, payload, reply)

    def settle(self, subject: bytes, payload: bytes) -> None:
        """Send an acknowledgement; without a connection as soon as there is one."""
        client = self._client
        if client is not None and client.status == _CONNECTED:
            client.command(_PUB % (subject, len(payload), payload))
        elif self._task is None or len(self._kept) >= self.MAX_KEPT:
            raise self.unreachable()
        else:
            self._kept.append((subject, payload))

    def request(self, subject: str, payload: bytes, *, headers: bytes = b"", timeout: float) -> Awaitable[Reply]:
        """Send a message and wait for the answer to it; TimeoutError after `timeout` seconds."""
        client = self._client
        if client is None or client.status != _CONNECTED:
            raise self.unreachable()
        until = asyncio.get_running_loop().time() + timeout
        if client.unsent > client.ROOM:
            return self._request_with_room(client, subject, payload, headers, until)
        return self._requests.send(client, subject, payload, headers, until)

    async def _request_with_room(
        self, client: Client, subject: str, payload: bytes, headers: bytes, until: float
    ) -> Reply:
        async with asyncio.timeout_at(until):
            await client.room()
        return await self._requests.send(self._connected(), subject, payload, headers, until)

    async def listen(self, inbox: str, receive: Receive) -> Listening:
        """Have the messages on a subject given to `receive`, for as long as this connection lasts."""
        try:
            return await self._connected().listen(inbox, receive)
        except nats_errors.Error as error:  # it ends right now
            raise self.unreachable() from error

    def new_inbox(self) -> str:
        """A subject that nobody else uses."""
        return self._connected().new_inbox()

    async def round_trip(self, timeout: float) -> None:
        """Return when the server has read all that was sent before, and all that it sent before is here."""
        client = self._connected()
        async with asyncio.timeout(timeout):
            await client.round_trip()

    def _connected(self) -> Client:
        client = self._client
        if client is None or not client.is_connected:
            raise self.unreachable()
        return client

    # Connecting.

    async def _keep(self) -> None:
        failures = 0
        while self._task is not None:
            client = None
            for address in [*self._configured, *self._discovered]:
                lost = asyncio.get_running_loop().create_future()
                client = await self._connect(address, lost)
                if client is not None:
                    break
            if client is None:
                failures += 1
                if not self._told:
                    self._told = True
                    places = places_of(self._configured)
                    _log.warning("NATS cannot be reached at %s (%s); trying on until it can", places, self._trouble)
                self._tried.set()
                await asyncio.sleep(self.AGAIN.delay(failures))
                continue
            began = asyncio.get_running_loop().time()
            try:
                await self._use(client, address, lost)
            except Exception as error:  # without this task there would be no connection any more
                self._trouble = _said(error)
                _log.exception("a connection to NATS could not be used; making a new one")
            finally:
                await self._let_go(client)
            # One that was good for something is followed at once.
            failures = failures + 1 if asyncio.get_running_loop().time() - began < self.SHORT_LIVED else 0
            if failures:
                await asyncio.sleep(self.AGAIN.delay(failures))

    async def _connect(self, address: Address, lost: asyncio.Future[str]) -> Client | None:
        client, login = Client(), address.login
        seen: list[Exception] = []

        async def failed(error: Exception) -> None:
            seen.append(error)
            if isinstance(error, (OSError, nats_errors.UnexpectedEOF, nats_errors.StaleConnectionError)):
                # nats-py tells so itself, but only after it has tried to send what was left.
                if not lost.done():
                    lost.set_result(_said(error))
            elif self._client is client:
                _log.warning("NATS at %s says: %s", address.place, error)

        async def closed() -> None:
            if not lost.done():
                lost.set_result(_said(seen[-1]) if seen else "the server closed it")

        try:
            async with asyncio.timeout(3 * self.CONNECT_TIMEOUT):
                await client.connect(
                    servers=[address.url],
                    name=self._name,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=self.CONNECT_TIMEOUT,  # type: ignore[arg-type]  # a float is fine
                    error_cb=failed,
                    closed_cb=closed,
                    user=login.user,
                    password=login.password,
                    token=login.token,
                )
                await self._prepare(client, address)
        except BaseException as error:
            await self._let_go(client)
            if not isinstance(error, Exception):
                raise
            # Whatever it is, such as what nats-py makes of a peer that is no NATS server: not now is not never.
            shown = seen[-1] if seen and isinstance(error, nats_errors.NoServersError) else error
            self._trouble = _said(shown)
            return None
        return client

    async def _prepare(self, client: Client, address: Address) -> None:
        await self._requests.begin(client)
        self.max_payload = client.max_payload
        known = {each.place for each in self._configured}
        found = [f"{server.hostname}:{server.port}" for server in client.discovered_servers]
        self._discovered = [address.neighbour(place) for place in found if place not in known]

    async def _use(self, client: Client, address: Address, lost: asyncio.Future[str]) -> None:
        self._client = client
        _log.info("connected to NATS at %s", address.place)
        self._told = False
        while self._kept:
            subject, payload = self._kept.popleft()
            client.command(_PUB % (subject, len(payload), payload))
        for call in list(self.on_connected):
            call()
        self._tried.set()
        try:
            self._trouble = await self._watch(client, lost)
            self._told = True
            _log.warning("the connection to NATS was lost (%s); making a new one", self._trouble)
        finally:
            if address in self._configured:  # the others are asked first now
                self._configured.remove(address)
                self._configured.append(address)
            self._client = None
            self._requests.end()
            for call in list(self.on_lost):
                call()

    async def _watch(self, client: Client, lost: asyncio.Future[str]) -> str:
        while True:
            await asyncio.wait({lost}, timeout=self.PING_INTERVAL)
            if lost.done():
                return lost.result()
            pong = client.ping()
            signs: set[asyncio.Future[Any]] = {lost, pong}
            await asyncio.wait(signs, timeout=self.PING_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            if not lost.done() and not pong.done():
                return f"no sign of life for {self.PING_INTERVAL + self.PING_TIMEOUT:g} s"

    async def _let_go(self, client: Client) -> None:
        try:
            if self._task is not None:  # lost: there is nobody to be polite to
                client.abort()
            async with asyncio.timeout(1.0):
                await client.close()
        except Exception as error:
            _log.debug("a connection to NATS was not closed cleanly: %s", error)
        finally:
            client.abort()


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).removeprefix("nats: ") or type(error).__name__
