"""The table shows what was measured, and what was not reached."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.statistics import Goal, Sample, Spread
from tests.bench.suite import Column, Comparison, Suite, Variant, cpu, kept_up, rate, wall_ms
from tests.bench.summary import summary

SUITE = Suite(
    "unary",
    "Unary calls",
    "calls",
    [Variant("chassis", "chassis_service"), Variant("bare", "bare")],
    [
        Comparison("chassis / bare", "chassis", "bare", rate, Goal(0.85, 0.92)),
        Comparison("what it adds", "chassis", "bare", cpu, Goal(20, 8, at_most=True), "difference", "us"),
    ],
    kept_up(lambda children: lambda child: Sample(1, 1)),
)


def samples(chassis: float) -> dict[str, list[Sample]]:
    return {"chassis": [Sample(chassis, 1e6 / chassis)] * 3, "bare": [Sample(3000, 1e6 / 3000)] * 3}


def told(suite: Suite, taken: dict[str, list[Sample]]) -> str:
    return report.tables(summary(suite, taken))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_the_rate_the_cpu_and_the_share_of_the_core() -> None:
    lines = told(SUITE, samples(2700)).splitlines()
    assert cells(lines[4]) == ["chassis", "2,700 (2,700..2,700)", "370", "1.00"]


def test_a_floor_that_is_reached_says_yes_and_one_that_is_not_says_no() -> None:
    lines = told(SUITE, samples(2700)).splitlines()
    assert cells(lines[9]) == ["chassis / bare", "0.90", "0.90..0.90", "0.90", "0.85", "0.92", "yes"]
    assert cells(lines[10]) == ["what it adds", "37.0 us", "37.0..37.0", "", "<= 20", "<= 8", "NO"]
    assert report.missed(SUITE, samples(2700)) == ["what it adds"]


def test_a_suite_says_what_its_variants_are_and_has_columns_of_its_own() -> None:
    suite = replace(SUITE, subject="process", columns=[Column("ms", wall_ms, 1, spread=True)])
    lines = told(suite, samples(4)).splitlines()
    assert cells(lines[2]) == ["process", "ms"]
    assert cells(lines[4]) == ["chassis", "250.0 (250.0..250.0)"]


def test_times_are_compared_by_cpu_as_rates_are_the_other_way_around() -> None:
    taken = {"a": [Sample(2, 300)], "b": [Sample(4, 100)]}
    times, rates = Comparison("", "a", "b", wall_ms), Comparison("", "a", "b", rate)
    assert (times.of(taken).median, times.by_cpu(taken)) == (2, Spread(3, 3, 3))
    assert rates.by_cpu(taken) == Spread(1 / 3, 1 / 3, 1 / 3)


def test_a_figure_can_stand_alone() -> None:
    alone = Comparison("start", "a", "", wall_ms, Goal(ambition=1000, at_most=True), "alone", "ms")
    assert alone.of({"a": [Sample(2, 1), Sample(4, 1), Sample(4, 1)]}) == Spread(250, 250, 500)
    assert alone.by_cpu({"a": [Sample(2, 1)]}) is None


def test_all_lines_of_a_table_are_equally_long() -> None:
    lines = told(SUITE, samples(123456)).splitlines()
    assert len({len(line) for line in lines[2:6]}) == len({len(line) for line in lines[7:11]}) == 1


def test_a_server_that_had_to_share_its_core_is_told() -> None:
    assert report.disturbed([(SUITE, samples(2700))]) is None
    shared = {"chassis": [Sample(1, 1, busy=0.5)], "bare": [Sample(1, 1)]}
    assert report.disturbed([(SUITE, shared)]) == 0.5
    # A client that waits for its server does not have its core all the time.
    assert report.disturbed([(replace(SUITE, saturates=False), shared)]) is None


def test_a_table_says_how_many_rounds_there_were() -> None:
    assert told(SUITE, samples(2700)).splitlines()[0] == "Rounds: 3"
    with pytest.raises(ValueError, match="too many values"):
        told(SUITE, {"chassis": [Sample(1, 1)], "bare": [Sample(1, 1)] * 2})


def test_of_many_short_rounds_the_table_says_how_well_the_median_is_known() -> None:
    taken = {"chassis": [Sample(1, cpu) for cpu in range(1, 41)], "bare": [Sample(1, 0)] * 40}
    suite = replace(SUITE, short_rounds=8, comparisons=SUITE.comparisons[1:])
    lines = told(suite, taken).splitlines()
    assert cells(lines[7])[:3] == ["compared", "median", "95 % interval"]
    assert cells(lines[9])[:3] == ["what it adds", "20.5 us", "14.0..27.0"]


def test_results_are_saved_with_every_sample(tmp_path: Path) -> None:
    path = report.save(tmp_path / "results", {"time": "2026-01-01T00:00:00Z"}, [(SUITE, samples(2700))])
    saved = json.loads(path.read_text())["suites"]["unary"]
    assert [each["rate"] for each in saved["samples"]["chassis"]] == [2700, 2700, 2700]
    assert saved["rounds"] == 3
    assert [each["verdict"] for each in saved["compared"]] == ["reached", "short"]
