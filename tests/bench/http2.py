"""As much of a gRPC client over HTTP/2 as a load needs: one call over and over, at a tenth of what serving it costs.

A client on grpc.aio takes as much CPU for a call as the server does, and would be what is measured. Headers are the
same for all calls: those of the first go into the connection's table (RFC 7541, section 6.2.1), later calls send one
byte for each. What comes back is counted by frames; the bodies prove that calls succeeded, for gRPC sends none with an
error. Sources: RFC 9113, RFC 7541.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65535
_TABLE_SIZE = 4096  # bytes that the peer's table holds unless it says otherwise
_FIRST_DYNAMIC = 62

TIMEOUT = "30S"
"""How long a call may take: those of real clients have a deadline, and a server has something to do about it."""


class Failed(RuntimeError):
    """The server did not answer as it should have."""


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _number(value: int, prefix: int) -> bytes:
    """A number in HPACK's form (RFC 7541, section 5.1), in a byte whose `prefix` low bits are free."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([value])
    encoded = [limit]
    value -= limit
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


def _text(value: str) -> bytes:
    return _number(len(value), 7) + value.encode()


class Connection:
    """One connection with a fixed call: `send` begins calls, `receive` says how many have ended since."""

    def __init__(self, port: int, path: str, token: str, body: bytes) -> None:
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", f"127.0.0.1:{port}"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "bench"),
            ("grpc-timeout", TIMEOUT),
            ("authorization", f"Bearer {token}"),
        ]
        if sum(len(name) + len(value) + 32 for name, value in headers) > _TABLE_SIZE:
            raise ValueError("the headers do not fit into the connection's table")
        self._literal = b"".join(b"\x40" + _text(name) + _text(value) for name, value in headers)
        # The newest entry has the lowest index.
        self._indexed = bytes(128 + _FIRST_DYNAMIC + len(headers) - 1 - place for place in range(len(headers)))
        self._body = struct.pack(">BI", 0, len(body)) + body
        self._indexed_head = _frame(_HEADERS, _END_HEADERS, 0, self._indexed)[:5]
        self._body_head = _frame(_DATA, _END_STREAM, 0, self._body)[:5]
        self._first = True
        self._next_stream = 1
        self._window = _DEFAULT_WINDOW
        self._buffer = b""
        self.body_bytes = 0
        self.open: dict[int, float] = {}
        """When each call that is under way was to begin."""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        widened = struct.pack(">I", _LARGEST_WINDOW - _DEFAULT_WINDOW)
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, widened))

    def send(self, starts: Sequence[float]) -> int:
        """Begin calls that were to begin at these times; returns how many, as flow control may put some off."""
        parts: list[bytes] = []
        for start in starts:
            if self._window < len(self._body):
                break
            self._window -= len(self._body)
            stream = self._next_stream.to_bytes(4, "big")
            if self._first:
                parts.append(_frame(_HEADERS, _END_HEADERS, self._next_stream, self._literal))
                self._first = False
            else:
                parts += (self._indexed_head, stream, self._indexed)
            parts += (self._body_head, stream, self._body)
            self.open[self._next_stream] = start
            self._next_stream += 2
        if parts:
            self.socket.sendall(b"".join(parts))
        return len(self.open)

    def receive(self) -> list[float]:
        """Read what there is; returns the beginnings of the calls that have ended. Raises Failed where one failed."""
        received = self.socket.recv(262144)
        if not received:
            raise Failed("the server closed the connection")
        buffer = self._buffer + received if self._buffer else received
        ended: list[float] = []
        place, end = 0, len(buffer)
        while end - place >= 9:
            length = int.from_bytes(buffer[place : place + 3], "big")
            behind = place + 9 + length
            if behind > end:
                break
            kind, flags = buffer[place + 3], buffer[place + 4]
            if kind == _DATA:
                self.body_bytes += length
            if kind in (_DATA, _HEADERS):
                if flags & _END_STREAM:
                    ended.append(self.open.pop(int.from_bytes(buffer[place + 5 : place + 9], "big")))
            else:
                self._control(kind, flags, buffer[place + 5 : place + 9], buffer[place + 9 : behind])
            place = behind
        self._buffer = buffer[place:]
        return ended

    def _control(self, kind: int, flags: int, stream: bytes, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            if stream == b"\0\0\0\0":
                self._window += int.from_bytes(payload, "big")
        elif kind in (_PING, _SETTINGS):
            if not flags & _ACK:
                self.socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind in (_GOAWAY, _RST_STREAM):
            raise Failed(f"the server ended {'the connection' if kind == _GOAWAY else 'a call'}: {payload!r}")

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
