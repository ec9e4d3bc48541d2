from __future__ import annotations

import logging
import re
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chassis.call import TraceContext
from chassis.logging.call_line import CallHead
from chassis.logging.console import ConsoleLines
from chassis.logging.line import FIELDS, Lines

LINES = Lines("cqar", {"version": "1.2"})
PLAIN = ConsoleLines(LINES, colour=False)
COLOURED = ConsoleLines(LINES, colour=True)


def record(message: str = "asset created", level: int = 20, name: str = "cqar", **attributes: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": name, "levelno": level, "msg": message, **attributes})


def rest(line: str) -> str:
    """The line without its time."""
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} ", line)
    return line[13:]


def test_a_line_has_time_level_service_message_and_fields() -> None:
    line = rest(PLAIN.format(record(**{FIELDS: {"asset_id": "a-1", "note": "two words", "n": 3, "tags": ["x"]}})))
    assert line == 'INFO  cqar asset created                asset_id=a-1 note="two words" n=3 tags=["x"]'


def test_a_line_without_fields_has_no_space_at_its_end_and_constants_are_not_repeated() -> None:
    assert rest(PLAIN.format(record())) == "INFO  cqar asset created"


def test_loggers_of_libraries_are_named() -> None:
    assert PLAIN.format(record(name="nats.aio")).endswith("logger=nats.aio")
    assert "logger" not in PLAIN.format(record(name="chassis.bus"))


def test_a_stack_stands_below_the_line_and_indented() -> None:
    try:
        raise KeyError("id\x1b[31m")
    except KeyError:
        rows = PLAIN.format(record(exc_info=sys.exc_info(), stack_info="Stack (…)")).split("\n")
    assert rest(rows[0]).endswith("error=\"KeyError: 'id\\\\x1b[31m'\"")
    assert rows[1] == "    Traceback (most recent call last):"
    assert rows[-1] == "    Stack (…)"
    assert PLAIN.format(record(exc_text="Traceback far away")).endswith("\n    Traceback far away")


def test_colours_come_only_where_they_are_wanted() -> None:
    failed = record(level=40, **{FIELDS: {"error": "no"}})
    assert "\x1b" not in PLAIN.format(failed)
    assert "\x1b[31mERROR\x1b[0m" in COLOURED.format(failed)
    assert "\x1b[31mno\x1b[0m" in COLOURED.format(failed)


def test_the_line_of_a_call_looks_like_any_other() -> None:
    fields = {"method": "/pkg.Greeter/Greet", "code": "OK"}
    head = CallHead(20, {**LINES.head(20, "grpc call completed", "chassis.call"), **fields})
    trace = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)
    line = PLAIN.format_call((head, 0.0, trace, "r-1", 0.0012, "ipv4:127.0.0.1:4", "cqmd", (("error", "a b"),)))
    assert rest(line) == (
        "INFO  cqar grpc call completed          method=/pkg.Greeter/Greet code=OK request_id=r-1 duration_ms=1.2 "
        'peer=ipv4:127.0.0.1:4 principal=cqmd error="a b" trace=0af76519'
    )


@given(message=st.text(), key=st.text(), value=st.text() | st.lists(st.text()))
def test_nothing_in_a_record_breaks_the_line_or_steers_the_terminal(message: str, key: str, value: object) -> None:
    line = PLAIN.format(record(message, **{FIELDS: {key: value}}))
    assert len(line.replace("\t", " ").splitlines()) == 1
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f]", line)
    line.encode("utf-8")
