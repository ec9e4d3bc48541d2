"""What was measured, as tables for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.statistics import Sample
from tests.bench.suite import Suite
from tests.bench.summary import Samples, Summary, summary

_LIBRARIES = (
    *("grpcio", "protobuf", "uvloop", "opentelemetry-sdk", "prometheus-client", "pyjwt"),
    *("nats-py", "faststream", "redis", "hiredis", "asyncpg"),
)
_NEARLY_ALL = 0.9
_WORDS = {"reached": "yes", "short": "NO", "reported": ""}


def tables(told: Summary) -> str:
    """How many rounds there were, the variants of a suite, and what came out of comparing them, in Markdown."""
    rows = [[name, *map(_cell, values, told["digits"])] for name, values in told["rows"].items()]
    compared = [_compared(each) for each in told["compared"]]
    head = ["compared", "median", told["between"], "by CPU", "floor", "ambition", "reached"]
    lines = [f"Rounds: {told['rounds']}", "", *_aligned([told["columns"], *rows])]
    return "\n".join([*lines, "", *_aligned([head, *compared])]) + "\n"


def _cell(value: float | Sequence[float], digits: int) -> str:
    if not isinstance(value, Sequence):
        return f"{value:,.{digits}f}"
    median, least, greatest = (f"{each:,.{digits}f}" for each in value)
    return f"{median} ({least}..{greatest})"


def _compared(told: Mapping[str, Any]) -> list[str]:
    digits, sign = told["digits"], "<= " if told["at_most"] else ""
    unit = f" {told['unit']}" if told["unit"] else ""
    return [
        told["title"],
        f"{told['median']:.{digits}f}{unit}",
        f"{told['least']:.{digits}f}..{told['greatest']:.{digits}f}",
        "" if told["by_cpu"] is None else f"{told['by_cpu']:.2f}",
        "" if told["floor"] is None else f"{sign}{told['floor']:g}",
        "" if told["ambition"] is None else f"{sign}{told['ambition']:g}",
        _WORDS[told["verdict"]],
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
            **summary(suite, samples),
            "samples": {name: [_plain(sample) for sample in each] for name, each in samples.items()},
        }
        for suite, samples in measured
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{str(about['time']).replace(':', '')}.json"
    path.write_text(json.dumps({**about, "suites": suites}, indent=1) + "\n")
    return path


def _plain(sample: Sample) -> dict[str, float | None]:
    return {
        "rate": sample.rate,
        "cpu_us": sample.cpu_us,
        "busy": sample.busy,
        "p50_ms": sample.within_ms(0.5),
        "p99_ms": sample.within_ms(0.99),
        "rss_mib": sample.rss_mib,
        "pss_mib": sample.pss_mib,
    }
