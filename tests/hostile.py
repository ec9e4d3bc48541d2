"""A gRPC client that does what no library does: HTTP/2 frames by hand, for what a server must stand.

Headers are sent as literals that are not indexed (RFC 7541, section 6.2.2), so that any bytes can be in them. Of what
comes back only frames are understood, and the status of gRPC where it is spelt out. Sources: RFC 9113, RFC 7541.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from grpc import StatusCode

PATIENCE = 20.0

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
LARGEST_FRAME = 16384

_INITIAL_WINDOW_SIZE = 4
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65535
_STATUS = re.compile(rb"grpc-status([\x01\x02])([0-9]+)")

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Frame:
    """A frame that the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends(self) -> bool:
        """Whether nothing more comes on its stream."""
        return self.kind == RST_STREAM or (self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM))

    @property
    def status(self) -> StatusCode | None:
        """The code of gRPC, where this is the first frame of its connection that has one."""
        found = _STATUS.search(self.payload) if self.kind == HEADERS else None
        if found is None:
            return None
        number = int(found[2][: found[1][0]])
        return next(code for code in StatusCode if code.value[0] == number)


class Hostile:
    """A connection to a server on this machine; what is to be sent is up to the test."""

    def __init__(self, port: int, *, window: int = _LARGEST_WINDOW) -> None:
        """`window` is how many bytes of a reply it takes before it says that it has read some."""
        self.port = port
        self._buffer = b""
        self._credit = _DEFAULT_WINDOW
        self._next_stream = 1
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)
        self.socket.sendall(PREFACE)
        self.send(SETTINGS, 0, 0, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Send one frame as it is."""
        self.socket.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def call(
        self, path: bytes, headers: Headers = (), *, block: bytes = b"", body: bytes | None = None, ends: bool = True
    ) -> int:
        """Begin a call, with this body where one is given; returns the number of its stream.

        `block` is the end of the header block, as it is.
        """
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        known = (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"127.0.0.1"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in (*known, *headers)) + block
        parts = [block[place : place + LARGEST_FRAME] for place in range(0, len(block), LARGEST_FRAME)]
        for index, part in enumerate(parts):
            flags = END_HEADERS if index == len(parts) - 1 else 0
            self.send(CONTINUATION if index else HEADERS, flags, stream, part)
        if body is not None:
            self.data(stream, body, ends=ends)
        return stream

    def data(self, stream: int, body: bytes, *, ends: bool = True) -> None:
        """Send so much of a body as the server takes without being asked: it must fit into the first window."""
        if len(body) > self._credit:
            raise ValueError(f"{len(body)} bytes are more than the {self._credit} that a server takes unasked")
        self._credit -= len(body)
        parts = [body[place : place + LARGEST_FRAME] for place in range(0, len(body), LARGEST_FRAME)] or [b""]
        for index, part in enumerate(parts):
            self.send(DATA, END_STREAM if ends and index == len(parts) - 1 else 0, stream, part)

    def receive(self) -> Frame | None:
        """Give the next frame, None where the server closed the connection; what HTTP/2 has to be answered is."""
        while True:
            while (frame := self._parsed()) is None:
                try:
                    received = self.socket.recv(65536)
                except ConnectionResetError:
                    received = b""
                if not received:
                    return None
                self._buffer += received
            if frame.kind not in (SETTINGS, PING) or frame.flags & ACK:
                return frame
            with contextlib.suppress(OSError):  # closed meanwhile; what came before can still be read
                self.send(frame.kind, ACK, 0, frame.payload if frame.kind == PING else b"")

    def end_of(self, stream: int) -> Frame | None:
        """Wait for the end of a call: the frame that ended it, or None where the connection ended."""
        while (frame := self.receive()) is not None:
            if frame.stream == stream and frame.ends:
                return frame
        return None

    def _parsed(self) -> Frame | None:
        if len(self._buffer) < 9:
            return None
        behind = 9 + int.from_bytes(self._buffer[:3], "big")
        if len(self._buffer) < behind:
            return None
        kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
        frame = Frame(kind, flags, stream, self._buffer[9:behind])
        self._buffer = self._buffer[behind:]
        return frame


def message(payload: bytes, *, compressed: bool = False, length: int | None = None) -> bytes:
    """A message as gRPC frames it; `length` is what it claims, where that is another than it has."""
    return struct.pack(">BI", compressed, len(payload) if length is None else length) + payload


def bomb(value: bytes, times: int) -> bytes:
    """A header that is put into the peer's table once, and then referred to so many times, by a byte each."""
    # RFC 7541: sections 6.2.1 and 6.1. The newest entry of the table has the number 62.
    return b"\x40" + _text(b"x-bomb") + _text(value) + b"\xbe" * times


def _text(value: bytes) -> bytes:
    # RFC 7541, section 5.1: the length in a byte whose seven low bits are free, without Huffman's code.
    size = len(value)
    if size < 127:
        return bytes([size]) + value
    encoded, size = [127], size - 127
    while size >= 128:
        encoded.append(size % 128 + 128)
        size //= 128
    return bytes([*encoded, size]) + value
