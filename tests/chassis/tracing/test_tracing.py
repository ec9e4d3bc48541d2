from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.tracing import Tracing


async def spans_of(tracing: Tracing, collector: InMemorySpanExporter, *names: str) -> list[str]:
    await tracing.start()
    for name in names:
        with tracing.tracer.start_as_current_span(name):
            pass
    await tracing.stop()
    return [span.name for span in collector.get_finished_spans()]


async def test_the_resource_says_who_sends() -> None:
    collector = InMemorySpanExporter()
    tracing = Tracing("cqar", version="1.2.0", environment="production", sample_rate=1, exporter=collector)
    await spans_of(tracing, collector, "work")
    (span,) = collector.get_finished_spans()
    resource = span.resource.attributes
    assert resource["service.name"] == "cqar"
    assert resource["service.version"] == "1.2.0"
    assert resource["deployment.environment.name"] == "production"
    assert resource["telemetry.sdk.language"] == "python"
    assert resource["process.runtime.name"] == sys.implementation.name
    assert resource["service.instance.id"]


def test_attributes_from_the_environment_are_added_and_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=cqar-0,service.name=other,service.instance.id=pod-0")
    tracing = Tracing("cqar")
    assert tracing.recorder is not None
    resource = tracing.recorder.provider.resource.attributes
    assert (resource["k8s.pod.name"], resource["service.name"]) == ("cqar-0", "cqar")
    assert resource["service.instance.id"] == "pod-0"


async def test_two_services_in_one_process_do_not_see_each_other() -> None:
    first, second = InMemorySpanExporter(), InMemorySpanExporter()
    before = trace.get_tracer_provider()
    one = Tracing("cqar", sample_rate=1, exporter=first)
    two = Tracing("cqvx", sample_rate=1, exporter=second)
    assert await spans_of(one, first, "one") == ["one"]
    assert await spans_of(two, second, "two", "three") == ["two", "three"]
    assert (one.exported, two.exported) == (1, 2)
    ids = {exporter.get_finished_spans()[0].resource.attributes["service.instance.id"] for exporter in (first, second)}
    assert len(ids) == 2
    assert trace.get_tracer_provider() is before


async def test_spans_of_ones_own_follow_the_sample_rate() -> None:
    collector = InMemorySpanExporter()
    assert await spans_of(Tracing("cqar", sample_rate=0, exporter=collector), collector, "never") == []


def test_off_imports_nothing_and_its_tracer_records_nothing() -> None:
    program = """
import sys
from chassis.tracing import Tracing
from interceptors.tracing import TracingInterceptor
tracing = Tracing("cqar", enabled=False, endpoint="collector:4317")
TracingInterceptor(tracing)
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
with tracing.tracer.start_as_current_span("nothing") as span:
    print(span.is_recording(), [name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert ran.stdout.splitlines() == ["[]", "False []"], ran.stderr


def test_without_an_endpoint_no_exporter_is_imported() -> None:
    program = """
import asyncio, sys
from chassis.tracing import Tracing
tracing = Tracing("cqar")
asyncio.run(tracing.start())
print([name for name in sys.modules if name.startswith("opentelemetry.exporter")])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert ran.stdout.splitlines() == ["[]"], ran.stderr


async def test_off_it_starts_stops_and_is_healthy() -> None:
    tracing = Tracing("cqar", enabled=False)
    await tracing.start()
    await tracing.check()
    await tracing.stop()
    assert (tracing.enabled, tracing.exported, tracing.dropped) == (False, 0, 0)


def test_opentelemetrys_own_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    assert not Tracing("cqar").enabled


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sample_rate": 1.5}, "sample rate"),
        ({"batch_timeout": 0}, "batch_timeout"),
        ({"queue_size": 0}, "queue_size"),
        ({"export_mode": "carrier pigeon"}, "grpc or http"),
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Tracing("cqar", **wrong)  # type: ignore[arg-type]


async def test_a_span_holds_no_more_than_its_limits() -> None:
    collector = InMemorySpanExporter()
    tracing = Tracing("cqar", sample_rate=1, exporter=collector)
    await tracing.start()
    with tracing.tracer.start_as_current_span("large") as span:
        for number in range(130):
            span.set_attribute(f"key{number}", number)
            span.add_event(f"event{number}")
        span.set_attribute("text", "x" * 1_000_000)
    await tracing.stop()
    (large,) = collector.get_finished_spans()
    assert large.attributes is not None
    assert len(large.attributes) == 128
    assert len(large.events) == 128
    assert max(len(value) for value in large.attributes.values() if isinstance(value, str)) <= 32 * 1024


def test_the_length_limit_of_opentelemetrys_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7")
    span = Tracing("cqar", sample_rate=1).tracer.start_span("short", attributes={"text": "0123456789"})
    assert span.attributes["text"] == "0123456"  # type: ignore[attr-defined]


async def test_a_thread_takes_no_trace_id_that_was_meant_for_another() -> None:
    tracing = Tracing("cqar", sample_rate=1)
    recorder = tracing.recorder
    assert recorder is not None
    ids = recorder.provider.id_generator
    ids.tell("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")  # type: ignore[attr-defined]
    elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: elsewhere.append(ids.generate_trace_id()))
    thread.start()
    thread.join()
    assert elsewhere != [0x0AF7651916CD43DD8448EB211C80319C]
    assert ids.generate_trace_id() == 0x0AF7651916CD43DD8448EB211C80319C
    assert ids.generate_trace_id() != 0x0AF7651916CD43DD8448EB211C80319C
