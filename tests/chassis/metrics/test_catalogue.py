from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from chassis.metrics import catalogue
from chassis.metrics.catalogue import CATALOGUE
from chassis.metrics.declaration import Instrument
from chassis.metrics.naming import check
from chassis.metrics.reference import reference

ROOT = Path(__file__).parents[3]
DURATION = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZE = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


def test_the_reference_page_is_what_the_catalogue_says() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m chassis.metrics > docs/metrics.md"


def test_the_module_prints_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("chassis.metrics")
    assert capsys.readouterr().out == reference()


def test_the_reference_names_every_instrument_with_its_labels() -> None:
    lines = reference().splitlines()
    for instrument in CATALOGUE:
        (row,) = [line for line in lines if line.startswith(f"| `{instrument.name}` |")]
        assert all(f"`{label}`" in row for label in instrument.labels)


def test_the_catalogue_begins_with_the_calls_and_ends_with_the_build() -> None:
    assert (CATALOGUE[0], CATALOGUE[-1]) == (catalogue.GRPC_CALLS, catalogue.BUILD_INFO)


def test_no_two_instruments_share_a_name() -> None:
    names = [name for instrument in CATALOGUE for name in instrument.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("instrument", CATALOGUE, ids=lambda instrument: instrument.name)
def test_the_catalogue_keeps_the_rules_that_hold_for_users(instrument: Instrument[object]) -> None:
    check(instrument)
    assert instrument.documentation.endswith(".")
    if instrument.kind == "histogram":
        assert instrument.unit in ("seconds", "bytes")


@pytest.mark.parametrize(
    ("name", "kind", "labels", "buckets"),
    [
        ("grpc_calls_total", "counter", ("method", "status_code"), ()),
        ("grpc_call_duration_seconds", "histogram", ("method", "status_code"), DURATION),
        ("grpc_client_calls_total", "counter", ("method", "status_code"), ()),
        ("grpc_client_call_duration_seconds", "histogram", ("method", "status_code"), DURATION),
        ("http_requests_total", "counter", ("method", "path", "status_code"), ()),
        ("http_request_duration_seconds", "histogram", ("method", "path", "status_code"), DURATION),
        ("http_request_size_bytes", "histogram", ("method", "path"), SIZE),
        ("http_response_size_bytes", "histogram", ("method", "path", "status_code"), SIZE),
        ("event_published_total", "counter", ("topic",), ()),
        ("event_publish_errors_total", "counter", ("topic", "status_code"), ()),
    ],
)
def test_names_labels_and_buckets_are_those_that_dashboards_and_alerts_ask_for(
    name: str, kind: str, labels: tuple[str, ...], buckets: tuple[float, ...]
) -> None:
    (instrument,) = [each for each in CATALOGUE if each.name == name]
    assert (instrument.kind, instrument.labels, instrument.buckets) == (kind, labels, buckets)
