"""Metadata as no grpc client sends it: what any stranger can put on the wire before anybody asks who they are."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.logging import Logs
from chassis.metrics import Metrics
from chassis.server import GrpcServer
from chassis.testing.echo import EchoServicer
from chassis.tracing import Tracing
from interceptors import default_stack
from tests.hostile import DATA, Frame, Hostile, message

ECHO = b"/cqi.testing.v1.EchoService/Echo"
MADE_UP = re.compile("[0-9a-f]{32}")
# All that can break a line, a terminal, or what reads lines: C0 and C1 controls, DEL, and Unicode's own line ends.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
FORGED = b'r-1\n{"level":"error","message":"forged"}'


class Served:
    """The echo service behind all interceptors, in a thread: what calls it blocks."""

    def __init__(self, form: Literal["json", "console"]) -> None:
        self.form = form
        self.lines: list[str] = []
        self.spans = InMemorySpanExporter()
        self._logs = Logs("echo", level="info", format=form, output=self.lines)
        tracing = Tracing("echo", sample_rate=1)
        assert tracing.recorder is not None
        tracing.recorder.provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self._server = GrpcServer(
            lambda registrar: rpc.add_EchoServiceServicer_to_server(EchoServicer(), registrar),
            default_stack(tracing=tracing, metrics=Metrics("echo"), logs=self._logs),
            grace=0.2,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def port(self) -> int:
        return self._server.port

    def start(self) -> None:
        self._thread.start()
        self._run(self._logs.start())
        self._run(self._server.start())

    def stop(self) -> None:
        self._run(self._server.stop())
        self._run(self._logs.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> None:
        async def under_its_logs() -> None:
            self._logs.activate()
            await work

        asyncio.run_coroutine_threadsafe(under_its_logs(), self._loop).result(20)

    def told(self) -> list[str]:
        """The lines that were written since this was last asked."""
        assert self._logs.flush(5)
        lines, self.lines[:] = list(self.lines), []
        return lines


@pytest.fixture(params=["json", "console"], scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    service = Served(request.param)
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def json_served() -> Iterator[Served]:
    service = Served("json")
    service.start()
    yield service
    service.stop()


def call(connection: Hostile, headers: Sequence[tuple[bytes, bytes]]) -> tuple[StatusCode | None, dict[str, str]]:
    """How a call with these headers ended, and what its handler knew of it."""
    stream = connection.call(ECHO, headers, body=message(pb.EchoRequest(text="hello").SerializeToString()))
    facts: dict[str, str] = {}
    end: Frame | None = None
    while end is None:
        frame = connection.receive()
        assert frame is not None, "the connection was closed"
        if frame.stream == stream and frame.kind == DATA and frame.payload:
            reply = pb.EchoReply.FromString(frame.payload[5:])
            assert reply.text == "hello"
            facts = dict(reply.facts)
        if frame.stream == stream and frame.ends:
            end = frame
    return end.status, facts


ODD = {
    "latin-1": [(b"x-odd", b"caf\xe9 \xff")],
    "half a character of UTF-8": [(b"x-odd", b"\xc3")],
    "Unicode's line ends": [(b"x-request-id", "r\u2028\u2029\u202e".encode())],
    "latin-1 request id": [(b"x-request-id", b"r-\xff\x85")],
    "latin-1 credentials": [(b"authorization", b"Bearer \xff")],
    "latin-1 trace": [(b"traceparent", b"00-\xff"), (b"tracestate", b"\xff=\xfe"), (b"baggage", b"\xff=%zz")],
    "latin-1 user agent": [(b"user-agent", b"\xff\t\x1b[2J")],
    "a long name": [(b"n" * 300, b"v")],
    "a long value": [(b"x-request-id", b"r" * 4000)],
    "tab": [(b"x-request-id", b"a\tb")],
    "line end": [(b"x-request-id", FORGED)],
    "line ends of all kinds": [(b"x-request-id", b"a\rb\r\nc\x0bd\x0ce\x1cf\x85g")],
    "escape": [(b"x-request-id", b"\x1b[2J\x1b[31mred")],
    "NUL and DEL": [(b"x-request-id", b"a\0b\x7fc")],
    "nothing": [(b"x-request-id", b""), (b"traceparent", b""), (b"authorization", b"")],
    "very many": [(b"x-%d" % number, b"v") for number in range(300)],
    "many of one name": [(b"x-request-id", b"r-%d" % number) for number in range(100)],
    "two traces": [(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"), (b"traceparent", b"zzz")],
    "control characters everywhere": [(b"x-%d" % number, bytes([number])) for number in range(1, 32)],
}


@pytest.mark.parametrize("odd", ODD)
def test_a_call_with_odd_metadata_is_answered_and_leaves_one_line(served: Served, odd: str) -> None:
    served.told()
    with Hostile(served.port) as connection:
        status, facts = call(connection, ODD[odd])
        lines = served.told()
        assert status is StatusCode.OK
        assert [CONTROLS.findall(line.rstrip("\n")) for line in lines] == [[]]
        if served.form == "json":
            line = json.loads(lines[0])
            assert (line["message"], line["level"], line["code"]) == ("grpc call completed", "info", "OK")
            assert line["request_id"] == facts["request_id"]
        else:
            assert "grpc call completed" in lines[0]
        # The next one on the same connection, in proper form.
        assert call(connection, [(b"x-request-id", b"r-2")])[1]["request_id"] == "r-2"


REFUSED = {
    "a name in capitals": [(b"X-Odd", b"v")],
    "a name with a space": [(b"x odd", b"v")],
    "a name with a line end": [(b"x\nodd", b"v")],
    "a name in latin-1": [(b"x-\xff", b"v")],
    "no name": [(b"", b"v")],
    "no base64": [(b"x-odd-bin", b"!!!")],
    "half a base64": [(b"x-odd-bin", b"a")],
    "no base64, in latin-1": [(b"grpc-trace-bin", b"\xff\xff")],
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_grpc_refuses_is_refused_alone(served: Served, refused: str) -> None:
    served.told()
    with Hostile(served.port) as connection:
        status, facts = call(connection, REFUSED[refused])
        assert (status, facts) == (StatusCode.INTERNAL, {})
        assert served.told() == []
        assert call(connection, [(b"x-request-id", b"r-2")])[1]["request_id"] == "r-2"


def test_of_several_request_ids_the_first_counts(json_served: Served) -> None:
    with Hostile(json_served.port) as connection:
        _, facts = call(connection, [(b"x-request-id", b"r-1"), (b"x-request-id", b"r-2")])

    assert facts["request_id"] == "r-1"


def test_what_grpc_has_to_say_of_metadata_is_not_kept_from_other_handlers(
    json_served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), Hostile(json_served.port) as connection:
        call(connection, ODD["latin-1"])

    assert "grpc._cython.cygrpc" in {record.name for record in caplog.records}


@given(st.binary(max_size=200))
@example(FORGED)
@example(b" r-1 ")
@example(b" ")
@example(b"r" * 128)
@example(b"r" * 129)
def test_a_request_id_is_taken_as_it_is_or_not_at_all(json_served: Served, given_id: bytes) -> None:
    json_served.told()
    with Hostile(json_served.port) as connection:
        status, facts = call(connection, [(b"x-request-id", given_id)])

    assert status is StatusCode.OK
    usable = re.fullmatch(rb"[ -~]{1,128}", given_id) is not None
    known = facts["request_id"]
    # HTTP does not tell spaces around a value from none, and gRPC may take them off.
    assert known.strip() == given_id.decode().strip() if usable and given_id.strip() else MADE_UP.fullmatch(known)
    (line,) = json_served.told()
    assert json.loads(line)["request_id"] == known


TRACEPARENT = re.compile(
    "(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?", re.DOTALL
)
GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def meant_by(header: bytes) -> tuple[str, bool] | None:
    """The trace id, and whether it is recorded, that W3C Trace Context (section 3.2) sees in a header, by its grammar.

    Spaces around a header's value are not part of it (RFC 9110, 5.5).
    """
    found = TRACEPARENT.fullmatch(header.strip(b" \t").decode("latin-1"))
    if found is None or (found[1] == "00" and found[4] is not None):
        return None
    return found[2], int(found[3], 16) & 1 == 1


@st.composite
def nearly_good(draw: st.DrawFn) -> bytes:
    """A good header in which something was changed, left out or added."""
    text = GOOD.encode()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text)))
        new = draw(st.one_of(st.binary(max_size=2), st.sampled_from([b"-", b"0", b"g", b"A", b"ff", b"01-", b"\xff"])))
        text = text[:place] + new + text[place + draw(st.integers(0, 3)) :]
    return text


@given(
    st.one_of(st.binary(max_size=80), nearly_good(), st.text(alphabet="0123456789abcdef-", max_size=70).map(str.encode))
)
@example(GOOD.encode())
@example(GOOD.upper().encode())
@example(GOOD[:-2].encode() + b"00")
@example(b" \t" + GOOD.encode() + b"\t ")
@example(b"ff" + GOOD[2:].encode())
@example(b"cc" + GOOD[2:].encode() + b"-more")
@example(GOOD.encode() + b"-more")
@example(b"00-" + b"0" * 32 + GOOD[35:].encode())
@example(GOOD[:36].encode() + b"0" * 16 + b"-01")
@example(f"00-{GOOD}".encode())
@example(GOOD.encode() + b"," + GOOD.encode())
def test_a_trace_is_continued_or_begins_anew(json_served: Served, header: bytes) -> None:
    json_served.spans.clear()
    with Hostile(json_served.port) as connection:
        status, facts = call(connection, [(b"traceparent", header)])

    assert status is StatusCode.OK
    meant = meant_by(header)
    trace_id = facts["trace_id"]
    if meant is None:
        assert MADE_UP.fullmatch(trace_id)
        assert trace_id.encode() not in header
    else:
        assert trace_id == meant[0]
    recorded = meant is None or meant[1]
    spans = json_served.spans.get_finished_spans()
    assert [f"{span.context.trace_id:032x}" for span in spans] == [trace_id] * recorded
    assert all((span.parent is None) == (meant is None) for span in spans)
