from __future__ import annotations

import asyncio
import logging
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Literal

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc

from chassis.component import StartError
from chassis.tracing import Tracing
from chassis.tracing.otlp import http_url, secrets_in, target_name, without_credentials


def names(request: pb.ExportTraceServiceRequest) -> list[str]:
    return [span.name for spans in request.resource_spans for scope in spans.scope_spans for span in scope.spans]


@pytest.fixture
def grpc_collector() -> Iterator[tuple[str, list[str]]]:
    received: list[str] = []

    class Servicer(rpc.TraceServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            received.extend(names(request))
            return pb.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    rpc.add_TraceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", received
    server.stop(None).wait()


@pytest.fixture
def users() -> list[str | None]:
    """Who sent something to the collector, as the header says it."""
    return []


@pytest.fixture
def http_collector(users: list[str | None]) -> Iterator[tuple[str, list[str]]]:
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            users.append(self.headers["authorization"])
            received.extend([self.path, *names(pb.ExportTraceServiceRequest.FromString(body))])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


async def send(tracing: Tracing) -> None:
    await tracing.start()
    tracing.tracer.start_span("work").end()
    await tracing.stop()


@pytest.mark.parametrize("form", ["{}", "http://{}"])
async def test_spans_arrive_over_grpc(grpc_collector: tuple[str, list[str]], form: str) -> None:
    address, received = grpc_collector
    tracing = Tracing("cqar", sample_rate=1, endpoint=form.format(address), insecure="http" not in form)
    await send(tracing)
    assert (received, tracing.exported) == (["work"], 1)


@pytest.mark.parametrize("form", ["{}", "http://{}", "http://{}/", "http://{}/v1/traces"])
async def test_spans_arrive_over_http(http_collector: tuple[str, list[str]], form: str) -> None:
    address, received = http_collector
    endpoint = form.format(address)
    tracing = Tracing("cqar", sample_rate=1, endpoint=endpoint, export_mode="http", insecure="http" not in form)
    await send(tracing)
    assert (received, tracing.exported) == (["/v1/traces", "work"], 1)


async def test_an_exporter_that_cannot_be_made_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "brotli")
    with pytest.raises(StartError, match=r"spans cannot be sent to collector:4317 by grpc: .*brotli"):
        await Tracing("cqar", endpoint="http://user:s3cret@collector:4317").start()


@pytest.mark.parametrize("mode", ["grpc", "http"])
async def test_what_is_said_of_a_collector_that_refuses_has_no_credentials(
    mode: Literal["grpc", "http"], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    nobody = grpc.server(ThreadPoolExecutor(1))  # speaks gRPC, and has no such service; of HTTP it knows nothing
    port = nobody.add_insecure_port("127.0.0.1:0")
    nobody.start()
    tracing = Tracing(
        "cqar",
        sample_rate=1,
        endpoint=f"http://u:s3cret@127.0.0.1:{port}/?key=t0ken",
        export_mode=mode,
        stop_timeout=20,
    )
    await send(tracing)
    await asyncio.to_thread(nobody.stop(None).wait)
    assert (tracing.exported, tracing.dropped) == (0, 1)
    assert "spans are lost" in caplog.text
    assert "s3cret" not in caplog.text
    assert "t0ken" not in caplog.text


async def test_what_is_said_of_an_address_over_http_has_no_secret_in_any_spelling(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    # Nothing speaks that, and the error has the whole address, with what no standard allows in it spelt anew.
    endpoint = "htps://us er:s3c/ret [1]@127.0.0.1:1/?key=t0k en%2f[2]#s3cret"
    tracing = Tracing("cqar", sample_rate=1, endpoint=endpoint, export_mode="http", stop_timeout=20)
    await send(tracing)
    assert tracing.dropped == 1
    (told,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "htps://127.0.0.1:1/" in told
    for secret in ("us er", "us%20er", "s3c", "t0k"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://u:s3cret@otel.example:4318",
        "https://u:s3cret@otel.example:4318/v1/traces?key=s3cret#s3cret",
        "https://otel.example:4318?key=s3cret",
        "https://otel.example:4318#s3cret",
        "otel.example:4318?key=s3cret",
        "otel.example:4318/v1?key=s3cret",
        "u:s3cret@otel.example:4318",
        # What no standard allows in a password, and people write.
        "https://u:s3cret/s3cret@otel.example:4318",
        "https://u:s3cret?s3cret#s3cret@otel.example:4318/",
        "https://u:s3cret@s3cret://s3cret@otel.example:4318",
        "u:s3cret://s3cret@otel.example:4318",
        "https://u:s3cret:4318/@otel.example:4318",
    ],
)
def test_the_name_of_a_collector_has_no_part_of_its_secrets(endpoint: str) -> None:
    assert target_name(endpoint) == "otel.example:4318"
    assert "s3cret" not in without_credentials(endpoint)
    assert http_url(endpoint, insecure=False).startswith("https://otel.example:4318/v1")
    assert any("s3cret" in each for each in secrets_in(endpoint))


@pytest.mark.parametrize("address", ["unix:///run/otel.sock", "u:s3cret@collector", "collector"])
def test_a_collector_without_a_host_or_a_port_has_a_name(address: str) -> None:
    assert target_name(address) == ("/run/otel.sock" if "unix" in address else "collector")


@pytest.mark.parametrize("mode", ["grpc", "http"])
@pytest.mark.parametrize("endpoint", ["http://u:s3cret?s3cret@collector:4317", "http://collector:4317/?key=s3cret@b"])
async def test_an_address_with_two_meanings_is_sent_nothing(mode: Literal["grpc", "http"], endpoint: str) -> None:
    with pytest.raises(
        StartError, match=r"spans cannot be sent to \w+(:4317)?: .* write %3F and %23 .* or %40"
    ) as told:
        await Tracing("cqar", endpoint=endpoint, export_mode=mode).start()
    assert "s3cret" not in str(told.value)


async def test_a_password_with_a_slash_reaches_a_collector_over_http(
    http_collector: tuple[str, list[str]], users: list[str | None]
) -> None:
    address, received = http_collector
    endpoint = f"http://u:s3/c%20r@t@{address}"
    await send(Tracing("cqar", sample_rate=1, endpoint=endpoint, export_mode="http"))
    assert received == ["/v1/traces", "work"]
    assert users == [f"Basic {b64encode(b'u:s3/c r@t').decode()}"]


@pytest.mark.parametrize(
    ("given", "sent"), [("", None), ("t0ken@", b"t0ken:"), ("u:p%C3%A9:q@", "u:p\u00e9:q".encode()), (":@", None)]
)
async def test_user_password_and_query_of_the_address_reach_a_collector_over_http(
    http_collector: tuple[str, list[str]], users: list[str | None], given: str, sent: bytes | None
) -> None:
    address, received = http_collector
    endpoint = f"http://{given}{address}?key=a b%26%c3%a9&c=%#part"
    await send(Tracing("cqar", sample_rate=1, endpoint=endpoint, export_mode="http"))
    assert received == ["/v1/traces?key=a%20b%26%C3%A9&c=%25", "work"]
    assert users == [None if sent is None else f"Basic {b64encode(sent).decode()}"]


async def test_user_and_password_of_the_address_reach_a_collector_over_grpc() -> None:
    seen: list[dict[str, str]] = []

    class Servicer(rpc.TraceServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            seen.append(dict(context.invocation_metadata()))
            return pb.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    rpc.add_TraceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    await send(Tracing("cqar", sample_rate=1, endpoint=f"http://u:s3cret@127.0.0.1:{port}"))
    await asyncio.to_thread(server.stop(None).wait)
    assert [each["authorization"] for each in seen] == ["Basic dTpzM2NyZXQ="]
