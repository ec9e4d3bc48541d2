"""What is noted with a durable about events that are begun alone, whoever notes beside."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from chassis.bus.jetstream.api import Refused
from chassis.bus.jetstream.consumers import Consumers
from chassis.bus.jetstream.notes import Notes
from chassis.testing.servers import AccountForTest
from tests.chassis.bus.jetstream.conftest import Services
from tests.chassis.bus.jetstream.test_intake import Held
from tests.chassis.bus.jetstream.test_streams import TOPIC, ask, consumer, durable, warnings
from tests.chassis.bus.jetstream.waiting import until


async def test_what_is_begun_is_noted_with_the_durable_beside_what_others_noted_there(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    backend, held = await services.backend(nats_account.url), Held()
    settings = ConsumerConfig(durable_name="d", filter_subject=TOPIC, ack_policy="explicit", metadata={"team": "b"})
    await peer.add_consumer("cqc_events", settings)
    await backend.subscribe(consumer(), held)
    for text in (b"1", b"2", b"3"):
        await backend.publish(TOPIC, text, {}, msg_id="", timeout=5)
    await held.reach(3)
    first, second, third = held.deliveries
    assert [await each.begun() for each in (first, second, first, third)] == [1, 1, 2, 1]
    assert json.loads((await durable(peer))["metadata"]["cqi-begun"]) == {"1": 2, "2": 1, "3": 1}
    await first.ack()

    async def acknowledged() -> bool:
        return bool((await ask(peer, "CONSUMER.INFO.cqc_events.d"))["ack_floor"]["stream_seq"] == 1)

    await until(acknowledged)
    assert await second.begun() == 2
    metadata = (await durable(peer))["metadata"]
    assert json.loads(metadata["cqi-begun"]) == {"2": 2, "3": 1}  # what is done with is not kept
    assert metadata["team"] == "b"


async def test_a_note_that_somebody_else_has_written_is_written_anew(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    backend, held = await services.backend(nats_account.url), Held()
    notes = {"cqi-begun": "[]"}
    settings = ConsumerConfig(durable_name="d", filter_subject=TOPIC, ack_policy="explicit", metadata=notes)
    await peer.add_consumer("cqc_events", settings)
    await backend.subscribe(consumer(), held)
    await backend.publish(TOPIC, b"x", {}, msg_id="", timeout=5)
    await held.reach(1)
    assert [await held.deliveries[0].begun() for _ in range(2)] == [1, 2]


async def test_what_two_instances_note_at_once_is_lost_of_neither(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    both = [Held(), Held()]
    for held in both:
        backend = await services.backend(nats_account.url)
        await backend.subscribe(consumer(prefetch=1), held)
    for _ in both:
        await backend.publish(TOPIC, b"x", {}, msg_id="", timeout=5)
    for held in both:
        await held.reach(1)
    deliveries = [held.deliveries[0] for held in both]
    for count in range(1, 6):
        assert await asyncio.gather(*[delivery.begun() for delivery in deliveries]) == [count, count]
    assert [await delivery.begun() for delivery in deliveries] == [6, 6]
    assert json.loads((await durable(peer))["metadata"]["cqi-begun"]) == {"1": 6, "2": 6}


async def test_a_durable_with_a_list_of_subjects_takes_notes_and_what_may_be_changed_of_it_is_changed(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    backend, held = await services.backend(nats_account.url), Held()
    body = {"stream_name": "cqc_events", "config": {"name": "d", "durable_name": "d", "ack_policy": "explicit"}}
    body["config"]["filter_subjects"] = [TOPIC]  # type: ignore[index]
    await peer._api_request("$JS.API.CONSUMER.CREATE.cqc_events.d", json.dumps(body).encode())
    await backend.subscribe(consumer(ack_wait=60.0), held)
    await backend.publish(TOPIC, b"x", {}, msg_id="", timeout=5)
    await held.reach(1)
    assert await held.deliveries[0].begun() == 1
    config = await durable(peer)
    assert (config["filter_subjects"], config["ack_wait"]) == ([TOPIC], 60_000_000_000)
    assert json.loads(config["metadata"]["cqi-begun"]) == {"1": 1}
    assert warnings(caplog) == []


async def test_where_the_server_refuses_a_note_events_are_begun_all_the_same_and_that_is_told_once(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    backend, held = await services.backend(nats_account.url), Held()
    full = {"team": "x" * (128 * 1024 - 20)}  # about the most that the server takes
    settings = ConsumerConfig(
        durable_name="d", filter_subject=TOPIC, ack_policy="explicit", max_ack_pending=1000, metadata=full
    )
    await peer.add_consumer("cqc_events", settings)
    await backend.subscribe(consumer(), held)
    for _ in range(2):
        await backend.publish(TOPIC, b"x", {}, msg_id="", timeout=5)
    await held.reach(2)
    first, second = held.deliveries
    assert [await each.begun() for each in (first, first, second)] == [1, 2, 1]
    (told,) = warnings(caplog)
    assert "the durable d takes no note of what is begun" in told
    assert "metadata" in told


async def test_a_note_that_cannot_be_taken_right_now_is_none() -> None:
    class Leaderless:
        async def ask(self, operation: str, body: Any = None) -> Any:
            if operation.startswith("CONSUMER.INFO"):
                return {"config": {}, "created": "now", "ack_floor": {"stream_seq": 0}}
            raise Refused(operation, {"code": 503, "err_code": 10008, "description": "no leader"})

    api: Any = Leaderless()
    streams: Any = None
    consumers = Consumers(api, streams)
    for _ in range(2):
        with pytest.raises(Refused, match="no leader"):
            await consumers.begun(consumer(), "cqc_events", 7)


def described(created: str = "once", floor: int = 0, **notes: int) -> dict[str, Any]:
    """A durable, as the server describes it."""
    metadata = {"cqi-begun": json.dumps({number.removeprefix("n"): count for number, count in notes.items()})}
    return {"config": {"metadata": metadata}, "created": created, "ack_floor": {"stream_seq": floor}}


def test_what_was_noted_here_counts_until_the_event_is_done_with_or_the_durable_is_another() -> None:
    notes = Notes()
    assert notes.of(described(n1=2)) == {1: 2}
    notes.remember(1, 3)
    notes.remember(2, 1)
    assert notes.of(described(n1=1, n4=5)) == {1: 3, 2: 1, 4: 5}
    assert notes.of(described(n1=4)) == {1: 4, 2: 1}
    assert notes.of(described(floor=1)) == {2: 1}
    assert notes.of(described(created="again")) == {}
    assert notes.of(described()) == {}


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notes, "MAX", 2)
    notes = Notes()
    notes.of(described())
    for number, count in ((1, 1), (2, 1), (1, 2), (3, 1)):
        notes.remember(number, count)
    assert notes.of(described()) == {1: 2, 3: 1}
