"""A marker is planted in every secret of a service that runs; it must be in nothing that comes out of it.

The service is a process on real servers, once with the right credentials and once with ones that every server refuses.
A third run leaks on purpose, into each channel that is read: a channel that is looked at wrongly would find nothing.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import jwt
import nats
import pytest
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from chassis.testing.servers import AccountForTest, DatabaseForTest, KeyspaceForTest
from tests.process import PATIENCE, processes

MARKER = "c4n4ry-in-th3-m1ne"
SUBJECT = "cqi.dlq.canary.asset_created"
STREAM = "cqc_events_dlq"

SERVICE = """
import logging, os, sys
from dataclasses import dataclass

from aiohttp import web
from cqc.events.v1.asset_events_pb2 import AssetCreated
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc as rpc

from chassis import ServiceChassis
from chassis.bus import subscribe
from chassis.component import Component
from chassis.config import Secret, SecretUrl, knob
from chassis.errors import InvalidInput, Temporary


class Venue(Component):
    name = "venue"

    async def check(self):
        raise Temporary("the venue is closed" + LEAK)


LEAK = os.environ.get("LEAK", "")  # what is leaked on purpose, everywhere


class Canary(ServiceChassis, rpc.EchoServiceServicer):
    name = "canary"
    uses = ("database", "cache", "bus")
    schema = "CREATE TABLE IF NOT EXISTS tokens (token text PRIMARY KEY)"

    @dataclass(frozen=True)
    class Settings:
        dsn: SecretUrl = SecretUrl("")
        token: Secret = Secret("")
        keys: tuple[Secret, ...] = ()
        note: str = knob("", doc="Anything.")

    def register(self, server):
        rpc.add_EchoServiceServicer_to_server(self, server)

    def routes(self, app):
        app.router.add_get("/ask/{what}", self.ask)

    async def on_start(self):
        self.add(Venue())
        config = self.config
        self.log.info(f"{self!r} {self} {config!r} {config.settings!r} {config.database!r} {config.auth}")
        self.log.info("structured", config=config, dsn=config.settings.dsn, keys=config.settings.keys, own=vars(self))
        logging.getLogger("library").debug("%s %r", config.tracing.endpoint, config.eventbus.servers)
        self.log.info(f"{self.db!r} {self.cache!r} {self.bus!r} {self.metrics!r} {self.tracer!r}")
        self.asked = self.metrics.counter("asked_total", "Asked.", labels=("what",))
        if LEAK:
            print("{\\"message\\": \\"" + LEAK + "\\"}", flush=True)
            print(LEAK, file=sys.stderr, flush=True)
            self.asked.labels(LEAK).inc()

    async def do(self, what):
        secret = self.config.settings.token.reveal()  # in the frames of all that fails
        with self.tracer.start_as_current_span("work") as span:
            span.set_attribute("leak", LEAK)
            if what == "database":
                await self.db.query_row("SELECT $1::text AS token", secret)
                await self.db.query(f"SELECT 1 AS \\"{secret}\\"")
            if what == "conflict":
                for _ in range(2):
                    await self.db.execute("INSERT INTO tokens VALUES ($1)", secret)
            if what == "syntax":
                await self.db.query(f"SELECT 1 '{secret}'")
            if what == "value":
                settings = self.config.settings
                raise ValueError(f"refused {settings.token} {settings.dsn}")
            if what == "cache":
                await self.cache.set("token:1", echo_pb2.EchoReply(text="x"), ttl=60)
                await self.cache.get("token:1", echo_pb2.EchoReply)
            if what == "publish":
                await self.bus.publish(AssetCreated(source="here"))
            if what == "crash":
                raise RuntimeError("crashed")
            if what == "group":
                raise ExceptionGroup("several", [RuntimeError("one"), ValueError("two")])
            if what == "raised":
                raise Temporary("later" + LEAK, detail="not now")
            if what == "downstream":
                stub = rpc.EchoServiceStub(self.channel(self.grpc_address))
                metadata = (("authorization", f"Bearer {secret}"), ("x-api-key", secret))
                await stub.Echo(echo_pb2.EchoRequest(text="good"), metadata=metadata, timeout=5)

    async def Echo(self, request, context):
        if LEAK:
            context.set_trailing_metadata((("leak", LEAK),))
        await self.do(request.text)
        return echo_pb2.EchoReply(text=request.text)

    async def ask(self, request):
        await self.do(request.match_info["what"])
        return web.json_response({"done": True}, headers={"X-Leak": LEAK} if LEAK else {})

    @subscribe(AssetCreated)
    async def on_asset_created(self, event):
        raise InvalidInput("not known here" + LEAK)
"""
THINGS = (
    "good",
    "database",
    "conflict",
    "syntax",
    "value",
    "cache",
    "publish",
    "crash",
    "group",
    "raised",
    "downstream",
)


class Collector:
    """Takes spans over HTTP, and keeps what was in them."""

    def __init__(self) -> None:
        self.bodies = bytearray()
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.bodies += self.rfile.read(int(self.headers["content-length"]))
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


class Run:
    """One life of the service, and all that came out of it, by channel."""

    def __init__(self, folder: Path, environment: Mapping[str, str], bearers: list[str]) -> None:
        (folder / "svc.py").write_text(SERVICE)
        self._folder = folder
        self._environment = environment
        self._bearers = bearers
        self.seen: dict[str, str] = {}

    def live(self, collector: Collector) -> dict[str, str]:
        with processes(self._folder) as start:
            for form in ("table", "yaml"):
                shown = start("config", "svc:Canary", "--format", form, **self._environment)
                assert shown.ended() == 0
                self.seen[f"chassis config --format {form}"] = shown.out + shown.err
            process = start("run", "svc:Canary", **self._environment)
            self._talk(process.until("service started"))
            process.ended(by=signal.SIGTERM)
        self.seen |= {"stdout": process.out, "stderr": process.err}
        self.seen["spans"] = collector.bodies.decode(errors="replace")
        return self.seen

    def _talk(self, ready: Mapping[str, str]) -> None:
        told: dict[str, list[str]] = {}

        def hear(channel: str, text: object) -> None:
            told.setdefault(channel, []).append(str(text))

        with grpc.insecure_channel(ready["grpc_address"]) as channel:
            for what in THINGS:
                for bearer in self._bearers:
                    metadata = (("authorization", f"Bearer {bearer}"), ("x-api-key", bearer), ("cookie", bearer))
                    self._call(channel, what, metadata, hear)
            self._ask_around(channel, hear)
        for what in (*(f"/ask/{each}" for each in THINGS), "/nothing", "/health/live", "/health/ready", "/health"):
            for bearer in self._bearers:
                self._get(ready["http_address"], what, bearer, hear)
        self._get(ready["http_address"], "/metrics", "", hear)
        self.seen |= {name: "\n".join(texts) for name, texts in told.items()}

    @staticmethod
    def _call(channel: Any, what: str, metadata: Any, hear: Callable[[str, object], None]) -> None:
        call = echo_pb2_grpc.EchoServiceStub(channel).Echo.future(
            echo_pb2.EchoRequest(text=what), metadata=metadata, timeout=PATIENCE
        )
        error = call.exception()
        hear("gRPC errors", "" if error is None else f"{error} {call.details()}")
        hear("gRPC metadata", f"{call.initial_metadata()} {call.trailing_metadata()}")

    @staticmethod
    def _ask_around(channel: Any, hear: Callable[[str, object], None]) -> None:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        hear("gRPC metadata", answer)
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services="*"),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="nothing.like.it"),
        ]
        for reply in stub.ServerReflectionInfo(iter(asked), timeout=PATIENCE):
            hear("gRPC metadata", reply)

    @staticmethod
    def _get(address: str, path: str, bearer: str, hear: Callable[[str, object], None]) -> None:
        query = urllib.parse.urlencode({"access_token": bearer})
        request = urllib.request.Request(f"http://{address}{path}?{query}")
        for name, value in {"Authorization": f"Bearer {bearer}", "X-API-Key": bearer, "Cookie": bearer}.items():
            request.add_header(name, value)
        try:
            answer = urllib.request.urlopen(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            channel = path if path in ("/metrics", "/health/live", "/health/ready", "/health") else "HTTP bodies"
            hear(channel, answer.read().decode())
            hear("HTTP headers", answer.headers)


def leaks(seen: Mapping[str, str], needles: list[str]) -> dict[str, list[str]]:
    """Which secrets are in which channel, as they are or as they are written elsewhere."""

    def forms(needle: str) -> list[str]:
        encoded = base64.b64encode(needle.encode()).decode().rstrip("=")[:-1]
        return [needle, urllib.parse.quote(needle, safe=""), encoded, needle.encode().hex()]

    return {
        channel: found
        for channel, text in seen.items()
        if (found := [needle for needle in needles if any(form in text for form in forms(needle))])
    }


@pytest.fixture
def planted(
    collector: Collector,
    postgres_database: DatabaseForTest,
    redis_keyspace: KeyspaceForTest,
    nats_account: AccountForTest,
) -> tuple[dict[str, str], list[str], list[str]]:
    """Configuration with the marker in all that is no server's credential; what callers send; and what to look for."""
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def token(seconds: float) -> str:
        return jwt.encode({"sub": "user:7", "jti": MARKER, "exp": time.time() + seconds}, key, "EdDSA")

    tokens = [token(3600), token(-3600)]
    bearers = [f"{MARKER}-api-key", *tokens, f"{MARKER}-wrong", f"{tokens[0][:-6]}wrong1"]
    environment = {
        "CQI_SERVER_SHUTDOWN_TIMEOUT": "5s",
        "CQI_SERVER_ENABLE_REFLECTION": "true",
        "CQI_LOG_LEVEL": "debug",
        "CQI_DATABASE_SSL_MODE": "disable",
        "CQI_CACHE_TIMEOUT": "2s",
        "CQI_EVENTBUS_MAX_DELIVER": "1",
        "CQI_TRACING_ENABLED": "true",
        "CQI_TRACING_SAMPLE_RATE": "1",
        "CQI_TRACING_EXPORT_MODE": "http",
        "CQI_TRACING_BATCH_TIMEOUT": "200ms",
        "CQI_TRACING_ENDPOINT": f"http://u:{MARKER}@127.0.0.1:{collector.port}/v1/traces?token={MARKER}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{MARKER}",
        "CQI_AUTH_API_KEYS": f"cqmd:{MARKER}-api-key,other:{MARKER}-other-key",
        "CQI_AUTH_JWT_PUBLIC_KEY": pem.replace("\n", "\\n"),
        "CQI_SETTINGS_DSN": f"postgresql://canary:{MARKER}@db/canary?password={MARKER}",
        "CQI_SETTINGS_TOKEN": f"{MARKER}-token",
        "CQI_SETTINGS_KEYS": f"{MARKER}-1,{MARKER}-2",
        "PYTHONDEVMODE": "",
        **addresses(postgres_database, redis_keyspace, nats_account),
    }
    # A signature alone is enough to know a token by, and nothing but a token has it.
    return environment, bearers, [MARKER, *(each.rpartition(".")[2][:-6] for each in tokens)]


def addresses(database: DatabaseForTest, keyspace: KeyspaceForTest, account: AccountForTest) -> dict[str, str]:
    overrides = {**database.overrides, **keyspace.overrides, "eventbus.servers": account.url.reveal()}
    return {f"CQI_{key.upper().replace('.', '_')}": str(value) for key, value in overrides.items()}


async def dead_letters(url: str) -> str:
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        last = (await stream.stream_info(STREAM)).state.last_seq
        letters = [await stream.get_msg(STREAM, number) for number in range(1, last + 1)]
        assert {letter.subject for letter in letters} == {SUBJECT}
        return "\n".join(f"{letter.headers} {letter.data!r}" for letter in letters)
    finally:
        await client.close()


CHANNELS = {
    "chassis config --format table",
    "chassis config --format yaml",
    "stdout",
    "stderr",
    "spans",
    "dead letters",
    "gRPC errors",
    "gRPC metadata",
    "HTTP bodies",
    "HTTP headers",
    "/health/live",
    "/health/ready",
    "/health",
    "/metrics",
}
CANNOT_LEAK = {"/health/live"}  # it has no place for anything of the service's


async def live(folder: Path, environment: Mapping[str, str], bearers: list[str], collector: Collector) -> Any:
    import asyncio

    return await asyncio.to_thread(Run(folder, environment, bearers).live, collector)


@pytest.mark.timeout(180)
async def test_no_secret_comes_out_of_a_service_with_the_right_credentials(
    tmp_path: Path,
    planted: Any,
    collector: Collector,
    postgres_database: DatabaseForTest,
    redis_keyspace: KeyspaceForTest,
    nats_account: AccountForTest,
) -> None:
    environment, bearers, needles = planted
    nats_password = urllib.parse.urlsplit(nats_account.url.reveal()).password
    passwords = [postgres_database.password.reveal(), redis_keyspace.password.reveal(), nats_password]
    assert all(password and len(password) >= 16 for password in passwords)
    seen = await live(tmp_path, environment, bearers, collector)
    seen["dead letters"] = await dead_letters(nats_account.url.reveal())
    assert leaks(seen, [*needles, *passwords]) == {}
    # It did what it should, and all of it was seen.
    assert seen.keys() == CHANNELS
    for channel, text in {
        "stdout": '"level":"debug"',
        "spans": "cqi.testing.v1.EchoService/Echo",
        "dead letters": "not known here",
        "gRPC errors": "internal error; ask for it by request id",
        "gRPC metadata": "cqi.testing.v1.EchoService",
        "HTTP bodies": '{"done": true}',
        "/health/ready": "the venue is closed",
        "/metrics": 'canary_grpc_calls_total{method="/cqi.testing.v1.EchoService/Echo"',
        "chassis config --format table": "***",
    }.items():
        assert text in seen[channel], channel
    for where in ("stdout", "spans"):  # what stands there of secrets is what may be shown of them
        assert "ValueError: refused *** postgresql://***@db/canary?***" in seen[where], where
    for what in ("ALREADY_EXISTS", "UNAUTHENTICATED", "INTERNAL", "UNAVAILABLE", '"code":"OK"', "***"):
        assert what in seen["stdout"], what


@pytest.mark.timeout(180)
@pytest.mark.parametrize("form", ["u:{}@", "{}@"])
async def test_no_secret_comes_out_of_a_service_that_every_server_refuses(
    tmp_path: Path,
    planted: Any,
    collector: Collector,
    nats_account: AccountForTest,
    form: str,
) -> None:
    environment, bearers, needles = planted
    collector.status = 401
    server = nats_account.url.reveal().rpartition("@")[2]
    environment |= {
        "CQI_DATABASE_PASSWORD": f"{MARKER}-database",
        "CQI_CACHE_PASSWORD": f"{MARKER}-cache",
        "CQI_EVENTBUS_SERVERS": f"nats://{form.format(f'{MARKER}-nats')}{server}",
    }
    seen = await live(tmp_path, environment, bearers, collector)
    assert leaks(seen, needles) == {}
    for part in ("database", "cache", "event_bus"):
        assert json.loads(seen["/health/ready"].splitlines()[0])["checks"][part]["status"] == "error"
    assert re.search(r'"level":"(warn|error)".*(password|auth)', seen["stdout"], re.IGNORECASE)
    assert "spans are lost" in seen["stdout"]


@pytest.mark.timeout(180)
async def test_a_leak_into_any_channel_is_found(
    tmp_path: Path,
    planted: Any,
    collector: Collector,
    nats_account: AccountForTest,
) -> None:
    environment, bearers, needles = planted
    environment |= {"LEAK": f"!{MARKER}!", "CQI_SETTINGS_NOTE": MARKER}
    seen = await live(tmp_path, environment, bearers, collector)
    seen["dead letters"] = await dead_letters(nats_account.url.reveal())
    assert leaks(seen, needles).keys() == CHANNELS - CANNOT_LEAK


def test_a_secret_is_found_in_whatever_way_it_is_written() -> None:
    for written in (MARKER, base64.b64encode(MARKER.encode()).decode(), MARKER.encode().hex()):
        assert leaks({"there": f"x{written}y", "here": "z"}, [MARKER]) == {"there": [MARKER]}
    assert leaks({"there": "a%2Fb"}, ["a/b"]) == {"there": ["a/b"]}
