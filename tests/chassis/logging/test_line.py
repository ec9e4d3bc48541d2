from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.call import Call, Kind, Method, TraceContext, enter, leave
from chassis.errors import NotFound, Temporary
from chassis.logging.line import CALL, FIELDS, Lines, level_name, level_number, timestamp
from chassis.logging.plain import MAX_STACK

TRACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)
METHOD = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")


def served(method: Method = METHOD) -> Call:
    call = Call(method)
    call.trace = TRACE
    return call


def record(message: Any = "hello", *args: Any, **attributes: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "lib", "levelno": 20, "msg": message, "args": args, **attributes})


def fields(of: logging.LogRecord, lines: Lines | None = None, stack: str = "") -> dict[str, Any]:
    made = (lines or Lines("cqar")).fields(of, stack)
    del made["timestamp"]
    return made


def test_a_line_begins_with_the_standard_fields() -> None:
    assert list(Lines("cqar").fields(record())) == ["timestamp", "level", "message", "service_name", "logger"]
    assert fields(record("a %s", "b")) == {"level": "info", "message": "a b", "service_name": "cqar", "logger": "lib"}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (5, "debug"),
        (10, "debug"),
        (20, "info"),
        (25, "info"),
        (30, "warn"),
        (40, "error"),
        (50, "fatal"),
        (99, "fatal"),
    ],
)
def test_every_level_has_one_of_five_names(number: int, name: str) -> None:
    assert level_name(number) == name


def test_levels_are_read_by_name_in_any_case_or_by_number() -> None:
    assert [level_number(level) for level in ("debug", "Warn", "WARNING", "fatal", "critical", 15)] == [
        10, 30, 30, 50, 50, 15,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="there is no log level 'loud'; there are debug, info, warn, error and fatal"):
        level_number("loud")


@given(st.floats(min_value=0, max_value=4e9))
def test_a_timestamp_is_utc_with_milliseconds_and_never_ahead(seconds: float) -> None:
    text = timestamp(seconds)
    assert len(text) == 24
    assert text.endswith("Z")
    assert 0 <= seconds - datetime.fromisoformat(text).timestamp() < 0.0011


def test_a_line_written_while_a_call_is_served_names_call_and_trace() -> None:
    call = served()
    token = enter(call)
    try:
        made = fields(record())
    finally:
        leave(token)
    assert made["trace_id"] == TRACE.trace_id
    assert made["span_id"] == TRACE.span_id
    assert made["request_id"] == call.request_id
    assert made["method"] == "/pkg.Greeter/Greet"


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            Method("http", "server", "/assets/{id}", "", "GET", Kind.UNARY_UNARY),
            {"method": "GET", "path": "/assets/{id}"},
        ),
        (Method("event", "server", "cqc.events.v1.x", "nats", "process", Kind.EVENT), {"topic": "cqc.events.v1.x"}),
    ],
)
def test_http_and_events_are_named_in_their_own_words(method: Method, expected: dict[str, str]) -> None:
    made = fields(record(**{CALL: served(method)}))
    assert {key: made[key] for key in ("method", "path", "topic") if key in made} == expected


def test_a_record_about_another_call_names_that_one() -> None:
    token = enter(served())
    other = Call(Method.grpc("/pkg.Other/Ask", Kind.UNARY_UNARY, "client"))
    other.trace = TraceContext("1" * 32, "2" * 16, False)
    try:
        made = fields(record(**{CALL: other}))
    finally:
        leave(token)
    assert (made["method"], made["trace_id"]) == ("/pkg.Other/Ask", "1" * 32)


def test_an_open_span_of_the_users_own_comes_before_that_of_the_call() -> None:
    inner = TraceContext(TRACE.trace_id, "3" * 16, True)
    call = served()
    token = enter(call)
    try:
        assert fields(record(), Lines("cqar", trace=lambda: inner))["span_id"] == "3" * 16
        assert fields(record(), Lines("cqar", trace=lambda: None))["span_id"] == TRACE.span_id
    finally:
        leave(token)


def test_a_call_whose_facts_cannot_be_read_does_not_cost_the_line() -> None:
    class Lost(Call):
        __slots__ = ()

        @property
        def request_id(self) -> str:
            raise RuntimeError("gone")

    assert fields(record(**{CALL: Lost(METHOD)}))["message"] == "hello"


def test_an_exception_is_told_in_a_few_words_and_by_its_stack() -> None:
    made = fields(record(exc_info=(KeyError, KeyError("id"), None)), stack="Traceback …")
    assert made["error"] == "KeyError: 'id'"
    assert made["stack"] == "Traceback …"


def test_what_only_the_log_may_know_of_an_error_is_in_the_log() -> None:
    error = Temporary("prices are not available", detail="replica 2")
    made = fields(record(exc_info=(Temporary, error, None)))
    assert (made["error"], made["detail"]) == ("prices are not available", "replica 2")


def test_an_endless_stack_keeps_its_end() -> None:
    stack = fields(record(), stack="a" * 100_000 + "the end")["stack"]
    assert stack.endswith("the end")
    assert stack.startswith(f"({100_007 - MAX_STACK} more characters) …")


def test_constants_stand_on_every_line() -> None:
    assert fields(record(), Lines("cqar", {"version": "1.2", "level": "x"}))["version"] == "1.2"
    assert fields(record(), Lines("cqar", {"level": "x"}))["level"] == "info"


def test_fields_of_the_user_never_replace_the_standard_ones() -> None:
    made = fields(record(**{FIELDS: {"level": "x", "message": 1, "timestamp": 2, "service_name": "evil", "name": "n"}}))
    assert made["level"] == "info"
    assert made["message"] == "hello"
    assert made["service_name"] == "cqar"
    assert (made["level_"], made["message_"], made["timestamp_"], made["name"]) == ("x", 1, 2, "n")


def test_extra_of_the_standard_library_stands_on_the_line() -> None:
    assert fields(record(asset_id="a-1", error=NotFound("gone")))["asset_id"] == "a-1"
    assert fields(record(error=NotFound("gone")))["error"] == "gone"


def test_arguments_that_do_not_fit_the_message_are_shown_beside_it() -> None:
    made = fields(record("%d and %s", "one"))
    assert made["message"] == "%d and %s"
    assert made["args"] == ["one"]


def test_a_dict_for_a_message_becomes_fields() -> None:
    made = fields(record({"message": "hello", "asset_id": 1, 2: 3, "level": "x"}))
    assert (made["message"], made["asset_id"], made["2"], made["level_"]) == ("hello", 1, 3, "x")
    assert fields(record({"asset_id": 1}))["message"] == ""
