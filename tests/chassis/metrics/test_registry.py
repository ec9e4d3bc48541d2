from __future__ import annotations

import platform
import re
import subprocess
import sys

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import chassis
from chassis.metrics import Metrics
from chassis.metrics.catalogue import CATALOGUE, GRPC_CALL_DURATION, GRPC_CALLS
from chassis.metrics.formats import format_for

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PARTS = ["application/openmetrics-text", "text/plain", ";", ",", "=", " ", "version=", "1.0.0", "escaping=", "dots"]


def test_two_services_in_one_process_do_not_see_each_other() -> None:
    one, other = Metrics("one"), Metrics("other")
    one.get(GRPC_CALLS).labels("/a/B", "OK").inc()
    one.counter("orders_total", "Orders.").inc()
    other.counter("orders_total", "Orders.", ["venue"])
    assert b"one_" not in other.exposition()[1]
    assert other.value("other_grpc_calls_total", method="/a/B", status_code="OK") is None
    assert b"one_" not in prometheus_client.generate_latest()


def test_every_series_of_ours_has_the_label_service_and_the_namespace() -> None:
    metrics = Metrics("price-watch", namespace="watch", version="1.2.3")
    for instrument in CATALOGUE:
        family = metrics.get(instrument)
        assert family.name == f"watch_{instrument.name}"
        if instrument.labels and instrument.name != "build_info":
            family.labels(*instrument.labels)
    families = {
        family.name: family for family in text_string_to_metric_families(metrics.exposition(OPENMETRICS)[1].decode())
    }
    for instrument in CATALOGUE:
        family = families[f"watch_{instrument.family}"]
        assert family.type == instrument.kind
        assert family.unit == instrument.unit
        assert family.documentation == instrument.documentation
        assert family.samples
        for sample in family.samples:
            assert sample.labels["service"] == "price-watch"
            assert sample.labels.keys() - {"le"} == {"service", *instrument.labels}


def test_process_interpreter_and_build_are_told() -> None:
    metrics = Metrics("svc", version="1.2.3")
    page = metrics.exposition()[1].decode()
    assert f'version="{platform.python_version()}"' in page
    assert "python_gc_collections_total{" in page
    assert "python_info{" in page
    if sys.platform == "linux":
        assert "process_resident_memory_bytes " in page
    (line,) = [line for line in page.splitlines() if line.startswith("svc_build_info{")]
    assert 'version="1.2.3"' in line
    assert f'chassis_version="{chassis.__version__}"' in line
    assert f'python_version="{platform.python_version()}"' in line
    assert line.endswith(" 1.0")


def test_an_instrument_is_the_same_object_each_time() -> None:
    metrics = Metrics("svc")
    assert metrics.get(GRPC_CALLS) is metrics.get(GRPC_CALLS)


def test_the_same_declaration_twice_is_the_same_instrument() -> None:
    metrics = Metrics("svc")
    first = metrics.counter("orders_placed_total", "Orders.", labels=("venue",))
    assert metrics.counter("placed_total", "Said otherwise.", labels=["venue"], subsystem="orders") is first
    wait = metrics.histogram("wait_seconds", "Waiting.", buckets=[1, 2])
    assert metrics.histogram("wait_seconds", "Waiting.", buckets=(1.0, 2.0, float("inf"))) is wait


@pytest.mark.parametrize("enabled", [True, False])
def test_another_declaration_under_the_same_name_is_refused_with_both(enabled: bool) -> None:
    metrics = Metrics("svc", enabled=enabled)
    metrics.counter("orders_total", "Orders.", labels=("venue",))
    with pytest.raises(ValueError, match=r"'orders_total' with the labels \(side\): this service has .*\(venue\)"):
        metrics.counter("orders_total", "Orders.", labels=("side",))
    metrics.histogram("wait_seconds", "Waiting.", buckets=[1, 2])
    with pytest.raises(ValueError, match=r"the buckets \[1.0\]: this service has .* the buckets \[1.0, 2.0\]"):
        metrics.histogram("wait_seconds", "Waiting.", buckets=[1])
    with pytest.raises(ValueError, match="cannot declare the gauge 'wait_seconds_count'"):
        metrics.gauge("wait_seconds_count", "Takes the name of a histogram's sample.")
    with pytest.raises(ValueError, match="cannot declare the gauge 'orders'"):
        metrics.gauge("orders", "Takes the name of a counter's family.")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_names_of_the_chassis_are_taken_whether_used_or_not(enabled: bool) -> None:
    metrics = Metrics("svc", enabled=enabled)
    for _ in range(2):
        with pytest.raises(ValueError, match="the chassis itself has the counter 'grpc_calls_total'"):
            metrics.counter("calls_total", "Calls.", labels=GRPC_CALLS.labels, subsystem="grpc")
        metrics.get(GRPC_CALLS)


def test_collectors_of_libraries_may_join_and_names_stay_unique() -> None:
    metrics = Metrics("svc")
    prometheus_client.Gauge("pool_size", "Of a library.", registry=metrics.registry).set(4)
    prometheus_client.Gauge("svc_queue", "Of a library.", registry=metrics.registry)
    assert b"\npool_size 4.0\n" in metrics.exposition()[1]
    with pytest.raises(ValueError, match="'svc_queue': a collector of a library has that name"):
        metrics.gauge("queue", "Of ours.")


def test_nothing_is_recorded_when_metrics_are_off() -> None:
    metrics = Metrics("svc", enabled=False)
    counter = metrics.counter("orders_total", "Orders.", ["venue"])
    gauge = metrics.gauge("open", "Open.")
    wait = metrics.histogram("wait_seconds", "Waiting.")
    for number in range(10):
        counter.labels(number).inc()
        gauge.set(number)
        gauge.inc()
        gauge.dec(3)
        wait.observe(number)
        with wait.time():
            pass
    assert counter.labels("a") is counter.labels("b")
    assert (counter.labels("a").value, gauge.labels().value, wait.labels().count()) == (0, 0, 0)
    assert metrics.exposition()[1] == b""


def test_a_scrape_gets_the_format_that_it_asks_for() -> None:
    metrics = Metrics("svc")
    metrics.get(GRPC_CALLS).labels("/a/B", "OK").inc()
    metrics.get(GRPC_CALL_DURATION).labels("/a/B", "OK").observe(0.02, "0af7651916cd43dd8448eb211c80319c")
    content_type, page = metrics.exposition()
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"# EOF" not in page
    assert b"0af7651916cd43dd8448eb211c80319c" not in page  # plain text has no place for exemplars
    content_type, page = metrics.exposition(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert page.endswith(b"# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(page.decode())}
    (bucket,) = [s for s in families["svc_grpc_call_duration_seconds"].samples if s.exemplar]
    assert bucket.labels["le"] == "0.025"
    assert bucket.exemplar is not None
    assert bucket.exemplar.labels == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    assert bucket.exemplar.value == 0.02


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=x", "text/plain; version=..", ";;;,=,", "\x00", "*/*"]
)
def test_a_strange_accept_header_still_gets_a_page(accept: str) -> None:
    content_type, page = Metrics("svc").exposition(accept)
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"svc_build_info" in page


def test_there_are_a_few_formats_and_the_page_is_in_the_one_that_was_chosen() -> None:
    metrics = Metrics("svc")
    headers = [
        f"{media}; version={version}; escaping={escaping}"
        for media in ("text/plain", "application/openmetrics-text", "Text/Plain")
        for version in ("0.0.4", "1", "1.0.0", "1.0.7", "2.0", "999.1.1", "1.1.1.1", "1" * 5000, "\u0661", "x")
        for escaping in ("underscores", "dots", "values", "allow-utf-8", "mine", "")
    ]
    formats = {metrics.format_for(header) for header in [*headers, "application/openmetrics-text", "*/*"]}
    assert len(formats) == 10
    for each in formats:
        assert metrics.format_for(each) == each
    assert {metrics.exposition(header)[0] for header in headers} < {metrics.exposition(each)[0] for each in formats}


@given(st.text(max_size=80) | st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_whatever_is_asked_for_is_answered_by_one_of_them(accept: str) -> None:
    assert re.fullmatch(
        "|(text/plain|application/openmetrics-text); version=1.0.0; escaping=(underscores|dots|values|allow-utf-8)"
        "|application/openmetrics-text",
        format_for(accept),
    )


def test_the_library_is_imported_only_by_services_that_record() -> None:
    script = (
        "import sys; from chassis.metrics import Metrics; Metrics('svc', enabled=False).counter('a_total', '').inc();"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_name_that_cannot_be_a_namespace_is_told() -> None:
    with pytest.raises(ValueError, match="'my service' cannot be a namespace of metrics: expected letters"):
        Metrics("my service")
