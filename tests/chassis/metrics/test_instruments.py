from __future__ import annotations

import logging
import threading
from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest

from chassis.metrics import LATENCY_BUCKETS, Metrics
from chassis.metrics.instruments import Family

VALUES = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)
LABEL = st.text(max_size=6)


def page_of(*families: Family[Any]) -> str:
    registry = prometheus_client.CollectorRegistry()
    for family in families:
        registry.register(family)
    return generate_latest(registry).decode()


def page_of_library(registry: prometheus_client.CollectorRegistry) -> str:
    """What the library itself writes, without the times at which series were created."""
    families = list(registry.collect())
    for family in families:
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]

    class Rest:
        def collect(self) -> list[prometheus_client.Metric]:
            return families

    return generate_latest(Rest()).decode()  # type: ignore[arg-type]


@given(
    observed=st.lists(st.tuples(LABEL, VALUES | st.sampled_from(LATENCY_BUCKETS))),
    buckets=st.lists(VALUES, min_size=1, max_size=6, unique=True).map(sorted) | st.just(list(LATENCY_BUCKETS)),
)
def test_a_histogram_is_exposed_as_the_library_would(observed: list[tuple[str, float]], buckets: list[float]) -> None:
    registry = prometheus_client.CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "svc_wait_seconds", "Waiting.", ["service", "venue"], registry=registry, buckets=buckets
    )
    ours = Metrics("svc").histogram("wait_seconds", "Waiting.", ["venue"], buckets=buckets)
    for venue, value in observed:
        theirs.labels("svc", venue).observe(value)
        ours.labels(venue).observe(value)
    assert page_of(ours) == page_of_library(registry)


@given(counted=st.lists(st.tuples(LABEL, VALUES.map(abs))), levels=st.lists(VALUES))
def test_counters_and_gauges_are_exposed_as_the_library_would(
    counted: list[tuple[str, float]], levels: list[float]
) -> None:
    registry = prometheus_client.CollectorRegistry()
    their_counter = prometheus_client.Counter("svc_orders_total", "Orders.", ["service", "venue"], registry=registry)
    their_gauge = prometheus_client.Gauge("svc_open", "Open.", ["service"], registry=registry).labels("svc")
    metrics = Metrics("svc")
    counter, gauge = metrics.counter("orders_total", "Orders.", ["venue"]), metrics.gauge("open", "Open.")
    for venue, amount in counted:
        their_counter.labels("svc", venue).inc(amount)
        counter.labels(venue=venue).inc(amount)
    for level in levels:
        for each in (their_gauge, gauge):
            each.set(level)
            each.inc(2)
            each.dec()
    assert page_of(counter, gauge) == page_of_library(registry)


def test_the_exposition_of_a_small_service_is_exactly_this() -> None:
    metrics = Metrics("price-watch")
    placed = metrics.counter("placed_total", 'Orders "placed".', ("venue",), subsystem="orders")
    metrics.gauge("open", "Orders that are open.", subsystem="orders").set(2)
    size = metrics.histogram("size_bytes", "Size of orders.", buckets=(10, 100))
    placed.labels('a\n"b"\\').inc(3)
    size.observe(10)
    size.observe(11)
    size.observe(1000)
    page = metrics.exposition()[1].decode()
    assert (
        page[page.index("# HELP price_watch_orders") :]
        == r"""# HELP price_watch_orders_placed_total Orders "placed".
# TYPE price_watch_orders_placed_total counter
price_watch_orders_placed_total{service="price-watch",venue="a\n\"b\"\\"} 3.0
# HELP price_watch_orders_open Orders that are open.
# TYPE price_watch_orders_open gauge
price_watch_orders_open{service="price-watch"} 2.0
# HELP price_watch_size_bytes Size of orders.
# TYPE price_watch_size_bytes histogram
price_watch_size_bytes_bucket{le="10.0",service="price-watch"} 1.0
price_watch_size_bytes_bucket{le="100.0",service="price-watch"} 2.0
price_watch_size_bytes_bucket{le="+Inf",service="price-watch"} 3.0
price_watch_size_bytes_count{service="price-watch"} 3.0
price_watch_size_bytes_sum{service="price-watch"} 1021.0
"""
    )


def test_a_series_without_labels_is_there_from_the_start() -> None:
    metrics = Metrics("svc")
    metrics.counter("orders_total", "Orders.")
    metrics.histogram("wait_seconds", "Waiting.")
    assert metrics.value("svc_orders_total") == 0
    assert metrics.value("svc_wait_seconds_count") == 0


def test_the_same_labels_give_the_same_series_however_they_are_written() -> None:
    counter = Metrics("svc").counter("orders_total", "Orders.", ["venue", "side"])
    series = counter.labels("binance", 1)
    assert counter.labels(side="1", venue="binance") is series
    assert counter.labels("binance", "1") is series


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a",), {}), (("a", "b", "c"), {}), ((), {"venue": "a"}), (("a",), {"side": "b"}), ((), {"x": 1})],
)
def test_label_values_that_do_not_fit_are_told_with_the_labels_that_there_are(
    enabled: bool, values: tuple[str, ...], named: dict[str, str]
) -> None:
    counter = Metrics("svc", enabled=enabled).counter("orders_total", "Orders.", ["venue", "side"])
    with pytest.raises(ValueError, match=r"svc_orders_total has the labels \(venue, side\), but was given \(.*\)"):
        counter.labels(*values, **named)


def test_an_instrument_with_labels_does_not_record_without_them() -> None:
    counter = Metrics("svc").counter("orders_total", "Orders.", ["venue"])
    with pytest.raises(ValueError, match=r"has the labels \(venue\)"):
        counter.inc()


def test_a_counter_does_not_fall() -> None:
    counter = Metrics("svc").counter("orders_total", "Orders.")
    for amount in (-1, float("nan")):
        with pytest.raises(ValueError, match="only grows"):
            counter.inc(amount)


def test_what_has_no_bucket_is_not_observed() -> None:
    metrics = Metrics("svc")
    wait = metrics.histogram("wait_seconds", "Waiting.")
    with pytest.raises(ValueError, match="NaN"):
        wait.observe(float("nan"))
    wait.observe(float("inf"))
    assert metrics.value("svc_wait_seconds_bucket", le="10.0") == 0
    assert metrics.value("svc_wait_seconds_bucket", le="+Inf") == 1


def test_a_block_is_timed_also_when_it_fails() -> None:
    metrics = Metrics("svc")
    wait = metrics.histogram("wait_seconds", "Waiting.")
    with pytest.raises(KeyError), wait.time():
        raise KeyError
    with wait.time():
        pass
    assert metrics.value("svc_wait_seconds_count") == 2
    total = metrics.value("svc_wait_seconds_sum")
    assert total is not None
    assert total > 0


def test_what_is_kept_elsewhere_is_asked_for_at_each_scrape() -> None:
    metrics = Metrics("svc")
    waiting: list[str] = []
    metrics.gauge("waiting", "Waiting.").set_function(lambda: len(waiting))
    metrics.counter("dropped_total", "Dropped.").set_function(lambda: 7)
    assert metrics.value("svc_waiting") == 0
    waiting.append("one")
    assert metrics.value("svc_waiting") == 1
    assert metrics.value("svc_dropped_total") == 7


def test_a_function_that_fails_costs_only_its_own_value(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("svc")
    metrics.gauge("broken", "Broken.").set_function(lambda: 1 / 0)
    metrics.gauge("fine", "Fine.").set(3)
    page = metrics.exposition()[1].decode()
    assert 'svc_broken{service="svc"} NaN' in page
    assert 'svc_fine{service="svc"} 3.0' in page
    assert "the value of svc_broken failed" in caplog.text


def test_label_values_beyond_the_last_series_share_one(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("svc")
    counter = metrics.counter("orders_total", "Orders.", ["venue", "side"])
    with caplog.at_level(logging.WARNING, "chassis.metrics"):
        for number in range(Family.MAX_SERIES + 8_000):
            counter.labels(f"v{number}", "buy").inc()
    counter.labels("v0", "buy").inc()
    samples = [line for line in metrics.exposition()[1].decode().splitlines() if line.startswith("svc_orders_total{")]
    assert len(samples) == Family.MAX_SERIES + 1
    assert metrics.value("svc_orders_total", venue="overflow", side="overflow") == 8_000
    assert metrics.value("svc_orders_total", venue="v0", side="buy") == 2
    assert len(caplog.records) == 1


def test_a_removed_series_is_gone_and_makes_room() -> None:
    metrics = Metrics("svc")
    gauge = metrics.gauge("lag", "Lag.", ["partition"])
    gauge.labels(1).set(5)
    gauge.remove(1)
    gauge.remove(2)
    assert metrics.value("svc_lag", partition="1") is None


@given(st.text(st.characters(exclude_categories=()), max_size=600))
def test_no_label_value_can_spoil_the_page(value: str) -> None:
    metrics = Metrics("svc")
    metrics.counter("orders_total", "Orders.", ["venue"]).labels(value).inc()
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        assert b"svc_orders_total{" in metrics.exposition(accept)[1]


def test_threads_lose_no_count() -> None:
    metrics = Metrics("svc")
    counter = metrics.counter("orders_total", "Orders.")
    gauge = metrics.gauge("open", "Open.")
    wait = metrics.histogram("wait_seconds", "Waiting.")

    def work() -> None:
        for _ in range(5_000):
            counter.inc()
            gauge.inc()
            wait.observe(0.5)
            gauge.dec()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.value("svc_orders_total") == 20_000
    assert metrics.value("svc_open") == 0
    assert metrics.value("svc_wait_seconds_count") == 20_000
    assert metrics.value("svc_wait_seconds_sum") == 10_000
