"""The handler on the root logger: takes the records of one service, those of libraries included, and leaves others'."""

from __future__ import annotations

import logging
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING

from chassis.logging.line import OWNER

if TYPE_CHECKING:
    from chassis.logging.logs import Logs

active: ContextVar[Logs | None] = ContextVar("chassis_logs", default=None)
"""Whose records are made in this context."""


class LogsHandler(logging.Handler):
    """Hands the records of one `Logs` to it.

    A record belongs to the Logs that it names, else to the one active in its context, else (threads of libraries,
    code outside of any service) to the one that was installed first. What is installed is read off the root logger,
    so that nothing is kept for the process.
    """

    def __init__(self, logs: Logs, level: int, *, capture_warnings: bool) -> None:
        super().__init__(level)
        self.addFilter(_is_wanted)
        self._logs = logs
        self._wants_warnings = capture_warnings
        self._holds_warnings = False
        self._level_before = logging.NOTSET
        self._level_applied = logging.NOTSET

    @property
    def installed(self) -> bool:
        """Whether records reach it; `logging.config` and `basicConfig(force=True)` take handlers away."""
        return self in logging.getLogger().handlers

    def install(self) -> None:
        """Add it to the root logger, which then passes what the most talkative service wants to have."""
        root = logging.getLogger()
        self._level_before = root.level
        root.addHandler(self)
        self.apply_level()
        # Where the application has captured them itself, that stays when we go.
        if self._wants_warnings and warnings.showwarning.__module__ != "logging":
            self._holds_warnings = True
            logging.captureWarnings(True)

    def uninstall(self) -> None:
        """Leave the root logger as it was found."""
        root = logging.getLogger()
        others = [handler for handler in _installed() if handler is not self]
        if self.installed:
            if _installed()[0] is self and others:
                others[0]._level_before, others[0]._level_applied = self._level_before, self._level_applied
            root.removeHandler(self)
            if others:
                others[0].apply_level()
            elif root.level == self._level_applied:  # another level is somebody else's, set since
                root.setLevel(self._level_before)
        if self._holds_warnings:
            self._holds_warnings = False
            heir = next((handler for handler in others if handler._wants_warnings), None)
            if heir is not None:
                heir._holds_warnings = True
            else:
                logging.captureWarnings(False)
        self.close()

    def apply_level(self) -> None:
        """Let the root logger pass what any service wants, and what it passed before."""
        handlers = _installed()
        if handlers:
            first = handlers[0]
            first._level_applied = min(first._level_before, *(handler.level for handler in handlers))
            logging.getLogger().setLevel(first._level_applied)

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record if it is ours. Without the handler's lock: threads format side by side, the queue orders."""
        if not self._owns(record):
            return False
        kept = self.filter(record)
        if not kept:
            return False
        self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record and have it written."""
        self._logs.write_record(record)

    def _owns(self, record: logging.LogRecord) -> bool:
        owner = getattr(record, OWNER, None) or active.get()
        if owner is not None and owner.installed:
            return owner is self._logs
        return _installed()[0] is self


def _installed() -> list[LogsHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, LogsHandler)]


def _is_wanted(record: logging.LogRecord) -> bool:
    """Whether this is more than gRPC's error, with a stack, about each odd byte that any caller can send.

    It is told while the metadata of a call is being read, too, which whoever writes a line about it would read again.
    """
    return not (record.name == "grpc._cython.cygrpc" and str(record.msg).startswith("Invalid encoding on"))
