"""What the suite cannot ask of every backend: that it says the truth of itself, and that a file is one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cqi.testing.v1.echo_pb2 import EchoHappened

from chassis.bus import Bus
from chassis.errors import InvalidInput
from tests.contracts.append_only import AppendOnlyFile
from tests.contracts.bus_kit import AT_ONCE, KITS, LIMIT_EVENTS, Inbox, Probe


@asynccontextmanager
async def reopened(path: Path) -> AsyncIterator[tuple[Bus, Probe]]:
    file = AppendOnlyFile(path)
    probe = Probe(file)
    bus = Bus(probe, service_name="cqar", backoff=AT_ONCE)
    await bus.start()
    yield bus, probe
    await bus.stop()
    file.close()


@pytest.mark.parametrize("name", KITS)
async def test_a_backend_says_that_it_cannot_limit_events_where_it_has_no_limit(
    name: str, request: pytest.FixtureRequest
) -> None:
    cls, make = KITS[name]
    kit = make(request)
    assert (kit.backend().max_payload is None) is (LIMIT_EVENTS in cls.cannot)
    await kit.close()


async def test_a_file_that_is_opened_again_has_what_was_not_handled_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "events"
    async with reopened(path) as (bus, probe):
        inbox = Inbox(None, InvalidInput("no"))
        await bus.subscribe(EchoHappened, inbox)
        await bus.publish_all([EchoHappened(text="acknowledged"), EchoHappened(text="a dead letter")])
        await probe.until(lambda probe: sorted(how for how, _, _ in probe.settled) == ["ack", "term"])
        await bus.drain()
        await bus.publish(EchoHappened(event_id="e-1", text="left"))
    async with reopened(path) as (bus, _):
        again = Inbox()
        await bus.publish(EchoHappened(event_id="e-1", text="left, and published again"))
        await bus.publish(EchoHappened(text="new"))
        await bus.subscribe(EchoHappened, again)
        assert [(await again.next()).text for _ in range(2)] == ["left", "new"]


async def test_a_file_only_ever_grows(tmp_path: Path) -> None:
    path = tmp_path / "events"
    before = b""
    for text in ("one", "two"):
        async with reopened(path) as (bus, _):
            await bus.publish(EchoHappened(text=text))
        written = path.read_bytes()
        assert written.startswith(before)
        assert written.count(b"\n") == before.count(b"\n") + 1
        before = written
