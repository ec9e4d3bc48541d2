"""How many calls may be made in which time, on a clock of whole nanoseconds that the caller brings along."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_SECOND = 1_000_000_000

# Sums of floats would at times let one call more pass than was promised.


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """`rate` calls a second in the long run, and up to `burst` at once after a pause.

    In no time of t seconds do more than burst + rate * t calls pass.
    """

    rate: float
    burst: int = 1

    def __post_init__(self) -> None:
        if not 1e-6 <= self.rate <= 1e6:
            raise ValueError(f"rate must be 0.000001 to 1000000 calls a second, not {self.rate}")
        if self.burst < 1:
            raise ValueError(f"burst must be 1 call or more, not {self.burst}")

    def __str__(self) -> str:
        return f"{self.rate:g} a second, {self.burst} at once"

    @property
    def _interval(self) -> int:
        return -int(-_SECOND // self.rate)  # rounded up

    @property
    def forgotten_after(self) -> int:
        """Nanoseconds without a call after which a caller is like a new one."""
        return self._interval * self.burst

    def new(self) -> _Bucket:
        """What is kept of one caller."""
        return _Bucket(self._interval, self._interval * (self.burst - 1))


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """At most `limit` calls in any `window` of seconds, wherever it begins.

    A call may count for up to 1/64 longer than the window, so that a large `limit` does not take much memory.
    """

    limit: int
    window: float

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit must be 1 call or more, not {self.limit}")
        if not 0.001 <= self.window <= 10_000_000:
            raise ValueError(f"window must be 0.001 to 10000000 seconds, not {self.window}")

    def __str__(self) -> str:
        return f"{self.limit} in {self.window:g} s"

    @property
    def forgotten_after(self) -> int:
        """Nanoseconds without a call after which a caller is like a new one."""
        return int(self.window * _SECOND) + 1  # of which the last part of a nanosecond is one as well

    def new(self) -> _Window:
        """What is kept of one caller."""
        return _Window(self.limit, self.forgotten_after)


class _Bucket:
    """A token bucket told by the time at which it is full again (GCRA, ITU-T I.371): one number for each caller."""

    __slots__ = ("_full_at", "_interval", "_tolerance")

    def __init__(self, interval: int, tolerance: int) -> None:
        self._interval = interval
        self._tolerance = tolerance
        self._full_at = 0

    def wait(self, now: int) -> int:
        """Nanoseconds until a call passes."""
        return max(0, self._full_at - self._tolerance - now)

    def take(self, now: int) -> None:
        """Count a call."""
        self._full_at = max(self._full_at, now) + self._interval


class _Window:
    """The calls of the last window, those of 1/64 of it as one: the time of the last of them, and how many."""

    __slots__ = ("_count", "_entries", "_limit", "_window")

    def __init__(self, limit: int, window: int) -> None:
        self._limit = limit
        self._window = window
        self._count = 0
        self._entries: deque[tuple[int, int, int]] = deque()  # the first, the last, how many

    def wait(self, now: int) -> int:
        """Nanoseconds until a call passes."""
        entries = self._entries
        while entries and entries[0][1] + self._window <= now:
            self._count -= entries.popleft()[2]
        return entries[0][1] + self._window - now if self._count >= self._limit else 0

    def take(self, now: int) -> None:
        """Count a call."""
        self._count += 1
        first, count = now, 1
        if self._entries and now - self._entries[-1][0] < self._window // 64:
            first, _, before = self._entries.pop()
            count += before
        self._entries.append((first, now, count))
