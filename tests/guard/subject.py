"""What is measured: everything that the chassis does around an empty unary handler, and nothing of gRPC's own."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from chassis.auth import JwtAuthenticator
from chassis.call import Interceptor
from chassis.logging import Logs
from chassis.metrics import Metrics
from chassis.server.registrar import Handlers, Registrar
from chassis.tracing import Tracing
from interceptors import default_stack
from interceptors.edge import Serving
from tests.bench.credentials import Credentials
from tests.bench.servicer import UNARY

_SAMPLE_RATE = 0.1
_NEVER = 3600.0  # seconds until spans are sent; the measurement is over before


class Context:
    """What gRPC tells of a call, without gRPC."""

    def __init__(self, token: str) -> None:
        self._metadata = (
            ("user-agent", "grpc-python/1.85.1 grpc-c/55.0.0 (linux; chttp2)"),
            ("authorization", f"Bearer {token}"),
        )

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def time_remaining(self) -> float:
        return 5.0

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50000"

    def code(self) -> None:
        return None

    def details(self) -> None:
        return None

    def trailing_metadata(self) -> None:
        return None

    def done(self) -> bool:
        return False


class _Empty(rpc.EchoServiceServicer):
    def __init__(self) -> None:
        self._reply = pb.EchoReply()

    async def Echo(self, request: pb.EchoRequest, context: Any) -> pb.EchoReply:
        return self._reply


class _Told(random.Random):
    """Draws ids by which a trace is recorded, or not."""

    def __init__(self, *, sampled: bool) -> None:
        super().__init__(0)
        self._sampled = sampled

    def getrandbits(self, k: int) -> int:
        # The low half of a trace id decides; it is near 0 here, or near its highest value.
        return 1 << (k - 1) | 1 if self._sampled else (1 << k) - 1


class _Held(io.StringIO):
    """An output that takes nothing for as long as is measured: the thread that writes lines stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.released.wait()
        return len(text)


class _Nowhere(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


Around = Callable[[list[Interceptor]], Sequence[Interceptor]]


class Subject:
    """A method with all concerns around it, called without a network."""

    def __init__(self, handlers: Handlers, token: str) -> None:
        self._service = handlers.service
        self._request = pb.EchoRequest().SerializeToString()
        self._context = Context(token)
        self._details = SimpleNamespace(method=UNARY, invocation_metadata=self._context.invocation_metadata())

    def call(self) -> None:
        """Make one call; raises AssertionError where it has to wait for something, as nothing here does."""
        serving: Coroutine[Any, Any, bytes] = self._service(self._details).unary_unary(self._request, self._context)
        reply = finish(serving)
        assert isinstance(reply, bytes), reply


@contextmanager
def concerns(token_key: str, *, sampled: bool, around: Around = list) -> Iterator[Sequence[Interceptor]]:
    """All concerns of a service, to be used within a running event loop; `around` may change the list of them."""
    output = _Held()
    logs = Logs("guard", output=output, buffer_records=1_000_000)
    logs.install()
    logs.logger.info("held")
    output.entered.wait()
    randomness = _Told(sampled=sampled)
    tracing = Tracing(
        "guard", sample_rate=_SAMPLE_RATE, batch_timeout=_NEVER, exporter=_Nowhere(), randomness=randomness
    )
    # It waits for nothing: only its thread is started.
    finish(tracing.start())
    authenticator = JwtAuthenticator(token_key)
    try:
        yield around(default_stack(tracing=tracing, metrics=Metrics("guard"), logs=logs, authenticator=authenticator))
    finally:
        output.released.set()
        logs.close()


@contextmanager
def subject(*, sampled: bool, around: Around = list) -> Iterator[Subject]:
    """The full stack around a method."""
    credentials = Credentials.new()
    registrar = Registrar()
    rpc.add_EchoServiceServicer_to_server(_Empty(), registrar)  # type: ignore[arg-type]
    with concerns(credentials.public_key, sampled=sampled, around=around) as stack:
        yield Subject(Handlers(registrar.handlers, stack, serving=Serving()), credentials.token)


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that has nothing to wait for; raises AssertionError where it does."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it did not end at once: it waits for something")
