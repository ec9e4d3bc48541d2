"""One series each, the thing that is counted in: cheap to keep, safe to use from any thread.

They are the chassis' own because of what they cost on every call: counting and observing take a third of what
prometheus_client's take, and looking them up by their labels an eighth. Tests hold both to the same exposition.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from threading import Lock
from types import TracebackType


class SingleSeries:
    """A series that is one number."""

    __slots__ = ("_function", "_lock", "level")

    def __init__(self, buckets: tuple[float, ...] = ()) -> None:
        # For code that adds to it in one thread alone, where every microsecond counts: `series.level += 1`.
        self.level = 0.0
        self._lock = Lock()
        self._function: Callable[[], float] | None = None

    def set_function(self, function: Callable[[], float]) -> None:
        """Take the value from `function` whenever it is asked for; for what is kept elsewhere."""
        self._function = function

    @property
    def value(self) -> float:
        """The value now."""
        return self.level if self._function is None else self._function()


class CounterSeries(SingleSeries):
    """One series of a counter."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Add `amount`; raises ValueError where it is negative."""
        if not amount >= 0:
            raise ValueError(f"a counter only grows: it cannot be incremented by {amount}")
        with self._lock:
            self.level += amount


class GaugeSeries(SingleSeries):
    """One series of a gauge."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Set it to `value`."""
        with self._lock:
            self.level = value

    def inc(self, amount: float = 1) -> None:
        """Raise it by `amount`."""
        with self._lock:
            self.level += amount

    def dec(self, amount: float = 1) -> None:
        """Lower it by `amount`."""
        with self._lock:
            self.level -= amount


class HistogramSeries:
    """One series of a histogram."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_lock", "_sum")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._bounds = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, tuple[str, float, float]] = {}
        self._lock = Lock()

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Count `value` in its bucket; `trace_id` names a recorded trace in which it can be looked at.

        Raises ValueError for NaN, which has no bucket and would spoil the sum for ever.
        """
        if value != value:
            raise ValueError("NaN cannot be observed")
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value
        if trace_id is not None:
            self._exemplars[bucket] = (trace_id, value, time.time())

    def time(self) -> Timing:
        """Observe the seconds that a `with` block takes."""
        return Timing(self)

    def count(self) -> float:
        """How many values were observed; a counter of the same thing can take it as its function."""
        with self._lock:
            return sum(self._counts)

    def read(self) -> tuple[list[int], float, Mapping[int, tuple[str, float, float]]]:
        """The counts of the buckets (not cumulated, the last without a bound), the sum, and exemplars by bucket."""
        with self._lock:
            return list(self._counts), self._sum, dict(self._exemplars)


class Timing:
    """Observes the seconds between its start and its end; made by `Histogram.time`."""

    __slots__ = ("_series", "_started")

    def __init__(self, series: HistogramSeries) -> None:
        self._series = series

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._series.observe(time.perf_counter() - self._started)


class UnrecordedCounter(CounterSeries):
    """Where a counter is asked for and metrics are off."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        pass


class UnrecordedGauge(GaugeSeries):
    """Where a gauge is asked for and metrics are off."""

    __slots__ = ()

    def set(self, value: float) -> None:
        pass

    def inc(self, amount: float = 1) -> None:
        pass

    def dec(self, amount: float = 1) -> None:
        pass


class UnrecordedHistogram(HistogramSeries):
    """Where a histogram is asked for and metrics are off."""

    __slots__ = ()

    def observe(self, value: float, trace_id: str | None = None) -> None:
        pass
