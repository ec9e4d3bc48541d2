"""Lines for machines: one JSON object each."""

from __future__ import annotations

import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from chassis.logging.call_line import encode, json_of_call
from chassis.logging.line import Lines
from chassis.logging.plain import one_line


class JsonLines(JsonFormatter):
    """Formats records as JSON, by python-json-logger, the lines of calls by a template: same keys and escaping."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(json_serializer=lambda data, **_: encode(data))
        self._lines = lines

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        stack = "\n".join(message_dict[key] for key in ("exc_info", "stack_info") if message_dict.get(key))
        log_data.update(self._lines.fields(record, stack))

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))

    format_call = staticmethod(json_of_call)
