"""Messages and metadata that are made to take a server's memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from tests.hostile import Frame, Hostile, message
from tests.integration.edge_kit import PATIENCE, EchoProcess, echo_process

ECHO = b"/cqi.testing.v1.EchoService/Echo"
COLLECT = b"/cqi.testing.v1.EchoService/Collect"
MEBIBYTE = 1024 * 1024
WARMING, ATTEMPTS = 4, 8
ALLOWED_GROWTH = 10 * MEBIBYTE

_ZEROS = bytes(64 * MEBIBYTE)
GZIP_BOMB, DEFLATE_BOMB = gzip.compress(_ZEROS, 9, mtime=0), zlib.compress(_ZEROS, 9)


def a_length_of_4_gib(hostile: Hostile) -> int:
    return hostile.call(ECHO, body=message(b"x" * 100, length=2**32 - 1), ends=False)


def a_length_above_the_limit(hostile: Hostile) -> int:
    return hostile.call(ECHO, body=message(b"x" * 60_000, length=4 * MEBIBYTE + 1), ends=False)


def a_bomb_of_gzip(hostile: Hostile) -> int:
    return hostile.call(ECHO, [(b"grpc-encoding", b"gzip")], body=message(GZIP_BOMB, compressed=True))


def a_bomb_of_deflate(hostile: Hostile) -> int:
    return hostile.call(ECHO, [(b"grpc-encoding", b"deflate")], body=message(DEFLATE_BOMB, compressed=True))


def a_bomb_in_a_stream(hostile: Hostile) -> int:
    return hostile.call(COLLECT, [(b"grpc-encoding", b"gzip")], body=message(GZIP_BOMB, compressed=True))


def a_value_of_64_kib(hostile: Hostile) -> int:
    hostile.receive()  # which acknowledges the server's settings
    return hostile.call(ECHO, [(b"x-large", b"x" * 65536)], body=message(b""))


def a_value_of_64_kib_before_the_settings(hostile: Hostile) -> int:
    return hostile.call(ECHO, [(b"x-large", b"x" * 65536)], body=message(b""))


def a_value_of_256_kib_before_the_settings(hostile: Hostile) -> int:
    return hostile.call(ECHO, [(b"x-large", b"x" * 262_144)], body=message(b""))


def a_thousand_values_before_the_settings(hostile: Hostile) -> int:
    return hostile.call(ECHO, [(b"x-%d" % number, b"") for number in range(1000)], body=message(b""))


def a_path_of_64_kib_before_the_settings(hostile: Hostile) -> int:
    return hostile.call(b"/" + b"x" * 65536, body=message(b""))


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoProcess]:
    with echo_process(tmp_path_factory.mktemp("limits")) as process:
        yield process


@pytest.mark.parametrize(
    "attack",
    [
        a_length_of_4_gib,
        a_length_above_the_limit,
        a_bomb_of_gzip,
        a_bomb_of_deflate,
        a_bomb_in_a_stream,
        a_value_of_64_kib,
        a_value_of_64_kib_before_the_settings,
        a_value_of_256_kib_before_the_settings,
        a_thousand_values_before_the_settings,
        a_path_of_64_kib_before_the_settings,
    ],
    ids=lambda attack: attack.__name__.replace("_", " "),
)
def test_what_is_too_large_is_refused_and_costs_no_memory(
    process: EchoProcess, attack: Callable[[Hostile], int]
) -> None:
    with grpc.insecure_channel(process.address) as channel:
        stub = rpc.EchoServiceStub(channel)
        for number in range(WARMING + ATTEMPTS):
            if number == WARMING:
                process.forget_peak()
                before = process.resident
            assert _status(attack, process.port) is StatusCode.RESOURCE_EXHAUSTED
            assert stub.Echo(pb.EchoRequest(text="others"), timeout=PATIENCE).text == "others"

        assert process.peak - before < ALLOWED_GROWTH


def _status(attack: Callable[[Hostile], int], port: int) -> StatusCode | None:
    with Hostile(port) as hostile:
        end: Frame | None = hostile.end_of(attack(hostile))
        return end.status if end is not None else None


def test_a_bomb_is_one(tmp_path: Path) -> None:
    """The limit is what refuses it: where it is larger, the same bytes are taken."""
    with echo_process(tmp_path, server_max_receive_message_bytes="65MiB") as process:
        process.forget_peak()
        before = process.resident

        # No message of the service's, so that it is not echoed.
        assert _status(a_bomb_of_gzip, process.port) is StatusCode.INVALID_ARGUMENT
        assert process.peak - before > 64 * MEBIBYTE
