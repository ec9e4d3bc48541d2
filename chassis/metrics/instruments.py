from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from chassis.metrics.series import (
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    SingleSeries,
    Timing,
    UnrecordedCounter,
    UnrecordedGauge,
    UnrecordedHistogram,
)
from chassis.text import clean

if TYPE_CHECKING:
    from prometheus_client import Metric

    from chassis.metrics.declaration import Instrument

_log = logging.getLogger("chassis.metrics")

OVERFLOW = "overflow"
"""The label value of the one series that takes what comes after the last series that there is room for."""

_MAX_VALUE_LENGTH = 512


def _text(value: object) -> str:
    # Values may come from callers: one that cannot be encoded must not take the whole page of metrics with it.
    return clean(str(value)[:_MAX_VALUE_LENGTH])


S = TypeVar("S", CounterSeries, GaugeSeries, HistogramSeries)


class Family(Generic[S]):
    """All series of one instrument, told apart by the values of its labels."""

    MAX_SERIES: ClassVar[int] = 2000
    """Further label values share one series: a label must not be able to fill the memory of a service."""

    _series_class: ClassVar[type[Any]]
    _unrecorded_class: ClassVar[type[Any]]

    def __init__(
        self, instrument: Instrument[Any], namespace: str, constant: Mapping[str, str], *, enabled: bool
    ) -> None:
        self.instrument = instrument
        self.namespace = namespace
        self.name = f"{namespace}_{instrument.name}"
        self._constant = dict(constant)
        self._series: dict[tuple[str, ...], S] = {}
        self._lock = Lock()
        self._unrecorded: S | None = None if enabled else self._unrecorded_class(instrument.buckets)
        if not instrument.labels:
            self.labels()  # a series that exists from the start is 0 where nothing happened, and not missing

    def labels(self, *values: object, **named: object) -> S:
        """The series with these label values, in the order of declaration or by name; keep it where it is used often.

        A value longer than 512 characters is cut. Raises ValueError where they are not the values of all labels.
        """
        series = self._series.get(values) if not named else None  # type: ignore[arg-type]
        return series if series is not None else self._find(values, named)

    def remove(self, *values: object) -> None:
        """Forget the series with these label values; nothing happens where there is none."""
        with self._lock:
            self._series.pop(tuple(map(_text, values)), None)

    def _find(self, values: tuple[object, ...], named: Mapping[str, object]) -> S:
        labels = self.instrument.labels
        if named and not values and named.keys() == set(labels):
            values = tuple(named[label] for label in labels)
        elif named or len(values) != len(labels):
            given = ", ".join([*map(repr, values), *(f"{name}={value!r}" for name, value in named.items())])
            wanted = ", ".join(labels) or "none"
            raise ValueError(f"{self.name} has the labels ({wanted}), but was given ({given})")
        if self._unrecorded is not None:
            return self._unrecorded
        key = tuple(map(_text, values))
        with self._lock:
            if key not in self._series and len(self._series) >= self.MAX_SERIES:
                key = (OVERFLOW,) * len(labels)
                if key not in self._series:
                    _log.warning(
                        "%s has %d series: all others go to one named %r", self.name, self.MAX_SERIES, OVERFLOW
                    )
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = self._series_class(self.instrument.buckets)
            return series

    # What prometheus_client asks a collector for.

    def describe(self) -> Iterable[Metric]:
        """The family without its series."""
        from prometheus_client import Metric

        instrument = self.instrument
        name = f"{self.namespace}_{instrument.family}"
        return [Metric(name, instrument.documentation, instrument.kind, instrument.unit)]

    def collect(self) -> Iterable[Metric]:
        """The family with all its series as they are now."""
        (metric,) = self.describe()
        with self._lock:
            every = list(self._series.items())
        for values, series in every:
            labels = dict(zip(self.instrument.labels, values, strict=True))
            self._add(metric, self._constant | labels, series)
        return [metric]

    def _add(self, metric: Metric, labels: dict[str, str], series: S) -> None:
        raise NotImplementedError

    def _value_of(self, series: SingleSeries) -> float:
        try:
            return float(series.value)
        except Exception:  # one broken function must not take all other metrics from the operator
            _log.exception("the function that gives the value of %s failed", self.name)
            return math.nan


class Counter(Family[CounterSeries]):
    """Something that only grows; `inc` where it has no labels, `labels(…).inc` where it has."""

    _series_class = CounterSeries
    _unrecorded_class = UnrecordedCounter

    def inc(self, amount: float = 1) -> None:
        """Add `amount`; raises ValueError where it is negative."""
        self.labels().inc(amount)

    def set_function(self, function: Callable[[], float]) -> None:
        """Take the value from `function` whenever it is asked for; for what is counted elsewhere."""
        self.labels().set_function(function)

    def _add(self, metric: Metric, labels: dict[str, str], series: CounterSeries) -> None:
        metric.add_sample(self.name, labels, self._value_of(series))


class Gauge(Family[GaugeSeries]):
    """A level that rises and falls; `set` where it has no labels, `labels(…).set` where it has."""

    _series_class = GaugeSeries
    _unrecorded_class = UnrecordedGauge

    def set(self, value: float) -> None:
        """Set it to `value`."""
        self.labels().set(value)

    def inc(self, amount: float = 1) -> None:
        """Raise it by `amount`."""
        self.labels().inc(amount)

    def dec(self, amount: float = 1) -> None:
        """Lower it by `amount`."""
        self.labels().dec(amount)

    def set_function(self, function: Callable[[], float]) -> None:
        """Take the value from `function` whenever it is asked for: the length of a queue, the size of a pool."""
        self.labels().set_function(function)

    def _add(self, metric: Metric, labels: dict[str, str], series: GaugeSeries) -> None:
        metric.add_sample(self.name, labels, self._value_of(series))


class Histogram(Family[HistogramSeries]):
    """A distribution; `observe` where it has no labels, `labels(…).observe` where it has."""

    _series_class = HistogramSeries
    _unrecorded_class = UnrecordedHistogram

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Count `value` in its bucket; `trace_id` names a recorded trace in which it can be looked at."""
        self.labels().observe(value, trace_id)

    def time(self) -> Timing:
        """Observe the seconds that a `with` block takes."""
        return self.labels().time()

    def _add(self, metric: Metric, labels: dict[str, str], series: HistogramSeries) -> None:
        from prometheus_client.samples import Exemplar
        from prometheus_client.utils import floatToGoString

        counts, total, exemplars = series.read()
        bounds = self.instrument.buckets
        cumulated = 0
        for bucket, (bound, count) in enumerate(zip((*bounds, math.inf), counts, strict=True)):
            cumulated += count
            seen = exemplars.get(bucket)
            exemplar = None if seen is None else Exemplar({"trace_id": seen[0]}, seen[1], seen[2])
            labelled = labels | {"le": floatToGoString(bound)}  # type: ignore[no-untyped-call]
            metric.add_sample(f"{self.name}_bucket", labelled, cumulated, exemplar=exemplar)
        metric.add_sample(f"{self.name}_count", labels, cumulated)
        if not bounds or bounds[0] >= 0:  # OpenMetrics: no sum where values may be negative, it would not only grow
            metric.add_sample(f"{self.name}_sum", labels, total)
