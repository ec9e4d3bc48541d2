from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from chassis.metrics.instruments import Counter, Gauge, Histogram

F = TypeVar("F")

LATENCY_BUCKETS: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the same for all durations, so that they can be laid over each other."""


@dataclass(frozen=True, slots=True)
class Instrument(Generic[F]):
    """The declaration of one metric: what it is called, what it means, and which labels tell its series apart."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    documentation: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """The base unit that the name ends with; empty for plain numbers."""
        last = self.family.rpartition("_")[2]
        return last if last in _BASE_UNITS else ""

    @property
    def family(self) -> str:
        """The name of the metric family, without the `_total` that a counter's samples end with."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    @property
    def names(self) -> frozenset[str]:
        """All names that this instrument takes up; two instruments with one in common could not be told apart."""
        suffixes = _SUFFIXES[self.kind]
        return frozenset({self.family, *(self.family + suffix for suffix in suffixes)})

    def same_as(self, other: Instrument[Any]) -> bool:
        """Whether both declare the same metric; the documentation may differ."""
        return (self.name, self.kind, self.labels, self.buckets) == (
            (other.name, other.kind, other.labels, other.buckets)
        )


_BASE_UNITS = frozenset({"seconds", "bytes", "ratio"})

# OpenMetrics 1.0, "MetricFamily names": the suffixes of a type's samples belong to it.
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "gauge": (),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
}


def counter(name: str, documentation: str, labels: tuple[str, ...] = ()) -> Instrument[Counter]:
    """Declare something that only grows; the name ends with `_total`."""
    return Instrument(name, "counter", documentation, labels)


def gauge(name: str, documentation: str, labels: tuple[str, ...] = ()) -> Instrument[Gauge]:
    """Declare a level that rises and falls."""
    return Instrument(name, "gauge", documentation, labels)


def histogram(
    name: str, documentation: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY_BUCKETS
) -> Instrument[Histogram]:
    """Declare something whose distribution matters: durations, sizes."""
    return Instrument(name, "histogram", documentation, labels, buckets)
