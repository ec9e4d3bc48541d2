"""What operators see in numbers: one catalogue of what the chassis records, and a service's own counters beside it.

>>> from chassis.metrics import Metrics
>>> from chassis.metrics.catalogue import GRPC_CALLS
>>> metrics = Metrics("cqar")
>>> metrics.get(GRPC_CALLS).labels("/pkg.Greeter/Greet", "OK").inc()
>>> metrics.value("cqar_grpc_calls_total", method="/pkg.Greeter/Greet", status_code="OK")
1.0

In a service, `self.metrics` is a `Metrics`; declare what you count once and keep what `labels` returns:

>>> waiting = metrics.gauge("waiting", "Orders that wait for a price.", subsystem="orders")
>>> waiting.set(3)
>>> with metrics.histogram("pricing_seconds", "Time to price an order.", subsystem="orders").time():
...     pass
>>> content_type, page = metrics.exposition()
>>> [line for line in page.decode().splitlines() if line.startswith("cqar_orders_waiting")]
['cqar_orders_waiting{service="cqar"} 3.0']
"""

from chassis.metrics.declaration import LATENCY_BUCKETS
from chassis.metrics.instruments import Counter, Gauge, Histogram
from chassis.metrics.registry import Metrics
from chassis.metrics.series import CounterSeries, GaugeSeries, HistogramSeries

__all__ = [
    "LATENCY_BUCKETS",
    "Counter",
    "CounterSeries",
    "Gauge",
    "GaugeSeries",
    "Histogram",
    "HistogramSeries",
    "Metrics",
]
