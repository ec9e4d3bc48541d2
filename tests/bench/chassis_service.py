"""A service as users write it, with everything configured that the chassis does for its calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis import ServiceChassis
from chassis.call import Interceptor
from chassis.tracing import otlp
from tests.bench.nowhere import Nowhere
from tests.bench.serve import Stop
from tests.bench.servicer import add_to


class Bench(ServiceChassis):
    """The echo service with as many methods as asked for, and without the concerns that are left out."""

    name = "bench"
    methods = 4
    without: frozenset[str] = frozenset()

    def register(self, server: Any) -> None:
        add_to(server, self.methods)

    def interceptors(self, default: list[Interceptor]) -> Sequence[Interceptor]:
        return [each for each in default if type(each).__name__ not in self.without]


async def build(settings: dict[str, Any], public_key: str) -> tuple[int, Stop]:
    """Start it.

    Settings: `methods`; `tracing`, a rate or None for off; `without`, names of interceptors, or `bare_seam` for none.
    """
    # The chassis' own queue and batches, with nothing at their end: a collector would want the same core.
    otlp.otlp_exporter = lambda *_, **__: Nowhere()
    rate = settings.get("tracing", 0.1)
    Bench.methods = settings.get("methods", 4)
    Bench.without = frozenset(settings.get("without", ()))
    if settings.get("bare_seam"):
        Bench.interceptors = lambda self, default: []  # type: ignore[method-assign]
    overrides: dict[str, object] = {
        "server.grpc_port": 0,
        "server.http_port": 0,
        "server.drain_delay": 0,
        "auth.jwt_public_key": public_key,
        "tracing.enabled": rate is not None,
    }
    if rate is not None:
        overrides |= {
            "tracing.sample_rate": rate,
            "tracing.endpoint": "http://127.0.0.1:4317",
            "tracing.insecure": True,
        }
    service = Bench(Bench.configure(environ={}, overrides=overrides))
    await service.start()
    return int(service.grpc_address.rpartition(":")[2]), service.stop
