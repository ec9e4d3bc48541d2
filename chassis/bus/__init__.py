"""Events: published with a confirmation, handled at least once, and never lost without a trace.

>>> import asyncio
>>> from cqc.events.v1.asset_events_pb2 import AssetCreated
>>> class Watch:
...     seen = asyncio.Event()
...     @subscribe(AssetCreated)
...     async def on_asset_created(self, event: AssetCreated) -> None:
...         print("seen", event.source, "by", event.actor_id)
...         self.seen.set()
>>> async def main():
...     watch = Watch()
...     bus = Bus(MemoryBackend(), service_name="cqar")
...     await bus.subscribe_all(watch)
...     await bus.start()
...     await bus.publish(AssetCreated(source="manual"))
...     await watch.seen.wait()
...     await bus.stop()
>>> asyncio.run(main())
seen manual by service:cqar

What a handler raises decides what becomes of the event, by the table of `chassis.errors`: it is done, it comes again
after a while, or it becomes a dead letter, published on `cqi.dlq.{service}.{event_type}` with the reason.
"""

from chassis.bus.backend import Backend, Consumer, Delivery, Intake, too_large
from chassis.bus.bus import PUBLISHING, REDELIVERY, Bus
from chassis.bus.consumer import RunningSubscription
from chassis.bus.dead_letter import dead_letter_subject
from chassis.bus.declaration import Subscription, subscribe, subscriptions_of
from chassis.bus.durable import Durable, Stored
from chassis.bus.event import EventCall, PublishCall
from chassis.bus.memory import MemoryBackend
from chassis.bus.memory_broker import MemoryBroker
from chassis.bus.streams import Stream, streams_for
from chassis.bus.topics import topic_for, type_for

__all__ = [
    "PUBLISHING",
    "REDELIVERY",
    "Backend",
    "Bus",
    "Consumer",
    "Delivery",
    "Durable",
    "EventCall",
    "Intake",
    "MemoryBackend",
    "MemoryBroker",
    "PublishCall",
    "RunningSubscription",
    "Stored",
    "Stream",
    "Subscription",
    "dead_letter_subject",
    "streams_for",
    "subscribe",
    "subscriptions_of",
    "too_large",
    "topic_for",
    "type_for",
]
