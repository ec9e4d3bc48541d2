"""Lines for people: time, level, service, message, fields; a stack stands below."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

from chassis.logging.call_line import CallLine, fields_of_call
from chassis.logging.line import Lines, level_name
from chassis.logging.plain import one_line, without_controls

_MESSAGE_WIDTH = 28
_SHOWN_ELSEWHERE = frozenset(
    {"timestamp", "level", "message", "service_name", "logger", "trace_id", "span_id", "stack"}
)
_BARE = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f]+")

_DIM, _RED, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[0m"
_COLOURS = {"debug": _DIM, "info": "\x1b[32m", "warn": "\x1b[33m", "error": _RED, "fatal": "\x1b[1;31m"}


class ConsoleLines(logging.Formatter):
    """Formats records and the lines of calls for a terminal; the time is local."""

    def __init__(self, lines: Lines, *, colour: bool) -> None:
        super().__init__()
        self._lines = lines
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        stacks = []
        if record.exc_info:
            stacks.append(self.formatException(record.exc_info))
        elif record.exc_text:
            stacks.append(record.exc_text)
        if record.stack_info:
            stacks.append(self.formatStack(record.stack_info))
        return self._line(record.created, level_name(record.levelno), self._lines.fields(record, "\n".join(stacks)))

    def format_call(self, line: CallLine) -> str:
        head, created, *_ = line
        return self._line(created, level_name(head.level), fields_of_call(line))

    def _line(self, created: float, level: str, fields: dict[str, Any]) -> str:
        clock = f"{time.strftime('%H:%M:%S', time.localtime(created))}.{int(created * 1000) % 1000:03d}"
        shown = [self._field(key, value) for key, value in fields.items() if self._is_shown(key)]
        if fields["logger"] != fields["service_name"] and not fields["logger"].startswith("chassis."):
            shown.append(self._field("logger", fields["logger"]))
        if "trace_id" in fields:
            shown.append(self._paint(_DIM, f"trace={_value(fields['trace_id'])[:8]}"))
        message = without_controls(fields["message"])
        line = " ".join(
            [
                self._paint(_DIM, clock),
                self._paint(_COLOURS[level], f"{level.upper():5}"),
                without_controls(fields["service_name"]),
                f"{message:{_MESSAGE_WIDTH}}" if shown else message,
                *shown,
            ]
        )
        for row in fields.get("stack", "").splitlines():
            line += f"\n    {self._paint(_DIM, without_controls(row))}"
        return line

    def _is_shown(self, key: str) -> bool:
        return key not in _SHOWN_ELSEWHERE and key not in self._lines.constants

    def _field(self, key: str, value: Any) -> str:
        name = self._paint(_DIM, f"{without_controls(key)}=")
        return name + self._paint(_RED if key == "error" else "", _value(value))

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour and colour else text


def _value(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return one_line(value)
    return one_line(json.dumps(value, ensure_ascii=False))
