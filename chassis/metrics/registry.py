from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

from chassis.metrics.catalogue import BUILD_INFO, CATALOGUE
from chassis.metrics.declaration import LATENCY_BUCKETS, Instrument
from chassis.metrics.formats import format_for
from chassis.metrics.instruments import Counter, Family, Gauge, Histogram
from chassis.metrics.naming import check, namespace_of
from chassis.version import __version__

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

F = TypeVar("F")

_CLASSES: dict[str, type[Family[Any]]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
_TAKEN = {name: instrument for instrument in CATALOGUE for name in instrument.names}


class Metrics:
    """All metrics of one service: those of the chassis, the service's own, and those of process and interpreter.

    Names begin with `namespace`, by default the service's name with `_` for `-`; each series has the label `service`.
    With `enabled=False` nothing is recorded, and what is declared can be used all the same. Safe in any thread.

    >>> metrics = Metrics("price-watch")
    >>> placed = metrics.counter("placed_total", "Orders placed.", labels=("venue",), subsystem="orders")
    >>> placed.labels("binance").inc()
    >>> metrics.value("price_watch_orders_placed_total", venue="binance")
    1.0

    Raises ValueError where the names cannot be those of metrics.
    """

    def __init__(
        self, service_name: str, *, namespace: str | None = None, enabled: bool = True, version: str = ""
    ) -> None:
        self.service_name = service_name
        self.namespace = namespace_of(namespace or service_name)
        self.enabled = enabled
        self._lock = Lock()
        self._families: dict[str, Family[Any]] = {}
        self._taken: dict[str, Instrument[Any]] = dict(_TAKEN)
        if enabled:
            self._collect_process()
            self.get(BUILD_INFO).labels(version or "unknown", __version__, platform.python_version()).set(1)

    @cached_property
    def registry(self) -> CollectorRegistry:
        """The registry of prometheus_client behind it, for collectors that libraries bring."""
        from prometheus_client import CollectorRegistry

        return CollectorRegistry(auto_describe=True)

    def get(self, instrument: Instrument[F]) -> F:
        """What to record an instrument of the catalogue with; the same object each time."""
        with self._lock:
            family = self._families.get(instrument.name) or self._add(instrument)
        return cast("F", family)

    def counter(self, name: str, documentation: str, labels: Iterable[str] = (), *, subsystem: str = "") -> Counter:
        """Declare a counter of your own, `{namespace}_{subsystem}_{name}`; its name ends with `_total`.

        Declared again in the same way, it is the same counter. Raises ValueError for what cannot be declared.
        """
        return self._own(Instrument(_join(subsystem, name), "counter", documentation, _labels(labels)))

    def gauge(self, name: str, documentation: str, labels: Iterable[str] = (), *, subsystem: str = "") -> Gauge:
        """Declare a gauge of your own, `{namespace}_{subsystem}_{name}`.

        Declared again in the same way, it is the same gauge. Raises ValueError for what cannot be declared.
        """
        return self._own(Instrument(_join(subsystem, name), "gauge", documentation, _labels(labels)))

    def histogram(
        self,
        name: str,
        documentation: str,
        labels: Iterable[str] = (),
        *,
        buckets: Iterable[float] = LATENCY_BUCKETS,
        subsystem: str = "",
    ) -> Histogram:
        """Declare a histogram of your own, `{namespace}_{subsystem}_{name}`; the name ends with its unit.

        `buckets` are upper bounds, by default in seconds from 5 ms to 10 s; the one without a bound comes by itself.
        Declared again in the same way, it is the same histogram. Raises ValueError for what cannot be declared.
        """
        bounds = [float(bound) for bound in buckets]
        if bounds and bounds[-1] == float("inf"):
            bounds.pop()
        instrument: Instrument[Histogram] = Instrument(
            _join(subsystem, name), "histogram", documentation, _labels(labels), tuple(bounds)
        )
        return self._own(instrument)

    def value(self, sample: str, **labels: str) -> float | None:
        """The value of one sample as a scrape would see it now, None where there is none; for tests.

        `sample` is the whole name, `cqar_grpc_calls_total`; the label `service` need not be given.
        """
        for metric in self.registry.collect():
            for each in metric.samples:
                if each.name == sample and each.labels in (labels, labels | {"service": self.service_name}):
                    return float(each.value)
        return None

    def format_for(self, accept: str) -> str:
        """The format that `exposition` gives for a scraper's header `Accept`: one of a few texts, whatever it asks for.

        It can be given to `exposition` in the header's place.
        """
        return format_for(accept)

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """The content type and the page that a scrape gets: OpenMetrics where `accept` asks for it, or plain text.

        It computes for some milliseconds per thousand series: on an event loop, run it in `asyncio.to_thread`.
        """
        from prometheus_client.exposition import choose_encoder

        # The library by itself repeats any version that it is asked for.
        encoder, content_type = choose_encoder(format_for(accept))
        return content_type, encoder(self.registry)

    def _own(self, instrument: Instrument[F]) -> F:
        check(instrument)
        with self._lock:
            known = self._families.get(instrument.name)
            if known is not None and known.instrument.same_as(instrument) and instrument.name not in _TAKEN:
                return cast("F", known)
            for name in instrument.names:
                if (other := self._taken.get(name)) is not None:
                    by = "the chassis itself" if name in _TAKEN else "this service"
                    raise ValueError(f"cannot declare the {_shape(instrument)}: {by} has the {_shape(other)}")
            return cast("F", self._add(instrument))

    def _add(self, instrument: Instrument[Any]) -> Family[Any]:
        constant = {"service": self.service_name}
        family = _CLASSES[instrument.kind](instrument, self.namespace, constant, enabled=self.enabled)
        if self.enabled:
            try:
                self.registry.register(family)
            except ValueError as error:
                raise ValueError(f"cannot declare {family.name!r}: a collector of a library has that name") from error
        self._families[instrument.name] = family
        self._taken.update(dict.fromkeys(instrument.names, instrument))
        return family

    def _collect_process(self) -> None:
        from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)


def _join(subsystem: str, name: str) -> str:
    return f"{subsystem}_{name}" if subsystem and name else name


def _labels(labels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ValueError(f"labels are a tuple of names, not one text: ({labels!r},)")
    return tuple(labels)


def _shape(instrument: Instrument[Any]) -> str:
    text = f"{instrument.kind} {instrument.name!r} with the labels ({', '.join(instrument.labels)})"
    return f"{text} and the buckets {list(instrument.buckets)}" if instrument.kind == "histogram" else text
