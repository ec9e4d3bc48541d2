from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final, Literal

from chassis.background import Background
from chassis.component import Component
from chassis.errors import Permanent

OnCrash = Literal["end", "unready"]

_log = logging.getLogger("chassis.tasks")

_PATIENCE: Final = 5.0
"""Seconds that a task gets to put things in order after it was cancelled, until it is cancelled again."""


class Tasks(Component):
    """Background work of a service, supervised: none dies unseen, and all end with it."""

    name = "tasks"

    def __init__(self, *, crashed: Callable[[str], None], end: Callable[[str], None]) -> None:
        self._crashed = crashed
        self._end = end
        self._background = Background(patience=_PATIENCE)
        self._broken: dict[str, str] = {}

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str | None = None, on_crash: OnCrash) -> asyncio.Task[Any]:
        """Run `work` beside the service; see `ServiceChassis.spawn`."""
        if on_crash not in ("end", "unready"):
            work.close()
            raise ValueError(f"on_crash is 'end' or 'unready', not {on_crash!r}")
        name = name or getattr(work, "__qualname__", "task")
        task = self._background.spawn(work, name=name, context=copy_context())
        task.add_done_callback(lambda done: self._ended(done, on_crash))
        return task

    async def stop(self) -> None:
        await self._background.end()

    async def check(self) -> None:
        if self._broken:
            raise Permanent(", ".join(f"{name} ended by {reason}" for name, reason in self._broken.items()))

    def _ended(self, task: asyncio.Task[Any], on_crash: OnCrash) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        name = task.get_name()
        _log.error("background task crashed", exc_info=error, extra={"task": name, "on_crash": on_crash})
        self._crashed(name)
        if on_crash == "unready":
            self._broken[name] = type(error).__name__
        else:
            self._end(f"background task {name} crashed")
