"""What came out of a suite: the figures that are shown, rounded as they are shown, as plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.statistics import Sample, Spread
from tests.bench.suite import RATES, Column, Comparison, Suite

Samples = Mapping[str, Sequence[Sample]]
Summary = dict[str, Any]
"""Of one suite; tables are made from it alone, whether it was measured just now or read from a file."""

_BETWEEN = {1: "least..greatest"}
_BETWEEN_MANY = "95 % interval"


def summary(suite: Suite, samples: Samples) -> Summary:
    """Sum up what was measured."""
    columns = suite.columns or RATES
    return {
        "title": suite.title,
        "rounds": rounds_of(samples),
        "columns": [suite.subject, *(column.title.format(what=suite.what) for column in columns)],
        "digits": [column.digits for column in columns],
        "rows": {
            variant.name: [_value(column, samples[variant.name]) for column in columns] for variant in suite.variants
        },
        "between": _BETWEEN.get(suite.short_rounds, _BETWEEN_MANY),
        "compared": [_compared(suite, comparison, samples) for comparison in suite.comparisons],
    }


def rounds_of(samples: Samples) -> int:
    """How many rounds there were; raises ValueError where some variant has had more of them than another."""
    (rounds,) = {len(each) for each in samples.values()}
    return rounds


def _value(column: Column, samples: Sequence[Sample]) -> float | list[float]:
    spread = Spread.of([column.figure(sample) for sample in samples])
    return _rounded(spread, column.digits) if column.spread else _rounded(spread, column.digits)[0]


def _rounded(spread: Spread, digits: int) -> list[float]:
    # Whole numbers without a point: that is how people write them.
    return [round(value, digits or None) for value in (spread.median, spread.least, spread.greatest)]


def _compared(suite: Suite, comparison: Comparison, samples: Samples) -> dict[str, Any]:
    spread, by_cpu, goal = comparison.of(samples, suite.summarised), comparison.by_cpu(samples), comparison.goal
    digits = 2 if comparison.how == "ratio" else 1
    median, least, greatest = _rounded(spread, digits)
    return {
        "title": comparison.title,
        "median": median,
        "least": least,
        "greatest": greatest,
        "digits": digits,
        "unit": comparison.unit,
        "by_cpu": None if by_cpu is None else round(by_cpu.median, 2),
        "floor": goal.floor,
        "ambition": goal.ambition,
        "at_most": goal.at_most,
        "verdict": goal.verdict(spread.median),
    }
