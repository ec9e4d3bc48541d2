from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode

from chassis.call import Call, Kind, Method, PerMethod, Principal, Proceed, TraceContext, compose, enter
from chassis.errors import TABLE, AlreadyExists, ChassisError, NotFound, Permanent, Temporary, Undecodable
from chassis.logging import Logs
from chassis.logging.line import level_name
from chassis.testing.echo import EchoServicer
from interceptors.client import client_interceptors
from interceptors.errors import ErrorsInterceptor
from interceptors.interceptor import RpcInterceptor
from interceptors.logging import LoggingInterceptor
from interceptors.recovery import RecoveryInterceptor

TRACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)
PATH = "/pkg.Greeter/Greet"
SERVED = Method.grpc(PATH, Kind.UNARY_UNARY, "server")
MADE = Method.grpc(PATH, Kind.UNARY_UNARY, "client")


class ACall(Call):
    """A call as a transport would make it."""

    __slots__ = ("deliveries", "ended_as", "event_id", "http_status", "path", "verb")

    def __init__(self, method: Method, **facts: Any) -> None:
        super().__init__(method, metadata={"x-request-id": 'r-"1"'})
        self.trace = TRACE
        self.ended_as: StatusCode | None = None
        for name, value in facts.items():
            setattr(self, name, value)

    @property
    def peer(self) -> str:
        return "ipv4:127.0.0.1:4000"

    def code_of(self, error: BaseException) -> StatusCode:
        return self.ended_as or super().code_of(error)


class Log:
    def __init__(self, **options: Any) -> None:
        self.raw: list[str] = []
        self.logs = Logs("cqar", output=self.raw, **{"level": "debug", **options})
        self.logs.install()

    def lines(self) -> list[dict[str, Any]]:
        assert self.logs.flush(30)
        lines = [json.loads(line) for line in self.raw]
        return [line for line in lines if line["logger"].startswith("chassis.")]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line


@pytest.fixture
def open_log() -> Iterator[Callable[..., Log]]:
    opened: list[Log] = []

    def open_one(**options: Any) -> Log:
        opened.append(Log(**options))
        return opened[-1]

    yield open_one
    for log in opened:
        assert log.logs.close(30)


@pytest.fixture
def log(open_log: Callable[..., Log]) -> Log:
    return open_log()


async def run(interceptors: Any, call: Call, ending: BaseException | None = None) -> None:
    """Make a call through interceptors, in whose handler this ending comes about."""

    async def handler(call: Call) -> str:
        if ending is not None:
            raise ending
        return "done"

    listed = interceptors if isinstance(interceptors, list) else [interceptors]
    chain = compose(listed, call.method, handler)
    if ending is None:
        assert await chain(call) == "done"
        return
    with pytest.raises(BaseException) as caught:  # noqa: PT011  any, and which one is asked below
        await chain(call)
    assert caught.value is ending or isinstance(caught.value, ChassisError)


async def test_a_call_leaves_one_line_with_what_there_is_to_know(log: Log) -> None:
    call = ACall(SERVED)
    call.principal = Principal("cqmd", "service", "api_key", token="s3cret")
    await run(LoggingInterceptor(log.logs), call)
    line = log.line()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "message": "grpc call completed",
        "service_name": "cqar",
        "logger": "chassis.call",
        "method": PATH,
        "kind": "unary_unary",
        "code": "OK",
        "trace_id": TRACE.trace_id,
        "span_id": TRACE.span_id,
        "request_id": 'r-"1"',
        "duration_ms": round(call.duration * 1000, 3),
        "peer": "ipv4:127.0.0.1:4000",
        "principal": "cqmd",
    }


@pytest.mark.parametrize("error_class", TABLE)
async def test_the_level_is_that_of_the_errors_meaning(log: Log, error_class: type[ChassisError]) -> None:
    await run(LoggingInterceptor(log.logs), ACall(SERVED), error_class("why"))
    line = log.line()
    assert line["level"] == level_name(error_class.meaning.log_level)
    assert (line["code"], line["error"]) == (error_class.meaning.code.name, "why")
    assert "stack" not in line


async def test_what_only_the_log_may_know_of_an_error_is_in_the_log(log: Log) -> None:
    for detail in ("replica 2", None):
        error = Temporary("prices are not available", detail=detail)
        error.__cause__ = ConnectionResetError("10.0.0.7 said no")
        await run(LoggingInterceptor(log.logs), ACall(SERVED), error)
    detailed, plain = log.lines()
    assert plain["error"] == detailed["error"] == "prices are not available"
    assert plain["cause"] == "ConnectionResetError: 10.0.0.7 said no"
    # Whoever writes a detail has said what may be told of the cause.
    assert detailed["detail"] == "replica 2"
    assert "cause" not in detailed


async def test_an_error_without_a_text_is_told_by_its_class(log: Log) -> None:
    await run(LoggingInterceptor(log.logs), ACall(SERVED), NotFound())
    assert log.line()["error"] == "NotFound"


@pytest.mark.parametrize("around", [[], [RecoveryInterceptor()]], ids=["alone", "inside of recovery"])
@pytest.mark.parametrize("within", [[], [ErrorsInterceptor()]], ids=["alone", "around errors"])
async def test_a_crash_is_logged_once_with_its_stack(log: Log, around: list[Any], within: list[Any]) -> None:
    call = ACall(SERVED)
    await run([*around, LoggingInterceptor(log.logs), *within], call, KeyError("id"))
    line = log.line()
    assert (line["level"], line["code"], line["error"]) == ("error", "INTERNAL", "KeyError: 'id'")
    assert line["stack"].startswith("Traceback")
    assert line["stack"].endswith("KeyError: 'id'")
    assert line["message"] == "grpc call completed"
    assert line["duration_ms"] == round(call.duration * 1000, 3)


async def test_a_crash_that_has_been_logged_already_has_no_second_stack(log: Log) -> None:
    await run([LoggingInterceptor(log.logs), LoggingInterceptor(log.logs)], ACall(SERVED), KeyError("id"))
    inner, outer = log.lines()
    assert "stack" in inner
    assert "stack" not in outer
    assert (outer["level"], outer["code"]) == ("error", "INTERNAL")


async def test_the_line_of_a_crash_has_the_fields_of_any_other_line_and_those_of_an_error(log: Log) -> None:
    interceptor = LoggingInterceptor(log.logs)
    for ending in (None, KeyError("id")):
        call = ACall(SERVED)
        call.principal = Principal("cqmd", "service", "api_key")
        await run(interceptor, call, ending)
    well, crash = log.lines()
    assert set(crash) - set(well) == {"error", "stack"}
    assert set(well) <= set(crash)


async def test_a_crash_of_another_service_says_which_and_what(log: Log) -> None:
    downstream = NotFound("no such venue")
    downstream.remote = "/pkg.Venues/Get"
    await run([LoggingInterceptor(log.logs), ErrorsInterceptor()], ACall(SERVED), downstream)
    line = log.line()
    assert (line["level"], line["code"], line["error"]) == ("error", "INTERNAL", "no such venue")
    assert line["detail"] == "/pkg.Venues/Get answered NOT_FOUND: no such venue"
    assert "stack" in line


@pytest.mark.parametrize(
    ("code", "level"), [("CANCELLED", "info"), ("DEADLINE_EXCEEDED", "warn"), ("UNAVAILABLE", "warn")]
)
async def test_a_call_that_was_ended_from_outside_is_no_error_of_the_handler(log: Log, code: str, level: str) -> None:
    await run(LoggingInterceptor(log.logs), ACall(SERVED, ended_as=StatusCode[code]), asyncio.CancelledError())
    line = log.line()
    assert (line["level"], line["code"]) == (level, code)
    assert "error" not in line


async def test_an_abort_by_an_interceptor_of_another_house_is_no_crash(log: Log) -> None:
    call = ACall(SERVED, ended_as=StatusCode.INTERNAL)
    await run(LoggingInterceptor(log.logs), call, grpc.aio.AbortError("Locally aborted."))
    line = log.line()
    assert (line["code"], line["level"]) == ("INTERNAL", "error")
    assert "stack" not in line


async def test_a_handlers_own_words_are_not_explained_by_grpcs(log: Log) -> None:
    error = NotFound("no such asset")
    error.__cause__ = grpc.aio.AbortError("Locally aborted.")
    await run(LoggingInterceptor(log.logs), ACall(SERVED), error)
    assert "cause" not in log.line()


# Calls going out.


async def test_a_call_going_out_that_went_well_is_told_at_debug(log: Log) -> None:
    await run(LoggingInterceptor(log.logs), ACall(MADE))
    line = log.line()
    assert (line["level"], line["message"]) == ("debug", "grpc client call completed")


@pytest.mark.parametrize(("error", "level"), [(NotFound("x"), "info"), (Temporary("x"), "warn")])
async def test_another_services_word_has_the_level_of_its_meaning(log: Log, error: ChassisError, level: str) -> None:
    error.remote = PATH
    await run(LoggingInterceptor(log.logs), ACall(MADE), error)
    line = log.line()
    assert (line["level"], line["code"], line["error"]) == (level, error.code.name, "x")


async def test_a_mistake_in_making_a_call_has_no_stack_because_the_call_that_made_it_has_one(log: Log) -> None:
    await run(LoggingInterceptor(log.logs), ACall(MADE), TypeError("no message"))
    line = log.line()
    assert (line["level"], line["code"], line["error"]) == ("error", "INTERNAL", "TypeError: no message")
    assert "stack" not in line


async def test_the_line_of_a_call_going_out_names_its_own_span(log: Log) -> None:
    enter(ACall(SERVED))
    outgoing = ACall(MADE)
    outgoing.trace = TraceContext(TRACE.trace_id, "1" * 16, True)
    await run(LoggingInterceptor(log.logs), outgoing)
    assert log.line()["span_id"] == "1" * 16


# HTTP and events.


def http(path: str = "/assets/{id}", *, known: bool = True, probe: bool = False) -> Method:
    name = "GET" if known else "unknown"
    return Method("http", "server", path, "", name, Kind.UNARY_UNARY, known=known, probe=probe)


async def test_a_request_over_http_is_told_by_its_route_and_status(log: Log) -> None:
    await run(LoggingInterceptor(log.logs), ACall(http(), http_status=201))
    line = log.line()
    assert line["message"] == "request completed"
    assert (line["method"], line["path"], line["status_code"], line["code"]) == ("GET", "/assets/{id}", 201, "OK")
    assert "kind" not in line


@pytest.mark.parametrize(("status", "level"), [(302, "info"), (404, "info"), (429, "warn"), (500, "error")])
async def test_a_response_that_says_no_has_the_level_of_its_status(log: Log, status: int, level: str) -> None:
    await run(LoggingInterceptor(log.logs), ACall(http(), http_status=status))
    assert (log.line()["status_code"], log.line()["level"]) == (status, level)


@pytest.mark.parametrize(
    ("ending", "status"), [(None, 200), (NotFound("no"), 404), (KeyError(), 500), (asyncio.CancelledError(), 499)]
)
async def test_a_transport_that_does_not_tell_its_status_has_that_of_the_code(
    log: Log, ending: BaseException | None, status: int
) -> None:
    await run(LoggingInterceptor(log.logs), ACall(http()), ending)
    assert log.line()["status_code"] == status


async def test_each_status_of_a_route_has_its_own_line(log: Log) -> None:
    interceptor, method = LoggingInterceptor(log.logs), http()
    for status in (200, 201, 200):
        await run(interceptor, ACall(method, http_status=status))
    assert [line["status_code"] for line in log.lines()] == [200, 201, 200]


async def test_a_path_without_a_route_is_told_as_it_was_asked_for(log: Log) -> None:
    call = ACall(http("unknown", known=False), http_status=404, verb="GET", path='/wp-"admin"\n')
    await run(LoggingInterceptor(log.logs), call, NotFound("no such route"))
    line = log.line()
    assert (line["path"], line["requested"]) == ("unknown", 'GET /wp-"admin"\n')


HANDLED = Method("event", "server", "cqc.events.v1.asset_created", "nats", "process", Kind.EVENT)
PUBLISHED = Method("event", "client", "cqc.events.v1.asset_created", "nats", "publish", Kind.EVENT)


@pytest.mark.parametrize(
    ("method", "ending", "level", "message"),
    [
        (HANDLED, None, "info", "event processed"),
        (HANDLED, AlreadyExists("seen"), "info", "event processed"),
        (HANDLED, NotFound("no"), "info", "event processing failed"),
        (HANDLED, Undecodable("no"), "error", "event processing failed"),
        (HANDLED, KeyError("id"), "error", "event processing failed"),
        (PUBLISHED, None, "debug", "event published"),
        (PUBLISHED, Temporary("no"), "warn", "event publishing failed"),
    ],
)
async def test_an_event_is_told_by_topic_and_id(
    log: Log, method: Method, ending: BaseException | None, level: str, message: str
) -> None:
    await run(LoggingInterceptor(log.logs), ACall(method, event_id="e-1"), ending)
    line = log.line()
    assert (line["level"], line["message"]) == (level, message)
    assert (line["topic"], line["event_id"]) == ("cqc.events.v1.asset_created", "e-1")
    assert not {"method", "kind", "deliveries"} & set(line)


async def test_an_event_that_comes_again_says_for_which_time(log: Log) -> None:
    await run(LoggingInterceptor(log.logs), ACall(HANDLED, event_id="e-1", deliveries=2))
    assert log.line()["deliveries"] == 2


# How much is written.


@pytest.mark.parametrize(
    "method",
    [
        Method.grpc("/grpc.health.v1.Health/Check", Kind.UNARY_UNARY, "server"),
        Method.grpc("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Kind.STREAM_STREAM, "server"),
        http("/health/ready", probe=True),
    ],
)
async def test_probes_are_told_at_debug_unless_they_crash(log: Log, method: Method) -> None:
    interceptor = LoggingInterceptor(log.logs)
    for ending in (None, Temporary("not ready"), KeyError("id")):
        await run(interceptor, ACall(method), ending)
    assert [line["level"] for line in log.lines()] == ["debug", "debug", "error"]


async def test_what_only_has_the_path_of_a_probe_is_told_as_any_other(log: Log) -> None:
    await run(LoggingInterceptor(log.logs), ACall(http("/health")))
    assert log.line()["level"] == "info"


class Untouchable(ACall):
    """A call that must not be asked for anything."""

    __slots__ = ()

    def over(self) -> float:
        raise AssertionError("read, although nobody wants it")


async def test_nothing_is_made_of_what_is_not_written(open_log: Callable[..., Log]) -> None:
    log = open_log(level="warn")
    interceptor = LoggingInterceptor(log.logs)
    await run(interceptor, Untouchable(SERVED))
    await run(interceptor, Untouchable(SERVED), NotFound("no"))
    assert log.lines() == []


async def test_the_level_of_the_logger_of_calls_decides_as_well(log: Log) -> None:
    calls = logging.getLogger("chassis.call")
    calls.setLevel(logging.WARNING)
    try:
        await run(LoggingInterceptor(log.logs), Untouchable(SERVED))
        await run(LoggingInterceptor(log.logs), ACall(SERVED), Permanent("broken"))
    finally:
        calls.setLevel(logging.NOTSET)
    assert log.line()["code"] == "INTERNAL"


async def test_the_level_of_the_logs_can_be_changed_at_any_time(open_log: Callable[..., Log]) -> None:
    log = open_log(level="info")
    interceptor = LoggingInterceptor(log.logs)
    for level in ("info", "debug", "info"):
        log.logs.level = level
        await run(interceptor, ACall(MADE))
    assert [line["level"] for line in log.lines()] == ["debug"]


async def test_a_call_does_not_fail_of_the_line_about_it(log: Log) -> None:
    await run(LoggingInterceptor(log.logs), Untouchable(SERVED))
    await run(LoggingInterceptor(log.logs), Untouchable(SERVED), NotFound("no"))
    assert [line["message"] for line in log.lines()] == ["the line of a call could not be written"] * 2


async def test_methods_made_anew_for_every_call_do_not_pile_up(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PerMethod, "MAX", 3)
    interceptor = LoggingInterceptor(log.logs)
    for number in range(10):
        await run(interceptor, ACall(Method.grpc(f"/pkg.Greeter/Greet{number}", Kind.UNARY_UNARY, "server")))
    assert len(interceptor._endings) <= 3
    assert [line["method"] for line in log.lines()] == [f"/pkg.Greeter/Greet{number}" for number in range(10)]


async def test_a_peer_that_has_gone_is_still_named_and_one_that_cannot_be_told_costs_nothing_else(log: Log) -> None:
    class Leaving(ACall):
        __slots__ = ("gone",)

        @property
        def peer(self) -> str:
            return "" if self.gone else "ipv4:127.0.0.1:4000"

    class Nameless(ACall):
        __slots__ = ()

        @property
        def peer(self) -> str:
            raise RuntimeError("closed")

    async def leave(call: Any) -> None:
        call.gone = True

    interceptor = LoggingInterceptor(log.logs)
    await compose([interceptor], SERVED, leave)(Leaving(SERVED, gone=False))
    await run(interceptor, Nameless(SERVED))
    assert [line.get("peer") for line in log.lines()] == ["ipv4:127.0.0.1:4000", None]


# Where it is written.


async def test_two_services_have_each_their_own_lines(open_log: Callable[..., Log]) -> None:
    one, two = open_log(), open_log()
    await run(LoggingInterceptor(one.logs), ACall(SERVED))
    await run(LoggingInterceptor(two.logs), ACall(SERVED), KeyError("id"))
    assert (one.line()["code"], two.line()["code"]) == ("OK", "INTERNAL")


async def test_without_logs_any_set_up_of_the_standard_library_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    call = ACall(SERVED)
    await run(LoggingInterceptor(), call, NotFound("100% gone"))
    (record,) = caplog.records
    assert record.name == "chassis.call"
    duration_ms = round(call.duration * 1000, 3)
    assert record.getMessage() == f"grpc call completed: {PATH} NOT_FOUND in {duration_ms} ms: 100% gone"
    facts = vars(record)
    assert (facts["code"], facts["peer"], facts["trace_id"]) == ("NOT_FOUND", "ipv4:127.0.0.1:4000", TRACE.trace_id)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x1b[2K\r", "\x85", "\u2028"])
async def test_without_logs_no_caller_writes_a_line_of_its_own(caplog: pytest.LogCaptureFixture, end: str) -> None:
    forged = "INFO chassis.call grpc call completed: /pkg.Payments/Pay OK in 1 ms"

    caplog.set_level(logging.INFO)
    await run(LoggingInterceptor(), ACall(SERVED), NotFound.of("asset", f"x{end}{forged}"))
    (message,) = caplog.messages
    assert message.splitlines() == [message]
    assert message.isprintable()
    assert message.endswith(forged)


async def test_without_logs_http_and_events_are_named_by_path_and_topic(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for method in (http(), HANDLED):
        await run(LoggingInterceptor(), ACall(method))
    assert "/assets/{id} OK in" in caplog.messages[0]
    assert "cqc.events.v1.asset_created OK in" in caplog.messages[1]


async def test_without_logs_a_crash_has_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    await run([RecoveryInterceptor(), LoggingInterceptor()], ACall(SERVED), KeyError("id"))
    (record,) = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], KeyError)


async def test_without_logs_nothing_is_made_of_what_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    await run(LoggingInterceptor(), Untouchable(SERVED))
    assert caplog.records == []


async def test_logs_that_are_not_installed_leave_it_to_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run(LoggingInterceptor(Logs("cqar")), ACall(SERVED))
    assert caplog.messages == ["grpc call completed"]


async def test_logs_that_were_closed_leave_it_to_the_standard_library_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "chassis.call")
    logs = Logs("cqar", output=[], level="error")
    interceptor = LoggingInterceptor(logs)
    logs.install()
    await run(interceptor, ACall(SERVED))
    assert logs.close(30)
    await run(interceptor, ACall(SERVED))
    assert [record.name for record in caplog.records] == ["chassis.call"]


async def test_the_same_fields_come_out_by_way_of_the_standard_library(open_log: Callable[..., Log]) -> None:
    log = open_log()
    log.logs.activate()  # others may have been installed before
    for interceptor in (LoggingInterceptor(log.logs), LoggingInterceptor()):
        call = ACall(SERVED)
        call.principal = Principal("cq\u2028md\ud800", "service", "api_key")
        await run(interceptor, call, Temporary('a "text"\n', detail="\x1b"))
    by_template, by_record = log.lines()
    for line in (by_template, by_record):
        del line["timestamp"], line["message"], line["duration_ms"]
    assert by_template == by_record


# On real servers and channels.


class Witness(RpcInterceptor):
    """Outside of everything, it only knows that a call is over."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def around(self, call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            self.over.set()


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
async def address(log: Log, witness: Witness) -> Any:
    given = [witness, LoggingInterceptor(log.logs)]
    server = grpc.aio.server(interceptors=given, options=[("grpc.so_reuseport", 0)])
    rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def line_of(log: Log, witness: Witness, code: str) -> dict[str, Any]:
    """The line of the one call that was made; the client may know of its end before the server has written it."""
    await asyncio.wait_for(witness.over.wait(), 30)
    line = log.line()
    assert line["code"] == code
    assert line["method"].startswith("/cqi.testing.v1.EchoService/Echo")
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    return line


@pytest.mark.parametrize(
    ("request_", "code", "level"),
    [
        (pb.EchoRequest(text="hi"), "OK", "info"),
        (pb.EchoRequest(text="x", outcome=pb.OUTCOME_DOMAIN_ERROR, code="NOT_FOUND"), "NOT_FOUND", "info"),
        (pb.EchoRequest(text="x", outcome=pb.OUTCOME_ABORT, code="UNAVAILABLE"), "UNAVAILABLE", "warn"),
        (pb.EchoRequest(text="x", outcome=pb.OUTCOME_SET_CODE, code="DATA_LOSS"), "DATA_LOSS", "error"),
        (pb.EchoRequest(text="x", outcome=pb.OUTCOME_NOT_IMPLEMENTED), "UNIMPLEMENTED", "info"),
        (pb.EchoRequest(text="x", outcome=pb.OUTCOME_CRASH), "INTERNAL", "error"),
    ],
)
async def test_alone_on_a_plain_server_the_code_is_that_on_the_wire(
    log: Log, witness: Witness, address: str, request_: pb.EchoRequest, code: str, level: str
) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = rpc.EchoServiceStub(channel).Echo(request_)
        assert (await call.code()).name == code
    line = await line_of(log, witness, code)
    assert line["level"] == level
    assert ("stack" in line) is (request_.outcome == pb.OUTCOME_CRASH)


async def test_a_call_that_the_client_cancels_leaves_a_line(log: Log, witness: Witness, address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = rpc.EchoServiceStub(channel).EchoStream(pb.EchoRequest(outcome=pb.OUTCOME_WAIT))
        await call.initial_metadata()  # the handler is at work
        call.cancel()
        line = await line_of(log, witness, "CANCELLED")
        assert (line["level"], line["kind"]) == ("info", "unary_stream")


async def test_a_call_whose_deadline_passes_leaves_a_line(log: Log, witness: Witness, address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = rpc.EchoServiceStub(channel).Echo(pb.EchoRequest(outcome=pb.OUTCOME_WAIT), timeout=1)
        assert await call.code() is StatusCode.DEADLINE_EXCEEDED
        assert (await line_of(log, witness, "DEADLINE_EXCEEDED"))["level"] == "warn"


async def _of_the_client(log: Log) -> dict[str, Any]:
    lines = await asyncio.to_thread(log.lines)
    (line,) = [line for line in lines if line["message"] == "grpc client call completed"]
    return line


@pytest.mark.parametrize("within", [[], [ErrorsInterceptor()]], ids=["alone", "around errors"])
async def test_on_a_channel_a_failed_call_is_told_in_the_words_of_the_service(
    log: Log, address: str, within: list[Any]
) -> None:
    parts: Any = client_interceptors([LoggingInterceptor(log.logs), *within], address)
    failing = pb.EchoRequest(text="no such asset", outcome=pb.OUTCOME_DOMAIN_ERROR, code="NOT_FOUND")
    async with grpc.aio.insecure_channel(address, interceptors=parts) as channel:
        with pytest.raises((NotFound, grpc.aio.AioRpcError)):
            await rpc.EchoServiceStub(channel).Echo(failing)
    line = await _of_the_client(log)
    assert (line["level"], line["code"], line["error"]) == ("info", "NOT_FOUND", "no such asset")
    assert line["target"] == address
    assert "cause" not in line
