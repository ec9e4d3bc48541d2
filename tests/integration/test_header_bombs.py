"""Header blocks that are small on the wire, and would be large for who unpacks them (HPACK, RFC 7541, section 7.3)."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from tests.hostile import DATA, Hostile, bomb, message
from tests.integration.edge_kit import PATIENCE, EchoProcess, echo_process

ECHO = b"/cqi.testing.v1.EchoService/Echo"
MEBIBYTE = 1024 * 1024
WARMING, ATTEMPTS = 2, 4

# The largest header that fits into the table of a server, as often as a frame of 16 KiB refers to it: 64 MB.
LARGE = bomb(b"x" * 4000, 16_000)
# Millions of headers of a few bytes: gRPC counts 32 for each besides, as HTTP/2 says.
MANY = bomb(b"x", 4_000_000)
# As many as gRPC takes of a client that has not acknowledged its settings yet, of which 16 MiB is the largest header
# block that there may be. They are 400 KB on the wire.
UNACKNOWLEDGED = bomb(b"x", 400_000)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoProcess]:
    with echo_process(tmp_path_factory.mktemp("bombs")) as process:
        yield process


@pytest.mark.parametrize(
    ("block", "acknowledges", "allowed"),
    [
        pytest.param(LARGE, True, 10 * MEBIBYTE, id="a large one, often"),
        pytest.param(MANY, True, 10 * MEBIBYTE, id="a small one, very often"),
        # Up to 16 MiB are unpacked before the rest is refused, which is a quarter of what is meant.
        pytest.param(LARGE, False, 20 * MEBIBYTE, id="a large one, often, before the settings"),
        # What is let through is unpacked, and costs some 300 bytes a header for as long as its call is refused.
        pytest.param(UNACKNOWLEDGED, False, 150 * MEBIBYTE, id="a small one, often, before the settings"),
    ],
)
def test_a_header_that_is_repeated_by_reference_is_refused_and_costs_only_its_call(
    process: EchoProcess, block: bytes, acknowledges: bool, allowed: int
) -> None:
    taken = []
    with grpc.insecure_channel(process.address) as channel:
        stub = rpc.EchoServiceStub(channel)
        for number in range(WARMING + ATTEMPTS):
            if number == WARMING:
                before = process.resident
            process.forget_peak()
            taken.append(-process.resident)
            with Hostile(process.port) as hostile:
                if acknowledges:
                    hostile.receive()
                refused = hostile.end_of(hostile.call(ECHO, block=block, body=message(b"")))
                assert refused is not None
                assert refused.status is StatusCode.RESOURCE_EXHAUSTED
                assert stub.Echo(pb.EchoRequest(text="others"), timeout=PATIENCE).text == "others"
                # Its connection goes on, and knows what was put into its table.
                assert _is_answered(hostile, hostile.call(ECHO, block=b"\xbe", body=message(b"")))
            taken[-1] += process.peak

        # As docs/operations.md says: for the moment, the usual one; and nothing that grows from one to the next.
        assert sorted(taken[WARMING:])[ATTEMPTS // 2] < allowed
        assert process.resident - before < allowed


def _is_answered(hostile: Hostile, stream: int) -> bool:
    while (frame := hostile.receive()) is not None:
        if frame.stream == stream and (frame.kind == DATA or frame.ends):
            return frame.kind == DATA
    return False
