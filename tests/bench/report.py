"""What was measured, as a table for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.statistics import Sample, Spread
from tests.bench.suite import RATES, Column, Comparison, Suite

Samples = Mapping[str, Sequence[Sample]]
_LIBRARIES = (
    *("grpcio", "protobuf", "uvloop", "opentelemetry-sdk", "prometheus-client", "pyjwt"),
    *("nats-py", "faststream", "redis", "hiredis", "asyncpg"),
)
_NEARLY_ALL = 0.9
_WORDS = {"reached": "yes", "short": "NO", "reported": ""}


def tables(suite: Suite, samples: Samples) -> str:
    """The variants of a suite and what came out of comparing them, as two tables in Markdown."""
    columns = suite.columns or RATES
    head = [suite.subject, *(column.title.format(what=suite.what) for column in columns)]
    rows = [[variant.name, *(_cell(column, samples[variant.name]) for column in columns)] for variant in suite.variants]
    compared = [_compared(comparison, samples) for comparison in suite.comparisons]
    return "\n".join(
        [
            f"## {suite.title}",
            "",
            *_aligned([head, *rows]),
            "",
            *_aligned([["compared", "median", "least..greatest", "by CPU", "floor", "ambition", "reached"], *compared]),
            "",
        ]
    )


def _cell(column: Column, samples: Sequence[Sample]) -> str:
    spread = Spread.of([column.figure(sample) for sample in samples])
    digits = column.digits
    if not column.spread:
        return f"{spread.median:,.{digits}f}"
    return f"{spread.median:,.{digits}f} ({spread.least:,.{digits}f}..{spread.greatest:,.{digits}f})"


def _compared(comparison: Comparison, samples: Samples) -> list[str]:
    spread, by_cpu = comparison.of(samples), comparison.by_cpu(samples)
    goal = comparison.goal
    digits = 2 if comparison.how == "ratio" else 1
    sign = "<= " if goal.at_most else ""
    unit = f" {comparison.unit}" if comparison.unit else ""
    return [
        comparison.title,
        f"{spread.median:.{digits}f}{unit}",
        f"{spread.least:.{digits}f}..{spread.greatest:.{digits}f}",
        "" if by_cpu is None else f"{by_cpu.median:.2f}",
        "" if goal.floor is None else f"{sign}{goal.floor:g}",
        "" if goal.ambition is None else f"{sign}{goal.ambition:g}",
        _WORDS[goal.verdict(spread.median)],
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def missed(suite: Suite, samples: Samples) -> list[str]:
    """The comparisons whose floor was not reached."""
    return [each.title for each in suite.comparisons if each.goal.verdict(each.of(samples).median) == "short"]


def disturbed(measured: Iterable[tuple[Suite, Samples]]) -> float | None:
    """The least share of its core that a server had in a round under full load, where that is not nearly all of it."""
    shares = [
        sample.busy for suite, samples in measured if suite.saturates for each in samples.values() for sample in each
    ]
    return min(shares) if shares and min(shares) < _NEARLY_ALL else None


def facts(rounds: int, load: str) -> dict[str, Any]:
    """What the figures depend on, beside the code."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "rounds": rounds,
        "load": load,
    }


def save(folder: Path, about: Mapping[str, Any], measured: Sequence[tuple[Suite, Samples]]) -> Path:
    """Write all of it as JSON, and return where."""
    suites = {
        suite.name: {
            "title": suite.title,
            "samples": {name: [_plain(sample) for sample in each] for name, each in samples.items()},
            "compared": [_as_json(comparison, samples) for comparison in suite.comparisons],
        }
        for suite, samples in measured
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{str(about['time']).replace(':', '')}.json"
    path.write_text(json.dumps({**about, "suites": suites}, indent=1) + "\n")
    return path


def _as_json(comparison: Comparison, samples: Samples) -> dict[str, Any]:
    spread, by_cpu, goal = comparison.of(samples), comparison.by_cpu(samples), comparison.goal
    return {
        "title": comparison.title,
        "median": spread.median,
        "least": spread.least,
        "greatest": spread.greatest,
        "by_cpu": None if by_cpu is None else by_cpu.median,
        "floor": goal.floor,
        "ambition": goal.ambition,
        "verdict": goal.verdict(spread.median),
    }


def _plain(sample: Sample) -> dict[str, float | None]:
    return asdict(sample)
