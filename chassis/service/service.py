from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from chassis.call import Interceptor
from chassis.component import Component, StopFailure
from chassis.config import Config, load
from chassis.service.assembly import Assembly

if TYPE_CHECKING:
    import grpc
    from aiohttp import web
    from opentelemetry.trace import Tracer

    from chassis.bus import Bus, MemoryBroker
    from chassis.cache import Cache
    from chassis.database import Database
    from chassis.logging import Logger
    from chassis.metrics import Metrics
    from chassis.service.tasks import OnCrash
    from interceptors.errors import Translation

_Component = TypeVar("_Component", bound=Component)


class ServiceChassis:
    """Subclass it, say what the service is and has, register its servicers, and `chassis run` it.

    >>> from cqi.testing.v1 import echo_pb2_grpc as rpc
    >>> class Greeter(ServiceChassis):
    ...     name = "greeter"
    ...
    ...     def register(self, server):
    ...         rpc.add_EchoServiceServicer_to_server(rpc.EchoServiceServicer(), server)
    """

    name: ClassVar[str] = ""
    """The service's name, in logs, metrics, traces and durable names: letters, digits and `-`."""

    version: ClassVar[str] = ""
    """Its version, unless the configuration says another."""

    env_prefix: ClassVar[str] = "CQI"
    """What its environment variables start with."""

    uses: ClassVar[tuple[str, ...]] = ()
    """The parts it needs, of `database`, `cache`, `bus`. What is not listed is neither started nor imported."""

    schema: ClassVar[str | Path | None] = None
    """SQL, or a file with SQL, that is applied to the database once, before the service is ready."""

    translate: ClassVar[Mapping[type[BaseException], Translation]] = {}
    """What exceptions of libraries mean: their classes, to an error's class or a function that makes it of them."""

    Settings: ClassVar[type | None] = None
    """A dataclass or attrs class with its own configuration: the section `settings`, and `self.config.settings`."""

    def __init__(self, config: Config | None = None, *, broker: MemoryBroker | None = None) -> None:
        """Put the service together without starting anything.

        `config` is read from the environment where it is not given. `broker` joins several services of one process
        over the memory bus; each has one of its own otherwise.
        """
        self.config: Config = config or self.configure()
        self._assembly = Assembly(self, self.config, broker)
        self.log: Logger = self._assembly.logs.logger
        self.metrics: Metrics = self._assembly.metrics

    # What a service says.

    def register(self, server: grpc.aio.Server) -> None:
        """Register servicers: pass `server` to generated `add_…Servicer_to_server` functions."""

    def routes(self, app: web.Application) -> None:
        """Add HTTP routes of its own, under the same observers and auth as RPCs."""

    def interceptors(self, default: list[Interceptor]) -> Sequence[Interceptor]:
        """Change the list of concerns around RPCs, HTTP requests and events, outermost first; add yours to it.

        Asked once, before the parts are started. Calls to other services have a list of their own, see `channel`.
        """
        return default

    async def on_start(self) -> None:
        """Prepare; all parts are up, nothing is served yet. What it raises ends the start."""

    async def on_stop(self) -> None:
        """Clean up; nothing is served any more, all parts are still up."""

    # What a service has.

    @property
    def db(self) -> Database:
        """The database."""
        return self._assembly.part("database")  # type: ignore[no-any-return]

    @property
    def cache(self) -> Cache:
        """The cache."""
        return self._assembly.part("cache")  # type: ignore[no-any-return]

    @property
    def bus(self) -> Bus:
        """The event bus."""
        return self._assembly.part("bus")  # type: ignore[no-any-return]

    @property
    def tracer(self) -> Tracer:
        """For spans of your own: `with self.tracer.start_as_current_span("price")`."""
        return self._assembly.tracing.tracer

    @property
    def grpc_address(self) -> str:
        """Where RPCs are served, as `host:port`; known once started."""
        return self._assembly.grpc_address

    @property
    def http_address(self) -> str:
        """Where health, metrics and routes are served, as `host:port`; known once started."""
        return self._assembly.http_address

    def add(self, component: _Component) -> _Component:
        """Have a component of your own started, stopped and checked with the service.

        Those added before the start are up in `on_start`; those added there are started right after it.
        """
        self._assembly.add(component)
        return component

    def spawn(
        self, work: Coroutine[Any, Any, Any], *, name: str | None = None, on_crash: OnCrash = "end"
    ) -> asyncio.Task[Any]:
        """Run a coroutine beside the service, until it ends or the service does.

        Its crash is logged and counted (`task_crashes_total`); then the service ends (`"end"`, exit code 1), or stays
        up and is not ready (`"unready"`).
        """
        return self._assembly.tasks.spawn(work, name=name, on_crash=on_crash)

    def channel(self, target: str, **options: Any) -> grpc.aio.Channel:
        """Open a channel to another service, under this service's observers; closed with it.

        Takes what `chassis.client.channel` takes. Channels to one target with the same options are one, and a lambda is
        the same only as itself: keep the channel, or give `interceptors` and `token` functions that have a name.
        """
        return self._assembly.channels.open(target, options)

    # How it is run.

    @classmethod
    def configure(
        cls,
        *,
        file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
        dev: bool = False,
    ) -> Config:
        """Read and check its configuration; `dev` is for a developer's machine, where parts need no address.

        Raises ConfigurationError with all problems at once.
        """
        from chassis.auth import problems_of

        defaults = {"service.name": cls.name or cls.__name__.lower()}
        if cls.version:
            defaults["service.version"] = cls.version
        return load(
            cls.Settings,
            prefix=cls.env_prefix,
            file=file,
            environ=os.environ if environ is None else environ,
            uses=cls.uses,
            defaults=defaults,
            overrides=overrides,
            dev=dev,
            # Keys that nothing can be verified with are found here, and not when the service has half started.
            also=problems_of,
        )

    async def start(self) -> None:
        """Start everything in order; returns when the service is ready. On an error all that ran is stopped again."""
        await self._assembly.start()

    async def stop(self, *, deadline: float | None = None) -> list[StopFailure]:
        """Tell balancers, drain, and stop everything in reverse order.

        `deadline` is on the clock of the event loop; without it `server.shutdown_timeout` counts from now. Returns
        what did not end by itself.
        """
        return await self._assembly.stop(deadline)

    @property
    def not_undone(self) -> list[StopFailure]:
        """What did not end by itself after a start that was given up."""
        return self._assembly.not_undone

    @property
    def held_up_by(self) -> str | None:
        """The part that starts or stops right now, and the code that blocks the event loop; for other threads."""
        return self._assembly.held_up_by

    def tell_of_haste(self, tell: Callable[[float], object]) -> None:
        """Have `tell` called, at once, when a stop begins that has only so many seconds; for who watches over stops."""
        self._assembly.hurry = tell

    def flush_logs(self, timeout: float) -> None:
        """Write what is waiting, for at most `timeout` seconds; for the last words of a process."""
        self._assembly.logs.flush(timeout)

    async def wait_for_end(self) -> str:
        """Wait for a reason to stop that comes from within, such as a crashed background task; returns it."""
        return await self._assembly.wait_for_end()
