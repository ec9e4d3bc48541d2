"""What a service logs with: the standard library's loggers, and fields by keyword."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from chassis.logging.line import FIELDS, OWNER, level_number

_CONTROLS = ("exc_info", "stack_info", "stacklevel", "extra")


class Logger:
    """Logs a message with fields; `%` placeholders in the message are filled from the arguments behind it.

    `exc_info`, `stack_info`, `stacklevel` and `extra` mean what they mean in the standard library; every other
    keyword is a field, under any name. A name that the line has already gets a `_` behind it.

    >>> log = Logger(logging.getLogger("cqar"))
    >>> log.bind(venue="binance").info("asset %s listed", "BTC", asset_id="a-1")
    """

    __slots__ = ("_fields", "_logger", "_logs")

    def __init__(
        self, logger: logging.Logger, logs: object | None = None, fields: Mapping[str, object] | None = None
    ) -> None:
        self._logger = logger
        self._logs = logs
        self._fields = dict(fields or {})

    @property
    def name(self) -> str:
        """The name of the standard library's logger below it."""
        return self._logger.name

    def bind(self, /, **fields: object) -> Logger:
        """Give a logger that puts these fields on all its lines."""
        return Logger(self._logger, self._logs, {**self._fields, **fields})

    def is_enabled_for(self, level: str | int) -> bool:
        """Whether lines of this level are written; for fields that are expensive to find out."""
        return self._logger.isEnabledFor(level_number(level))

    def debug(self, message: object, /, *args: object, **fields: object) -> None:
        """Log what only helps whoever looks for a fault."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._log(logging.DEBUG, message, args, fields)

    def info(self, message: object, /, *args: object, **fields: object) -> None:
        """Log what happened as it should."""
        if self._logger.isEnabledFor(logging.INFO):
            self._log(logging.INFO, message, args, fields)

    def warning(self, message: object, /, *args: object, **fields: object) -> None:
        """Log what somebody may have to look at, later."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._log(logging.WARNING, message, args, fields)

    warn = warning

    def error(self, message: object, /, *args: object, **fields: object) -> None:
        """Log what failed."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._log(logging.ERROR, message, args, fields)

    def exception(self, message: object, /, *args: object, **fields: object) -> None:
        """Log what failed, with the exception that is being handled and its stack."""
        if self._logger.isEnabledFor(logging.ERROR):
            fields.setdefault("exc_info", True)
            self._log(logging.ERROR, message, args, fields)

    def fatal(self, message: object, /, *args: object, **fields: object) -> None:
        """Log what ends the service."""
        if self._logger.isEnabledFor(logging.CRITICAL):
            self._log(logging.CRITICAL, message, args, fields)

    critical = fatal

    def log(self, level: str | int, message: object, /, *args: object, **fields: object) -> None:
        """Log at a level given by its name or number; raises ValueError for a name that is none."""
        number = level_number(level)
        if self._logger.isEnabledFor(number):
            self._log(number, message, args, fields)

    def _log(self, level: int, message: object, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        exc_info, stack_info, stacklevel, extra = (fields.pop(name, None) for name in _CONTROLS)
        self._logger.log(
            level,
            message,
            *args,
            exc_info=exc_info,
            stack_info=bool(stack_info),
            stacklevel=(stacklevel or 1) + 2,
            extra={FIELDS: {**self._fields, **(extra or {}), **fields}, OWNER: self._logs},
        )
