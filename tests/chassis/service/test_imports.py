"""What a service loads: what it is configured with, all of that while it starts, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PATIENCE = 60.0
API_KEY = "a-key-for-these-tests"
ISSUERS_KEY = Ed25519PrivateKey.generate()
PEM = ISSUERS_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
TOKEN = jwt.encode({"sub": "user:7d5e", "exp": time.time() + 3600}, ISSUERS_KEY, "EdDSA")

# What each kind of service is configured with, and what its callers show.
SERVICES: Mapping[str, tuple[Mapping[str, object], str]] = {
    "plain": ({"tracing.enabled": False}, "nothing"),
    "api keys": ({"tracing.enabled": False, "auth.api_keys": [f"tests:{API_KEY}"]}, API_KEY),
    "tokens": ({"tracing.enabled": False, "auth.jwt_public_key": PEM}, TOKEN),
    "spans": ({"tracing.enabled": True, "tracing.endpoint": "http://127.0.0.1:1", "tracing.insecure": True}, "nothing"),
}

# Starts a service and uses it; says what it was answered, what was loaded before, and what only then.
PROGRAM = """
import asyncio, json, sys
import grpc
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc
from chassis import ServiceChassis

class Servicer(echo_pb2_grpc.EchoServiceServicer):
    async def Echo(self, request, context):
        if request.text == "crash":
            raise KeyError(request.text)
        return echo_pb2.EchoReply(text=request.text)

class Echo(ServiceChassis):
    name = "echo"
    def register(self, server):
        echo_pb2_grpc.add_EchoServiceServicer_to_server(Servicer(), server)

async def get(address, path):
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(f"GET {path} HTTP/1.1\\r\\nHost: {address}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])

async def use(service, channel):
    answers = []
    call = channel.unary_unary("/cqi.testing.v1.EchoService/Echo")
    credentials = (("authorization", f"Bearer {sys.argv[2]}"),)
    for text in ("hello", "crash"):
        try:
            await call(echo_pb2.EchoRequest(text=text).SerializeToString(), metadata=credentials, timeout=5)
            answers.append("OK")
        except grpc.aio.AioRpcError as error:
            answers.append(error.code().name)
    for path in ("/health/ready", "/metrics", "/nowhere"):
        answers.append(await get(service.http_address, path))
    service.flush_logs(5)
    return answers

async def main():
    free = {"server.grpc_port": 0, "server.http_port": 0, "server.drain_delay": 0, "log.output": "stderr"}
    service = Echo(Echo.configure(environ={}, overrides=free | json.loads(sys.argv[1])))
    await service.start()
    started = set(sys.modules)
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        answers = await use(service, channel)
    late = set(sys.modules) - started
    await service.stop()
    print(json.dumps([answers, sorted(started), sorted(late)]))

asyncio.run(main())
"""


class Loaded(NamedTuple):
    """The modules of a service's process: when it had started, and those that came only with its first calls."""

    answers: list[str | int]
    started: set[str]
    late: set[str]

    def of(self, *packages: str) -> list[str]:
        """Those of these packages that were loaded by then."""
        return sorted(name for name in self.started | self.late if f"{name}.".startswith(packages))


@cache
def loaded(service: str) -> Loaded:
    """Run a service of this kind, in a process of its own."""
    config, credentials = SERVICES[service]
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(config), credentials]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr
    answers, started, late = json.loads(ran.stdout)
    # Of what the interpreter brings, the threads for blocking functions are loaded by asyncio when it has the first.
    return Loaded(
        answers, set(started), {name for name in late if name.partition(".")[0] not in sys.stdlib_module_names}
    )


@pytest.mark.parametrize("service", ["plain", "api keys", "tokens", "spans"])
def test_all_that_it_serves_with_is_loaded_when_it_has_started(service: str) -> None:
    modules = loaded(service)
    nowhere = 404 if service in ("plain", "spans") else 401
    assert modules.answers == ["OK", "INTERNAL", 200, 200, nowhere]
    assert modules.late == set()


@pytest.mark.parametrize("service", ["plain", "spans"])
def test_without_credentials_to_check_nothing_is_loaded_that_checks_them(service: str) -> None:
    checking = [f"chassis.auth.{name}." for name in ("api_key", "bearer", "claims", "combined", "jws", "public_key")]
    assert loaded(service).of("chassis.auth.jwt.", "interceptors.auth.", "cryptography.", "jwt.", *checking) == []


def test_with_api_keys_alone_nothing_is_loaded_that_is_for_tokens() -> None:
    modules = loaded("api keys")
    assert modules.of("chassis.auth.api_key.") == ["chassis.auth.api_key"]
    assert modules.of("chassis.auth.jwt.", "chassis.auth.public_key.", "cryptography.", "jwt.") == []


def test_with_tokens_alone_nothing_is_loaded_that_is_for_api_keys() -> None:
    modules = loaded("tokens")
    assert modules.of("chassis.auth.jwt.") == ["chassis.auth.jwt"]
    assert modules.of("chassis.auth.api_key.", "chassis.auth.combined.") == []


@pytest.mark.parametrize("service", ["plain", "api keys", "tokens"])
def test_without_tracing_nothing_of_opentelemetrys_is_loaded(service: str) -> None:
    assert loaded(service).of("opentelemetry.") == []
    assert loaded("spans").of("opentelemetry.exporter.") != []


@pytest.mark.parametrize("service", list(SERVICES))
def test_no_part_is_loaded_that_it_does_not_use_and_no_tool(service: str) -> None:
    parts = (
        "chassis.bus.",
        "chassis.cache.",
        "chassis.client.",
        "chassis.database.",
        "chassis.retry.",
        "chassis.limits.",
    )
    tools = (
        "chassis.cli.",
        "chassis.dev.",
        "chassis.testing.",
        "grpc_reflection.v1alpha.",
        "yaml.",
        "cattrs.",
        "tenacity.",
    )
    assert loaded(service).of("asyncpg.", "hiredis.", "nats.", *parts, *tools) == []
