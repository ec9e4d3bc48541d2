from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from chassis.bus.jetstream.parser import MessageParser

Message = tuple[bytes, bytes, bytes, bytes | None]


class Client:
    """What a parser calls, and what it was called with; its messages come by `_process_msg`, or to `receivers`."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.receivers = {number: self._receiver(number) for number in (1, 2)}

    def _receiver(self, number: int) -> Any:
        return lambda *message: self.seen.append((number, *message))

    async def _process_msg(self, number: int, *message: Any) -> None:
        if number in self.receivers:
            self.receivers[number](*message)

    async def _process_ping(self) -> None:
        self.seen.append("PING")

    async def _process_pong(self) -> None:
        self.seen.append("PONG")

    async def _process_err(self, error: str) -> None:
        self.seen.append(error)


def whole(number: int, reply: bytes, headers: bytes, payload: bytes) -> bytes:
    """A message as the server sends it."""
    reply = reply + b" " if reply else b""
    if headers:
        head = b"HMSG a.b %d %b%d %d\r\n" % (number, reply, len(headers), len(headers) + len(payload))
    else:
        head = b"MSG a.b %d %b%d\r\n" % (number, reply, len(payload))
    return head + headers + payload + b"\r\n"


def outcome(parser: Any, client: Client, parts: list[bytes]) -> tuple[list[Any], bool]:
    """What came of these reads, and whether the last of them was no NATS any more."""

    async def read() -> bool:
        for part in parts:
            try:
                await parser.parse(part)
            except ProtocolError:
                return True
        return False

    ended = asyncio.run(read())
    return client.seen, ended


messages = st.builds(
    whole,
    st.sampled_from([1, 2, 3]),
    st.sampled_from([b"", b"$JS.ACK.s.d.1.2.3.4.5"]),
    st.sampled_from([b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: 1\r\n\r\n"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n", b"MSG a 1 1\r\nx\r\n", b"PING\r\n", b"x" * 5000])),
)
others = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'no'\r\n"])
broken = st.sampled_from(
    [b"MSG a 1\r\n", b"MSG a x 1\r\n1\r\n", b"HMSG a 1 9 5\r\n", b"MSG a 1 -1\r\n", b"NEWS\r\n", b"\r\n", b"MSG\r\n"]
)


@given(st.lists(st.one_of(messages, messages, others), max_size=8), st.one_of(st.just(b""), broken), st.data())
def test_whatever_is_read_in_whatever_parts_is_understood_as_nats_py_does(
    whole: list[bytes], last: bytes, data: st.DataObject
) -> None:
    everything = b"".join(whole) + last
    cuts = sorted(data.draw(st.sets(st.integers(0, len(everything)), max_size=6)))
    parts = [everything[a:b] for a, b in zip([0, *cuts], [*cuts, len(everything)], strict=True)]
    theirs, ours = Client(), Client()
    expected = outcome(Parser(theirs), theirs, parts)
    assert outcome(MessageParser(ours, ours.receivers), ours, parts) == expected


async def test_a_payload_is_no_message_though_it_looks_like_one_and_is_read_by_itself() -> None:
    client = Client()
    parser = MessageParser(client, client.receivers)
    forged = whole(2, b"", b"", b"forged")
    message = whole(1, b"", b"", forged) + whole(1, b"", b"", b"next")
    head = message.index(forged)

    await parser.parse(message[:head])
    await parser.parse(message[head:])

    assert [(number, payload) for number, _, _, payload, _ in client.seen] == [(1, forged), (1, b"next")]


async def test_a_message_that_cannot_be_taken_in_is_told_and_those_behind_it_arrive(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()

    def refuse(*_: Any) -> None:
        raise RuntimeError("no")

    client.receivers[2] = refuse
    await MessageParser(client, client.receivers).parse(whole(2, b"", b"", b"a") + whole(1, b"", b"", b"b"))
    assert client.seen == [(1, b"a.b", b"", b"b", None)]
    assert [record.getMessage() for record in caplog.records] == ["a message of the event bus could not be taken in"]


async def test_messages_that_came_whole_do_not_take_the_long_way() -> None:
    client = Client()
    parser = MessageParser(client, {1: client.receivers[1]})
    del client.receivers[1]  # the long way would find nobody
    one, two = whole(1, b"", b"", b"a"), whole(1, b"r", b"NATS/1.0\r\n\r\n", b"b")
    await parser.parse(one + two + one[:5])
    await parser.parse(one[5:] + two[:-5])
    await parser.parse(two[-5:] + one)
    assert [message[3] for message in client.seen] == [b"a", b"b", b"a", b"a"]
