"""Where lines go; the only code that may block, and it runs in a thread of its own."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal, Protocol

Output = Literal["stdout", "stderr"] | IO[str] | IO[bytes] | list[str]
"""A standard stream by name, any open stream, or a list that gets each line as a text (for tests)."""


class Sink(Protocol):
    """Takes lines, whole and in order."""

    terminal: bool

    def write(self, lines: Sequence[str]) -> None:
        """Write lines without their ends; raises OSError or ValueError when that fails, and may block."""
        ...


def open_sink(output: Output) -> Sink:
    """Find out how to write to an output; raises ValueError for what is none."""
    if isinstance(output, list):
        return _ListSink(output)
    # Looked up now and not at import: who replaces sys.stdout wants to have the lines.
    stream: Any = {"stdout": sys.stdout, "stderr": sys.stderr}.get(output) if isinstance(output, str) else output
    if not hasattr(stream, "write"):
        raise ValueError(f"log lines cannot go to {output!r}: give stdout, stderr, an open stream or a list")
    try:
        stream.flush()  # what was written before comes before
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return _StreamSink(stream)
    return _DescriptorSink(descriptor)


class _DescriptorSink:
    # Not by the stream's own buffer: a thread that hangs in it holds its lock, and `print` or the end of the process
    # would hang, too.

    def __init__(self, descriptor: int) -> None:
        self.terminal = os.isatty(descriptor)
        self._descriptor = descriptor
        # What is no longer than this comes through a pipe in one piece, whoever else writes into it.
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._whole_bytes = select.PIPE_BUF if is_pipe else sys.maxsize

    def write(self, lines: Sequence[str]) -> None:
        encoded = _encoded(lines)
        if len(encoded) <= self._whole_bytes:
            self._write_all(encoded)
            return
        for chunk in _chunks(encoded, self._whole_bytes):
            self._write_all(chunk)

    def _write_all(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # someone made it non-blocking, as terminals shared with other programs often are
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()


class _StreamSink:
    def __init__(self, stream: Any) -> None:
        self.terminal = bool(getattr(stream, "isatty", bool)())
        self._stream = stream
        self._text = isinstance(stream, io.TextIOBase) or not isinstance(stream, (io.RawIOBase, io.BufferedIOBase))

    def write(self, lines: Sequence[str]) -> None:
        self._stream.write("\n".join(lines) + "\n" if self._text else _encoded(lines))
        self._stream.flush()


class _ListSink:
    terminal = False

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, lines: Sequence[str]) -> None:
        self._lines.extend(lines)


def _encoded(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _chunks(encoded: bytes, size: int) -> Iterator[bytes]:
    """Cut between lines, into pieces of no more than `size` where the lines allow it."""
    start = 0
    while start < len(encoded):
        end = encoded.rfind(b"\n", start, start + size) + 1 or encoded.find(b"\n", start) + 1
        yield encoded[start:end]
        start = end
