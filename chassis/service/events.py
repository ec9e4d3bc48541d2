"""The event bus of a service, from its configuration, and the subscriptions that it declares."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chassis.bus import Backend, Bus, MemoryBackend, MemoryBroker, streams_for
from chassis.call import Interceptor
from chassis.component import Component
from chassis.config import ConfigurationError
from chassis.retry import Policy

_log = logging.getLogger("chassis.service")

_GRACE = 20.0  # seconds that handlers get where the service has no deadline for its stop

if TYPE_CHECKING:
    from chassis.config import Config
    from chassis.metrics import Metrics
    from chassis.service.service import ServiceChassis


def make_bus(config: Config, broker: MemoryBroker | None, around: Sequence[Interceptor], metrics: Metrics) -> Bus:
    """Put the bus together; `broker` is the memory that several services of one process share."""
    section = config.eventbus
    return Bus(
        _backend(config, broker, metrics),
        service_name=config.service.name,
        around=around,
        metrics=metrics,
        consumer_name=section.consumer_name,
        max_deliver=section.max_deliver,
        ack_wait=section.ack_wait,
        max_ack_pending=section.max_ack_pending,
        backoff=Policy(waits=section.backoff, jitter=0.25),
        required=section.required,
    )


def _backend(config: Config, broker: MemoryBroker | None, metrics: Metrics) -> Backend:
    section = config.eventbus
    streams = streams_for(section.stream_name)
    if section.backend == "memory":
        if broker is None and config.is_default("eventbus.backend"):
            _log.warning(
                "events stay in this process: set eventbus.servers, or eventbus.backend to memory if that is meant"
            )
        return MemoryBackend(broker or MemoryBroker(streams))
    if not section.servers:
        expected = "jetstream needs the address of a server; set eventbus.servers, such as nats://127.0.0.1:4222"
        raise ConfigurationError([config.problem("eventbus.servers", expected)])
    from chassis.bus.jetstream import JetStreamBackend

    try:
        return JetStreamBackend(section.servers, client_name=config.service.name, streams=streams, metrics=metrics)
    except ValueError as error:
        raise ConfigurationError([config.problem("eventbus.servers", str(error))]) from None


class Subscriptions(Component):
    """The event handlers of a service: intake begins when it has prepared itself, and ends before it cleans up."""

    name = "subscriptions"

    def __init__(self, service: ServiceChassis, bus: Bus) -> None:
        self._service = service
        self._bus = bus

    async def start(self) -> None:
        try:
            await self._bus.subscribe_all(self._service)
        except BaseException:  # those before it are at work, and what they need is about to be closed
            await self._bus.drain(0)
            raise

    async def stop(self) -> None:
        cut = await self._bus.drain(self.time_to_end(_GRACE))
        if cut:
            raise TimeoutError(f"handlers had to be cut off: {'; '.join(cut)}")
