from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chassis.call import Interceptor
from chassis.component import Component, Components, StartError, StopFailure
from chassis.config import ConfigurationError
from chassis.health import Health, HealthWatch
from chassis.logging import Logs
from chassis.metrics import Metrics
from chassis.metrics.catalogue import HEALTH_CHECK_UP, LOG_RECORDS_DROPPED, SPANS_DROPPED, TASK_CRASHES
from chassis.service.channels import Channels
from chassis.service.loop_watch import LoopWatch, code_of
from chassis.service.parts import Context, make_parts
from chassis.service.servers import make_grpc, make_http
from chassis.service.tasks import Tasks
from chassis.tracing import Tracing
from interceptors.stack import default_stack

if TYPE_CHECKING:
    from chassis.auth import Authenticator
    from chassis.bus import MemoryBroker
    from chassis.config import Config, ServerConfig
    from chassis.http import HttpServer
    from chassis.server import GrpcServer
    from chassis.service.service import ServiceChassis

_log = logging.getLogger("chassis.service")

_SHARE_FOR_CALLS = 0.8
_FIRST_CHECK = 1.0
# Seconds for a stop behind a gRPC port that could not be opened again: with those until it was given up, and the half
# that a late one is waited for (runner.py), the process has ended within eight, and on a busy machine within ten,
# whatever still runs in it, and somebody can start another.
_WITHOUT_A_PORT = 3.5


class Hooks(Component):
    """The service's own `on_start` and `on_stop`, at their place among the parts."""

    def __init__(self, service: ServiceChassis) -> None:
        self.name = f"{type(service).__name__}.on_start"
        self._service = service

    async def start(self) -> None:
        await self._service.on_start()
        self.name = f"{type(self._service).__name__}.on_stop"

    async def stop(self) -> None:
        await self._service.on_stop()


class Assembly:
    """One service put together from its configuration: which parts there are, and in which order they live."""

    def __init__(self, service: ServiceChassis, config: Config, broker: MemoryBroker | None) -> None:
        self._service = service
        self._config = config
        self._end: asyncio.Future[str] | None = None
        self._latest: float | None = None
        # Told at once, while others may block the event loop or are about to: how many seconds a stop has from now on.
        self.hurry: Callable[[float], object] = lambda _: None
        self.not_undone: list[StopFailure] = []  # by a start that was given up
        self.metrics = Metrics(
            config.service.name,
            namespace=config.metrics.namespace,
            enabled=config.metrics.enabled,
            version=config.service.version,
        )
        self.tracing = Tracing(
            config.tracing.service_name,
            version=config.service.version,
            environment=config.tracing.environment,
            enabled=config.tracing.enabled,
            endpoint=config.tracing.endpoint.reveal(),
            export_mode=config.tracing.export_mode,
            insecure=config.tracing.insecure,
            sample_rate=config.tracing.sample_rate,
            batch_timeout=config.tracing.batch_timeout,
        )
        self.logs = Logs(
            config.service.name,
            level=config.log.level,
            format=config.log.format,
            output=config.log.output,
            buffer_records=config.log.buffer_records,
            trace=self.tracing.current if self.tracing.enabled else None,
        )
        self.metrics.get(LOG_RECORDS_DROPPED).set_function(lambda: self.logs.dropped)
        self.metrics.get(SPANS_DROPPED).set_function(lambda: self.tracing.dropped)
        crashes = self.metrics.get(TASK_CRASHES)
        self.tasks = Tasks(crashed=lambda name: crashes.labels(name).inc(), end=self.end)
        self.channels = Channels(self._open_channel)
        self._broker = broker
        self._parts: dict[str, Component] = {}
        self._own: list[Component] = []
        self._complete = False
        self._components = Components()
        self.loop_watch = LoopWatch(
            self.metrics,
            warning=config.server.loop_lag_warning,
            limit=config.server.loop_lag_limit,
            own=code_of(type(service)),
        )
        up = self.metrics.get(HEALTH_CHECK_UP)
        self.health = Health(
            lambda: (self.logs, *self._components),
            found=lambda result: up.labels(result.name).set(result.error is None),
            stuck=lambda: self.loop_watch.stuck,
        )
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None

    def part(self, name: str) -> Any:
        """Give a part; raises where the service does not use it."""
        if name not in self._parts:
            cls = type(self._service).__name__
            if name in self._service.uses:
                raise RuntimeError(f"{cls} has not been started: its {name} is there from on_start on")
            raise RuntimeError(f"{cls} does not use {name!r}: add it to its `uses`")
        return self._parts[name]

    def add(self, component: Component) -> None:
        """Take a component of the user's; raises RuntimeError where it is too late to start it in order."""
        if self._complete:
            raise RuntimeError(f"{component.name} comes too late: add components before the start, or in on_start")
        self._own.append(component)

    def end(self, reason: str) -> None:
        """Ask for the service to stop, from within."""
        if self._end is not None and not self._end.done():
            self._end.set_result(reason)

    def _without_a_port(self, reason: str) -> None:
        self._latest = asyncio.get_running_loop().time() + _WITHOUT_A_PORT
        self.hurry(_WITHOUT_A_PORT)
        self.end(reason)

    async def wait_for_end(self) -> str:
        """Wait until somebody within asks for the stop."""
        assert self._end is not None, "the service has not been started"
        return await asyncio.shield(self._end)

    @property
    def grpc_address(self) -> str:
        """Where RPCs are served."""
        assert self._grpc is not None, "the service has not been started"
        return self._grpc.address

    @property
    def http_address(self) -> str:
        """Where HTTP is served."""
        assert self._http is not None, "the service has not been started"
        return self._http.address

    @property
    def starting(self) -> str | None:
        """The part that is being started right now, or that could not be."""
        return self._components.starting

    @property
    def held_up_by(self) -> str | None:
        """The part that is being started or stopped right now, and whose code blocks the event loop."""
        part = self._components.stopping or self._components.starting
        return " in ".join(filter(None, (part, self.loop_watch.blocked_by))) or None

    async def start(self) -> None:
        """Start all parts in order; on an error those that run are stopped in reverse."""
        # First and last, outside of the list: all other parts have something to say while they start and stop.
        await self.logs.start()
        try:
            await self._start()
        except BaseException as error:
            part = {"component": self.starting} if self.starting is not None else None
            if isinstance(error, StartError):
                _log.error("service did not start: %s", error, extra=part)
            elif isinstance(error, Exception) and not isinstance(error, ConfigurationError):
                _log.error("service did not start", exc_info=error, extra=part)
            # Shielded: a start that is cancelled a second time does not leave parts running.
            await asyncio.shield(self._roll_back())
            raise

    async def _roll_back(self) -> None:
        self.not_undone = await self._stop_parts(
            asyncio.get_running_loop().time() + self._config.server.shutdown_timeout
        )
        await self.loop_watch.stop()
        await self.logs.stop()

    async def _start(self) -> None:
        self._end = asyncio.get_running_loop().create_future()
        for warning in self._config.warnings:
            _log.warning(warning)
        interceptors = self._stack()
        self._parts = make_parts(
            Context(self._service, self._config, interceptors, self.metrics, self.tracing, self._broker)
        )
        start = self._components.start
        await start(self.tracing, *self._parts.values(), self.channels, self.tasks)
        await start(*self._own)
        before = len(self._own)
        await start(Hooks(self._service))
        self._complete = True
        await start(*self._own[before:])
        if "bus" in self._parts:
            from chassis.service.events import Subscriptions

            await start(Subscriptions(self._service, self.part("bus")))
        self._http = make_http(self._config, self._service, interceptors, self.health, self.metrics)
        self._grpc = make_grpc(
            self._config, self._service, interceptors, self.health, self.metrics, self._without_a_port
        )
        # Watched from here to the very end: nobody waits for a loop that imports and prepares before it serves.
        await self.loop_watch.start()
        await start(HealthWatch(self.health), self._http, self._grpc)
        _warn_of_open_ports(self._config.server)
        self.health.mark_ready()
        # So that whoever reads "service started" and calls is served. Where a part does not answer the service has
        # started all the same, and says what it waits for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.health.check(), _FIRST_CHECK)
        _log.info("service started", extra={"grpc_address": self.grpc_address, "http_address": self.http_address})

    async def stop(self, deadline: float | None = None) -> list[StopFailure]:
        """Not ready, wait for balancers, drain, close, in reverse."""
        self.logs.activate()
        server = self._config.server
        loop = asyncio.get_running_loop()
        if deadline is None:
            deadline = loop.time() + server.shutdown_timeout
        drain_delay = server.drain_delay
        if self._latest is not None:
            # Nobody gets in any more, and balancers have seen that for a while.
            deadline, drain_delay = min(deadline, self._latest), 0.0
        self.health.drain()
        _log.info("service stopping", extra={"drain_delay_seconds": drain_delay})
        await asyncio.sleep(min(drain_delay, max(deadline - loop.time(), 0)))
        failures = await self._stop_parts(deadline)
        _log.info("service stopped")
        await self.loop_watch.stop()
        await self.logs.stop()
        return failures

    async def _stop_parts(self, deadline: float) -> list[StopFailure]:
        now = asyncio.get_running_loop().time()
        for component in self._components:
            # Most of what is left of the time is for the work under way, but the parts behind it need some to close.
            component.deadline = now + (deadline - now) * _SHARE_FOR_CALLS
        failures = await self._components.stop(deadline=deadline)
        for failure in failures:
            _log.error("%s did not stop by itself: %s", failure.name, failure.reason, extra={"component": failure.name})
        return failures

    def _stack(self) -> list[Interceptor]:
        default = default_stack(
            tracing=self.tracing,
            metrics=self.metrics,
            logs=self.logs,
            authenticator=authenticator_of(self._config),
            translate=self._service.translate,
        )
        return list(self._service.interceptors(default))

    def _open_channel(self, target: str, **options: Any) -> Any:
        from chassis.client import channel

        return channel(target, metrics=self.metrics, logs=self.logs, tracing=self.tracing, **options)


def authenticator_of(config: Config) -> Authenticator | None:
    """Who may call, as the configuration says; None where everybody may.

    Raises ConfigurationError for keys that cannot be used.
    """
    from chassis.auth import from_config

    return from_config(config.auth, config.origin_of)


def _warn_of_open_ports(server: ServerConfig) -> None:
    try:
        local = ipaddress.ip_address(server.host).is_loopback
    except ValueError:
        local = server.host == "localhost"
    if not local:
        _log.warning("listening on %s without TLS: whoever reaches it can read and change what is sent", server.host)
