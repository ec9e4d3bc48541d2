"""From samples of interleaved rounds to figures: medians, ranges, and ratios of the same round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sample:
    """What one variant did in one round: answers a second, its CPU for one of them, how long they took, its memory.

    `busy` is the share of the time in which it had its core: far below 1, something else was the limit. Of memory there
    is what is resident, and what of it is the process's own where what it shares is divided among those who do (PSS).
    """

    rate: float
    cpu_us: float
    busy: float = 1.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_mib: float | None = None
    pss_mib: float | None = None

    @classmethod
    def of_turns(cls, turns: Sequence[Sample]) -> Sample:
        """What a round of several turns counts as: the median of each figure.

        >>> Sample.of_turns([Sample(100, 10), Sample(110, 9), Sample(20, 50)]).rate
        100
        """
        return cls(
            *(
                None if None in values else statistics.median(values)
                for values in ([getattr(turn, field.name) for turn in turns] for field in fields(cls))
            )
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest value around it.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, least=1.0, greatest=3.0)
    """

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError where there are no values."""
        if not values:
            raise ValueError("there is no median of nothing")
        return cls(statistics.median(values), min(values), max(values))


Figure = Callable[[Sample], float]


def ratios(over: Sequence[Sample], under: Sequence[Sample], figure: Figure) -> Spread:
    """The ratio of two variants, taken round by round: what slowed a round down slowed both.

    Raises ValueError where the two did not take part in the same rounds.

    >>> quick, slow = Sample(rate=200, cpu_us=5), Sample(rate=100, cpu_us=10)
    >>> ratios([quick, slow], [slow, slow], lambda sample: sample.rate).median
    1.5
    """
    if len(over) != len(under):
        raise ValueError(f"{len(over)} rounds cannot be compared with {len(under)}")
    return Spread.of([figure(a) / figure(b) for a, b in zip(over, under, strict=True)])


def differences(over: Sequence[Sample], under: Sequence[Sample], figure: Figure) -> Spread:
    """How much more the first takes than the second, round by round; raises ValueError as `ratios` does."""
    if len(over) != len(under):
        raise ValueError(f"{len(over)} rounds cannot be compared with {len(under)}")
    return Spread.of([figure(a) - figure(b) for a, b in zip(over, under, strict=True)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies, by the nearest rank.

    >>> percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.99)
    (2, 4)
    """
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(int(rank), 1) - 1]


Verdict = Literal["reached", "short", "reported"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to be: the floor that it must not fall below, and what would be good.

    `at_most` turns it around, for figures that are better the smaller they are.

    >>> Goal(floor=0.85, ambition=0.92).verdict(0.85), Goal(floor=1.3, ambition=1.1, at_most=True).verdict(1.31)
    ('reached', 'short')
    """

    floor: float | None = None
    ambition: float | None = None
    at_most: bool = False

    def verdict(self, value: float) -> Verdict:
        """Whether the floor is reached; a figure without one is only reported."""
        if self.floor is None:
            return "reported"
        return "reached" if (value <= self.floor if self.at_most else value >= self.floor) else "short"
