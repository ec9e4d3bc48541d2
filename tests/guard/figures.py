"""The table of what a call may cost, and what is said when it costs more."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("figures.json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

MEASURES = ("functions entered", "bytecodes executed", "blocks allocated")

# What a release of Python may change in its own library, and in how it compiles. The others are counted to the last
# one: a dict more is one block more, and of a thousand bytecodes nobody would see it.
_HEADROOM = (0.0, 0.02, 0.0)


@dataclass(frozen=True, slots=True)
class Counts:
    """What one call costs, by function: how often it is entered, its bytecodes, and the blocks that they allocate."""

    by_function: Mapping[str, tuple[int, int, int]]

    @property
    def totals(self) -> tuple[int, int, int]:
        """The sums over all functions."""
        columns = [sum(row[index] for row in self.by_function.values()) for index in range(3)]
        return columns[0], columns[1], columns[2]

    def as_json(self) -> dict[str, Any]:
        """For the table."""
        return {"totals": self.totals, "by_function": self.by_function}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Counts:
        """From the table."""
        return cls({name: (row[0], row[1], row[2]) for name, row in value["by_function"].items()})


def least(looks: Sequence[Counts]) -> Counts:
    """Each function's least figures of several looks at the same call."""
    none = (0, 0, 0)
    rows: dict[str, tuple[int, int, int]] = {}
    for name in sorted(set().union(*(look.by_function for look in looks))):
        columns = [min(column) for column in zip(*(look.by_function.get(name, none) for look in looks), strict=True)]
        if any(columns):
            rows[name] = columns[0], columns[1], columns[2]
    return Counts(rows)


def limits(saved: Counts) -> tuple[int, int, int]:
    """The most that a call may cost."""
    most = [math.floor(total * (1 + share)) for total, share in zip(saved.totals, _HEADROOM, strict=True)]
    return most[0], most[1], most[2]


def complaint(what: str, saved: Counts, now: Counts) -> str | None:
    """What to say of a call that costs more than it may; None where it does not."""
    most = limits(saved)
    grown = [
        f"{measure}: {total}, at most {limit} (saved: {before})"
        for measure, total, limit, before in zip(MEASURES, now.totals, most, saved.totals, strict=True)
        if total > limit
    ]
    if not grown:
        return None
    lines = [f"a call ({what}) costs more than it did:", *(f"  {line}" for line in grown), "", *table(saved, now)]
    lines += ["", "If that is meant, save the new figures: python -m tests.guard --update"]
    return "\n".join(lines)


def table(saved: Counts, now: Counts) -> Iterator[str]:
    """The functions whose counts are not what they were, those that grew most first."""
    yield f"{'functions':>18} {'bytecodes':>18} {'blocks':>18}   (saved, then now)"
    names = sorted(saved.by_function.keys() | now.by_function.keys())
    none = (0, 0, 0)
    rows = [(name, saved.by_function.get(name, none), now.by_function.get(name, none)) for name in names]
    changed = [row for row in rows if row[1] != row[2]]
    for name, before, after in sorted(changed, key=lambda row: (row[1][1] - row[2][1], row[1][2] - row[2][2])):
        cells = (f"{old} -> {new}" if old != new else "" for old, new in zip(before, after, strict=True))
        yield " ".join(f"{cell:>18}" for cell in cells) + f"   {name}"


def saved_figures(version: str = VERSION, path: Path = TABLE) -> dict[str, Counts]:
    """The saved figures of an interpreter, by kind of call; empty where nobody has saved any."""
    tables = json.loads(path.read_text()) if path.exists() else {}
    return {what: Counts.of_json(value) for what, value in tables.get(version, {}).items()}


def save(figures: Mapping[str, Counts], version: str = VERSION, path: Path = TABLE) -> None:
    """Save the figures of an interpreter; those of others stay."""
    tables = json.loads(path.read_text()) if path.exists() else {}
    tables[version] = {what: counts.as_json() for what, counts in figures.items()}
    path.write_text(_written(tables))


def _written(tables: Mapping[str, Any]) -> str:
    # A line for each function, so that a change can be read.
    text = json.dumps(tables, indent=1, sort_keys=True)
    return re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text) + "\n"
