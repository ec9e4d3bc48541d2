"""A service as users write it, with everything configured that the chassis does for its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from chassis import ServiceChassis
from chassis.call import Interceptor
from chassis.tracing import otlp
from tests.bench.measured import Server
from tests.bench.servicer import METHODS, add_to

_PATIENCE = 10.0  # seconds that lines may take to be written


class Bench(ServiceChassis):
    """The echo service with as many methods as asked for, and without the concerns that are left out."""

    name = "bench"
    methods = METHODS
    without: frozenset[str] = frozenset()
    bare_seam = False

    def register(self, server: Any) -> None:
        add_to(server, self.methods)

    def interceptors(self, default: list[Interceptor]) -> Sequence[Interceptor]:
        return [] if self.bare_seam else [each for each in default if type(each).__name__ not in self.without]


async def started(settings: dict[str, Any], public_key: str) -> Bench:
    """Start it.

    | setting | |
    |---|---|
    | `methods` | how many it has |
    | `uses` | its parts, whose servers are at `place` |
    | `tracing` | the rate of sampling, or None for off; 0.1 unless said |
    | `exporter` | whether spans go to the real exporter, and not nowhere |
    | `auth` | whether it verifies tokens; it does unless said |
    | `without`, `bare_seam` | names of interceptors that are left out; all of them |
    | `config` | further configuration |
    """
    rate = settings.get("tracing", 0.1)
    if rate is not None and not settings.get("exporter"):
        # The chassis' own queue and batches, with nothing at their end: a collector would want the same core.
        from tests.bench.nowhere import Nowhere

        otlp.otlp_exporter = lambda *_, **__: Nowhere()
    Bench.methods = settings.get("methods", METHODS)
    Bench.uses = tuple(settings.get("uses", ()))
    Bench.without = frozenset(settings.get("without", ()))
    Bench.bare_seam = settings.get("bare_seam", False)
    overrides: dict[str, object] = {
        "server.grpc_port": 0,
        "server.http_port": 0,
        "server.drain_delay": 0,
        "tracing.enabled": rate is not None,
        **settings["place"],
        **settings.get("config", {}),
    }
    if settings.get("auth", True):
        overrides["auth.jwt_public_key"] = public_key
    if rate is not None:
        overrides |= {
            "tracing.sample_rate": rate,
            "tracing.endpoint": "http://127.0.0.1:4317",
            "tracing.insecure": True,
        }
    service = Bench(Bench.configure(environ={}, overrides=overrides))
    await service.start()
    return service


def settling(service: Bench) -> Callable[[], None]:
    """Give what does the work that a service has put off: spans are made when they are exported, lines in a thread."""
    return partial(_settle, service)


def _settle(service: Bench) -> None:
    # The SDK's tracer; that of a service without tracing has no spans that would wait.
    processor = getattr(service.tracer, "span_processor", None)
    if processor is not None:
        processor.force_flush()
    service.flush_logs(_PATIENCE)


async def build(settings: dict[str, Any], public_key: str) -> Server:
    """Start it as a server; its settings are those of `started`."""
    service = await started(settings, public_key)
    return Server(int(service.grpc_address.rpartition(":")[2]), service.stop, settling(service))
