from __future__ import annotations

import json
import logging
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chassis.call import TraceContext
from chassis.logging.call_line import CallHead, fields_of_call
from chassis.logging.json_lines import JsonLines
from chassis.logging.line import FIELDS, Lines
from chassis.logging.plain import one_line

LINES = Lines("cqar", {"version": "1.2"})
JSON = JsonLines(LINES)
TEXT = st.text() | st.sampled_from(["\u2028", '"\\', "\x00\x1b[31m", "\ud800", "é€😀", "a\nb\r\n", "\x85\x7f"])


def record(**attributes: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "chassis.call", "levelno": 20, **attributes})


def test_text_stays_readable() -> None:
    assert '"message":"café 東京 😀"' in JSON.format(record(msg="café 東京 😀"))


def test_an_exception_has_its_stack_in_one_field_with_the_callers_below() -> None:
    try:
        raise KeyError("id")
    except KeyError:
        line = json.loads(JSON.format(record(msg="failed", exc_info=sys.exc_info(), stack_info="Stack (…)")))
    assert line["error"] == "KeyError: 'id'"
    assert line["stack"].startswith("Traceback")
    assert line["stack"].endswith("KeyError: 'id'\nStack (…)")


def test_a_record_without_an_exception_has_no_error() -> None:
    line = json.loads(JSON.format(record(msg="x", exc_info=(None, None, None))))
    assert "error" not in line


def test_a_traceback_that_another_process_has_formatted_is_kept() -> None:
    assert json.loads(JSON.format(record(msg="x", exc_text="Traceback far away")))["stack"] == "Traceback far away"


@given(message=TEXT, key=TEXT, value=TEXT | st.binary() | st.floats() | st.lists(TEXT))
def test_a_record_is_one_line_of_strict_json_whatever_is_in_it(message: str, key: str, value: Any) -> None:
    line = JSON.format(record(msg=message, **{FIELDS: {key: value}}))
    assert len(line.splitlines()) == 1
    read = json.loads(line, parse_constant=lambda word: 1 / 0)
    assert read["level"] == "info"
    line.encode("utf-8")


_TRACE = st.none() | st.builds(TraceContext, st.just("0" * 31 + "1"), st.just("0" * 15 + "1"), st.booleans())
_MORE = st.lists(
    st.tuples(st.sampled_from(["error", "detail", "cause", "event_id", "deliveries"]), TEXT | st.integers(0, 2**32)),
    unique_by=lambda pair: pair[0],
)


@given(
    trace=_TRACE,
    request_id=TEXT,
    duration=st.floats(min_value=0, max_value=1e6),
    peer=TEXT,
    principal=st.none() | TEXT,
    more=_MORE,
    created=st.floats(min_value=0, max_value=4e9),
    path=TEXT,
)
def test_the_template_and_the_formatter_write_the_same_line(
    trace: TraceContext | None,
    request_id: str,
    duration: float,
    peer: str,
    principal: str | None,
    more: list[tuple[str, str | int]],
    created: float,
    path: str,
) -> None:
    fields = {"method": path, "kind": "unary_unary", "code": "OK"}
    head = CallHead(20, {**LINES.head(20, "grpc call completed", "chassis.call"), **fields})
    call = (head, created, trace, request_id, duration, peer, principal, tuple(more))
    by_template = JSON.format_call(call)
    own = fields_of_call((CallHead(20, fields), created, trace, request_id, duration, peer, principal, tuple(more)))
    by_formatter = JSON.format(record(msg="grpc call completed", created=created, **{FIELDS: {**own}}))
    assert json.loads(by_template) == json.loads(by_formatter)
    for text in (value for value in json.loads(by_template).values() if isinstance(value, str)):
        written = one_line(json.dumps(text, ensure_ascii=False))
        assert written in by_template
        assert written in by_formatter
    assert len(by_template.splitlines()) == 1
