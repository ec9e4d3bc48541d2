"""What a span tells of errors."""

from __future__ import annotations

import asyncio
import traceback

import grpc

from chassis.errors import ChassisError, Crash
from chassis.text import clean, text_of


def description(error: BaseException) -> str:
    """The text of a status that says that the call failed."""
    return clean(error.message) if isinstance(error, ChassisError) else type(error).__name__


def crash_in(error: BaseException) -> BaseException | None:
    """The exception that nobody foresaw, if that is how the call ended."""
    if isinstance(error, Crash):
        return error.__cause__ or error
    if isinstance(error, ChassisError | asyncio.CancelledError | grpc.RpcError | grpc.aio.AbortError):
        return None
    return error


def exception(error: BaseException) -> dict[str, str]:
    """The attributes of the event for a crash, by OpenTelemetry's semantic conventions for exceptions."""
    cls = type(error)
    return {
        "exception.type": cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}",
        "exception.message": clean(text_of(error)),
        "exception.stacktrace": clean("".join(traceback.format_exception(error))),
    }
