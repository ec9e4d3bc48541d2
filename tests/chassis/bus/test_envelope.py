from __future__ import annotations

import random
import uuid

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated
from cqi.testing.v1.echo_pb2 import EchoRequest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from chassis.bus.envelope import Sealer, check_header
from chassis.errors import InvalidInput
from tests.contracts.random_messages import random_message


def test_what_is_not_set_is_filled_in_and_the_message_stays_as_it_is() -> None:
    message = AssetCreated(source="manual")
    envelope = Sealer(now_ns=lambda: 1_500_000_000_123_456_789).seal(message, "service:cqar")
    sent = AssetCreated.FromString(envelope.payload)
    assert message == AssetCreated(source="manual")
    assert (sent.source, sent.actor_id, sent.event_id) == ("manual", "service:cqar", envelope.event_id)
    assert uuid.UUID(envelope.event_id).version == 4
    assert (sent.timestamp.seconds, sent.timestamp.nanos) == (1_500_000_000, 123_456_789)


def test_what_is_set_stays() -> None:
    message = AssetCreated(event_id="e-1", actor_id="user:1")
    message.timestamp.FromJsonString("2024-01-01T00:00:00Z")
    envelope = Sealer().seal(message, "service:cqar")
    assert envelope.event_id == "e-1"
    assert AssetCreated.FromString(envelope.payload) == message


def test_what_is_filled_in_disturbs_nothing_else() -> None:
    generator, sealer = random.Random(7), Sealer()
    for _ in range(200):
        message = random_message(AssetCreated, generator)
        message.event_id = "e-1" if generator.random() < 0.5 else ""
        envelope = sealer.seal(message, "service:cqar")
        sent = AssetCreated.FromString(envelope.payload)
        assert sent.event_id == envelope.event_id != ""
        for name in ("event_id", "timestamp", "actor_id"):
            sent.ClearField(name)
            message.ClearField(name)
        assert sent == message


def test_fields_of_the_same_name_and_another_meaning_are_left_alone() -> None:
    string, number, message = Field.TYPE_STRING, Field.TYPE_INT64, Field.TYPE_MESSAGE
    optional, repeated = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(name="acme/other.proto", package="acme.other", syntax="proto3")
    other = file.message_type.add(name="Other")
    other.oneof_decl.add(name="who")
    other.field.add(name="event_id", number=1, type=number, label=optional)
    other.field.add(name="actor_id", number=2, type=string, label=optional, oneof_index=0)
    other.field.add(name="team", number=3, type=string, label=optional, oneof_index=0)
    other.field.add(name="timestamp", number=4, type=message, type_name=".acme.other.Other", label=repeated)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    event_type = message_factory.GetMessageClass(pool.FindMessageTypeByName("acme.other.Other"))
    event = event_type(team="risk")
    envelope = Sealer().seal(event, "service:cqar")
    assert event_type.FromString(envelope.payload) == event
    assert envelope.headers["cqi-actor-id"] == "service:cqar"
    assert uuid.UUID(envelope.event_id)


def test_headers_say_what_the_bytes_are() -> None:
    headers = Sealer().seal(EchoRequest(), "service:cqar").headers
    assert headers == {
        "content-type": "application/protobuf",
        "cqi-message-type": "cqi.testing.v1.EchoRequest",
        "cqi-actor-id": "service:cqar",
    }
    assert "cqi-actor-id" not in Sealer().seal(AssetCreated(), "service:cqar").headers


def test_an_actor_that_cannot_stand_in_a_header_is_left_out_of_it() -> None:
    assert "cqi-actor-id" not in Sealer().seal(EchoRequest(), "user:Zoë").headers
    sent = AssetCreated.FromString(Sealer().seal(AssetCreated(), "user:Zoë").payload)
    assert sent.actor_id == "user:Zoë"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "ä", " a", "a ", "\0"])
def test_an_id_that_would_break_the_headers_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="event_id"):
        Sealer().seal(AssetCreated(event_id=value), "service:cqar")
    with pytest.raises(InvalidInput):
        check_header("X-Tenant", value)
