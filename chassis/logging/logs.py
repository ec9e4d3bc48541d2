"""The log of one service: what belongs to it, how its lines look, and where they go."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any, Literal

from chassis.call import TraceContext
from chassis.component import Component
from chassis.logging.call_line import CallHead
from chassis.logging.handler import LogsHandler, active
from chassis.logging.line import Lines, level_number
from chassis.logging.logger import Logger
from chassis.logging.plain import plain
from chassis.logging.sink import Output, open_sink
from chassis.logging.writer import Writer

LOGGER_OF_CALLS = "chassis.call"
"""The standard library's logger of the lines of calls: its level decides about them, as with any logger."""

_PATIENCE = 5.0  # seconds that an output may take for one write before the health check says so


class Logs(Component):
    """The log lines of one service, its libraries' included; several in one process do not see each other.

    `level` is debug, info, warn, error or fatal. `format` is json or console. `output` is stdout, stderr, an open
    stream, or a list for tests. `fields` are on every line. Up to `buffer_records` wait for a slow output, what is
    beyond is dropped and counted. `capture_warnings` makes Python's warnings records (for the whole process).
    `flush_timeout` is how many seconds `stop` waits for the output. `trace` tells the span that is open here, where
    it is not the call's.

    Raises ValueError for a level, format or output that there is not.

    >>> lines = []
    >>> logs = Logs("cqar", output=lines)
    >>> logs.install()
    >>> logs.logger.info("asset created", asset_id="a-1")
    >>> logs.close()
    True
    >>> lines[0].partition(',"message"')[2]
    ':"asset created","service_name":"cqar","logger":"cqar","asset_id":"a-1"}'
    """

    name = "logs"
    required = False

    def __init__(
        self,
        service_name: str,
        *,
        level: str | int = "info",
        format: Literal["json", "console"] = "json",  # noqa: A002  the word of the configuration
        output: Output = "stdout",
        fields: Mapping[str, object] | None = None,
        buffer_records: int = 10_000,
        capture_warnings: bool = False,
        flush_timeout: float = 1.0,
        trace: Callable[[], TraceContext | None] | None = None,
    ) -> None:
        if format not in ("json", "console"):
            raise ValueError(f"there is no log format {format!r}; there are json and console")
        if buffer_records < 1:
            raise ValueError(f"at least one record must fit into the buffer, not {buffer_records}")
        self._level = level_number(level)
        self._format = format
        self._output = output
        self._buffer_records = buffer_records
        self._flush_timeout = flush_timeout
        self._lines = Lines(service_name, fields, trace)
        self._handler = LogsHandler(self, self._level, capture_warnings=capture_warnings)
        self._of_calls = logging.getLogger(LOGGER_OF_CALLS)
        self._formatter: Any = None
        self._writer: Writer | None = None
        self._dropped_before = 0
        self.silent_below = 0
        """Lines of calls below this level are written nowhere; 0 while the standard library may write them."""
        self.logger = Logger(logging.getLogger(service_name), self)
        """What the service logs with: `logs.logger.info("asset created", asset_id=id)`."""

    # Life.

    def install(self) -> None:
        """Begin to take records; raises ValueError for an output that there is not."""
        if self._writer is not None:
            return
        sink = open_sink(self._output)
        self._formatter = _formatter(self._format, self._lines, colour=sink.terminal and _colours_wanted())
        self._writer = Writer(sink, self._buffer_records, self._formatter.format_call, self._loss)
        self._handler.install()
        self.silent_below = self._level
        atexit.register(self.close)

    def close(self, timeout: float | None = None) -> bool:
        """Leave the standard library's logging as it was found, and write what is waiting.

        Waits for `timeout` seconds at most (`flush_timeout` without it), and says whether all came to its end then.
        """
        atexit.unregister(self.close)
        writer = self._writer
        if writer is None:
            return True
        self._handler.uninstall()
        self.silent_below = 0
        settled = writer.close(self._flush_timeout if timeout is None else timeout)
        self._writer = None
        self._dropped_before += writer.dropped
        return settled

    async def start(self) -> None:
        """Begin to take records, and make those of this context and of tasks begun here its own."""
        self.install()
        self.activate()

    async def stop(self) -> None:
        """End as `close` does, without holding up the event loop."""
        await asyncio.to_thread(self.close)

    async def check(self) -> None:
        """Raise if the output fails or is blocked; the service stays ready, but nobody sees what it says."""
        trouble = self._writer.trouble(_PATIENCE) if self._writer is not None else None
        if trouble is not None:
            raise RuntimeError(f"{trouble}; {self.dropped} records were dropped")

    def activate(self) -> Token[Logs | None]:
        """Make the records of this context, and of tasks begun in it, its own; the token undoes that."""
        return active.set(self)

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait until all lines so far are written or lost, `timeout` seconds at most; says whether they are. Blocks."""
        return self._writer is None or self._writer.flush(timeout)

    # What there is to know.

    @property
    def installed(self) -> bool:
        """Whether records are taken."""
        return self._writer is not None and self._handler.installed

    @property
    def level(self) -> int:
        """The least level that is written, as a number of the standard library; may be set at any time, by name too."""
        return self._level

    @level.setter
    def level(self, level: str | int) -> None:
        self._level = level_number(level)
        if self.running:
            self.silent_below = self._level
        self._handler.setLevel(self._level)
        self._handler.apply_level()

    @property
    def dropped(self) -> int:
        """How many records were lost so far, because the output was too slow or failed."""
        return self._dropped_before + (0 if self._writer is None else self._writer.dropped)

    # For the handler, and for the interceptor that writes the line of each call.

    def write_record(self, record: logging.LogRecord) -> None:
        """Format a record here, where its values are what they are, and have it written."""
        writer = self._writer
        if writer is not None:
            writer.append(self._formatted(record), important=record.levelno >= logging.ERROR)

    @property
    def running(self) -> bool:
        """Whether lines are written."""
        return self._writer is not None

    def calls_at(self, level: int) -> Callable[..., None] | None:
        """What takes the line of a call at this level, whose text is made in the writer's thread; None if none does."""
        writer = self._writer
        return (
            writer.append
            if writer is not None and level >= self._level and self._of_calls.isEnabledFor(level)
            else None
        )

    def head_of_calls(self, level: int, message: str, fields: Mapping[str, Any]) -> CallHead:
        """Make what the lines of a method that end alike have in common; to be kept, and used for each of them."""
        return CallHead(level, {**self._lines.head(level, message, LOGGER_OF_CALLS), **fields})

    def _formatted(self, record: logging.LogRecord) -> str:
        try:
            return str(self._formatter.format(record))
        except Exception as problem:  # such as an exc_info that is none: what there is to say still gets through
            bare = logging.makeLogRecord({"name": str(record.name), "levelno": int(record.levelno)})
            bare.msg = str(plain(record.msg))
            bare.log_problem = problem
            return str(self._formatter.format(bare))

    def _loss(self, count: int) -> str:
        record = logging.makeLogRecord({"name": "chassis.logging", "levelno": logging.WARNING})
        record.msg, record.args = "%d log records dropped", (count,)
        return self._formatted(record)


def _formatter(name: str, lines: Lines, *, colour: bool) -> Any:
    # Imported here: python-json-logger takes a tenth of what importing grpc.aio takes, and not everyone needs it.
    if name == "json":
        from chassis.logging.json_lines import JsonLines

        return JsonLines(lines)
    from chassis.logging.console import ConsoleLines

    return ConsoleLines(lines, colour=colour)


def _colours_wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
