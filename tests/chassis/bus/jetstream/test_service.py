"""A whole service over JetStream."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from aiohttp import ClientSession
from cqc.events.v1.asset_events_pb2 import AssetCreated
from nats.js import JetStreamContext

from chassis import ServiceChassis
from chassis.bus import subscribe
from chassis.bus.jetstream.connection import Connection
from chassis.dev import NatsServer
from chassis.testing import running
from chassis.testing.servers import AccountForTest
from tests.chassis.bus.jetstream.waiting import PATIENCE, settled, until


class Watcher(ServiceChassis):
    name = "watcher"
    uses = ("bus",)

    async def on_start(self) -> None:
        self.seen: asyncio.Queue[AssetCreated] = asyncio.Queue()

    @subscribe(AssetCreated)
    async def on_asset_created(self, event: AssetCreated) -> None:
        self.seen.put_nowait(event)

    async def next(self) -> AssetCreated:
        async with asyncio.timeout(PATIENCE):
            return await self.seen.get()


async def health(service: Any, path: str) -> tuple[int, Any]:
    async with ClientSession() as session, session.get(service.http_url(path)) as response:
        return response.status, json.loads(await response.text())


async def test_a_service_with_servers_has_its_events_on_jetstream(
    nats_account: AccountForTest, peer: JetStreamContext
) -> None:
    options = {"eventbus.consumer_name": "watch", "eventbus.ack_wait": "12s", "eventbus.max_ack_pending": 77}
    async with running(Watcher, {**nats_account.overrides, **options}) as handle:
        await handle.service.bus.publish(AssetCreated(source="manual"))
        event = await handle.service.next()
        assert (event.source, event.actor_id) == ("manual", "service:watcher")
        assert (await health(handle, "/health/ready"))[0] == 200
        await settled(peer, "watch-asset_created", 1)
    config = (await peer.consumer_info("cqc_events", "watch-asset_created")).config
    assert (config.ack_wait, config.max_ack_pending) == (12, 77)


async def test_the_stream_has_the_configured_name(nats_account: AccountForTest, peer: JetStreamContext) -> None:
    async with running(Watcher, {**nats_account.overrides, "eventbus.stream_name": "mine"}):
        pass
    names = {each.config.name for each in await peer.streams_info()}
    assert names == {"mine", "mine_dlq"}


async def test_a_service_comes_back_where_it_was(nats_account: AccountForTest, peer: JetStreamContext) -> None:
    async with running(Watcher, nats_account.overrides) as handle:
        await handle.service.bus.publish(AssetCreated(source="before"))
        assert (await handle.service.next()).source == "before"
    await peer.publish("cqc.events.v1.asset_created", AssetCreated(source="meanwhile").SerializeToString())
    async with running(Watcher, nats_account.overrides) as handle:
        assert (await handle.service.next()).source == "meanwhile"


async def test_without_its_broker_a_service_is_live_and_not_ready_and_becomes_ready_by_itself(
    own_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "FIRST_WAIT", 0.5)
    own_server.stop()
    async with running(Watcher, {"eventbus.servers": [own_server.url.reveal()], "log.level": "error"}) as handle:
        assert (await health(handle, "/health/live"))[0] == 200
        status, body = await health(handle, "/health/ready")
        assert status == 503
        assert "event_bus" in json.dumps(body)
        assert own_server.password not in json.dumps(body)
        await asyncio.to_thread(own_server.start)

        async def is_ready() -> bool:
            return (await health(handle, "/health/ready"))[0] == 200

        await until(is_ready)
        await handle.service.bus.publish(AssetCreated(source="now"))
        assert (await handle.service.next()).source == "now"


def test_nats_is_not_imported_by_services_that_do_not_use_it() -> None:
    code = "import sys, chassis, chassis.bus, chassis.service.events; sys.exit('nats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
