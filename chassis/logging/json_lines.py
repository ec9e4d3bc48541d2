"""Lines for machines: one JSON object each."""

from __future__ import annotations

import json
import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from chassis.logging.call_line import CallLine, json_of_call
from chassis.logging.line import Lines
from chassis.logging.plain import one_line

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode


class JsonLines(JsonFormatter):
    """Formats records as JSON, by python-json-logger, the lines of calls by a template: same keys and escaping."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(json_serializer=lambda data, **_: _encode(data))
        self._lines = lines

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        stack = "\n".join(message_dict[key] for key in ("exc_info", "stack_info") if message_dict.get(key))
        log_data.update(self._lines.fields(record, stack))

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))

    def format_call(self, line: CallLine) -> str:
        head = line[0]
        if head.text is None:
            head.text = _encode(head.fields)[1:-1]
        return json_of_call(line, head.text)
