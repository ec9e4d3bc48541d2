"""The events of the measurements, and the stream that they are kept in: an account of NATS has one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import nats
from cqc.assets.v1.asset_pb2 import Asset, AssetType
from cqc.events.v1.asset_events_pb2 import AssetCreated
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig

STREAM = "cqc_events"
TOPIC = "cqc.events.v1.asset_created"
EVENT_BYTES = 196

_PATIENCE = 30.0
_DUPLICATE_WINDOW = 120.0  # seconds, as the chassis makes its streams


def event(number: int) -> AssetCreated:
    """An event of 196 bytes, with everything set that a bus would fill in."""
    made = AssetCreated(event_id=str(uuid.uuid4()), actor_id="service:bench", source="bench")
    made.timestamp.seconds = 1_700_000_000 + number
    made.timestamp.nanos = 999_999_999
    made.asset.CopyFrom(Asset(asset_id=str(uuid.uuid4()), asset_type=AssetType.ASSET_TYPE_NATIVE))
    made.asset.name = "n" * (EVENT_BYTES - made.ByteSize() - 2)  # its tag and its length
    assert made.ByteSize() == EVENT_BYTES, made.ByteSize()
    return made


def headers(made: AssetCreated) -> dict[str, str]:
    """The headers that the chassis gives an event, for those who have to do it by hand."""
    return {
        "Nats-Msg-Id": made.event_id,
        "content-type": "application/protobuf",
        "cqi-message-type": "cqc.events.v1.AssetCreated",
    }


class Broker:
    """A connection by nats-py of its own, and what of the stream has to be seen to."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.jetstream: JetStreamContext = connection.jetstream()

    @classmethod
    async def connected(cls, place: Mapping[str, Any]) -> Broker:
        """Connect, and have the stream, with the settings that the chassis gives it."""
        broker = cls(await nats.connect(place["eventbus.servers"][0]))
        config = StreamConfig(
            name=STREAM,
            subjects=["cqc.events.v1.>"],
            storage=StorageType.FILE,
            max_age=30 * 24 * 3600.0,
            duplicate_window=_DUPLICATE_WINDOW,
        )
        await broker.jetstream.add_stream(config)
        return broker

    async def purge(self) -> None:
        """Have no events in the stream."""
        await self.jetstream.purge_stream(STREAM)

    async def fill(self, count: int) -> None:
        """Have so many events in the stream and no others."""
        await self.purge()
        for number in range(count):
            made = event(number)
            await self.connection.publish(TOPIC, made.SerializeToString(), headers=headers(made))
        await self.connection.flush()
        until = time.monotonic() + _PATIENCE
        while (stored := await self.stored()) < count:
            if time.monotonic() > until:
                raise RuntimeError(f"only {stored} of {count} events were stored")

    async def stored(self) -> int:
        """How many events are in the stream."""
        return (await self.jetstream.stream_info(STREAM)).state.messages

    async def wait_until_acknowledged(self, durable: str) -> None:
        """Wait until the server has the acknowledgements of everything in the stream."""
        until = time.monotonic() + _PATIENCE
        while True:
            info = await self.jetstream.consumer_info(STREAM, durable)
            assert info.num_ack_pending is not None
            assert info.num_pending is not None
            left = info.num_ack_pending + info.num_pending
            if not left:
                return
            if time.monotonic() > until:
                raise RuntimeError(f"{left} events were not acknowledged")

    async def prove_acknowledged(self, durable: str, count: int) -> None:
        """Raise RuntimeError unless so many events were delivered, once, and acknowledged; ends the durable."""
        info = await self.jetstream.consumer_info(STREAM, durable)
        await self.jetstream.delete_consumer(STREAM, durable)
        assert info.delivered is not None
        assert info.ack_floor is not None
        seen = (info.delivered.consumer_seq, info.ack_floor.consumer_seq, info.num_ack_pending, info.num_pending)
        if seen != (count, count, 0, 0):
            raise RuntimeError(
                f"of {count} events {seen[0]} were delivered and {seen[1]} acknowledged; {seen[2]} and {seen[3]} wait"
            )

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()
