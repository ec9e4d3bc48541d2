from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from chassis.metrics import Metrics
from chassis.metrics.naming import namespace_of

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

VALID_NAME = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True)
LABELS = st.lists(VALID_NAME.filter(lambda name: not name.startswith("__") and name not in ("service", "le")),
                  max_size=3, unique=True)  # fmt: skip


@pytest.mark.parametrize(
    ("service", "namespace"), [("cqar", "cqar"), ("price-watch", "price_watch"), ("A:b", "A:b"), ("_x9", "_x9")]
)
def test_the_namespace_is_the_name_of_the_service_with_underscores(service: str, namespace: str) -> None:
    assert namespace_of(service) == namespace
    assert Metrics(service, enabled=False).namespace == namespace


@given(st.text())
def test_a_namespace_is_one_that_prometheus_accepts_or_is_refused(name: str) -> None:
    if re.fullmatch(r"[a-zA-Z_:-][a-zA-Z0-9_:-]*", name):
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", namespace_of(name))
    else:
        with pytest.raises(ValueError, match="cannot be a namespace of metrics"):
            namespace_of(name)


@given(name=st.text(max_size=12), subsystem=st.text(max_size=6), label=st.text(max_size=8))
def test_whatever_may_be_declared_can_be_scraped(name: str, subsystem: str, label: str) -> None:
    metrics = Metrics("svc")
    try:
        gauge = metrics.gauge(name, "documentation", [label], subsystem=subsystem)
    except ValueError:
        return
    gauge.labels("x").set(1)
    _, page = metrics.exposition(OPENMETRICS)
    (family,) = [each for each in text_string_to_metric_families(page.decode()) if each.name == gauge.name]
    assert family.samples[0].labels == {"service": "svc", label: "x"}


@given(subsystem=st.just("") | VALID_NAME, name=VALID_NAME, labels=LABELS)
def test_the_full_name_is_service_subsystem_metric(subsystem: str, name: str, labels: list[str]) -> None:
    counter = Metrics("price-watch", enabled=False).counter(f"{name}_total", "", labels, subsystem=subsystem)
    assert counter.name == "_".join(part for part in ("price_watch", subsystem, name, "total") if part)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda m: m.counter("orders", "x"), "must end with '_total': orders_total"),
        (lambda m: m.counter("_total", "x"), "must end with '_total'"),
        (lambda m: m.gauge("orders_total", "x"), "says that it is a counter"),
        (lambda m: m.histogram("orders_total", "x"), "says that it is a counter"),
        (lambda m: m.gauge("orders-open", "x"), "'orders-open' cannot name a metric: expected letters"),
        (lambda m: m.gauge("9lives", "x"), "no digit first"),
        (lambda m: m.gauge("", "x", subsystem="orders"), "'' cannot name a metric"),
        (lambda m: m.gauge("open", "x", subsystem="or:ders"), "cannot name a metric"),
        (lambda m: m.gauge("open", "x", ["service"]), "every metric has it already"),
        (lambda m: m.histogram("wait_seconds", "x", ["le"]), "histograms name their buckets with it"),
        (lambda m: m.gauge("open", "x", ["__name__"]), "cannot have the label '__name__'"),
        (lambda m: m.gauge("open", "x", ["a-b"]), "cannot have the label 'a-b'"),
        (lambda m: m.gauge("open", "x", ["a", "a"]), "has a label twice: a, a"),
        (lambda m: m.gauge("open", "x", "venue"), "labels are a tuple of names"),
        (lambda m: m.histogram("wait_seconds", "x", buckets=[]), "at least one"),
        (lambda m: m.histogram("wait_seconds", "x", buckets=[float("inf")]), "at least one"),
        (lambda m: m.histogram("wait_seconds", "x", buckets=[1, float("nan")]), "finite"),
        (lambda m: m.histogram("wait_seconds", "x", buckets=[1, 1]), "must rise"),
        (lambda m: m.histogram("wait_seconds", "x", buckets=[2, 1]), "must rise"),
    ],
)
@pytest.mark.parametrize("enabled", [True, False])
def test_a_declaration_that_cannot_be_says_why(enabled: bool, declare, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=re.escape(message)):
        declare(Metrics("svc", enabled=enabled))
