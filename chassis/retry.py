"""Try again what may succeed later: exponential backoff with jitter, bounded by attempts, time and the deadline.

>>> import asyncio
>>> from chassis.errors import Temporary
>>> waited = []
>>> async def no_waiting(seconds):
...     waited.append(seconds)
>>> policy = Policy(attempts=3, initial=0.1, jitter=0, sleep=no_waiting)
>>> answers = iter([Temporary("not yet"), Temporary("not yet"), "done"])
>>> async def ask():
...     answer = next(answers)
...     if isinstance(answer, Exception):
...         raise answer
...     return answer
>>> asyncio.run(policy.call(ask)), waited
('done', [0.1, 0.2])
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from chassis.call import time_left
from chassis.errors import ChassisError

if TYPE_CHECKING:
    from tenacity import RetryCallState

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("chassis.retry")

_NOTHING: Mapping[type[BaseException], Policy | bool] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to try again, how long to wait before that, and when to give up.

    | | |
    |---|---|
    | `attempts` | how often in all, the first included; None for no limit |
    | `initial`, `maximum` | seconds to wait before the second attempt, and the longest wait |
    | `multiplier` | how much longer each wait is than the one before it |
    | `waits` | each wait by itself, in seconds, the last one from then on; in place of the three above |
    | `jitter` | the share of each wait that is left to chance: 1 is full jitter (anywhere from 0 to the wait), 0 none |
    | `total` | seconds, counted from the start, after which no further attempt begins; None for no limit |
    | `per_error` | for a class of errors and its subclasses: whether to try again, or a policy of its own |
    | `clock`, `sleep`, `random` | the time in seconds, the waiting, and numbers from 0 to 1 |

    Errors that the table of `chassis.errors` calls retryable are tried again and no others, but for what `per_error`
    says. An error's `retry_after` is waited for at least. Raises ValueError for settings that make no sense.
    """

    attempts: int | None = 4
    initial: float = 0.1
    maximum: float = 5.0
    multiplier: float = 2.0
    waits: tuple[float, ...] = ()
    jitter: float = 1.0
    total: float | None = None
    per_error: Mapping[type[BaseException], Policy | bool] = field(default_factory=lambda: _NOTHING, hash=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)
    sleep: Callable[[float], Awaitable[Any]] = field(default=asyncio.sleep, repr=False, compare=False)
    random: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, or None for no limit, not {self.attempts}")
        if not 0 <= self.initial < math.inf:
            raise ValueError(f"initial must be 0 seconds or more, not {self.initial}")
        if not self.maximum >= self.initial:
            raise ValueError(f"maximum ({self.maximum} s) must not be less than initial ({self.initial} s)")
        if not 1 <= self.multiplier < math.inf:
            raise ValueError(f"multiplier must be at least 1, not {self.multiplier}")
        if not all(0 <= wait < math.inf for wait in self.waits):
            raise ValueError(f"each of waits must be 0 seconds or more, not {self.waits}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 (none) and 1 (full), not {self.jitter}")
        if self.total is not None and not self.total >= 0:
            raise ValueError(f"total must be 0 seconds or more, or None for no limit, not {self.total}")

    def delay(self, attempt: int, error: BaseException | None = None) -> float:
        """Seconds to wait after the `attempt`th attempt (from 1 on), at least the error's own `retry_after`.

        >>> [Policy(initial=1, maximum=5, jitter=0).delay(attempt) for attempt in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
        >>> Policy(initial=1, random=lambda: 0.25).delay(1)
        0.25
        >>> [Policy(waits=(1, 10), jitter=0).delay(attempt) for attempt in (1, 2, 3)]
        [1.0, 10.0, 10.0]
        """
        ceiling = self._ceiling(attempt)
        wait = ceiling - ceiling * self.jitter * (1 - self.random()) if self.jitter else ceiling
        asked = error.retry_after if isinstance(error, ChassisError) else None
        return wait if asked is None else max(wait, asked)

    @property
    def longest(self) -> float:
        """The longest wait in seconds, but for what an error itself asks for."""
        return max(self.waits) if self.waits else float(self.maximum)

    def _ceiling(self, attempt: int) -> float:
        if self.waits:
            return float(self.waits[min(attempt, len(self.waits)) - 1])
        try:
            return min(float(self.maximum), float(self.initial * self.multiplier ** (attempt - 1)))
        except OverflowError:
            return float(self.maximum)

    def retries(self, error: BaseException) -> bool:
        """Whether this error is one to try again after, limits aside.

        >>> from chassis.errors import NotFound, Temporary
        >>> policy = Policy(per_error={ConnectionError: True})
        >>> policy.retries(Temporary()), policy.retries(NotFound()), policy.retries(ConnectionResetError())
        (True, False, True)
        """
        return self._policy_for(error) is not None

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `fn(*args, **kwargs)`, again after errors that may pass; the last error is raised where it gives up.

        No wait goes beyond the deadline of the call being served.
        """
        started = self.clock()
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            # What succeeds at once, nearly everything, has not paid for any of what follows.
            if self._gives_up(1, error, started, 0.0):
                raise
            failed = error
        return await self._again(failed, started, lambda: fn(*args, **kwargs))

    async def go_on(self, failed: Exception, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`, for who has made the first attempt itself, which has just ended with `failed`."""
        started = self.clock()
        if self._gives_up(1, failed, started, 0.0):
            raise failed
        return await self._again(failed, started, lambda: fn(*args, **kwargs))

    async def _again(self, failed: Exception, started: float, attempt: Callable[[], Awaitable[T]]) -> T:
        from tenacity import AsyncRetrying, retry_if_exception

        first: Exception | None = failed

        async def first_or_next() -> T:
            nonlocal first
            if first is not None:
                error, first = first, None
                raise error
            return await attempt()

        def wait(state: RetryCallState) -> float:
            error = _error_of(state)
            policy = self._policy_for(error) or self
            return policy.delay(state.attempt_number, error)

        def stop(state: RetryCallState) -> bool:
            return self._gives_up(state.attempt_number, _error_of(state), started, state.upcoming_sleep)

        def tell(state: RetryCallState) -> None:
            error = _error_of(state)
            said = (state.attempt_number, type(error).__name__, state.upcoming_sleep)
            _log.debug("attempt %d failed with %s; trying again in %.3f s", *said)

        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=stop,
            wait=wait,
            retry=retry_if_exception(self.retries),
            before_sleep=tell,
            reraise=True,
        )
        result: T = await retrying(first_or_next)
        return result

    def _policy_for(self, error: BaseException) -> Policy | None:
        for cls in type(error).__mro__:
            if (said := self.per_error.get(cls)) is not None:
                return said if isinstance(said, Policy) else self if said else None
        return self if isinstance(error, ChassisError) and error.meaning.retryable else None

    def _gives_up(self, attempt: int, error: BaseException, started: float, wait: float) -> bool:
        policy = self._policy_for(error)
        if policy is None or (policy.attempts is not None and attempt >= policy.attempts):
            return True
        resumes = self.clock() + wait
        if any(total is not None and resumes - started > total for total in (self.total, policy.total)):
            return True
        remaining = time_left()
        return remaining is not None and wait >= remaining


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None
    return error
