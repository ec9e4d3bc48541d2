"""Each suite runs from end to end, with next to nothing to do; figures are not judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from tests.bench import report
from tests.bench.__main__ import all_suites
from tests.bench.cache_suite import cache_suite
from tests.bench.child import Launcher
from tests.bench.consume_suite import consume_suite
from tests.bench.credentials import Credentials
from tests.bench.database_suite import database_suite
from tests.bench.memory_suite import memory_suite
from tests.bench.publish_suite import publish_suite
from tests.bench.rpc_suites import rpc_suites
from tests.bench.start_suite import start_suite
from tests.bench.suite import Suite
from tests.bench.summary import summary

_SCALE = 0.01


def _rpc(name: str) -> Suite:
    return next(suite for suite in rpc_suites(h2load=False, scale=_SCALE) if suite.name == name)


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(partial(_rpc, each.name), id=each.name) for each in rpc_suites(h2load=False)),
        pytest.param(partial(publish_suite, _SCALE), id="publish"),
        pytest.param(partial(consume_suite, _SCALE), id="consume"),
        pytest.param(partial(cache_suite, _SCALE), id="cache"),
        pytest.param(partial(database_suite, _SCALE), id="database"),
        pytest.param(start_suite, id="start"),
        pytest.param(partial(memory_suite, _SCALE), id="memory"),
    ],
)
def test_a_suite_gives_a_row_for_each_variant_and_a_figure_for_each_comparison(make: Callable[[], Suite]) -> None:
    suite = replace(make(), turns=1, short_rounds=1)
    samples = suite.run(Launcher(None, Credentials.new()), 1, lambda text: None)
    assert {name: len(taken) for name, taken in samples.items()} == {each.name: 1 for each in suite.variants}
    figures = [comparison.of(samples).median for comparison in suite.comparisons]
    # What a concern costs is a difference, which so few calls can turn around.
    positive = suite.name != "concerns"
    assert all(math.isfinite(figure) and (figure > 0 or not positive) for figure in figures)
    table = report.tables(summary(suite, samples))
    assert all(f"| {each.name} " in table for each in suite.variants)
    assert all(f"| {each.title} " in table for each in suite.comparisons)


def test_suites_have_names_of_their_own() -> None:
    names = [suite.name for suite in all_suites(h2load=False)]
    assert len(set(names)) == len(names)


def test_all_that_is_compared_is_measured() -> None:
    for suite in all_suites(h2load=False):
        measured = {variant.name for variant in suite.variants}
        assert len(measured) == len(suite.variants)
        for comparison in suite.comparisons:
            assert {comparison.over, comparison.under or comparison.over} <= measured
