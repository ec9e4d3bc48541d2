from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any

from chassis.background import forget
from chassis.component import Component
from chassis.errors import ChassisError
from chassis.health.report import CheckResult, Report, State

_log = logging.getLogger("chassis.health")

Subscriber = Callable[[bool], Awaitable[None] | None]
"""Is told whether the service is ready, each time that changes."""

_MAX_MESSAGE = 300


class Health:
    """Asks the parts of a service whether they work, seldom enough that no number of probes is felt by them.

    `components` are asked each time anew which they are, so `Components` can be given while it still fills. Parts are
    checked in parallel, each for at most `timeout` seconds; what was found is good for `cache` seconds, and probes
    that come while a check runs share it. `clock` is in seconds. `found` is called with the result of each check.
    `stuck` gives the reason why the process should be restarted, or None; it depends on nothing but the process.
    """

    def __init__(
        self,
        components: Iterable[Component] | Callable[[], Iterable[Component]] = (),
        *,
        timeout: float = 5.0,
        cache: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        found: Callable[[CheckResult], object] | None = None,
        stuck: Callable[[], str | None] | None = None,
    ) -> None:
        self._components = components
        self._timeout = timeout
        self._cache = cache
        self._clock = clock
        self._found = found
        self._stuck = stuck
        self._state = State.STARTING
        self._results: tuple[CheckResult, ...] = ()
        self._checked_at: float | None = None
        self._run: asyncio.Task[None] | None = None
        self._again = False
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._subscribers: dict[object, Subscriber] = {}
        self._telling: dict[object, asyncio.Task[None]] = {}
        self._told = False

    @property
    def state(self) -> State:
        """How far the service is in its life."""
        return self._state

    @property
    def stuck(self) -> str | None:
        """Why the process should be restarted; None while it is alive. Asks no part of the service."""
        return self._stuck() if self._stuck is not None else None

    @property
    def ready(self) -> bool:
        """Whether the service should be sent work, as far as is known right now."""
        return self._checked_at is not None and Report(self._state, self._results).ready

    def mark_ready(self) -> None:
        """Say that everything has been started; it is ready as soon as its parts have been found to work."""
        if self._state is State.STARTING:
            self._state = State.READY
            self.recheck()

    def recheck(self) -> None:
        """Say that something has changed: until the parts have been asked again, the service is not ready."""
        self._again = True  # a check that runs already may not have seen it
        self._checked_at = None
        self._refresh()

    def drain(self) -> None:
        """Say that the service is about to stop: from now on it is not ready, whatever its parts say."""
        if self._state is not State.DRAINING:
            self._state = State.DRAINING
            self._tell()

    async def check(self) -> Report:
        """What is the case, at most `cache` seconds old; a caller that is cancelled does not cancel the check."""
        if self._checked_at is None or self._clock() - self._checked_at >= self._cache:
            await asyncio.shield(self._refresh())
        return Report(self._state, self._results, self.stuck)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have a function or coroutine function called with `ready` when it changes; returns what ends that."""
        key = object()
        self._subscribers[key] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    async def close(self) -> None:
        """Abandon checks that still run; for the end of a service."""
        tasks = [*self._asked.values(), *self._telling.values(), *([self._run] if self._run is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    # The check that all probes share.

    def _refresh(self) -> asyncio.Task[None]:
        if self._run is None or self._run.done():
            self._run = _alone(self._check_all())
        return self._run

    async def _check_all(self) -> None:
        while True:
            self._again = False
            found = await self._ask(list(self._components() if callable(self._components) else self._components))
            # What was found before the service said that it is complete is not the truth about it.
            if not self._again:
                break
        known = {result.name: result.error is None for result in self._results}
        for result, reason in found:
            if result.error is not None and known.get(result.name, True):
                _log.warning("%s is failing: %s", result.name, reason, extra={"component": result.name})
            elif result.error is None and not known.get(result.name, True):
                _log.info("%s works again", result.name, extra={"component": result.name})
        self._results = tuple(result for result, _ in found)
        self._checked_at = self._clock()
        if self._found is not None:
            for each in self._results:
                self._found(each)
        self._tell()

    async def _ask(self, components: list[Component]) -> list[tuple[CheckResult, str]]:
        # Parts that have nothing to check (servers, exporters) would only make the answer longer.
        asked = [component for component in components if type(component).check is not Component.check]
        # One that swallowed its cancellation is not asked again while it hangs: questions would pile up.
        hanging = {key for key, task in self._asked.items() if not task.done()}
        for component in asked:
            if id(component) not in hanging:
                self._asked[id(component)] = _alone(component.check())
        waited_for = [self._asked[id(component)] for component in asked if id(component) not in hanging]
        if waited_for:
            await asyncio.wait(waited_for, timeout=self._timeout)
        names = _distinct([component.name for component in asked])
        return [self._result(name, component) for name, component in zip(names, asked, strict=True)]

    def _result(self, name: str, component: Component) -> tuple[CheckResult, str]:
        task = self._asked[id(component)]
        shown = reason = None
        if not task.done():
            task.cancel()
            shown = reason = f"no answer within {self._timeout:g} s"
        elif task.cancelled():
            shown = reason = "CancelledError"
        elif (error := task.exception()) is not None:
            shown, reason = _shown(error), _for_the_log(error)
        if task.done():
            self._asked.pop(id(component), None)
        return CheckResult(name, shown, component.required), reason or ""

    # Those who want to know.

    def _tell(self) -> None:
        ready = self.ready
        if ready == self._told:
            return
        self._told = ready
        if ready:
            _log.info("the service is ready")
        elif self._state is State.DRAINING:
            _log.info("the service is draining and no longer ready")
        else:
            failing = ", ".join(check.name for check in self._results if check.error and check.required)
            _log.warning("the service is not ready: %s", failing)
        for key, subscriber in list(self._subscribers.items()):
            try:
                told = subscriber(ready)
            except Exception:
                _log.exception("a subscriber to the service's health crashed")
                continue
            if told is not None:
                self._telling[key] = _alone(self._deliver(key, told, self._telling.get(key)))

    async def _deliver(self, key: object, told: Awaitable[None], before: asyncio.Task[None] | None) -> None:
        if before is not None:  # in order: what was said last must be what remains
            await asyncio.wait({before})
        try:
            await told
        except Exception:
            _log.exception("a subscriber to the service's health crashed")
        finally:
            if self._telling.get(key) is asyncio.current_task():
                del self._telling[key]


def _alone(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    # In a context of its own: a check is no part of the call whose probe happened to start it.
    task = asyncio.get_running_loop().create_task(coroutine, context=Context())
    task.add_done_callback(forget)
    return task


def _distinct(names: list[str]) -> list[str]:
    # Two databases are two checks: one that fails must not be hidden behind the other.
    return [f"{name}_{count}" if (count := names[: i + 1].count(name)) > 1 else name for i, name in enumerate(names)]


def _shown(error: BaseException) -> str:
    # Texts of drivers hold addresses and credentials; those of our own errors were written for callers.
    text = error.message if isinstance(error, ChassisError) else ""
    return " ".join(text.split())[:_MAX_MESSAGE] or type(error).__name__


def _for_the_log(error: BaseException) -> str:
    if isinstance(error, ChassisError) and error.detail:
        return f"{_shown(error)} ({error.detail})"
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return _shown(error)
