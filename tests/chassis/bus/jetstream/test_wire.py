from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.bus.jetstream.wire import decode_headers, encode_headers, origin_of, status_of

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40).map(str.strip)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_headers_come_back_as_they_were_sent(headers: dict[str, str]) -> None:
    assert decode_headers(encode_headers(headers) or None) == headers


@pytest.mark.parametrize("text", ["a\r\nPUB x 0", "a\nb", "a\rb"])
def test_a_header_cannot_bring_a_command_in(text: str) -> None:
    with pytest.raises(ValueError, match="line ends"):
        encode_headers({"name": text})
    with pytest.raises(ValueError, match="line ends"):
        encode_headers({text: "value"})


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_headers_of_some_kind(raw: bytes) -> None:
    assert all(isinstance(value, str) for value in decode_headers(raw).values())
    status_of(raw)


def test_bytes_that_are_no_text_are_kept() -> None:
    raw = b"NATS/1.0\r\nA: \xff\xfe\r\n\r\n"
    assert encode_headers(decode_headers(raw)) == raw


def test_a_status_has_its_headers() -> None:
    status = status_of(b"NATS/1.0 409 Leadership Change\r\nNats-Pending-Messages: 3\r\n\r\n")
    assert status is not None
    assert (status.code, status.text, status.headers) == (409, "Leadership Change", {"Nats-Pending-Messages": "3"})


@pytest.mark.parametrize("raw", [None, b"", b"NATS/1.0\r\nStatus: 404\r\n\r\n", b"NATS/1.0 soon\r\n\r\n"])
def test_what_has_no_status_line_has_no_status(raw: bytes | None) -> None:
    assert status_of(raw) is None


@pytest.mark.parametrize(
    "reply",
    [
        b"$JS.ACK.orders.worker.4.120.77.1795000000000000000.9",
        b"$JS.ACK._.Ab12Cd34.orders.worker.4.120.77.1795000000000000000.9.R4nd",
        b"$JS.ACK.hub.Ab12Cd34.orders.worker.4.120.77.1795000000000000000.9",
    ],
    ids=["short", "long", "long without the random part"],
)
def test_the_reply_subject_names_the_place_in_the_stream(reply: bytes) -> None:
    assert origin_of(reply) == ("orders", 4, 120, 9)


@pytest.mark.parametrize("reply", [b"", b"_INBOX.a.b", b"$JS.ACK.orders.worker.x.1.2.3.4", b"$JS.ACK.a.b.c"])
def test_another_reply_subject_is_refused(reply: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (int() says it in its own words)
        origin_of(reply)


LINES = st.one_of(
    st.builds("{}: {}".format, NAMES, VALUES),
    st.sampled_from(
        ["a:1", "a:  1", "a : 1", "a: 1 ", "a b: 1", ": 1", "a", "", "a:", "a: b: c", "\x1ca: é\x85", "A: 1\n"]
    ),
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=6), st.sampled_from(["NATS/1.0", "NATS/1.0 503", "a: 1", ""]))
def test_headers_that_are_written_as_usual_are_read_as_all_others(lines: list[str], status: str) -> None:
    text = "\r\n".join([status, *lines, "", ""])
    expected: dict[str, str] = {}
    for line in text.split("\r\n")[1:]:
        name, colon, value = (part.strip() for part in line.partition(":"))
        if colon:
            expected[name] = f"{expected[name]}, {value}" if name in expected else value
    assert decode_headers(text.encode()) == expected
