"""Messages, details and trailers, as they are sent and as they are read."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from cqi.testing.v1.echo_pb2 import EchoReply
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import NotFound, ResourceExhausted, Temporary
from interceptors.status import check, error_of, message_of, sendable, trailers_of

DETAILS = "grpc-status-details-bin"


@pytest.mark.parametrize("text", ["", "gone", "x" * 1000, "Zoë " * 100, "100 %", "two\nlines"])
def test_a_message_of_a_usual_length_is_sent_as_it_is(text: str) -> None:
    assert message_of(NotFound(text)) == text


@given(st.text(), st.integers(1, 500))
def test_whatever_the_message_what_is_sent_is_its_beginning_and_not_too_much(text: str, times: int) -> None:
    sent = message_of(NotFound(text * times))

    # As on the wire: what is not printable ASCII is percent-encoded.
    assert len(quote(sent.encode(), safe=bytes(range(0x20, 0x25)) + bytes(range(0x26, 0x7F)))) <= 2048 + len(quote("…"))
    readable = (text * times).encode("utf-8", "replace").decode()
    assert sent == readable or (sent.endswith("…") and readable.startswith(sent[:-1]))


def test_an_error_without_details_sends_only_its_own_trailers() -> None:
    assert trailers_of(NotFound("gone", trailers=[("x-a", "1")])) == (("x-a", "1"),)


@pytest.mark.parametrize("retry_after", [None, 0.0, 0.25, 3600.0])
def test_what_is_sent_is_what_is_read(retry_after: float | None) -> None:
    sent = ResourceExhausted(
        "later", details=[ErrorInfo(reason="QUOTA"), EchoReply()], retry_after=retry_after, trailers=[("x-a", "1")]
    )

    read = error_of(StatusCode.RESOURCE_EXHAUSTED, "later", trailers_of(sent))

    assert type(read) is ResourceExhausted
    assert (read.details, read.retry_after, read.trailers) == (sent.details, retry_after, (("x-a", "1"),))


def test_details_of_a_type_that_is_not_known_stay_as_they_came() -> None:
    foreign = AnyMessage(type_url="type.googleapis.com/no.such.Type", value=b"\x08\x01")
    raw = Status(details=[foreign]).SerializeToString()

    assert error_of(StatusCode.ABORTED, "", [(DETAILS, raw)]).details == (foreign,)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff",
        Status(
            details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")]
        ).SerializeToString(),
    ],
)
def test_details_that_are_none_cost_neither_code_nor_message(raw: bytes) -> None:
    error = error_of(StatusCode.UNAVAILABLE, "not now", [(DETAILS, raw), ("x-a", "1")])

    assert type(error) is Temporary
    assert (error.message, error.details, error.retry_after) == ("not now", (), None)
    assert error.trailers == (("x-a", "1"),)


@pytest.mark.parametrize(
    "trailer", [("x-a", "1"), ("x_a.b-1", " ~"), ("x-a-bin", b"\x00\xff"), ("x-a", ""), (DETAILS, b"")]
)
def test_what_grpc_sends_is_kept(trailer: Any) -> None:
    check([trailer])
    assert sendable([trailer]) == (trailer,)


@pytest.mark.parametrize(
    "trailer", [("X-A", "1"), ("", "1"), ("x a", "1"), ("x-a", "ä"), ("x-a", "\n"), ("x-a", b"1"), ("x-a-bin", "1")]
)
def test_what_grpc_does_not_send_is_told_by_its_name(trailer: Any) -> None:
    with pytest.raises(ValueError, match=f"trailing metadata '{trailer[0]}' cannot be sent"):
        check([("x-good", "1"), trailer])
    assert sendable([trailer]) == ()
