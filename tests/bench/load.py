"""The two loads: as many calls as the server takes, by h2load or by our own client, and calls at a fixed rate."""

from __future__ import annotations

import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.child import Child, metered
from tests.bench.http2 import TIMEOUT, Connection, Failed
from tests.bench.servicer import reply_bytes
from tests.bench.statistics import Sample

CONNECTIONS = 4
STREAMS = 8  # calls under way at a time on each connection
_PATIENCE = 60.0  # seconds that a load may take


def has_h2load() -> bool:
    """Whether nghttp2's load generator is installed."""
    return shutil.which("h2load") is not None


def closed_by_h2load(child: Child, path: str, request: bytes, calls: int) -> Sample:
    """Make so many calls by h2load; raises Failed where any of them did not succeed."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0" + len(request).to_bytes(4, "big") + request)
        file.flush()
        command = h2load_command(child.port, path, child.credentials.token, file.name, calls)
        with metered(child) as meter:
            output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE).stdout
    finished, bodies = read_h2load(output)
    _prove(bodies, reply_bytes(request) * calls)
    return meter.saturated(calls, calls / finished)


def h2load_command(port: int, path: str, token: str, body: str, calls: int) -> list[str]:
    """How h2load is called, with a body out of a file of this name."""
    return [
        *("h2load", f"-n{calls}", f"-c{CONNECTIONS}", f"-m{STREAMS}", "-d", body),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        *("-H", f"grpc-timeout: {TIMEOUT}", "-H", f"authorization: Bearer {token}"),
        f"http://127.0.0.1:{port}{path}",
    ]


def read_h2load(output: str) -> tuple[float, int]:
    """Read calls a second and bytes of bodies from h2load's output; raises Failed where they are not there."""
    finished = re.search(r"^finished in .*, ([\d.]+) req/s", output, re.MULTILINE)
    bodies = re.search(r"\((\d+)\) data$", output, re.MULTILINE)
    if finished is None or bodies is None:
        raise Failed(f"h2load's output cannot be read:\n{output}")
    return float(finished[1]), int(bodies[1])


def closed(child: Child, path: str, request: bytes, calls: int, *, replies: int = 1, streams: int = STREAMS) -> Sample:
    """Make so many calls by our own client, as fast as they are answered; a stream counts by its `replies`."""
    with _connections(child, path, request) as connections:
        poll = _Poll(connections)
        left = calls
        with metered(child) as meter:
            started = time.perf_counter()
            for connection in connections:
                connection.send([started] * streams)
                left -= streams
            ended = 0
            while ended < calls:
                for connection in poll.readable():
                    done = len(connection.receive())
                    ended += done
                    # As many as have ended, or were put off before by flow control.
                    begin = min(streams - len(connection.open), left)
                    if begin > 0:
                        before = len(connection.open)
                        left -= connection.send([started] * begin) - before
            seconds = time.perf_counter() - started
        _prove(sum(each.body_bytes for each in connections), reply_bytes(request, replies) * calls)
    return meter.saturated(calls * replies, seconds)


def at_rate(child: Child, path: str, request: bytes, calls: int, rate: float) -> Sample:
    """Begin calls at a fixed rate, whether earlier ones are answered or not; times count from when each was due."""
    latencies: list[float] = []
    with _connections(child, path, request) as connections:
        poll = _Poll(connections)
        with metered(child) as meter:
            started = time.perf_counter()
            due = 0
            while len(latencies) < calls:
                now = time.perf_counter()
                while due < calls and started + due / rate <= now:
                    connections[due % CONNECTIONS].send([started + due / rate])
                    due += 1
                wait = started + due / rate - time.perf_counter() if due < calls else 1.0
                for connection in poll.readable(max(wait, 0.0)):
                    ends = connection.receive()
                    now = time.perf_counter()
                    latencies += [(now - begin) * 1000 for begin in ends]
            seconds = time.perf_counter() - started
        _prove(sum(each.body_bytes for each in connections), reply_bytes(request) * calls)
    return meter.sample(calls, seconds, latencies)


def _prove(received: int, expected: int) -> None:
    if received != expected:
        raise Failed(f"the bodies of the replies are {received} bytes and not {expected}: calls have failed")


@contextmanager
def _connections(child: Child, path: str, request: bytes) -> Iterator[list[Connection]]:
    connections: list[Connection] = []
    try:
        for _ in range(CONNECTIONS):
            connections.append(Connection(child.port, path, child.credentials.token, request))
        yield connections
    finally:
        for connection in connections:
            connection.close()


class _Poll:
    def __init__(self, connections: list[Connection]) -> None:
        self._by_descriptor = {each.socket.fileno(): each for each in connections}
        self._selectable = list(self._by_descriptor)
        self._quiet_since = time.monotonic()

    def readable(self, wait: float = 1.0) -> list[Connection]:
        ready, _, _ = select.select(self._selectable, (), (), wait)
        if ready:
            self._quiet_since = time.monotonic()
        elif time.monotonic() - self._quiet_since > _PATIENCE:
            raise Failed(f"nothing came back for {_PATIENCE:g} seconds")
        return [self._by_descriptor[descriptor] for descriptor in ready]


def closed_by_best(child: Child, path: str, request: bytes, calls: int, *, h2load: bool) -> Sample:
    """Make so many unary calls by h2load, or by our own client."""
    return closed_by_h2load(child, path, request, calls) if h2load else closed(child, path, request, calls)
