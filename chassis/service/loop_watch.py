"""Whether the event loop gets round to its work, and whose code keeps it from that.

A loop that hangs can say nothing, so a thread looks at it: a heartbeat on the loop is due every now and then, and while
one is overdue the thread says where the loop's own thread stands.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
import traceback
from pathlib import Path
from types import CodeType
from typing import Final

import interceptors
from chassis.component import Component
from chassis.metrics import Metrics
from chassis.metrics.catalogue import EVENT_LOOP_LAG

_log = logging.getLogger("chassis.loop")

_HEARTBEATS: Final = 4  # within each stretch of time that matters
_FASTEST, _SLOWEST = 0.01, 0.25  # seconds between heartbeats
# Long enough for the orchestrator's usual three probes, ten seconds apart, to see it, and as much again.
_HOLD: Final = 60.0
_FRAMES: Final = 8  # of a stack, on either side of the line that is named
_WINDOW, _PLACES = 60.0, 10  # each place is told once in so many seconds, and no more than so many places
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")
_LIBRARIES: Final = tuple(
    f"{folder}/"
    for folder in (
        Path(asyncio.__file__).parents[1],  # the standard library
        Path(__file__).parents[1],
        Path(interceptors.__file__).parent,
    )
)

_Step = tuple[CodeType, int]


class LoopWatch(Component):
    """Measures how late the event loop is, and tells what blocks it while it is blocked.

    A loop blocked for `warning` seconds is one warning with the file, line and function of what is neither a library
    nor the chassis. Blocked for `limit` seconds it is an error, and `stuck` says so until a minute after it went on.
    0 turns either off. `own` is the file or folder of the service's code, which may be installed among the libraries.
    Time in which the process did not run at all, stopped or suspended, is held against nobody.
    """

    name = "event_loop"

    def __init__(self, metrics: Metrics, *, warning: float, limit: float, own: str = "") -> None:
        self._lag = metrics.get(EVENT_LOOP_LAG).labels()
        self._warning = warning or float("inf")
        self._limit = limit or float("inf")
        self._interval = min(max(min(self._warning, self._limit) / _HEARTBEATS, _FASTEST), _SLOWEST)
        self._own = own
        self._due = 0.0
        self._heartbeat: asyncio.TimerHandle | None = None
        self._loop_thread = 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._over_limit_at: float | None = None
        self._window_began = 0.0
        self._told: set[_Step] = set()
        self._untold = 0

    @property
    def stuck(self) -> str | None:
        """Why the process should be restarted; None while the loop does its work."""
        at = self._over_limit_at
        if at is None or time.monotonic() - at > _HOLD:
            return None
        return f"the event loop was blocked for longer than {self._limit:g} s"

    @property
    def blocked_by(self) -> str | None:
        """Whose code blocks the event loop right now, with its place; for other threads. None where nobody's does."""
        if self._heartbeat is None or time.monotonic() - self._due < _SLOWEST:
            return None
        steps = self._steps()
        return _place(*steps[self._culprit(steps)]) if steps else None

    async def start(self) -> None:
        self._loop_thread = threading.get_ident()
        self._stopping.clear()
        self._expect()
        if min(self._warning, self._limit) < float("inf"):
            # In this context, so that what it logs is this service's.
            run = contextvars.copy_context().run
            self._thread = threading.Thread(target=run, args=(self._watch,), name="chassis-loop-watch", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.cancel()
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(1.0)  # it waits for nothing but this

    # The event loop.

    def _beat(self) -> None:
        self._lag.observe(max(time.monotonic() - self._due, 0.0))
        self._expect()

    def _expect(self) -> None:
        self._due = time.monotonic() + self._interval
        self._heartbeat = asyncio.get_running_loop().call_later(self._interval, self._beat)

    # The thread that watches it.

    def _watch(self) -> None:
        due, stood_still, told, failed = self._due, 0.0, False, False
        now, used = time.monotonic(), time.process_time()
        while not self._stopping.wait(self._interval):
            before, used_before = now, used
            now, used = time.monotonic(), time.process_time()
            if due != self._due:
                due, stood_still, told, failed = self._due, 0.0, False, False
            # Where this thread was late as well and no processor was used, the whole process did not run. Code that
            # computes without ever letting other threads run makes it late, too, but not idle.
            stood_still += max(now - before - self._interval - (used - used_before), 0.0)
            stood_still = min(stood_still, max(now - due, 0.0))
            blocked = now - due - stood_still
            if blocked > self._limit:
                self._over_limit_at = now
                if not failed:
                    told = failed = True
                    self._tell(due, blocked)
            elif blocked > self._warning and not told:
                told = True
                self._tell(due, blocked)

    def _tell(self, due: float, blocked: float) -> None:
        steps = self._steps()
        if not steps or self._due != due:
            return
        at = self._culprit(steps)
        fatal = blocked > self._limit
        if not fatal and not self._may_tell(steps[at]):
            return
        code, line = steps[at]
        _log.log(
            logging.ERROR if fatal else logging.WARNING,
            "the event loop has been blocked for %.1f s by %s, and nothing else is served%s",
            blocked, _place(code, line), ": the process counts as stuck" if fatal else "",
            extra={
                "file": code.co_filename,
                "line": line,
                "function": code.co_qualname,
                "stack": "\n".join(map(_written, reversed(steps[max(at - _FRAMES, 0) : at + _FRAMES]))),
                **({"untold": self._untold} if self._untold else {}),
            },
        )  # fmt: skip
        self._untold = 0

    def _steps(self) -> list[_Step]:
        """Where the loop's thread stands, from within outwards."""
        frame = sys._current_frames().get(self._loop_thread)
        # At once: frames that go on have other lines, and then it is no longer the same `due`.
        return [(each.f_code, line) for each, line in traceback.walk_stack(frame)] if frame is not None else []

    def _culprit(self, steps: list[_Step]) -> int:
        return next((number for number, (code, _) in enumerate(steps) if self._is_of_the_service(code)), 0)

    def _is_of_the_service(self, code: CodeType) -> bool:
        file = code.co_filename
        if self._own and (file == self._own or file.startswith(f"{self._own}/")):
            return True
        return not (file.startswith((*_LIBRARIES, "<frozen ")) or any(folder in file for folder in _INSTALLED))

    def _may_tell(self, step: _Step) -> bool:
        """A service that is slow all the time, or in many places, must not fill its log."""
        now = time.monotonic()
        if now - self._window_began > _WINDOW:
            self._window_began = now
            self._told.clear()
        if step in self._told or len(self._told) >= _PLACES:
            self._untold += 1
            return False
        self._told.add(step)
        return True


def code_of(cls: type) -> str:
    """Where the code of a class and its neighbours is: the folder of its outermost package, or the file of its module.

    >>> code_of(LoopWatch).endswith("/chassis")
    True
    """
    module = sys.modules.get(cls.__module__.partition(".")[0])
    folders = list(getattr(module, "__path__", ()))
    return str(folders[0] if folders else getattr(module, "__file__", None) or "")


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_qualname} ({code.co_filename}:{line})"


def _written(step: _Step) -> str:
    code, line = step
    return f"{code.co_filename}:{line} in {code.co_qualname}"
