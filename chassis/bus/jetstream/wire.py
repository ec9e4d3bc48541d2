"""What stands in NATS messages beside the payload: headers, status lines, and the places named in reply subjects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

_VERSION = "NATS/1.0"
_STATUS = b"NATS/1.0 "

# Parts of `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, and of the longer
# form `$JS.ACK.<domain>.<account hash>.<stream>.…[.<random>]` (ADR-15 of JetStream).
_SHORT = 9
_LONG = 11


class Status(NamedTuple):
    """A message of the server's own: `100` for a heartbeat, `408` for a pull whose time is over, and so on."""

    code: int
    text: str
    headers: dict[str, str]


class Origin(NamedTuple):
    """Where a delivery comes from; `pending` is how many events of the durable are yet to be delivered."""

    stream: str
    deliveries: int
    sequence: int
    pending: int


# Without the function that a named tuple has for its constructor.
_origin_of = partial(tuple.__new__, Origin)
_line = "%s: %s\r\n".__mod__

# Headers as nearly everybody writes them: all of a message found by one function, which is not one of Python's.
_usual = re.compile(r"^([!-9;-~]+): ?((?:[!-~](?:[ -~]*[!-~])?)?)\r\n", re.MULTILINE).findall


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Headers as they go over the wire; none give no bytes at all.

    >>> encode_headers({"Nats-Msg-Id": "e-1"})
    b'NATS/1.0\\r\\nNats-Msg-Id: e-1\\r\\n\\r\\n'

    Raises ValueError for line ends within a name or a value, which would be read as further headers or commands.
    """
    if not headers:
        return b""
    text = "".join(map(_line, headers.items()))
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a header must not have line ends in its name or value")
    return f"{_VERSION}\r\n{text}\r\n".encode("utf-8", "surrogateescape")


def decode_headers(raw: bytes | None) -> dict[str, str]:
    """Headers from the wire, as they were published; several of one name are joined by a comma.

    >>> decode_headers(b"NATS/1.0\\r\\nA: 1\\r\\nB:2\\r\\nA: 3\\r\\n\\r\\n")
    {'A': '1, 3', 'B': '2'}

    What is not UTF-8 comes as lone surrogates (PEP 383), so that no byte is lost.
    """
    headers: dict[str, str] = {}
    if raw is None:
        return headers
    text = raw.decode("utf-8", "surrogateescape")
    pairs = _usual(text, text.find("\n") + 1)
    headers.update(pairs)
    if len(headers) == len(pairs) == text.count("\n") - 2:  # nothing but the status line and the end is left
        return headers
    headers.clear()
    for line in text.split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.strip(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def status_of(raw: bytes | None) -> Status | None:
    """The status line of a message, where it has one.

    >>> status_of(b"NATS/1.0 408 Request Timeout\\r\\nNats-Pending-Messages: 3\\r\\n\\r\\n")
    Status(code=408, text='Request Timeout', headers={'Nats-Pending-Messages': '3'})
    """
    if raw is None or not raw.startswith(_STATUS):
        return None
    code, _, text = raw[len(_STATUS) :].partition(b"\r\n")[0].strip().partition(b" ")
    if not code.isdigit():
        return None
    return Status(int(code), text.decode("utf-8", "replace").strip(), decode_headers(raw))


def origin_of(reply: bytes) -> Origin:
    """The place that the reply subject of a delivery names.

    >>> origin_of(b"$JS.ACK.cqc_events.cqar-asset_created.2.17.5.1795000000000000000.3")
    Origin(stream='cqc_events', deliveries=2, sequence=17, pending=3)
    >>> origin_of(b"$JS.ACK.hub.Ab12.cqc_events.cqar-asset_created.2.17.5.1795000000000000000.3.x7").sequence
    17

    Raises ValueError for what is no such subject.
    """
    parts = reply.split(b".")
    if len(parts) == _SHORT and parts[1] == b"ACK":
        return _origin_of((parts[2].decode(), int(parts[4]), int(parts[5]), int(parts[8])))
    if len(parts) >= _LONG and parts[1] == b"ACK":
        return Origin(parts[4].decode(), int(parts[6]), int(parts[7]), int(parts[10]))
    raise ValueError(f"{reply!r} is no subject to acknowledge an event on")


def stored_of(reply: bytes) -> bytes:
    """When the event of a delivery was stored, as its reply subject has it: nanoseconds, in digits.

    >>> stored_of(b"$JS.ACK.cqc_events.cqar-asset_created.2.17.5.1795000000000000000.3")
    b'1795000000000000000'
    >>> stored_of(b"$JS.ACK.hub.Ab12.cqc_events.cqar-asset_created.2.17.5.1795000000000000000.3.x7")
    b'1795000000000000000'
    """
    parts = reply.split(b".")
    return parts[_SHORT - 2 if len(parts) == _SHORT else _LONG - 2]
