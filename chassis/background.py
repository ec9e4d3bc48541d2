"""Work beside the calls: kept while it runs, part of no call unless it is said so, and ended with whose it is.

>>> async def main():
...     background = Background()
...     task = background.spawn(asyncio.Event().wait())
...     running = len(background)
...     await background.end()
...     return running, len(background), task.cancelled()
>>> asyncio.run(main())
(1, 0, True)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

T = TypeVar("T")

_PATIENCE: Final = 0.5


async def end(*tasks: asyncio.Task[Any] | None, patience: float = _PATIENCE) -> None:
    """Cancel tasks and wait until they have ended; those that have not after `patience` seconds are cancelled again.

    Once is not enough: `asyncio.wait_for` of Python 3.11 loses a cancellation that comes in the same turn of the loop
    as what it waits for (python/cpython#86296).
    """
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=patience)


def forget(task: asyncio.Task[Any]) -> None:
    """For `add_done_callback`, where nobody may be left to be told of an error: asyncio does not complain then."""
    if not task.cancelled():
        task.exception()


class Background:
    """The tasks of one part of a service, which end with it. `patience` (seconds): see `end`."""

    def __init__(self, *, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(
        self, work: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Begin `work`, which is then part of no call and has no call's deadline; `context` says otherwise."""
        # A context that is empty is one too: it must not be taken for none.
        context = Context() if context is None else context
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        """End all of them, those included that they begin while they end."""
        while running := [task for task in self._tasks if not task.done()]:
            await end(*running, patience=self._patience)
