"""What a service can use: each part imported and put together only where it is listed in `uses`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chassis.call import Interceptor
from chassis.component import Component

if TYPE_CHECKING:
    from chassis.bus import MemoryBroker
    from chassis.config import Config
    from chassis.metrics import Metrics
    from chassis.service.service import ServiceChassis
    from chassis.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Context:
    """What parts are made from."""

    service: ServiceChassis
    config: Config
    observers: Sequence[Interceptor]
    metrics: Metrics
    tracing: Tracing
    broker: MemoryBroker | None


def _database(context: Context) -> Component:
    from chassis.database import Database

    config = context.config
    return Database.from_config(
        config.database,
        schema=context.service.schema,
        service_name=config.service.name,
        metrics=context.metrics,
        tracing=context.tracing,
    )


def _cache(context: Context) -> Component:
    from chassis.cache import from_config

    return from_config(context.config.cache, metrics=context.metrics, tracing=context.tracing)


def _bus(context: Context) -> Component:
    from chassis.service.events import make_bus

    return make_bus(context.config, context.broker, context.observers, context.metrics)


# In the order in which they are started.
_MAKERS: dict[str, Callable[[Context], Component]] = {"database": _database, "cache": _cache, "bus": _bus}


def make_parts(context: Context) -> dict[str, Component]:
    """Put together what the service uses, by name."""
    return {name: make(context) for name, make in _MAKERS.items() if name in context.service.uses}
